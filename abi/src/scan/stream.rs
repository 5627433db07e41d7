//! One side of a connection on its way through the matcher: what it is written in is undone, as far as the kernel can.

use super::flow::{CHUNK, Flow};
use super::{Header, Step, Tables, step};
use crate::enforce::{HEAD, HEAD_ENDS, MAYBE_HEAD};
use crate::http2::{FRAME_HEADER, Http2, PREFACE, Want, may_begin_frame};

/// Steps a scan may take: so many per byte, and some to begin with. Text needs a tenth of one per byte, coded fields of HTTP/2 up
/// to four.
const STEPS_PER_BYTE: u64 = 8;
const STEPS: u64 = 4096;

/// Most of a write that goes out in one TLS record (RFC 8446, 5.1): libraries send so much unless they are told otherwise.
const RECORD: u64 = 16_384;

/// Steps that the scan of so many bytes may take.
#[inline]
fn allowed(len: u64) -> u32 {
    len.saturating_mul(STEPS_PER_BYTE).saturating_add(STEPS).min(u32::MAX.into()) as u32
}

/// What the bytes are written in: values of `Stream::protocol`.
mod protocol {
    /// Nothing came so far.
    pub const NEW: u8 = 0;
    /// Looked at as they are.
    pub const PLAIN: u8 = 1;
    pub const HTTP2: u8 = 2;
}

/// Where in a message a connection is: values of `Stream::body`, beside places.
mod place {
    /// It may be anywhere.
    pub const UNKNOWN: u64 = 0;
    /// In the head of a request. No place is as far.
    pub const HEAD: u64 = u64::MAX;
}

/// The bytes of one write.
pub trait Source {
    /// They are in a program's memory, and may be written again. Of others the code for that is left out: the stack is small.
    const OF_PROGRAM: bool;

    /// Copies `LEN` bytes from `from` on to `to`. False if they cannot be read.
    ///
    /// # Safety
    /// `to` must have room for so many.
    unsafe fn copy<const LEN: u32>(&self, to: *mut u8, from: u64) -> bool;
}

/// All zero: a new one. Lives in the kernel, in a map.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Stream {
    flow: Flow,
    /// Bytes of the write that is being scanned, and how many of them were taken. Numbers in a map: what the verifier knows of one
    /// on the stack it has to follow, from each way that leads to the loop, and through each of its rounds.
    len: u64,
    taken: u64,
    /// Where its bytes are in the program's memory; 0: elsewhere.
    address: u64,
    /// Not 0: nothing was written before this write.
    anew: u64,
    /// Where the body of a request begins that is being written, in the flow's bytes; or [`place::UNKNOWN`] or [`place::HEAD`].
    body: u64,
    /// Steps that the scan of this write may still take.
    steps: u32,
    /// Of the tables that it is scanned by.
    generation: u32,
    http2: Http2,
    /// The write before this one, if it may be given again, and where in the frames of HTTP/2 it began.
    last: Last,
    before: Http2,
    /// See [`protocol`].
    protocol: u8,
    /// Not 0: the scan of this write is under way.
    begun: u8,
    /// Not 0: the agent is to see what leaves from here on.
    cued: u8,
    /// Which half of the maps holds the tables that this write is scanned by.
    half: u8,
}

/// A write, as far as it takes to know it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
struct Last {
    /// Where its bytes were in the program's memory; 0: nobody knows.
    address: u64,
    len: u64,
    /// Its first and its last bytes.
    first: u64,
    last: u64,
    /// Those behind the first [`RECORD`] bytes, if there are more.
    next: u64,
    /// Not 0: it is what was left of a write that was scanned.
    rest: u64,
    /// Of the write that is being scanned: so many bytes before it belong to it, being written again in part.
    skipped: u64,
}

impl Last {
    const NONE: Self = Self { address: 0, len: 0, first: 0, last: 0, next: 0, rest: 0, skipped: 0 };
}

const _: () = assert!(core::mem::size_of::<Stream>() == 1032);

// SAFETY: `repr(C)`, made of integers only, without padding, and every bit pattern is valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Stream {}

impl Stream {
    pub const NEW: Self = Self {
        flow: Flow::NEW,
        len: 0,
        taken: 0,
        address: 0,
        anew: 0,
        body: place::UNKNOWN,
        steps: 0,
        generation: 0,
        http2: Http2::NEW,
        last: Last::NONE,
        before: Http2::NEW,
        protocol: protocol::NEW,
        begun: 0,
        cued: 0,
        half: 0,
    };

    /// The matches in the making.
    #[inline]
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// Forgets everything; what follows is a message of its own.
    #[inline]
    pub fn restart(&mut self) {
        self.flow.restart(0);
        (self.http2, self.protocol, self.cued) = (Http2::NEW, protocol::NEW, 0);
        (self.body, self.last) = (place::UNKNOWN, Last::NONE);
    }

    /// Which half of the maps holds the tables.
    #[inline]
    pub fn half(&self) -> u8 {
        self.half
    }

    /// There was a key, or a cue: only the agent can say more.
    #[inline]
    pub fn cue(&mut self) {
        self.cued = 1;
    }

    /// Is the agent to see this write, and what follows?
    #[inline]
    pub fn is_cued(&self) -> bool {
        self.cued != 0
    }

    /// The whole write was looked at. If it ends in the midst of what may become a key, the agent has to see where that begins.
    #[inline]
    pub fn end(&mut self, header: &Header) {
        // The end of a head is the whole of a literal.
        let head_ends = self.flow.looked_at() == self.body;
        if !head_ends && self.flow.is_midway(header) {
            self.cue();
        }
    }

    /// Of the stream, `sent` bytes came before the next write. If none did, it is another stream at the place of an old one (TLS
    /// libraries use addresses again), and nothing of that counts.
    ///
    /// Without a branch: the kernel's verifier would follow both ways through the whole scan.
    #[inline]
    pub fn comes_after(&mut self, sent: u64) {
        self.anew = (sent.wrapping_sub(1) & !sent) >> 63;
    }

    /// A write of `len` bytes begins, looked at by the tables of this generation: then [`Self::open`] it, and [look](Self::look) and refill
    /// until all was looked at. `address`: where the bytes are in the program's memory; 0 if they are elsewhere.
    ///
    /// Everything that depends on the write happens in those, so that there is one way that leads to a loop over them: the
    /// kernel's verifier follows each.
    #[inline]
    pub fn begin(&mut self, len: u64, address: u64, generation: u32, half: u8) {
        (self.len, self.taken, self.begun) = (len, 0, 0);
        self.address = address;
        (self.generation, self.half) = (generation, half);
        self.steps = allowed(len);
    }

    /// The first thing to do with a write; false if it was done.
    #[inline]
    pub fn open<S: Source>(&mut self, source: &S) -> bool {
        if self.begun != 0 {
            return false;
        }
        self.begun = 1;
        if self.anew != 0 {
            self.restart();
            self.anew = 0;
        }
        if !self.flow.belongs_to(self.generation) {
            self.flow.restart(self.generation);
            self.body = place::UNKNOWN;
        }
        if self.protocol == protocol::NEW && self.len > 0 {
            self.protocol = if self.is_http2(source) { protocol::HTTP2 } else { protocol::PLAIN };
            // Fields refer to fields before them: the agent understands all of them, or few (RFC 7541, 2.3.2).
            self.cued |= u8::from(self.protocol == protocol::HTTP2);
        }
        if S::OF_PROGRAM {
            // What is small is sent at once, or given again as a whole: that matters in HTTP/2 only.
            let is_small = self.len <= RECORD && self.last.len <= RECORD && self.last.rest == 0;
            if self.protocol == protocol::HTTP2 || !is_small {
                self.know_again(source);
            }
        }
        true
    }

    /// A TLS library that could not send all of a write is given it again: the same bytes, or what is left of them (SSL_write(3), "WANT_WRITE"
    /// and partial writes). In HTTP/2 bytes that come twice would be taken for others, so what came before is taken back.
    ///
    /// Libraries that are told to may send one record of a write and be given the rest, again and again (SSL_MODE_ENABLE_PARTIAL_WRITE: Ruby,
    /// Perl, Rust's native-tls): to scan each rest would take the square of what is sent.
    ///
    /// Known by where the bytes are, by the first and the last of them, and by no frame beginning where in a new write one would have to.
    #[inline]
    fn know_again(&mut self, source: &impl Source) {
        let (address, len) = (self.address, self.len);
        let (first, last) = (self.edge(source, 0), self.edge(source, len.saturating_sub(8)));
        let known = self.last;
        let skipped = address.wrapping_sub(known.address);
        let same_end = address != 0 && skipped < known.len && known.len.wrapping_sub(skipped) == len;
        let is_rest = skipped == RECORD && known.next == first
            || skipped == 0 && known.rest != 0 && known.first == first;
        let same_bytes = known.last == last && (skipped != 0 || known.first == first);
        let again = same_end && same_bytes && len >= 8 && !self.goes_on(source);
        if again && is_rest {
            // It was looked at with what came before it.
            self.taken = len;
        } else if again && self.protocol == protocol::HTTP2 {
            self.http2 = self.before;
            (self.len, self.steps) = (known.len, allowed(known.len));
            (self.last.skipped, self.last.rest) = (skipped, 0);
            return;
        } else {
            self.before = self.http2;
        }
        let next = if len > RECORD { self.edge(source, RECORD) } else { 0 };
        self.last = Last { address, len, first, last, next, rest: (again && is_rest).into(), skipped: 0 };
    }

    /// Is the write what was left of one that was scanned? Nothing new is in it.
    #[inline]
    pub fn is_rest(&self) -> bool {
        self.last.rest != 0
    }

    /// Does a frame begin in this write where one has to, if the write follows the last one?
    #[inline]
    fn goes_on(&mut self, source: &impl Source) -> bool {
        const LEN: usize = FRAME_HEADER as usize;
        if self.protocol != protocol::HTTP2 {
            return false;
        }
        let Some(from) = self.http2.next_frame_in() else { return false };
        if u64::from(from) + LEN as u64 > self.len {
            return false;
        }
        // SAFETY: as in `is_http2`.
        let bytes = unsafe {
            let to = self.flow.bytes().add(self.flow.next_place());
            if !source.copy::<{ LEN as u32 }>(to, from.into()) {
                return false;
            }
            to.cast::<[u8; LEN]>().read_unaligned()
        };
        may_begin_frame(bytes)
    }

    /// Eight bytes of the write, as a number; any if they cannot be read.
    #[inline]
    fn edge(&mut self, source: &impl Source, from: u64) -> u64 {
        // SAFETY: as in `is_http2`.
        unsafe {
            let to = self.flow.bytes().add(self.flow.next_place());
            source.copy::<8>(to, from);
            to.cast::<u64>().read_unaligned()
        }
    }

    /// Where the next byte of the write is, from where the program says that it begins.
    #[inline]
    fn place(&self) -> u64 {
        self.taken.wrapping_sub(self.last.skipped)
    }

    /// Read to where the flow's first bytes belong: they come there anyway, and the stack is small.
    #[inline]
    fn is_http2(&mut self, source: &impl Source) -> bool {
        if self.len < PREFACE.len() as u64 {
            return false;
        }
        // SAFETY: behind `next_place` there is room for a chunk, of which the first bytes are initialised.
        unsafe {
            let to = self.flow.bytes().add(self.flow.next_place());
            source.copy::<{ PREFACE.len() as u32 }>(to, 0)
                && to.cast::<[u8; PREFACE.len()]>().read_unaligned() == PREFACE
        }
    }

    /// Bytes of the write that were taken so far.
    #[inline]
    pub fn taken(&self) -> u64 {
        self.taken.saturating_sub(self.last.skipped)
    }

    /// Takes one of the steps that a scan may take: a bound for text made to take many. False when they are used up.
    #[inline]
    pub fn spend(&mut self) -> bool {
        let left = self.steps;
        self.steps = left.saturating_sub(1);
        left != 0
    }

    /// Was the whole write taken?
    #[inline]
    pub fn is_taken(&self) -> bool {
        self.taken >= self.len
    }

    /// Looks at what was taken. Starved: take more ([`Self::refill`]), unless the whole write was.
    #[inline]
    pub fn look(&mut self, tables: &impl Tables) -> Step {
        let last = self.is_taken();
        match step(&mut self.flow, tables, last) {
            Step::Hit(rule) if self.is_place(rule) => Step::More,
            other => other,
        }
    }

    /// Notes where in a message the bytes are, if that is what was told.
    #[inline]
    fn is_place(&mut self, rule: u16) -> bool {
        match rule {
            MAYBE_HEAD => self.body = place::UNKNOWN,
            HEAD => self.body = place::HEAD,
            HEAD_ENDS if self.body == place::HEAD => self.body = self.flow.looked_at(),
            HEAD_ENDS => {}
            _ => return false,
        }
        true
    }

    /// Is the key that was told of last in the body of a request? Only where that is certain. It ended with the byte before the last one
    /// that was looked at.
    #[inline]
    pub fn is_in_body(&self) -> bool {
        self.body != place::UNKNOWN && self.flow.looked_at().saturating_sub(1) > self.body
    }

    /// Takes the next bytes of the write. False if there are none, or they cannot be read.
    #[inline]
    pub fn refill(&mut self, source: &impl Source) -> bool {
        let left = self.len.saturating_sub(self.taken);
        if left == 0 {
            return false;
        }
        if self.protocol != protocol::HTTP2 {
            return self.pass(source, left);
        }
        match self.http2.want() {
            Want::Pass(some) => {
                if self.body == place::UNKNOWN || self.body == place::HEAD {
                    self.body = self.flow.given();
                }
                let before = self.taken;
                let read = self.pass(source, left.min(some.into()));
                self.http2.passed(self.taken.wrapping_sub(before) as u32);
                read
            }
            Want::Skip(some) => {
                let some = left.min(some.into());
                self.http2.passed(some as u32);
                self.taken = self.taken.wrapping_add(some);
                true
            }
            Want::Byte => self.decode(source),
        }
    }

    /// Hands on up to `most` bytes as they are.
    #[inline]
    fn pass(&mut self, source: &impl Source, most: u64) -> bool {
        let some = most.min(self.flow.room() as u64);
        some > 0 && (self.take_with_more(source, some) || self.pass_piece(source, some))
    }

    /// Takes `some` bytes with what follows them in memory, if it can be read: a size that the kernel's verifier does not know makes
    /// kernels before 6.4 follow every number of the program, and each piece of another size costs a step.
    #[inline]
    fn take_with_more(&mut self, source: &impl Source, some: u64) -> bool {
        // SAFETY: behind `next_place` there is room for a chunk; what is there is older than what may be looked at again.
        let read = unsafe {
            let to = self.flow.bytes().add(self.flow.next_place());
            source.copy::<{ CHUNK as u32 }>(to, self.place())
        };
        if read {
            self.flow.written(some as usize);
            self.taken = self.taken.wrapping_add(some);
        }
        read
    }

    /// The largest piece among `some` bytes.
    #[inline]
    fn pass_piece(&mut self, source: &impl Source, some: u64) -> bool {
        match some {
            0 => false,
            1 => self.take::<1>(source),
            2..4 => self.take::<2>(source),
            4..8 => self.take::<4>(source),
            8..16 => self.take::<8>(source),
            16..32 => self.take::<16>(source),
            32..64 => self.take::<32>(source),
            64..128 => self.take::<64>(source),
            _ => self.take::<128>(source),
        }
    }

    #[inline]
    fn take<const LEN: u32>(&mut self, source: &impl Source) -> bool {
        const { assert!(LEN as usize <= CHUNK) };
        // SAFETY: behind `next_place` there is room for a chunk.
        let read = unsafe {
            let to = self.flow.bytes().add(self.flow.next_place());
            source.copy::<LEN>(to, self.place())
        };
        self.flow.written(LEN as usize);
        self.taken = self.taken.wrapping_add(LEN.into());
        read
    }

    #[inline]
    fn decode(&mut self, source: &impl Source) -> bool {
        // The byte is read to where the next one of the flow belongs: there is room for a chunk, as the source wants it.
        // SAFETY: as in `pass`; what is read there was written just before, or was there already.
        let (read, byte) = unsafe {
            let to = self.flow.bytes().add(self.flow.next_place());
            (source.copy::<1>(to, self.place()), to.read())
        };
        self.taken = self.taken.wrapping_add(1);
        let out = self.http2.push(byte);
        if self.http2.is_in_fields() {
            self.body = place::HEAD;
        }
        let [first, second] = out.bytes;
        if out.len > 0 {
            self.put(first);
        }
        if out.len > 1 {
            self.put(second);
        }
        read
    }

    #[inline]
    fn put(&mut self, byte: u8) {
        // SAFETY: behind `next_place` there is room for a chunk.
        unsafe { self.flow.bytes().add(self.flow.next_place()).write(byte) };
        self.flow.written(1);
    }
}
