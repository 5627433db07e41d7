//! Which socket carries which TLS connection.
//!
//! A TLS library is given plaintext (probe, no socket known) and soon after a record leaves on a socket, on the
//! same thread: at once for socket BIOs, a little later and possibly interleaved with other connections for
//! memory BIOs (Node, asyncio). Each thread keeps its last few plaintext writes as marks; a record on a
//! socket takes the mark it fits. Where the library's handshake call is seen, the first record of the handshake links the two
//! before any plaintext is written, whatever the lengths.

use crate::{
    bounds::opaque,
    emit,
    maps::{CONTEXTS, KEYS, MARKS, NO_MARKS},
};
use keymoat_abi::{FlowState, LossCause, Tuple, event::tuple_flags};

/// A power of two.
const SLOTS: u64 = 4;
/// Most plaintext one TLS record carries (RFC 8446, 5.1).
const MAX_PLAINTEXT: u64 = 16_384;
/// Most a record adds to its plaintext: IV, MAC and padding of TLS 1.2 CBC suites (RFC 5246, 6.2.3.2).
const MAX_OVERHEAD: u64 = 16 + 48 + 256;

/// One plaintext write that no socket has taken yet.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Mark {
    context: u64,
    buffer: u64,
    len: u64,
    /// Bytes of it not seen on a socket; 0 = slot free.
    left: u64,
    /// Not 0: the first write of its connection, which has to be linked.
    first: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Marks {
    slots: [Mark; SLOTS as usize],
    next: u64,
    /// The connection whose handshake began and of which no record left yet; [`SEVERAL`] if there are more.
    greeting: u64,
    /// The same of one that was made ready for its handshake: programs that never call for it have it done by the first read.
    intended: u64,
}

/// No address of a connection object.
const SEVERAL: u64 = 1;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct ContextKey {
    pub tgid: u64,
    pub context: u64,
}

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Context {
    /// Plaintext bytes written so far.
    pub sent: u64,
    /// Socket cookie; 0 = not linked.
    pub cookie: u64,
    /// Not 0: of a connection that this host accepted.
    pub accepted: u64,
}

impl Context {
    const NEW: Self = Self { sent: 0, cookie: 0, accepted: 0 };
}

/// Notes a plaintext write. True when the same write is already noted and still on its way: a retry after
/// `WANT_WRITE`, or one library function calling another.
///
/// `first`: nothing is known of this connection yet.
#[inline(always)]
pub fn add(pid_tgid: u64, context: u64, buffer: u64, len: u64, first: bool) -> bool {
    let Some(marks) = of_thread_or_new(pid_tgid) else {
        emit::lost(LossCause::TlsStateFull);
        return false;
    };
    // SAFETY: a value in the map, touched only by its own thread.
    let marks = unsafe { &mut *marks };
    for number in 0..SLOTS {
        let mark = slot(marks, number);
        if mark.left != 0 && mark.context == context && mark.buffer == buffer && mark.len == len {
            mark.left = len;
            return true;
        }
    }
    let next = marks.next;
    marks.next += 1;
    *slot(marks, next) = Mark { context, buffer, len, left: len, first: first.into() };
    false
}

/// Is this what is left of a write of which the library sent some records? Libraries that are told to send a write in parts are given the rest,
/// record after record (see `Stream::is_rest`): it was seen with what came before it.
#[inline(always)]
pub fn is_rest(pid_tgid: u64, context: u64, buffer: u64, len: u64) -> bool {
    let Some(marks) = of_thread(pid_tgid) else { return false };
    // SAFETY: a value in the map, touched only by its own thread.
    let marks = unsafe { &mut *marks };
    for number in 0..SLOTS {
        let mark = slot(marks, number);
        let sent = buffer.wrapping_sub(mark.buffer);
        let whole_records = sent != 0 && sent & (MAX_PLAINTEXT - 1) == 0;
        if mark.left != 0 && mark.context == context && whole_records && sent.wrapping_add(len) == mark.len {
            return true;
        }
    }
    false
}

/// A handshake goes on: if it is the first that is heard of this connection, the next handshake record of the thread is its.
#[inline(always)]
pub fn greet(pid_tgid: u64, context: u64) {
    let key = ContextKey { tgid: pid_tgid >> 32, context };
    // SAFETY: a value in the map.
    if CONTEXTS.get_ptr(&key).is_some_and(|known| unsafe { (*known).cookie != 0 }) {
        return;
    }
    let Some(marks) = of_thread_or_new(pid_tgid) else { return emit::lost(LossCause::TlsStateFull) };
    // SAFETY: a value in the map, touched only by its own thread.
    let marks = unsafe { &mut *marks };
    if marks.intended == context {
        marks.intended = 0;
    }
    join(&mut marks.greeting, context);
}

/// A connection is made ready for its handshake, which may be called for or happen in its first read or write. If no handshake
/// is called for before, the next handshake record of the thread is its.
#[inline(always)]
pub fn intend(pid_tgid: u64, context: u64) {
    let Some(marks) = of_thread_or_new(pid_tgid) else { return emit::lost(LossCause::TlsStateFull) };
    // SAFETY: a value in the map, touched only by its own thread.
    join(unsafe { &mut (*marks).intended }, context);
}

#[inline(always)]
fn join(those: &mut u64, context: u64) {
    if *those != context {
        *those = if *those == 0 { context } else { SEVERAL };
    }
}

/// The first handshake record leaves on `flow`'s socket: links the thread's new TLS connection to it, if there is one only.
#[inline(always)]
pub fn take_greeting(flow: &mut FlowState, tuple: &Tuple, pid_tgid: u64) {
    let Some(marks) = of_thread(pid_tgid) else { return };
    // SAFETY: a value in the map, touched only by its own thread.
    let marks = unsafe { &mut *marks };
    let context = match core::mem::take(&mut marks.greeting) {
        0 => core::mem::take(&mut marks.intended),
        greeting => greeting,
    };
    if context <= SEVERAL || flow.context != 0 {
        return;
    }
    let key = ContextKey { tgid: pid_tgid >> 32, context };
    if CONTEXTS.get_ptr(&key).is_none() && CONTEXTS.insert(&key, &Context::NEW, 0).is_err() {
        return emit::lost(LossCause::TlsStateFull);
    }
    link(flow, tuple, pid_tgid, context);
}

/// The slot with this number, counted round and round.
///
/// The number is hidden from LLVM, which makes of a loop over slots one over a pointer that starts before the first of
/// them: since Linux 7.3 the verifier refuses what is read through a pointer that was outside its value.
#[inline(always)]
fn slot(marks: &mut Marks, number: u64) -> &mut Mark {
    let number = opaque(number) & (SLOTS - 1);
    // SAFETY: masked to the array's size, a power of two.
    unsafe { marks.slots.get_unchecked_mut(number as usize) }
}

#[inline(always)]
fn of_thread_or_new(pid_tgid: u64) -> Option<*mut Marks> {
    if let Some(marks) = MARKS.get_ptr_mut(&pid_tgid) {
        return Some(marks);
    }
    let none = NO_MARKS.get_ptr(0)?;
    // SAFETY: an array slot that nobody writes.
    MARKS.insert(&pid_tgid, unsafe { &*none }, 0).ok()?;
    MARKS.get_ptr_mut(&pid_tgid)
}

/// This thread's marks, or empty ones: LLVM computes addresses in them before it looks whether there are any, which the
/// verifier refuses.
#[inline(always)]
pub fn of_thread_or_none(pid_tgid: u64) -> Option<*mut Marks> {
    match MARKS.get_ptr_mut(&pid_tgid) {
        Some(marks) => Some(marks),
        None => NO_MARKS.get_ptr_mut(0),
    }
}

/// Does this thread have plaintext on its way?
#[inline(always)]
pub fn of_thread(pid_tgid: u64) -> Option<*mut Marks> {
    MARKS.get_ptr_mut(&pid_tgid)
}

/// An application-data record of `record` payload bytes leaves on `flow`'s socket: takes the mark it fits and
/// links the mark's TLS connection to the socket if it was not linked before.
///
/// A packet may leave on another task than the sender's, so a linked socket stays linked: only a connection's first
/// write can take it over (a new one on a socket whose old one is done).
#[inline(always)]
pub fn take(marks: *mut Marks, flow: &mut FlowState, tuple: &Tuple, pid_tgid: u64, record: u64) {
    // SAFETY: a value in the map, touched only by its own thread.
    let marks = unsafe { &mut *marks };
    let linked = flow.context != 0 && u64::from(flow.tgid) == pid_tgid >> 32;
    let mut fitting = None;
    for number in 0..SLOTS {
        let mark = slot(marks, number);
        if mark.left == 0 {
            continue;
        }
        if linked && mark.context == flow.context && mark.first == 0 {
            mark.left = mark.left.saturating_sub(record);
            return;
        }
        if fitting.is_none() && (flow.context == 0 || mark.first != 0) && fits(mark.left, record) {
            fitting = Some(number);
        }
    }
    let Some(number) = fitting else { return };
    let mark = slot(marks, number);
    mark.left = mark.left.saturating_sub(record);
    mark.first = 0;
    let context = mark.context;
    link(flow, tuple, pid_tgid, context);
}

/// Can a record with `record` payload bytes carry the next part of `left` bytes of plaintext?
#[inline(always)]
fn fits(left: u64, record: u64) -> bool {
    let plain = if left > MAX_PLAINTEXT { MAX_PLAINTEXT } else { left };
    let whole = record >= plain && record <= plain + MAX_OVERHEAD;
    // A library told to use smaller records cuts a write into several.
    let fragment = record < plain && record >= 512;
    whole || fragment
}

#[inline(always)]
fn link(flow: &mut FlowState, tuple: &Tuple, pid_tgid: u64, context: u64) {
    flow.context = context;
    flow.tgid = (pid_tgid >> 32) as u32;
    let key = ContextKey { tgid: pid_tgid >> 32, context };
    if let Some(known) = CONTEXTS.get_ptr_mut(&key) {
        // SAFETY: a value in the map; writers race only when one TLS connection is written on two sockets.
        unsafe {
            (*known).cookie = flow.cookie;
            (*known).accepted = u64::from(flow.flags & tuple_flags::ACCEPTED);
        }
    }
    emit::link(flow.cookie, context, pid_tgid, tuple);
}

/// Counts `len` plaintext bytes of a TLS connection; gives their offset and the socket if already known.
#[inline(always)]
pub fn advance(pid_tgid: u64, context: u64, len: u64) -> Context {
    let key = ContextKey { tgid: pid_tgid >> 32, context };
    if let Some(known) = CONTEXTS.get_ptr_mut(&key) {
        // SAFETY: a value in the map; TLS libraries forbid concurrent writes on one connection.
        unsafe {
            let before = *known;
            (*known).sent = before.sent + len;
            return before;
        }
    }
    if CONTEXTS.insert(&key, &Context { sent: len, ..Context::NEW }, 0).is_err() {
        emit::lost(LossCause::TlsStateFull);
    }
    Context::NEW
}

/// What is known of this TLS connection by now.
#[inline(always)]
pub fn known(key: &ContextKey) -> Context {
    match CONTEXTS.get_ptr(key) {
        // SAFETY: a value in the map.
        Some(known) => unsafe { *known },
        None => Context::NEW,
    }
}

/// The socket is being closed: a new TLS connection at the same address is a new connection.
#[inline(always)]
pub fn forget(flow: &mut FlowState) {
    if flow.context == 0 {
        return;
    }
    let key = ContextKey { tgid: u64::from(flow.tgid), context: flow.context };
    let linked_here = match CONTEXTS.get_ptr(&key) {
        // SAFETY: a value in the map.
        Some(known) => unsafe { (*known).cookie == flow.cookie },
        None => false,
    };
    if linked_here {
        let _ = CONTEXTS.remove(&key);
        // Its keys went where nobody minds: no socket took them. They are none of the next connection at this address.
        let _ = KEYS.remove(&key);
    }
    flow.context = 0;
}
