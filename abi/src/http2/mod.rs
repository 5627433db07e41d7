//! HTTP/2 as one side sends it (RFC 9113), for the matcher: header fields are put in plain text, payload is passed on.
//!
//! HPACK (RFC 7541) writes most values in a Huffman code, in which no literal of a rule can be found. [`Http2`] undoes that code,
//! byte by byte, and keeps no table of fields: what is only named by its place in one was sent in full before. What the bytes
//! mean is not checked: nonsense is read on until its frame ends.
//!
//! Whoever scans asks [`Http2::want`] what to do with the next bytes of the connection.
//!
//! **Architecture Invariant:** as in [`crate::scan`]: a bounded amount of work per call, no allocation, no panic.

mod fields;
mod huffman;

use fields::Fields;

/// How a client's side begins (RFC 9113, 3.4): enough of it to tell. No method of HTTP/1.1 is called so.
pub const PREFACE: [u8; 4] = *b"PRI ";
const PREFACE_LEN: u32 = 24;
pub const FRAME_HEADER: u8 = 9;
/// Stands between two fields, so that what begins one is at a boundary.
pub(super) const SEPARATOR: u8 = b'\n';

mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const CONTINUATION: u8 = 9;
}

mod flag {
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
}

/// What the next byte belongs to: values of `Http2::mode`.
mod mode {
    pub const PREFACE: u8 = 0;
    pub const HEADER: u8 = 1;
    /// The number of bytes of padding.
    pub const PADDING: u8 = 2;
    /// Payload that is passed on.
    pub const PAYLOAD: u8 = 3;
    pub const FIELDS: u8 = 4;
    /// What nobody needs: padding, priorities, frames about the connection.
    pub const SKIP: u8 = 5;
}

/// What is to be done with the next bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Hand up to so many on as they are, and tell [`Http2::passed`].
    Pass(u32),
    /// Leave up to so many out, and tell [`Http2::passed`].
    Skip(u32),
    /// Give one to [`Http2::push`].
    Byte,
}

/// Up to two bytes for the matcher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Out {
    pub bytes: [u8; 2],
    pub len: u8,
}

impl Out {
    #[inline]
    fn add(&mut self, byte: u8) {
        let [first, second] = &mut self.bytes;
        if self.len == 0 {
            *first = byte
        } else {
            *second = byte
        }
        self.len = 2.min(self.len + 1);
    }
}

/// Where in the bytes of one side a reader is. All zero: at the start of its connection.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct Http2 {
    /// Bytes of the part that is read: of the preface read so far, of a frame's payload still to come.
    left: u32,
    /// The frame's stream.
    stream: u32,
    /// The stream whose payload came last: what is cut over its frames is one text.
    last: u32,
    /// Bytes of the payload that are padding, at its end.
    padding: u8,
    /// See [`mode`].
    mode: u8,
    /// Bytes of the frame's header read so far.
    read: u8,
    /// The frame's type and flags.
    kind: u8,
    flags: u8,
    /// Of bytes to skip: fields follow, and no padding.
    then_fields: u8,
    reserved: [u8; 2],
    fields: Fields,
}

const _: () = assert!(core::mem::size_of::<Http2>() == 36);

impl Http2 {
    pub const NEW: Self = Self {
        left: 0,
        stream: 0,
        last: 0,
        padding: 0,
        mode: mode::PREFACE,
        read: 0,
        kind: 0,
        flags: 0,
        then_fields: 0,
        reserved: [0; 2],
        fields: Fields::NEW,
    };

    /// What is to be done with the next bytes.
    #[inline]
    pub fn want(&self) -> Want {
        match self.mode {
            mode::PREFACE => Want::Skip(PREFACE_LEN.saturating_sub(self.left)),
            mode::PAYLOAD => Want::Pass(self.left),
            mode::SKIP => Want::Skip(self.left),
            _ => Want::Byte,
        }
    }

    /// In so many bytes the next frame begins. None where that cannot be said by itself.
    #[inline]
    pub fn next_frame_in(&self) -> Option<u32> {
        match self.mode {
            mode::HEADER if self.read == 0 => Some(0),
            mode::PAYLOAD | mode::FIELDS => Some(self.left),
            mode::SKIP if self.then_fields == 0 => Some(self.left),
            _ => None,
        }
    }

    /// Is the next byte one of a block of header fields?
    #[inline]
    pub fn is_in_fields(&self) -> bool {
        self.mode == mode::FIELDS
    }

    /// So many of the bytes that [`Http2::want`] named were handed on, or left out.
    #[inline]
    pub fn passed(&mut self, count: u32) {
        if self.mode == mode::PREFACE {
            self.left = self.left.saturating_add(count);
            if self.left >= PREFACE_LEN {
                self.next_frame();
            }
            return;
        }
        self.left = self.left.saturating_sub(count);
        if self.left == 0 {
            self.part_is_over();
        }
    }

    /// Takes one byte; gives what it makes for the matcher.
    #[inline]
    pub fn push(&mut self, byte: u8) -> Out {
        let mut out = Out::default();
        match self.mode {
            mode::HEADER => self.header(byte, &mut out),
            mode::PADDING => {
                self.left = self.left.saturating_sub(1);
                self.padding = byte;
                self.begin_payload();
            }
            _ => {
                self.left = self.left.saturating_sub(1);
                self.fields.push(byte, &mut out);
                if self.left <= self.padding.into() {
                    self.fields_are_over();
                }
            }
        }
        out
    }

    /// A byte of a frame's header (RFC 9113, 4.1).
    #[inline]
    fn header(&mut self, byte: u8, out: &mut Out) {
        match self.read {
            0..=2 => self.left = self.left << 8 | u32::from(byte),
            3 => self.kind = byte,
            4 => self.flags = byte,
            _ => self.stream = self.stream << 8 | u32::from(byte),
        }
        self.read = self.read.wrapping_add(1);
        if self.read < FRAME_HEADER {
            return;
        }
        let text = self.kind == kind::DATA;
        if text && self.stream != self.last {
            out.add(SEPARATOR);
        }
        if text || self.kind == kind::HEADERS {
            // Fields come between: what follows them is no more of the text before.
            self.last = if text { self.stream } else { 0 };
        }
        if self.kind == kind::HEADERS {
            self.fields = Fields::NEW;
        }
        self.padding = 0;
        if self.left == 0 {
            self.next_frame();
        } else if self.is_padded() {
            self.mode = mode::PADDING;
        } else {
            self.begin_payload();
        }
    }

    #[inline]
    fn is_padded(&self) -> bool {
        (self.kind == kind::DATA || self.kind == kind::HEADERS) && self.flags & flag::PADDED != 0
    }

    /// The payload begins, behind the length of its padding.
    #[inline]
    fn begin_payload(&mut self) {
        self.then_fields = 0;
        match self.kind {
            // Padding is passed on too: whatever is called so must not hide anything.
            kind::DATA => self.mode = mode::PAYLOAD,
            kind::HEADERS if self.flags & flag::PRIORITY != 0 => {
                self.mode = mode::SKIP;
                // Five bytes of priority come first; the rest is put aside until they are over.
                self.then_fields = 1;
                self.stream = self.left.saturating_sub(PRIORITY);
                self.left = PRIORITY.min(self.left);
            }
            kind::HEADERS | kind::CONTINUATION => self.begin_fields(),
            _ => self.mode = mode::SKIP,
        }
        if self.left == 0 {
            self.part_is_over();
        }
    }

    #[inline]
    fn begin_fields(&mut self) {
        self.mode = mode::FIELDS;
        if self.left <= self.padding.into() {
            self.fields_are_over();
        }
    }

    #[inline]
    fn part_is_over(&mut self) {
        if self.then_fields == 0 {
            return self.next_frame();
        }
        self.then_fields = 0;
        self.left = self.stream;
        if self.left == 0 { self.next_frame() } else { self.begin_fields() }
    }

    /// What is left of the frame is padding.
    #[inline]
    fn fields_are_over(&mut self) {
        if self.flags & flag::END_HEADERS != 0 {
            self.fields = Fields::NEW;
        }
        if self.left == 0 { self.next_frame() } else { self.mode = mode::SKIP }
    }

    #[inline]
    fn next_frame(&mut self) {
        (self.mode, self.read, self.left, self.stream) = (mode::HEADER, 0, 0, 0);
    }
}

/// Can a frame begin so (RFC 9113, 4.1)? Text and zeros cannot.
#[inline]
pub fn may_begin_frame(bytes: [u8; FRAME_HEADER as usize]) -> bool {
    /// Nobody is known to ask for longer ones: by default it is 16 KiB.
    const LONGEST: u8 = 0x10;
    /// The last of the types that clients send: PRIORITY_UPDATE (RFC 9218, 7.1).
    const LAST: u8 = 0x10;
    let [longest, _, _, kind, _, stream @ ..] = bytes;
    let of_connection = stream == [0; 4];
    longest < LONGEST && kind <= LAST && stream[0] < 0x80 && !(of_connection && kind <= kind::HEADERS)
}

/// Bytes of a priority (RFC 9113, 6.2).
const PRIORITY: u32 = 5;
