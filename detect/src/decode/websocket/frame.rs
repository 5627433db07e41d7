//! The header of a WebSocket frame (RFC 6455, 5.2).

use crate::decode::place::Side;

/// Longest header: two bytes, a length of eight, a mask of four.
pub const MAX_HEADER: usize = 14;
/// No program sends a frame this long; a header that says so is none.
const MAX_LENGTH: u64 = 1 << 32;
const MAX_CONTROL: u64 = 125;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Goes on with the message under way.
    Continuation,
    /// Begins a message: text or binary.
    Data,
    /// Close, ping or pong: stands alone, even inside a message.
    Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub kind: Kind,
    /// The message ends with this frame.
    pub last: bool,
    /// The message is compressed (RFC 7692); said by its first frame only.
    pub compressed: bool,
    pub mask: [u8; 4],
    /// Of the payload.
    pub length: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A frame, and the size of its header.
    Frame(Frame, usize),
    Part,
    Invalid,
}

/// Reads a header as this side has to send it: a client masks (5.1), a server does not.
pub fn parse(side: Side, bytes: &[u8]) -> Parsed {
    let Some(&first) = bytes.first() else { return Parsed::Part };
    let last = first & 0x80 != 0;
    let compressed = first & 0x40 != 0;
    let kind = match first & 0x0f {
        0 => Kind::Continuation,
        1 | 2 => Kind::Data,
        8..=10 => Kind::Control,
        _ => return Parsed::Invalid,
    };
    if first & 0x30 != 0 || compressed && kind != Kind::Data || !last && kind == Kind::Control {
        return Parsed::Invalid;
    }
    let Some(&second) = bytes.get(1) else { return Parsed::Part };
    let masked = second & 0x80 != 0;
    if masked != (side == Side::Request) {
        return Parsed::Invalid;
    }
    let wide = match second & 0x7f {
        126 => 2,
        127 => 8,
        _ => 0,
    };
    let Some(extended) = bytes.get(2..2 + wide) else { return Parsed::Part };
    let length = match wide {
        0 => u64::from(second & 0x7f),
        _ => extended.iter().fold(0, |length, &byte| length << 8 | u64::from(byte)),
    };
    if length > if kind == Kind::Control { MAX_CONTROL } else { MAX_LENGTH } {
        return Parsed::Invalid;
    }
    let at = 2 + wide;
    if !masked {
        return Parsed::Frame(Frame { kind, last, compressed, mask: [0; 4], length }, at);
    }
    match bytes.get(at..).and_then(<[u8]>::first_chunk) {
        Some(&mask) => Parsed::Frame(Frame { kind, last, compressed, mask, length }, at + 4),
        None => Parsed::Part,
    }
}

/// Are these bytes frames and nothing else, the first one the first of a message?
pub fn are_frames(side: Side, bytes: &[u8]) -> bool {
    let mut rest = bytes;
    while let Parsed::Frame(frame, header) = parse(side, rest) {
        if rest.len() == bytes.len() && frame.kind == Kind::Continuation {
            return false;
        }
        let end = usize::try_from(frame.length).unwrap_or(usize::MAX).saturating_add(header);
        match rest.get(end..) {
            Some([]) => return true,
            Some(more) => rest = more,
            None => return false,
        }
    }
    false
}
