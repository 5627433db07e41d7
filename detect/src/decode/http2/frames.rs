//! Frame headers (RFC 9113, 4.1 and 6), and whether bytes from the middle of a connection are a chain of frames.

use super::hpack;
use crate::decode::place::{Place, Side};

/// Length of a frame's header.
pub const HEADER: usize = 9;
/// What a client sends before its first frame (RFC 9113, 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;
pub const PRIORITY: u8 = 0x20;

/// No frame is this long unless the receiver asked for it, and few receivers do.
const LIKELY_LENGTH: u32 = 1 << 20;
/// PRIORITY_UPDATE (RFC 9218, 7.1): the one extension browsers send.
const PRIORITY_UPDATE: u8 = 0x10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Data,
    Headers,
    Priority,
    ResetStream,
    Settings,
    PushPromise,
    Ping,
    GoAway,
    WindowUpdate,
    Continuation,
    Other(u8),
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Bytes behind the header.
    pub length: u32,
    pub kind: Type,
    pub flags: u8,
    pub stream: u32,
    reserved: bool,
}

impl Frame {
    pub fn parse(bytes: [u8; HEADER]) -> Self {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = bytes;
        let id = u32::from_be_bytes([s0, s1, s2, s3]);
        Self {
            length: u32::from_be_bytes([0, l0, l1, l2]),
            kind: match kind {
                0 => Type::Data,
                1 => Type::Headers,
                2 => Type::Priority,
                3 => Type::ResetStream,
                4 => Type::Settings,
                5 => Type::PushPromise,
                6 => Type::Ping,
                7 => Type::GoAway,
                8 => Type::WindowUpdate,
                9 => Type::Continuation,
                other => Type::Other(other),
            },
            flags,
            stream: id & 0x7fff_ffff,
            reserved: id >> 31 == 1,
        }
    }

    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub fn is_padded(&self) -> bool {
        matches!(self.kind, Type::Data | Type::Headers | Type::PushPromise) && self.has(PADDED)
    }

    /// Bytes of fixed format before the content, behind the padding's length.
    pub fn fixed(&self) -> u8 {
        match self.kind {
            Type::Headers if self.has(PRIORITY) => 5,
            Type::PushPromise => 4,
            Type::GoAway => 8,
            _ => 0,
        }
    }

    /// Does the frame keep to what RFC 9113, 6 demands of its type?
    pub fn is_valid(&self) -> bool {
        let Self { length, stream, .. } = *self;
        match self.kind {
            Type::Data | Type::Headers | Type::PushPromise | Type::Continuation => {
                stream != 0 && length >= u32::from(self.is_padded()) + u32::from(self.fixed())
            }
            Type::Priority => stream != 0 && length == 5,
            Type::ResetStream => stream != 0 && length == 4,
            Type::Settings => stream == 0 && length.is_multiple_of(6) && (length == 0 || !self.has(ACK)),
            Type::Ping => stream == 0 && length == 8,
            Type::GoAway => stream == 0 && length >= 8,
            Type::WindowUpdate => length == 4,
            Type::Other(_) => true,
        }
    }

    /// Is this what programs really send? Stricter than the standard, so that little else looks the same.
    fn is_likely(&self) -> bool {
        let flags = match self.kind {
            Type::Data => END_STREAM | PADDED,
            Type::Headers => END_STREAM | END_HEADERS | PADDED | PRIORITY,
            Type::PushPromise => END_HEADERS | PADDED,
            Type::Settings | Type::Ping => ACK,
            Type::Continuation => END_HEADERS,
            _ => 0,
        };
        let fits = match self.kind {
            // Who opens a stream is a client; what servers push is even, and seen no more.
            Type::Data => self.stream % 2 == 1 && (self.length > 0 || self.has(END_STREAM)),
            Type::Headers | Type::PushPromise => self.stream % 2 == 1 && self.length > 0,
            Type::Continuation => self.length > 0,
            Type::Settings => self.length > 0 || self.has(ACK),
            Type::Other(kind) => kind == PRIORITY_UPDATE && self.stream == 0 && self.length >= 4,
            _ => true,
        };
        let reads = self.is_valid() && !self.reserved && self.length <= LIKELY_LENGTH;
        reads && fits && self.flags & !flags == 0
    }
}

/// Which end of a connection sends these bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sender {
    #[default]
    Unknown,
    Client,
    Server,
}

impl Sender {
    pub const fn side(self) -> Option<Side> {
        match self {
            Self::Unknown => None,
            Self::Client => Some(Side::Request),
            Self::Server => Some(Side::Response),
        }
    }

    pub const fn of(side: Side) -> Self {
        match side {
            Side::Request => Self::Client,
            Side::Response => Self::Server,
        }
    }

    /// What the bytes of a DATA frame are.
    pub const fn body(self) -> Place {
        match self.side() {
            Some(side) => Place::Body(side),
            None => Place::Stream,
        }
    }
}

/// Do these bytes, the first of a write, begin with frames of an HTTP/2 connection under way?
///
/// They have to be frames to the end. The last one may be cut short, the first one may not: a lone header is
/// too little to tell HTTP/2 from any protocol that puts a length in front.
pub fn looks_like_frames(bytes: &[u8]) -> Option<Sender> {
    let mut sender = Sender::Unknown;
    let mut continued = None;
    let mut rest = bytes;
    while let Some((header, behind)) = rest.split_first_chunk::<HEADER>() {
        let frame = Frame::parse(*header);
        let continues = (frame.kind == Type::Continuation).then_some(frame.stream);
        if !frame.is_likely() || continues != continued {
            return None;
        }
        let length = usize::try_from(frame.length).ok()?;
        if sender == Sender::Unknown {
            sender = sender_of(&frame, behind.get(..length).unwrap_or(behind));
        }
        let Some((_, behind)) = behind.split_at_checked(length) else {
            let first = rest.len() == bytes.len();
            return (!first).then_some(sender);
        };
        continued = match frame.kind {
            Type::Headers | Type::PushPromise | Type::Continuation if !frame.has(END_HEADERS) => {
                Some(frame.stream)
            }
            _ => None,
        };
        rest = behind;
    }
    let none = rest.len() == bytes.len();
    // A header cut short begins with a length, and few are above 64 KiB.
    let cut_likely = rest.first().is_none_or(|&first| first == 0);
    (!none && cut_likely).then_some(sender)
}

fn sender_of(frame: &Frame, payload: &[u8]) -> Sender {
    match frame.kind {
        Type::PushPromise => Sender::Server,
        Type::Headers => {
            let before = usize::from(frame.is_padded()) + usize::from(frame.fixed());
            let first = payload.get(before).copied().and_then(hpack::side_of_first);
            first.map_or(Sender::Unknown, Sender::of)
        }
        _ => Sender::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = (payload.len() as u32).to_be_bytes();
        [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    #[test]
    fn frames_are_recognised_and_so_is_who_sends_them() {
        let get = frame(1, END_HEADERS | END_STREAM, 7, &[0x82, 0xbe, 0x87]);
        let answer = frame(1, END_HEADERS | PRIORITY, 7, &[0, 0, 0, 0, 16, 0x88]);
        let unknown = frame(1, END_HEADERS, 7, &[0xbe]);
        let data = frame(0, 0, 7, &[b'x'; 300]);
        assert_eq!(looks_like_frames(&get), Some(Sender::Client));
        assert_eq!(looks_like_frames(&answer), Some(Sender::Server));
        assert_eq!(looks_like_frames(&unknown), Some(Sender::Unknown));
        assert_eq!(looks_like_frames(&[data.clone(), get.clone()].concat()), Some(Sender::Client));
        for small in [frame(4, ACK, 0, &[]), frame(6, 0, 0, &[9; 8]), frame(8, 0, 0, &[0, 0, 1, 0])] {
            assert_eq!(looks_like_frames(&small), Some(Sender::Unknown));
        }
        let chain = [get, data].concat();
        for end in 12..chain.len() {
            assert_eq!(looks_like_frames(&chain[..end]), Some(Sender::Client), "{end}");
        }
    }

    #[test]
    fn other_protocols_are_none() {
        let length_first = |length: u32, rest: &[u8]| [&length.to_be_bytes()[..], rest].concat();
        let others: &[Vec<u8>] = &[
            Vec::new(),
            vec![0; 64],
            vec![0xff; 64],
            b"GET / HTTP/1.1\r\n\r\n".to_vec(),
            PREFACE.to_vec(),
            // TLS records, MySQL, PostgreSQL, a WebSocket frame
            [&[0x17, 3, 3, 0, 20][..], &[7; 20]].concat(),
            [&[9, 0, 0, 0, 3][..], b"select 1"].concat(),
            [b"Q\0\0\0\x0d", &b"select 1\0"[..]].concat(),
            [&[0x81, 0x85, 1, 2, 3, 4][..], &[5; 5]].concat(),
            // Kafka produce, ZooKeeper ping, Thrift, SMB, DNS over TCP, AMQP, gRPC without HTTP/2
            length_first(1 << 22, &[0, 0, 0, 9, 0, 0, 0, 5, 0, 3, b'a', b'b', b'c', 0xff, 0xff, 0, 1, 0, 0]),
            length_first(8, &[0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 11]),
            length_first(27, b"\x80\x01\x00\x01\0\0\0\x04ping\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0"),
            length_first(68, &[&b"\xfeSMB"[..], &[0; 64]].concat()),
            b"\0\x1d\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x07example\x03com\0\0\x01\0\x01".to_vec(),
            b"\x01\0\x01\0\0\0\x05\0\x14\0\x0a\0\0\xce".to_vec(),
            b"\0\0\0\0\x05hello".to_vec(),
        ];
        for other in others {
            assert_eq!(looks_like_frames(other), None, "{other:?}");
        }
    }

    #[test]
    fn a_chain_with_a_flaw_is_none() {
        let data = frame(0, 0, 1, b"abc");
        let flaws = [
            frame(0, 0, 2, b"abc"),
            frame(0, 0, 0, b"abc"),
            frame(0, 0, 1, b""),
            frame(0, 0x40, 1, b"abc"),
            frame(0, 0, 1 << 31 | 1, b"abc"),
            frame(2, 0, 1, b"abc"),
            frame(4, 0, 0, b"abc"),
            frame(4, ACK, 0, b"abcdef"),
            frame(11, 0, 1, b"abc"),
        ];
        for flaw in flaws {
            assert_eq!(looks_like_frames(&flaw), None, "{flaw:?}");
            assert_eq!(looks_like_frames(&[data.clone(), flaw.clone()].concat()), None, "{flaw:?}");
        }
        let open = frame(1, 0, 1, &[0x82]);
        assert_eq!(looks_like_frames(&[open.clone(), data].concat()), None);
        assert_eq!(looks_like_frames(&[open.clone(), frame(9, 0, 3, &[0x84])].concat()), None);
        assert_eq!(looks_like_frames(&[open, frame(9, 4, 1, &[0x84])].concat()), Some(Sender::Client));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn noise_is_none(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert_eq!(looks_like_frames(&bytes), None);
        }

        /// Messages with their length in front, full of small numbers, as many binary protocols have them.
        #[test]
        fn a_length_in_front_is_not_enough(
            messages in prop::collection::vec(
                prop::collection::vec(prop_oneof![Just(0u8), 0..16u8, any::<u8>()], 0..60),
                1..5,
            ),
        ) {
            let message = |rest: &Vec<u8>| [&(rest.len() as u32).to_be_bytes()[..], rest].concat();
            let bytes: Vec<u8> = messages.iter().flat_map(message).collect();
            prop_assert_eq!(looks_like_frames(&bytes), None);
        }
    }
}
