//! The one place that writes the ring and counts loss.
//!
//! A write is cut into records of at most [`CHUNK`] bytes. Ring space is reserved in fixed sizes (the verifier
//! wants a constant), and the bytes are copied once, from where they are straight into the ring.

use crate::enforce::keys::Refused;
use crate::{
    bounds::at_most,
    maps::{CONSUMER, EVENTS, LOSS},
};
use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::bpf_ktime_get_ns,
};
use core::mem::size_of;
use keymoat_abi::{
    Close, Data, FlowState, Header, Kind, Link, LossCause, Refusal, Source, Tuple, Why, event::flags,
};

/// Payload bytes of the largest record.
const CHUNK: usize = 64 * 1024;

/// Records of full size that one write to a TLS library is cut into at most, before the last one.
pub const FULL_RECORDS: u32 = 16;

/// Bytes that so many records of full size and the last one hold.
pub const fn room(full_records: u32) -> u64 {
    (full_records as u64 + 1) * CHUNK as u64
}

/// What all records of one write have in common.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Write {
    pub source: Source,
    pub flags: u8,
    /// Of a refused write: the rule of its key.
    pub rule: u16,
    /// Bytes of the whole write.
    pub total: u64,
    /// How many of them can be read.
    pub readable: u64,
    pub offset: u64,
    pub cookie: u64,
    pub context: u64,
    pub pid_tgid: u64,
    pub uid: u32,
    pub tuple: Tuple,
}

/// Where a hook's bytes and the thread's name come from.
pub trait Bytes: Copy {
    /// Are they in a program's memory?
    const OF_PROGRAM: bool = false;

    /// Where they are in a program's memory; 0: in the kernel's.
    #[inline(always)]
    fn address(self) -> u64 {
        0
    }

    /// Copies `len` bytes starting at `from` of the write to `to`.
    ///
    /// # Safety
    /// `to` must have room for `len` bytes.
    unsafe fn copy(self, to: *mut u8, from: u64, len: u64) -> Result<(), LossCause>;

    /// Copies `LEN` bytes, a number that the verifier knows. False if they cannot be read.
    ///
    /// # Safety
    /// `to` must have room for so many.
    unsafe fn copy_exactly<const LEN: u32>(self, to: *mut u8, from: u64) -> bool;

    /// Most records of full size one write of this kind is cut into, before the last one; bytes beyond are counted as
    /// truncated. The verifier walks each of them, so this is as small as the hook allows.
    const FULL_RECORDS: u32;

    /// By the time the bytes are copied the verifier has forgotten how many there can be, and has to be told again.
    const FORGETS: bool = false;

    /// # Safety
    /// `to` must have room for 16 bytes, aligned to 8.
    unsafe fn comm(self, to: *mut u8);
}

/// Sends the bytes of a write to the agent; what cannot be sent is counted.
#[inline(always)]
pub fn write<B: Bytes>(write: &Write, bytes: B) {
    let mut flag = write.flags;
    let mut left = write.readable;
    let max = room(B::FULL_RECORDS);
    if left > max {
        left = max;
        lost(LossCause::WriteTruncated);
    }
    if left < write.total {
        flag |= flags::TRUNCATED;
    }
    let mut at = 0u64;
    let mut chunk = 0u32;
    while chunk < B::FULL_RECORDS {
        if left <= CHUNK as u64 {
            break;
        }
        record::<CHUNK, B>(write, flag, bytes, chunk, at, CHUNK as u64);
        at += CHUNK as u64;
        left -= CHUNK as u64;
        chunk += 1;
    }
    last_record(write, flag, bytes, chunk, at, left);
}

/// Sends up to `ROOM` bytes as one record.
#[inline(always)]
pub fn part<const ROOM: usize, B: Bytes>(write: &Write, bytes: B, len: u64) {
    record::<ROOM, B>(write, write.flags, bytes, 0, 0, len);
}

/// The last record of a write, in the smallest size that holds it.
#[inline(always)]
fn last_record<B: Bytes>(write: &Write, flag: u8, bytes: B, chunk: u32, at: u64, left: u64) {
    if left <= 256 {
        record::<256, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 512 {
        record::<512, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 1024 {
        record::<1024, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 2048 {
        record::<2048, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 4096 {
        record::<4096, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 8192 {
        record::<8192, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 16384 {
        record::<16384, B>(write, flag, bytes, chunk, at, left);
    } else if left <= 32768 {
        record::<32768, B>(write, flag, bytes, chunk, at, left);
    } else {
        record::<CHUNK, B>(write, flag, bytes, chunk, at, left);
    }
}

#[inline(always)]
fn record<const ROOM: usize, B: Bytes>(write: &Write, flag: u8, bytes: B, chunk: u32, at: u64, len: u64) {
    let len = at_most(len, ROOM as u64);
    let Some(mut entry) = EVENTS.reserve_bytes(size_of::<Data>() + ROOM, 0) else {
        lost(LossCause::RingFull);
        return;
    };
    let start = entry.as_mut_ptr();
    // SAFETY: the entry holds a `Data` followed by ROOM >= len bytes, 8-aligned by the kernel.
    let copied = unsafe {
        let data = start.cast::<Data>();
        (*data).header = Header { kind: Kind::Data as u32, size: size_of::<Data>() as u32 + len as u32 };
        (*data).len = len as u32;
        (*data).chunk = chunk;
        (*data).total = write.total;
        (*data).offset = write.offset + at;
        (*data).cookie = write.cookie;
        (*data).context = write.context;
        (*data).pid_tgid = write.pid_tgid;
        (*data).time_ns = bpf_ktime_get_ns();
        put_tuple(&raw mut (*data).tuple, &write.tuple);
        (*data).uid = write.uid;
        (*data).source = write.source as u8;
        (*data).flags = flag;
        (*data).rule = write.rule;
        bytes.comm((&raw mut (*data).comm).cast());
        let len = if B::FORGETS { at_most(len, ROOM as u64) } else { len };
        bytes.copy(start.add(size_of::<Data>()), at, len)
    };
    match copied {
        Ok(()) => entry.submit(wakeup()),
        Err(cause) => {
            entry.discard(u64::from(BPF_RB_NO_WAKEUP));
            lost(cause);
        }
    }
}

#[inline(always)]
pub fn link(cookie: u64, context: u64, pid_tgid: u64, tuple: &Tuple) {
    let Some(mut entry) = EVENTS.reserve::<Link>(0) else {
        lost(LossCause::RingFull);
        return;
    };
    entry.write(Link {
        header: Header { kind: Kind::Link as u32, size: size_of::<Link>() as u32 },
        cookie,
        context,
        pid_tgid,
        // SAFETY: no arguments; always allowed.
        time_ns: unsafe { bpf_ktime_get_ns() },
        tuple: *tuple,
    });
    entry.submit(wakeup());
}

/// The socket refused the record of plaintext with a key in it, as a message or as a packet.
#[inline(always)]
pub fn refusal(flow: &FlowState, pid_tgid: u64, tuple: &Tuple, refused: &Refused, as_packet: bool) {
    not_shown(Refusal {
        as_packet: as_packet.into(),
        cookie: flow.cookie,
        context: flow.context,
        pid_tgid,
        offset: refused.offset,
        tuple: *tuple,
        rule: refused.rule.into(),
        ..refusal_for(Why::Key)
    });
}

/// What cannot be inspected was refused.
#[inline(always)]
pub fn uninspected(why: Why, cookie: u64, pid_tgid: u64, tuple: &Tuple) {
    not_shown(Refusal { cookie, pid_tgid, tuple: *tuple, ..refusal_for(why) });
}

#[inline(always)]
fn refusal_for(why: Why) -> Refusal {
    Refusal {
        header: Header { kind: Kind::Refusal as u32, size: size_of::<Refusal>() as u32 },
        cookie: 0,
        context: 0,
        pid_tgid: 0,
        // SAFETY: no arguments; always allowed.
        time_ns: unsafe { bpf_ktime_get_ns() },
        offset: 0,
        tuple: Tuple::UNKNOWN,
        rule: 0,
        why: why as u8,
        as_packet: 0,
        reserved: [0; 2],
    }
}

/// Something was refused that is not shown with the refusal.
#[inline(always)]
fn not_shown(refusal: Refusal) {
    match EVENTS.reserve::<Refusal>(0) {
        Some(mut entry) => {
            entry.write(refusal);
            entry.submit(wakeup());
        }
        None => lost(LossCause::RingFull),
    }
}

#[inline(always)]
pub fn close(cookie: u64) {
    let Some(mut entry) = EVENTS.reserve::<Close>(0) else {
        lost(LossCause::RingFull);
        return;
    };
    entry.write(Close {
        header: Header { kind: Kind::Close as u32, size: size_of::<Close>() as u32 },
        cookie,
        // SAFETY: no arguments; always allowed.
        time_ns: unsafe { bpf_ktime_get_ns() },
    });
    entry.submit(wakeup());
}

/// Copies word by word. As one assignment LLVM makes it a call of `memcpy` or `memset`, a loop byte by byte, which
/// kernels before 6.6 walk again for every record of a write: millions of steps.
///
/// # Safety
/// `to` must point to a writable tuple, aligned to 8.
#[inline(always)]
unsafe fn put_tuple(to: *mut Tuple, tuple: &Tuple) {
    const WORDS: usize = size_of::<Tuple>() / 8;
    // SAFETY: `Tuple` is 40 bytes of integers, so five words; written by this function's contract.
    unsafe {
        let words: [u64; WORDS] = core::mem::transmute(*tuple);
        let [a, b, c, d, e] = words;
        let to = to.cast::<u64>();
        core::ptr::write_volatile(to, a);
        core::ptr::write_volatile(to.add(1), b);
        core::ptr::write_volatile(to.add(2), c);
        core::ptr::write_volatile(to.add(3), d);
        core::ptr::write_volatile(to.add(4), e);
    }
}

/// Counts something that will not be delivered.
#[inline(always)]
pub fn lost(cause: LossCause) {
    if let Some(count) = LOSS.get_ptr_mut(cause as u32) {
        // SAFETY: a per-CPU slot; a program that preempts this one on the same CPU may cost one count.
        unsafe { *count += 1 };
    }
}

/// Wakes the agent only when it sleeps: a wake-up per record costs 30 times the record.
///
/// The record is already reserved when the flag is read, so an agent that sets the flag, then finds the ring
/// empty, cannot have missed it: `epoll_wait` on a ring with reserved bytes returns at once.
#[inline(always)]
fn wakeup() -> u64 {
    let Some(asleep) = CONSUMER.get_ptr_mut(0) else {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    };
    // SAFETY: a valid array slot; racing writers at worst wake the agent twice.
    unsafe {
        if core::ptr::read_volatile(asleep) == 0 {
            return u64::from(BPF_RB_NO_WAKEUP);
        }
        core::ptr::write_volatile(asleep, 0);
    }
    u64::from(BPF_RB_FORCE_WAKEUP)
}
