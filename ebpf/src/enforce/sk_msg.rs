//! `sk-msg`: refuses TCP writes (sk_msg program of a map of sockets). Whatever call sends, the program sees its bytes after they
//! were copied into the kernel, in the task that sends, and nothing of them has left.
//!
//! A refusal sticks: the kernel refuses every later write on that socket too (EACCES), without asking again.

use super::{
    Rung, SHOWN, SHOWN_BEFORE,
    keys::{self, Everywhere},
    sni, strict,
};
use crate::{
    emit::{self, Bytes, Write},
    flow::{self, Ends},
    kernel_memory::KernelMemory,
    maps::{CONFIG, CONNECTIONS, GATES},
    marks::{self, Marks},
    recall,
    scan::{Outcome, scan},
    task,
    tls_record::{PEEK, Record},
};
use aya_ebpf::{
    bindings::{bpf_sock, sk_action, sk_msg_md},
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_loop, bpf_msg_pull_data, bpf_probe_read_kernel, bpf_sk_storage_get,
    },
    macros::sk_msg,
    programs::{ProbeContext, SkMsgContext, SockOpsContext},
};
use core::ffi::c_void;
use keymoat_abi::{FlowState, LossCause, Source, Tuple, Why, enforce::Gate, event::flags, state::kind};

const CREATE: u64 = 1; // BPF_SK_STORAGE_GET_F_CREATE
/// TLS records of one message among which the first one of a connection's plaintext is looked for.
const RECORDS: u32 = 8;

/// The TLS probe leaves the word to the socket.
pub struct SkMsg;

impl Rung for SkMsg {
    const JUDGES: bool = true;
    const STOPS: bool = false;
    const STOPPED: u8 = 0;

    #[inline(always)]
    fn stop(_ctx: &ProbeContext) -> bool {
        false
    }
}

/// Has the writes on a connection judged from now on.
#[inline(always)]
pub fn watch(ctx: &SockOpsContext, cookie: u64) {
    const ANY: u64 = 0; // BPF_ANY
    let mut key = cookie;
    // SAFETY: the program's own context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if !sk.is_null() {
        // From now on it counts as judged. If there is no room, the first message tries again.
        // SAFETY: the context's socket, checked above.
        let _ = unsafe { gate(sk, true) };
    }
    // SAFETY: the program's own context.
    let result = unsafe { CONNECTIONS.update(&mut key, &mut *ctx.ops, ANY) };
    if result.is_err() {
        emit::lost(LossCause::NotJudged);
    }
}

#[sk_msg]
pub fn message_egress(ctx: SkMsgContext) -> u32 {
    if is_refused(&ctx) { sk_action::SK_DROP } else { sk_action::SK_PASS }
}

#[inline(always)]
fn is_refused(ctx: &SkMsgContext) -> bool {
    // SAFETY: the program's own context; no arguments.
    let (sk, pid_tgid) = unsafe { ((*ctx.msg).__bindgen_anon_3.sk, bpf_get_current_pid_tgid()) };
    let size = ctx.size();
    if sk.is_null() || size == 0 || task::is_agent(pid_tgid) {
        return false;
    }
    // SAFETY: the message's socket, checked above.
    let (Some(gate), Some(state)) = (unsafe { (gate(sk, true), flow::state(sk, true)) }) else {
        return strict::refuses_unjudged(0, pid_tgid, &ends(ctx.msg).tuple(0));
    };
    // SAFETY: socket storage; messages are judged under the socket's lock.
    let (gate, state) = unsafe { (&mut *gate, &mut *state) };
    gate.asked = next_seq(gate, sk).wrapping_add(size);
    // SAFETY: the program's own context.
    if unsafe { bpf_msg_pull_data(ctx.msg, 0, size, 0) } != 0 {
        return strict::refuses_unjudged(state.cookie, pid_tgid, &ends(ctx.msg).tuple(state.flags));
    }
    // Read back from the map it is a number: the verifier allows no arithmetic with an unknown number on a packet's pointer.
    gate.data = ctx.data() as u64;
    let message = Message { data: opaque_load(&raw const gate.data), len: u64::from(size), pid_tgid };
    message.is_refused(ctx, gate, state)
}

/// A ClientHello is on its way: where does the connection go?
#[inline(always)]
pub fn greeted<B: Bytes>(gate: &mut Gate, cookie: u64, bytes: B, len: u64) {
    gate.kind = kind::TLS;
    sni::read(bytes, len, &mut gate.host);
    keys::goes_to(cookie, &gate.host);
}

/// The TCP sequence number that the next byte written gets: all before it are on their way. 0 if this kernel does not say where it has that.
#[inline(always)]
fn next_seq(gate: &mut Gate, sk: *mut bpf_sock) -> u32 {
    let mut seq = 0u32;
    let offset = CONFIG.load().write_seq_offset;
    if offset != 0 {
        // A number, as in `is_refused`.
        gate.data = sk as u64;
        let at = opaque_load(&raw const gate.data).wrapping_add(u64::from(offset));
        // SAFETY: the helper checks the source; four bytes fit.
        unsafe { bpf_probe_read_kernel((&raw mut seq).cast(), 4, at as *const c_void) };
    }
    seq
}

/// Does TLS that ends before the TCP sequence number `end` carry a record of plaintext with a key that may not go there? If the kernel asked
/// about all of it as messages, that was answered.
///
/// By itself, since one of its callers has no room on the stack; not global, since kernel 6.1 takes no name for a key out of what a global function
/// is given.
#[inline(never)]
pub fn unasked_carries_refused_key(gate: &mut Gate, state: &FlowState, tuple: &Tuple, end: u32) -> bool {
    let asked = CONFIG.load().write_seq_offset == 0 || end.wrapping_sub(gate.asked) as i32 <= 0;
    if gate.kind != kind::TLS || asked {
        return false;
    }
    let Some(refused) = keys::take(state.tgid.into(), state.context, &gate.host) else { return false };
    gate.kind = kind::REFUSED;
    emit::refusal(state, u64::from(state.tgid) << 32, tuple, &refused, true);
    true
}

/// The same where nothing more is written on a connection: of all that is still to leave.
///
/// # Safety
/// As [`gate`].
#[inline(always)]
pub unsafe fn ends_with_refused_key(sk: *mut bpf_sock, state: &FlowState, tuple: &Tuple) {
    // SAFETY: by this function's contract.
    let Some(gate) = (unsafe { gate(sk, false) }) else { return };
    // SAFETY: socket storage; a connection changes its state under the socket's lock.
    let gate = unsafe { &mut *gate };
    let end = next_seq(gate, sk);
    unasked_carries_refused_key(gate, state, tuple, end);
}

/// What is known of a connection that is judged; with `create`, one that is not becomes one.
///
/// # Safety
/// `sk` must be the socket pointer of the program's context.
#[inline(always)]
pub unsafe fn gate(sk: *mut bpf_sock, create: bool) -> Option<*mut Gate> {
    let map = core::ptr::from_ref(&GATES).cast_mut().cast();
    let flags = if create { CREATE } else { 0 };
    // SAFETY: by this function's contract; the verifier checks the socket's type.
    let gate = unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), flags) };
    if gate.is_null() { None } else { Some(gate.cast()) }
}

#[inline(always)]
fn opaque_load(from: *const u64) -> u64 {
    // SAFETY: a field of a map value.
    unsafe { core::ptr::read_volatile(from) }
}

/// One write, in the kernel's memory.
#[derive(Clone, Copy)]
struct Message {
    data: u64,
    len: u64,
    pid_tgid: u64,
}

impl Message {
    #[inline(always)]
    fn is_refused(self, ctx: &SkMsgContext, gate: &mut Gate, state: &mut FlowState) -> bool {
        if gate.kind == kind::REFUSED {
            return true;
        }
        if gate.kind != kind::TLS {
            match self.record(0) {
                Some(record) if record.is_client_hello() => {
                    greeted(gate, state.cookie, KernelMemory(self.data), self.len);
                    marks::take_greeting(state, &ends(ctx.msg).tuple(state.flags), self.pid_tgid);
                    return false;
                }
                // A connection older than the agent.
                Some(_) if gate.kind == kind::NEW => {
                    if strict::is_on() {
                        self.uninspected(ctx, Why::OldConnection, state);
                        return true;
                    }
                    gate.kind = kind::TLS;
                }
                _ => gate.kind = kind::PLAIN,
            }
        }
        if gate.kind == kind::TLS {
            return self.carries_refused_key(ctx, gate, state);
        }
        match scan(&mut gate.scan, KernelMemory(self.data), self.len, Everywhere) {
            Outcome::Passed => false,
            Outcome::Unfinished => {
                strict::refuses_unjudged(state.cookie, self.pid_tgid, &ends(ctx.msg).tuple(state.flags))
            }
            Outcome::Refused { rule, within } => {
                let from = within.saturating_sub(SHOWN_BEFORE);
                let write = self.write(ctx, state, from, rule);
                recall::show(recall::of_socket(state.cookie), state.sent);
                emit::write(&write, KernelMemory(self.data.wrapping_add(from)));
                true
            }
        }
    }

    /// Is a record of this message made of plaintext with a key that may not go there?
    #[inline(always)]
    fn carries_refused_key(self, ctx: &SkMsgContext, gate: &mut Gate, state: &mut FlowState) -> bool {
        let tgid = self.pid_tgid >> 32;
        if state.context == 0 || u64::from(state.tgid) != tgid {
            self.link(ctx, gate, state);
        }
        if state.context == 0 || u64::from(state.tgid) != tgid {
            let unseen = strict::is_on() && gate.unseen > strict::HANDSHAKE;
            if unseen {
                self.uninspected(ctx, Why::UnseenTls, state);
            }
            return unseen;
        }
        let Some(refused) = keys::take(tgid, state.context, &gate.host) else { return false };
        let tuple = ends(ctx.msg).tuple(state.flags);
        emit::refusal(state, self.pid_tgid, &tuple, &refused, false);
        true
    }

    #[inline(always)]
    fn uninspected(self, ctx: &SkMsgContext, why: Why, state: &FlowState) {
        emit::uninspected(why, state.cookie, self.pid_tgid, &ends(ctx.msg).tuple(state.flags));
    }

    /// Finds out which TLS connection's records these are.
    #[inline(always)]
    fn link(self, ctx: &SkMsgContext, gate: &mut Gate, state: &mut FlowState) {
        let Some(marks) = marks::of_thread_or_none(self.pid_tgid) else { return };
        gate.walked = 0;
        let tuple = ends(ctx.msg).tuple(state.flags);
        let mut walk = Walk { message: self, gate, state, marks, tuple };
        // SAFETY: the callback has the signature that the helper wants, and `walk` lives longer than the call.
        unsafe {
            bpf_loop(RECORDS, next_record as *mut c_void, (&raw mut walk).cast(), 0);
        }
        // Of more records than are walked, the rest is unseen.
        let gate = walk.gate;
        gate.unseen = gate.unseen.wrapping_add(self.len.saturating_sub(gate.walked));
    }

    /// The TLS record that begins at this byte, if one can.
    #[inline(always)]
    fn record(self, at: u64) -> Option<Record> {
        if at >= self.len {
            return None;
        }
        let mut bytes = [0u8; PEEK];
        // SAFETY: the helper checks the source; the destination has as many bytes.
        let read = unsafe {
            bpf_probe_read_kernel(
                bytes.as_mut_ptr().cast(),
                PEEK as u32,
                self.data.wrapping_add(at) as *const core::ffi::c_void,
            )
        };
        if read == 0 { Record::parse(bytes) } else { None }
    }

    #[inline(always)]
    fn write(self, ctx: &SkMsgContext, state: &FlowState, from: u64, rule: u16) -> Write {
        let left = self.len.saturating_sub(from);
        let shown = if left > SHOWN { SHOWN } else { left };
        Write {
            source: Source::Tcp,
            flags: flags::REFUSED,
            rule,
            total: shown,
            readable: shown,
            offset: state.sent.wrapping_add(from),
            cookie: state.cookie,
            context: 0,
            pid_tgid: self.pid_tgid,
            uid: state.uid,
            tuple: ends(ctx.msg).tuple(state.flags),
        }
    }
}

/// A walk over the records of a message.
struct Walk<'a> {
    message: Message,
    gate: &'a mut Gate,
    state: &'a mut FlowState,
    marks: *mut Marks,
    tuple: Tuple,
}

/// One record. 1 ends the loop.
extern "C" fn next_record(_index: u64, walk: *mut Walk<'_>) -> i64 {
    // SAFETY: what `link` gave to the helper.
    let walk = unsafe { &mut *walk };
    let at = walk.gate.walked;
    let Some(record) = walk.message.record(at) else { return 1 };
    walk.gate.walked = at.wrapping_add(record.size());
    if record.is_application_data() {
        walk.gate.unseen = walk.gate.unseen.wrapping_add(record.len);
        marks::take(walk.marks, walk.state, &walk.tuple, walk.message.pid_tgid, record.len);
    }
    0
}

#[inline(always)]
fn ends(msg: *const sk_msg_md) -> Ends {
    // SAFETY: the program's own context.
    let msg = unsafe { &*msg };
    Ends {
        family: msg.family,
        local_ip4: msg.local_ip4,
        remote_ip4: msg.remote_ip4,
        local_ip6: msg.local_ip6,
        remote_ip6: msg.remote_ip6,
        local_port: msg.local_port,
        remote_port: msg.remote_port,
    }
}
