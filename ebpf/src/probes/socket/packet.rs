//! Packets on their way out of a cgroup (cgroup_skb egress): every byte of TCP and UDP that leaves, whichever call
//! sent it, after the copy into the kernel, without touching the sender's socket.
//!
//! TCP is put in order by sequence number: what is sent again is skipped. Before the card cuts them, packets
//! are up to 64 KiB long.

use super::headers::{Packet, Segment};
use crate::{
    bounds::at_least_one,
    budget,
    emit::{self, Bytes, Write},
    enforce::{self, keys, sk_msg, strict},
    flow,
    maps::CONFIG,
    marks, recall, task,
    tls_record::{PEEK, Record},
};
use aya_ebpf::{
    bindings::bpf_sock,
    helpers::generated::{bpf_get_socket_cookie, bpf_get_socket_uid, bpf_sk_fullsock, bpf_skb_load_bytes},
    macros::cgroup_skb,
    programs::SkBuffContext,
};
use keymoat_abi::{
    FlowState, LossCause, Source, Tuple, Why,
    enforce::Gate,
    enforce::UNJUDGED,
    event::{flags, tuple_flags},
    scan::Stream,
    state::kind,
};

const PASS: i32 = 1;
/// The call that sends gets EPERM.
const REFUSE: i32 = 0;
const TCP: u8 = 6;
const UDP: u8 = 17;
const UDP_HEADER: u32 = 8;
const SOCK_RAW: u32 = 3;
const HTTPS: u16 = 443;
/// A QUIC packet with a long header (RFC 9000, 17.2), and the least that the first one takes (RFC 9000, 14.1).
const QUIC_LONG: u8 = 0xc0;
const QUIC_FIRST: u32 = 1200;
/// TLS records looked at in one packet; of more, the rest is found again at a later packet's start.
const RECORDS_PER_PACKET: u32 = 8;

#[cgroup_skb]
pub fn packet_egress(ctx: SkBuffContext) -> i32 {
    packet::<false>(&ctx)
}

/// As [`packet_egress`]; datagrams and other packets are judged, and of TCP what `message_egress` does not get to see.
#[cgroup_skb]
#[inline(always)]
pub fn packet_egress_judged(ctx: SkBuffContext) -> i32 {
    packet::<true>(&ctx)
}

#[inline(always)]
fn packet<const JUDGED: bool>(ctx: &SkBuffContext) -> i32 {
    if JUDGED && !enforce::is_active() {
        return PASS;
    }
    let Some(packet) = Packet::parse(ctx) else { return PASS };
    let is_udp = packet.protocol == UDP;
    let refused = match packet.protocol {
        TCP if !JUDGED || !is_raw(ctx) => segment::<JUDGED>(ctx, &packet),
        // What is not UDP has no ports that are told, and is shown when it is refused.
        _ if is_udp || JUDGED => datagram::<JUDGED>(ctx, &packet, if is_udp { UDP_HEADER } else { 0 }),
        _ => false,
    };
    if refused { REFUSE } else { PASS }
}

/// Was the packet made by a program, header and all?
#[inline(always)]
fn is_raw(ctx: &SkBuffContext) -> bool {
    let sk = socket(ctx);
    // SAFETY: the packet's socket.
    !sk.is_null() && unsafe { (*sk).type_ } == SOCK_RAW
}

/// The packet's socket; null if it has none.
#[inline(always)]
fn socket(ctx: &SkBuffContext) -> *mut bpf_sock {
    // SAFETY: the program's own context; the verifier checks that the socket is there.
    unsafe {
        let sk = (*ctx.skb.skb).__bindgen_anon_2.sk;
        if sk.is_null() { sk } else { bpf_sk_fullsock(sk) }
    }
}

/// Packet bytes from an offset on.
#[derive(Clone, Copy)]
struct PacketBytes {
    skb: *const core::ffi::c_void,
    start: u32,
    /// The task that runs is the one that sends.
    in_task: bool,
}

impl Bytes for PacketBytes {
    /// A packet has at most 64 KiB, unless somebody turned on BIG TCP (Linux 6.3): then its tail is counted.
    const FULL_RECORDS: u32 = 0;

    #[inline(always)]
    unsafe fn copy(self, to: *mut u8, from: u64, len: u64) -> Result<(), LossCause> {
        // Nobody writes a record of no bytes; only the verifier thinks so.
        let len = at_least_one(len);
        // SAFETY: the helper checks the packet's bounds; the destination by the trait's contract.
        match unsafe { bpf_skb_load_bytes(self.skb.cast(), self.start + from as u32, to.cast(), len as u32) }
        {
            0 => Ok(()),
            _ => Err(LossCause::UnreadableMemory),
        }
    }

    #[inline(always)]
    unsafe fn copy_exactly<const LEN: u32>(self, to: *mut u8, from: u64) -> bool {
        // SAFETY: the helper checks the packet's bounds; the destination by the trait's contract.
        unsafe { bpf_skb_load_bytes(self.skb.cast(), self.start + from as u32, to.cast(), LEN) == 0 }
    }

    #[inline(always)]
    unsafe fn comm(self, to: *mut u8) {
        // SAFETY: by the trait's contract.
        unsafe {
            if self.in_task {
                task::comm_from_task(to);
            } else {
                task::no_comm(to);
            }
        }
    }
}

/// Is the datagram refused? `header`: bytes before what its program wrote.
#[inline(always)]
fn datagram<const JUDGED: bool>(ctx: &SkBuffContext, packet: &Packet, header: u32) -> bool {
    let ports = if header == 0 { Ok([0; 2]) } else { ctx.load::<[u16; 2]>(packet.transport as usize) };
    let Ok([source_port, target_port]) = ports else { return false };
    let tuple = packet.tuple(u16::from_be(source_port), u16::from_be(target_port));
    let pid_tgid = task::pid_tgid_from_task();
    let payload = packet.transport + header;
    let len = ctx.len();
    if flow::is_ignored(&tuple) || task::is_agent(pid_tgid) || len <= payload {
        return false;
    }
    let skb = ctx.skb.skb;
    let bytes = PacketBytes { skb: skb.cast(), start: payload, in_task: true };
    // SAFETY: the program's own context.
    let (cookie, uid) = unsafe { (bpf_get_socket_cookie(skb.cast()), bpf_get_socket_uid(skb)) };
    if JUDGED && strict::is_on() && tuple.remote_port == HTTPS && begins_quic(ctx, payload, len) {
        emit::uninspected(Why::Quic, cookie, pid_tgid, &tuple);
        return true;
    }
    let (refused, shown) =
        if JUDGED { keys::in_datagram(pid_tgid, bytes, u64::from(len - payload)) } else { (None, true) };
    if refused == Some(UNJUDGED) {
        return strict::refuses_unjudged(cookie, pid_tgid, &tuple);
    }
    if refused.is_none() && (header == 0 || !shown) {
        return false;
    }
    let write = Write {
        source: Source::Udp,
        flags: if refused.is_some() { flags::REFUSED } else { 0 },
        rule: refused.unwrap_or(0),
        total: u64::from(len - payload),
        readable: u64::from(len - payload),
        offset: 0,
        cookie,
        context: 0,
        pid_tgid,
        uid,
        tuple,
    };
    emit::write(&write, bytes);
    refused.is_some()
}

#[inline(always)]
fn begins_quic(ctx: &SkBuffContext, payload: u32, len: u32) -> bool {
    let first: Result<u8, _> = ctx.load(payload as usize);
    len >= payload + QUIC_FIRST && first.is_ok_and(|first| first & QUIC_LONG == QUIC_LONG)
}

/// Is the segment refused?
#[inline(always)]
fn segment<const JUDGED: bool>(ctx: &SkBuffContext, packet: &Packet) -> bool {
    let Some(segment) = Segment::parse(ctx, packet) else { return false };
    let sk = socket(ctx);
    if sk.is_null() {
        return false;
    }
    // SAFETY: the packet's socket, checked above.
    let Some(state) = (unsafe { flow::state(sk, true) }) else {
        emit::lost(LossCause::SocketNotTracked);
        return false;
    };
    // SAFETY: socket storage; packets of one socket leave under its lock.
    let state = unsafe { &mut *state };
    let current = task::pid_tgid_from_task();
    first_sight(state, ctx, current);
    let unwanted = state.flags & tuple_flags::ACCEPTED != 0 && CONFIG.load().accepted_connections == 0;
    if task::is_agent(state.owner) || unwanted {
        return false;
    }
    let mut tuple = packet.tuple(segment.source_port, segment.target_port);
    tuple.flags |= state.flags;
    let judged = JUDGED && tuple.flags & tuple_flags::OPENED != 0 && !flow::is_ignored(&tuple);
    // SAFETY: the packet's socket, checked above.
    let gate = if judged { unsafe { sk_msg::gate(sk, true) } } else { None };
    // SAFETY: socket storage.
    if gate.is_some_and(|gate| unsafe { (*gate).kind } == kind::REFUSED) {
        return true;
    }
    let Some((skip, offset)) = in_order(state, &segment) else { return false };
    let fresh = Fresh { start: segment.payload + skip, len: u64::from(segment.len - skip), offset };
    let (mut refused, mut shown) = (None, true);
    if let Some(gate) = gate {
        // SAFETY: socket storage; packets of one socket leave under its lock.
        let gate = unsafe { &mut *gate };
        if sk_msg::unasked_carries_refused_key(gate, state, &tuple, segment.end()) {
            return true;
        }
        refused = judge(ctx, gate, &fresh);
        if refused == Some(UNJUDGED) && strict::refuses_unjudged(state.cookie, state.owner, &tuple) {
            return true;
        }
        refused = refused.filter(|rule| *rule != UNJUDGED);
        shown = keys::is_shown(scanned(gate));
        if refused.is_some() {
            gate.kind = kind::REFUSED;
        }
    }
    let flag = match refused {
        Some(_) => Some(flags::REFUSED | flags::AS_PACKET),
        None => notice(ctx, state, &fresh, &tuple, current),
    };
    if let (Some(flags::CLIENT_HELLO), Some(gate)) = (flag, gate) {
        // SAFETY: socket storage; packets of one socket leave under its lock.
        greeted(unsafe { &mut *gate }, state.cookie, ctx, &fresh, segment.end());
    }
    if let Some(flag) = flag
        && !flow::is_ignored(&tuple)
    {
        let write = written(state, &fresh, &tuple, flag, refused.unwrap_or(0));
        let in_task = current >> 32 == state.owner >> 32;
        let bytes = PacketBytes { skb: ctx.skb.skb.cast(), start: fresh.start, in_task };
        pass_on::<JUDGED>(&write, bytes, shown || flag != 0);
    }
    refused.is_some()
}

/// A ClientHello. If it was no message (TCP fast open, a program whose messages are not judged), the kernel did not ask about it.
#[inline(always)]
fn greeted(gate: &mut Gate, cookie: u64, ctx: &SkBuffContext, fresh: &Fresh, end: u32) {
    if gate.kind == kind::NEW {
        gate.asked = end;
        read_hello(gate, cookie, ctx.skb.skb.cast(), fresh.start, fresh.len);
    }
}

/// By itself, since the caller has no room on the stack.
#[inline(never)]
fn read_hello(gate: &mut Gate, cookie: u64, skb: *const core::ffi::c_void, start: u32, len: u64) {
    sk_msg::greeted(gate, cookie, PacketBytes { skb, start, in_task: false }, len);
}

/// Sends bytes of a packet to the agent, or keeps them in mind.
#[inline(always)]
fn pass_on<const JUDGED: bool>(write: &Write, bytes: PacketBytes, shown: bool) {
    if write.tuple.flags & tuple_flags::ACCEPTED != 0 && !budget::allows(write.total) {
        return;
    }
    if JUDGED {
        let stream = recall::of_socket(write.cookie);
        if !shown {
            return recall::note(&stream, write, bytes);
        }
        recall::show(stream, write.offset);
    }
    emit::write(write, bytes);
}

/// The rule of a key that may not leave; [`UNJUDGED`] if nobody could look.
///
/// Judges what is not TLS, also when `message_egress` did: that does not get to see data behind a SYN (TCP fast open), what was
/// written before there was a connection, what MPTCP writes; and when the kernel fails to send a message that was judged, it keeps
/// the verdict for the next one and does not ask. That a packet is held back is not told to the call that wrote it, so nothing else
/// leaves on the connection.
#[inline(always)]
fn judge(ctx: &SkBuffContext, gate: &mut Gate, fresh: &Fresh) -> Option<u16> {
    let is_new = || gate.kind == kind::NEW && peek(ctx, fresh.start).and_then(Record::parse).is_none();
    if gate.kind != kind::PLAIN && !is_new() {
        return None;
    }
    let bytes = PacketBytes { skb: ctx.skb.skb.cast(), start: fresh.start, in_task: true };
    keys::in_the_clear(scanned(gate), bytes, fresh.len)
}

/// The scan of a connection's packets. One of them may have been scanned before it was known that messages are, too.
#[inline(always)]
fn scanned(gate: &mut Gate) -> &mut Stream {
    if gate.kind == kind::PLAIN { &mut gate.packets } else { &mut gate.scan }
}

/// Bytes of a packet that were not sent before.
struct Fresh {
    /// Where they begin in the packet.
    start: u32,
    len: u64,
    /// Where they belong in the stream.
    offset: u64,
}

/// Fills in what is not known of a connection older than the agent, or accepted.
#[inline(always)]
fn first_sight(state: &mut FlowState, ctx: &SkBuffContext, current: u64) {
    let skb = ctx.skb.skb;
    if state.cookie == 0 {
        // SAFETY: the program's own context.
        state.cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    }
    if state.owner == 0 {
        state.owner = current;
        // SAFETY: the program's own context.
        state.uid = unsafe { bpf_get_socket_uid(skb) };
    }
}

/// How many of the segment's bytes were sent before, and where the others belong in the stream. `None` when all were.
#[inline(always)]
fn in_order(state: &mut FlowState, segment: &Segment) -> Option<(u32, u64)> {
    if state.kind == kind::NEW {
        state.next_seq = segment.seq;
    }
    let behind = state.next_seq.wrapping_sub(segment.seq);
    if (behind as i32) < 0 {
        // Bytes in between left before the agent looked.
        state.sent += u64::from(segment.seq.wrapping_sub(state.next_seq));
        state.next_seq = segment.seq;
        let offset = state.sent;
        advance(state, segment.len);
        return Some((0, offset));
    }
    if behind >= segment.len {
        return None;
    }
    let offset = state.sent;
    advance(state, segment.len - behind);
    Some((behind, offset))
}

#[inline(always)]
fn advance(state: &mut FlowState, len: u32) {
    state.next_seq = state.next_seq.wrapping_add(len);
    state.sent += u64::from(len);
}

/// Plaintext and ClientHellos go to the agent: their flags. Of other TLS only the records' headers are of interest.
#[inline(always)]
fn notice(
    ctx: &SkBuffContext,
    state: &mut FlowState,
    fresh: &Fresh,
    tuple: &Tuple,
    current: u64,
) -> Option<u8> {
    let mut flag = 0;
    if state.hello_left > 0 {
        flag = flags::CLIENT_HELLO;
        state.hello_left = (state.hello_left).saturating_sub(fresh.len as u32);
    } else if state.kind == kind::TLS {
        records(ctx, state, fresh, tuple, current);
        return None;
    } else if let Some(record) = peek(ctx, fresh.start).and_then(Record::parse) {
        let is_owners = state.owner >> 32 == current >> 32;
        if record.is_handshake() && is_owners {
            marks::take_greeting(state, tuple, current);
        }
        if record.is_client_hello() {
            flag = flags::CLIENT_HELLO;
            state.kind = kind::TLS;
            state.hello_left = (record.size() as u32).saturating_sub(fresh.len as u32);
            state.next_record = fresh.offset + record.size();
        } else if state.kind == kind::NEW {
            // A server's side, or a connection older than the agent.
            state.kind = kind::TLS;
            state.next_record = fresh.offset;
            records(ctx, state, fresh, tuple, current);
            return None;
        }
    }
    if state.kind == kind::NEW {
        state.kind = kind::PLAIN;
    }
    Some(flag)
}

#[inline(always)]
fn written(state: &FlowState, fresh: &Fresh, tuple: &Tuple, flags: u8, rule: u16) -> Write {
    Write {
        source: Source::Tcp,
        flags,
        rule,
        total: fresh.len,
        readable: fresh.len,
        offset: fresh.offset,
        cookie: state.cookie,
        context: 0,
        pid_tgid: state.owner,
        uid: state.uid,
        tuple: *tuple,
    }
}

#[inline(always)]
fn peek(ctx: &SkBuffContext, at: u32) -> Option<[u8; PEEK]> {
    ctx.load(at as usize).ok()
}

/// Links the socket to the TLS connection whose records it carries: the first packet of a write leaves in the writing
/// thread (nothing is in flight that it had to wait for), so the thread's marks say which connection it is.
#[inline(always)]
fn records(ctx: &SkBuffContext, state: &mut FlowState, fresh: &Fresh, tuple: &Tuple, current: u64) {
    let end = fresh.offset + fresh.len;
    // What this host's other end of a connection had to hold back leaves on the task whose acknowledgement made room.
    if state.next_record >= end || state.owner >> 32 != current >> 32 {
        return;
    }
    let Some(marks) = marks::of_thread_or_none(current) else { return };
    // Behind: the place was lost; a packet often begins with a record.
    let mut at = if state.next_record > fresh.offset { state.next_record } else { fresh.offset };
    for _ in 0..RECORDS_PER_PACKET {
        if at >= end {
            break;
        }
        let Some(record) = peek(ctx, fresh.start + (at - fresh.offset) as u32).and_then(Record::parse) else {
            break;
        };
        if record.is_application_data() {
            marks::take(marks, state, tuple, current, record.len);
        }
        at += record.size();
    }
    state.next_record = at;
}
