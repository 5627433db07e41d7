//! gRPC bodies: messages one after the other, each behind a flag and its length, compressed one by one or not at all.
//! Source: "gRPC over HTTP2" (Length-Prefixed-Message), and "gRPC Web" for the trailer inside the body.
//!
//! Nothing is left out but the five bytes before each message: what is no gRPC is handed on as it is.

use super::content::Content;
use super::limit::Stopped;
use super::{Part, content_type};

const PREFIX: usize = 5;
const COMPRESSED: u8 = 0x01;
/// gRPC-Web only: these are the trailer's lines, not a message.
const TRAILER: u8 = 0x80;

pub struct Grpc {
    /// Of compressed messages. None: they come as they are.
    content: Option<Content>,
    state: State,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Prefix {
        held: [u8; PREFIX],
        len: usize,
    },
    Message {
        left: u32,
        compressed: bool,
        begun: bool,
    },
    /// Not gRPC.
    Raw,
}

impl State {
    const START: Self = Self::Prefix { held: [0; PREFIX], len: 0 };
}

impl Grpc {
    /// None: the Content-Type is not gRPC's. `grpc_encoding` is the header field of that name.
    pub fn announced(content_type: &[u8], grpc_encoding: Option<&[u8]>) -> Option<Self> {
        let grpc = ["application/grpc", "application/grpc-web"];
        let content = grpc_encoding.and_then(Content::announced);
        grpc.iter()
            .any(|mime| content_type::is(content_type, mime))
            .then_some(Self { content, state: State::START })
    }

    /// Takes the next bytes of the body; hands out the messages. An error says that a message could not be decoded
    /// to its end; the next ones are all the same.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Part, &[u8])) -> Result<(), Stopped> {
        let mut rest = bytes;
        let mut result = Ok(());
        while !rest.is_empty() {
            let used = match self.state {
                State::Prefix { held, len } => self.prefix(rest, held, len, out),
                State::Message { left, compressed, begun } => {
                    let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    let bytes = rest.get(..count).unwrap_or(rest);
                    let left = left.saturating_sub(count as u32);
                    self.state = match left {
                        0 => State::START,
                        _ => State::Message { left, compressed, begun: true },
                    };
                    result = result.and(self.message(bytes, left == 0, compressed, begun, out));
                    count
                }
                State::Raw => {
                    out(Part::More, rest);
                    rest.len()
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        result
    }

    /// The body is over: hands out what is held back.
    pub fn finish(&mut self, out: &mut dyn FnMut(Part, &[u8])) -> Result<(), Stopped> {
        match std::mem::replace(&mut self.state, State::START) {
            State::Prefix { len: 0, .. } => Ok(()),
            State::Prefix { held, len } => {
                out(Part::Whole, held.get(..len).unwrap_or_default());
                Ok(())
            }
            State::Message { compressed, begun, .. } => self.message(&[], true, compressed, begun, out),
            State::Raw => {
                out(Part::Last, &[]);
                Ok(())
            }
        }
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        self.content.as_ref().map_or(0, Content::buffered)
    }

    fn prefix(
        &mut self,
        rest: &[u8],
        mut held: [u8; PREFIX],
        len: usize,
        out: &mut dyn FnMut(Part, &[u8]),
    ) -> usize {
        let used = rest.len().min(PREFIX.saturating_sub(len));
        for (to, from) in held.iter_mut().skip(len).zip(rest) {
            *to = *from;
        }
        let len = len + used;
        let [flags, length @ ..] = held;
        if flags & !(COMPRESSED | TRAILER) != 0 {
            out(Part::More, held.get(..len).unwrap_or_default());
            self.state = State::Raw;
        } else if len < PREFIX {
            self.state = State::Prefix { held, len };
        } else {
            self.state = match u32::from_be_bytes(length) {
                0 => State::START,
                left => State::Message { left, compressed: flags & COMPRESSED != 0, begun: false },
            };
        }
        used
    }

    fn message(
        &mut self,
        bytes: &[u8],
        last: bool,
        compressed: bool,
        begun: bool,
        out: &mut dyn FnMut(Part, &[u8]),
    ) -> Result<(), Stopped> {
        let Some(content) = self.content.as_mut().filter(|_| compressed) else {
            let part = match (last, begun) {
                (true, true) => Part::Last,
                (true, false) => Part::Whole,
                (false, _) => Part::More,
            };
            out(part, bytes);
            return Ok(());
        };
        if !begun {
            content.restart();
        }
        let mut result = content.push(bytes, &mut |plain| out(Part::More, plain));
        if last {
            result = result.and(content.finish(&mut |plain| out(Part::More, plain)));
            out(Part::Last, &[]);
        }
        result
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Grpc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Grpc").field("content", &self.content).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;
    use std::io::Write as _;

    fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(plain).unwrap();
        encoder.finish().unwrap()
    }

    fn framed(flags: u8, message: &[u8]) -> Vec<u8> {
        [&[flags][..], &(message.len() as u32).to_be_bytes(), message].concat()
    }

    type Outcome = (Vec<Vec<u8>>, Result<(), Stopped>);

    /// Messages, and the first thing that went wrong.
    fn parse(encoding: Option<&str>, parts: &[&[u8]]) -> Outcome {
        let mut grpc = Grpc::announced(b"application/grpc+proto", encoding.map(str::as_bytes)).unwrap();
        let (mut messages, mut open, mut result) = (Vec::new(), Vec::new(), Ok(()));
        let mut take = |part: Part, bytes: &[u8]| {
            open.extend_from_slice(bytes);
            if part != Part::More {
                messages.push(std::mem::take(&mut open));
            }
        };
        for part in parts {
            result = result.and(grpc.push(part, &mut take));
        }
        result = result.and(grpc.finish(&mut take));
        (messages, result)
    }

    #[test]
    fn messages_come_out_one_by_one() {
        let body = [framed(0, b"first"), framed(1, &gzip(b"second")), framed(0, b""), framed(0x80, b"a: b")];
        let expected = [&b"first"[..], b"second", b"a: b"].map(<[u8]>::to_vec).to_vec();
        assert_eq!(parse(Some("gzip"), &[&body.concat()]), (expected.clone(), Ok(())));
        assert_eq!(parse(Some("gzip"), &body.concat().chunks(1).collect::<Vec<_>>()), (expected, Ok(())));
        assert!(Grpc::announced(b"application/grpc-web+proto", None).is_some());
        assert!(Grpc::announced(b"application/json", Some(b"gzip")).is_none());
    }

    #[test]
    fn what_cannot_be_decoded_comes_as_it_is() {
        let body = framed(1, &gzip(b"text"));
        assert_eq!(parse(None, &[&body]).0, [gzip(b"text")]);
        assert_eq!(parse(Some("snappy"), &[&body]).0, [gzip(b"text")]);
        assert_eq!(parse(None, &[b"{\"json\": 1}"]).0, [b"{\"json\": 1}"]);
        assert_eq!(parse(None, &[&[0, 0, 0]]).0, [[0, 0, 0]]);
    }

    #[test]
    fn a_damaged_message_leaves_the_next_alone() {
        let body =
            [framed(1, b"no gzip"), framed(1, &gzip(b"good")), framed(1, &gzip(b"cut")[..10])].concat();
        let expected = [&b""[..], b"good", b""].map(<[u8]>::to_vec).to_vec();
        assert_eq!(parse(Some("gzip"), &[&body]), (expected, Err(Stopped::Broken)));
    }

    #[test]
    fn many_small_bombs_are_a_bomb() {
        let bomb = framed(1, &gzip(&vec![0; 1 << 20]));
        let (messages, result) = parse(Some("gzip"), &[&bomb.repeat(50)]);
        assert_eq!(result, Err(Stopped::Limit));
        let size: usize = messages.iter().map(Vec::len).sum();
        assert!(size <= 200 * 50 * bomb.len(), "{size}");
    }

    proptest! {
        #[test]
        fn how_it_is_cut_changes_nothing(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 1..100)), 0..6),
            garbage in prop::collection::vec(any::<u8>(), 0..30),
            size in 1usize..40,
        ) {
            let frame = |(zipped, text): &(bool, Vec<u8>)| {
                if *zipped { framed(1, &gzip(text)) } else { framed(0, text) }
            };
            let mut body = messages.iter().flat_map(frame).collect::<Vec<_>>();
            let texts: Vec<_> = messages.into_iter().map(|(_, text)| text).collect();
            prop_assert_eq!(parse(Some("gzip"), &[&body]), (texts, Ok(())));
            body.extend(garbage);
            let parts: Vec<_> = body.chunks(size).collect();
            prop_assert_eq!(parse(Some("gzip"), &parts), parse(Some("gzip"), &[&body]));
        }
    }
}
