//! What came before the first bytes of a stream that the agent is shown.
//!
//! Of clean plaintext it is shown nothing. But to say where in a message a key stands it has to know how the message began, and a
//! key may have begun in the write before. So of each stream the beginning of its last HTTP/1 request and its last few bytes stay
//! here, in the kernel, until there is something to show.

use crate::{
    bounds::{at_least_one, at_most},
    emit::{self, Bytes, Write},
    kernel_memory::KernelMemory,
    maps::{NO_RECALL, RECALLS},
    marks::ContextKey,
};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use core::mem::size_of;
use keymoat_abi::event::flags;

/// Bytes that are kept of a request: more than most heads take.
const ROOM: usize = 1024;
/// Bytes that are kept of what came last. Two that begin a literal are passed over (`Stream::end`).
const LAST: u64 = 8;

#[derive(Clone, Copy)]
#[repr(C)]
pub struct Recall {
    /// The write before, for what its bytes have in common with those.
    write: Write,
    /// Where in the stream the request begins, and how many bytes of it are kept.
    begin: u64,
    kept: u64,
    /// Where the bytes end that were not shown.
    end: u64,
    /// The last bytes, the very last one highest; and how many there are.
    last: u64,
    have: u64,
    /// Room to read fewer bytes to: stacks are small.
    few: u64,
    request: [u64; ROOM / 8],
}

/// The stream of a socket. No process has the number 0.
#[inline(always)]
pub fn of_socket(cookie: u64) -> ContextKey {
    ContextKey { tgid: 0, context: cookie }
}

/// A write is not shown.
#[inline(always)]
pub fn note<B: Bytes>(stream: &ContextKey, write: &Write, bytes: B) {
    let Some(recall) = of(stream) else { return };
    // SAFETY: a value in the map; bytes of one stream are written one after the other.
    let recall = unsafe { &mut *recall };
    // SAFETY: both are writes. With a helper: word by word the verifier would follow each.
    unsafe {
        bpf_probe_read_kernel(
            (&raw mut recall.write).cast(),
            size_of::<Write>() as u32,
            core::ptr::from_ref(write).cast(),
        );
    }
    let (offset, len) = (write.offset, write.total);
    if offset == 0 {
        (recall.kept, recall.have) = (0, 0);
    }
    recall.end = offset.wrapping_add(len);
    let last = (&raw mut recall.last).cast::<u8>();
    if len < LAST {
        let len = at_least_one(at_most(len, LAST - 1));
        // SAFETY: room for eight bytes.
        if unsafe { bytes.copy((&raw mut recall.few).cast(), 0, len) }.is_ok() {
            recall.last = recall.last >> (8 * len) | recall.few << (64 - 8 * len);
            recall.have = at_most(recall.have + len, LAST);
        }
        return;
    }
    // SAFETY: room for four bytes.
    if unsafe { bytes.copy_exactly::<4>(last, 0) } && begins_request(recall.last as u32) {
        let len = at_least_one(at_most(len, ROOM as u64));
        // SAFETY: room for `ROOM` bytes.
        let kept = unsafe { bytes.copy((&raw mut recall.request).cast(), 0, len) }.is_ok();
        (recall.begin, recall.kept) = (offset, if kept { len } else { 0 });
    }
    // SAFETY: room for eight bytes.
    let read = unsafe { bytes.copy_exactly::<{ LAST as u32 }>(last, len - LAST) };
    recall.have = if read { LAST } else { 0 };
}

/// Does a write that begins so begin an HTTP/1 request (RFC 9110, 9)?
#[inline(always)]
fn begins_request(four: u32) -> bool {
    const METHODS: [&[u8; 4]; 8] = [b"GET ", b"POST", b"PUT ", b"PATC", b"DELE", b"HEAD", b"OPTI", b"CONN"];
    METHODS.iter().any(|method| four == u32::from_le_bytes(**method))
}

#[inline(always)]
fn of(stream: &ContextKey) -> Option<*mut Recall> {
    if let Some(recall) = RECALLS.get_ptr_mut(stream) {
        return Some(recall);
    }
    let none = NO_RECALL.get_ptr(0)?;
    // SAFETY: an array slot that nobody writes. Without room the agent knows less of where a key stands.
    RECALLS.insert(stream, unsafe { &*none }, 0).ok()?;
    RECALLS.get_ptr_mut(stream)
}

/// From now on what the stream carries is shown: so is, once, what came before, if something did. If nothing was sent before,
/// what is remembered is of another stream at the same place.
#[inline(always)]
pub fn show(stream: ContextKey, sent: u64) {
    recall_show(stream.tgid, stream.context, sent);
}

/// A global function: the verifier looks at it once, and not again for each way that leads here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn recall_show(tgid: u64, context: u64, sent: u64) -> u64 {
    let stream = ContextKey { tgid, context };
    let Some(recall) = RECALLS.get_ptr_mut(&stream) else { return 0 };
    if sent != 0 {
        // SAFETY: a value in the map; bytes of one stream are written one after the other.
        send(unsafe { &mut *recall });
    }
    let _ = RECALLS.remove(&stream);
    0
}

#[inline(always)]
fn send(recall: &mut Recall) {
    let begun = if recall.kept == 0 { 0 } else { recall.begin.wrapping_add(recall.kept) };
    let after = recall.end.wrapping_sub(begun);
    let have = if after < recall.have { after } else { recall.have };
    let write = &mut recall.write;
    (write.flags, write.rule) = (0, 0);
    if recall.kept > 0 {
        (write.offset, write.total) =
            (recall.begin, recall.end.wrapping_sub(have).wrapping_sub(recall.begin));
        if write.total > recall.kept {
            write.flags = flags::TRUNCATED;
        }
        emit::part::<ROOM, _>(write, KernelMemory(recall.request.as_ptr() as u64), recall.kept);
        write.flags = 0;
    }
    if have > 0 {
        (write.offset, write.total) = (recall.end.wrapping_sub(have), have);
        // The first one lowest: the verifier allows no arithmetic with an unknown number on the pointer.
        recall.last >>= 64u64.wrapping_sub(8 * have) & 63;
        emit::part::<256, _>(write, KernelMemory((&raw const recall.last) as u64), have);
    }
}
