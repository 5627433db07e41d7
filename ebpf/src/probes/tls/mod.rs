//! TLS libraries: plaintext at the entry of the write call.
//!
//! All write calls of all libraries take (connection, buffer, length) as their first three arguments, so a
//! library is a few thin hooks over [`plaintext`].

pub mod gnutls;
pub mod openssl;

use crate::{
    bounds::at_most,
    budget,
    emit::{self, FULL_RECORDS, Write},
    enforce::{
        self, Rung, SHOWN, SHOWN_BEFORE,
        keys::{self, Found},
    },
    marks::{self, ContextKey},
    recall, task,
    user_memory::UserMemory,
};
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use aya_ebpf::programs::ProbeContext;
use keymoat_abi::{Source, Tuple, event::flags};

/// Is this one of the processes that are watched?
#[inline(always)]
fn is_of_interest(pid_tgid: u64) -> bool {
    !task::is_agent(pid_tgid) && !task::is_outside()
}

/// A handshake of the TLS connection object at `context` begins or goes on.
#[inline(always)]
fn handshake(context: u64) {
    // SAFETY: no arguments.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    if context != 0 && is_of_interest(pid_tgid) {
        marks::greet(pid_tgid, context);
    }
}

/// The TLS connection object at `context` is made ready for a client's handshake.
#[inline(always)]
fn ready(context: u64) {
    // SAFETY: no arguments.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    if context != 0 && is_of_interest(pid_tgid) {
        marks::intend(pid_tgid, context);
    }
}

/// `len` bytes at `buffer` are handed to the TLS connection object at `context`. Of one write, `FULL` records of full size
/// are captured before the last one.
#[inline(always)]
fn plaintext<const FULL: u32, R: Rung>(
    ctx: &ProbeContext,
    source: Source,
    context: u64,
    buffer: u64,
    len: u64,
) {
    // SAFETY: no arguments.
    let (pid_tgid, uid) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid() as u32) };
    if len == 0 || buffer == 0 || !is_of_interest(pid_tgid) || R::JUDGES && !enforce::is_active() {
        return;
    }
    if !R::JUDGES && marks::is_rest(pid_tgid, context, buffer, len) {
        return;
    }
    // First, while there are few states of the program: each one that reaches the scan is verified with it.
    let before = marks::known(&ContextKey { tgid: pid_tgid >> 32, context });
    let judged = R::JUDGES && before.accepted == 0;
    let Found { stopped, shown, rest } = match (judged, R::STOPS) {
        (false, _) => Found::UNKNOWN,
        (true, true) => keys::stop::<R>(ctx, pid_tgid, context, before.sent, buffer, len),
        (true, false) => keys::find(pid_tgid >> 32, context, before.sent, buffer, len),
    };
    if rest {
        return;
    }
    let stream = ContextKey { tgid: pid_tgid >> 32, context };
    let (known, flags, from) = match &stopped {
        // It never happened: neither is it counted, nor will a socket take it.
        Some(stopped) => (marks::known(&stream), R::STOPPED, stopped.within.saturating_sub(SHOWN_BEFORE)),
        None => {
            let known = marks::advance(pid_tgid, context, len);
            let retry = marks::add(pid_tgid, context, buffer, len, known.cookie == 0);
            (known, if retry { flags::MAYBE_RETRY } else { 0 }, 0)
        }
    };
    if known.accepted != 0 && !budget::allows(len) {
        return;
    }
    let left = len.wrapping_sub(from);
    let total = if stopped.is_some() { at_most(left, SHOWN) } else { left };
    let mut write = Write {
        source,
        rule: stopped.map_or(0, |stopped| stopped.rule),
        flags,
        total,
        readable: total,
        offset: known.sent.wrapping_add(from),
        cookie: known.cookie,
        context,
        pid_tgid,
        uid,
        tuple: Tuple::UNKNOWN,
    };
    if R::JUDGES {
        if !shown {
            recall::note(&stream, &write, UserMemory::<0>(buffer));
            return;
        }
        recall::show(stream, known.sent);
        show_plaintext(&raw const write, buffer.wrapping_add(from));
        if len > emit::room(FULL_RECORDS)
            && let Some(within) = keys::behind_what_is_shown(&stream)
        {
            show_behind(&mut write, buffer, within);
        }
    } else {
        emit::write(&write, UserMemory::<FULL>(buffer));
    }
}

/// Of a write that was too long to be shown as a whole: what is around a key that ends among its first `within` bytes.
#[inline(always)]
fn show_behind(write: &mut Write, buffer: u64, within: u64) {
    let shown = emit::room(FULL_RECORDS);
    let before = within.saturating_sub(SHOWN_BEFORE);
    let from = if before > shown { before } else { shown };
    write.offset = write.offset.wrapping_add(from);
    // Less than it has: so the agent is told that more is missing behind.
    write.total = write.total.wrapping_sub(from);
    write.readable = at_most(write.total, SHOWN);
    show_plaintext(&raw const *write, buffer.wrapping_add(from));
}

/// Sends plaintext to the agent. A global function: the verifier looks at it once, and not again for each way that leads here. With a
/// pointer they exist since Linux 5.13, which programs that judge need anyway.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn show_plaintext(write: *const Write, buffer: u64) -> u64 {
    // SAFETY: a valid write, or null: the verifier sees to it.
    if let Some(write) = unsafe { write.as_ref() } {
        emit::write(write, UserMemory::<FULL_RECORDS>(buffer));
    }
    0
}
