use super::*;
use crate::decode::{About, Field};
use flate2::{Compress, Compression, FlushCompress};
use proptest::prelude::*;

const CLIENT: Place = Place::Message(Side::Request);
const SERVER: Place = Place::Message(Side::Response);

/// Messages and stretches of stream, in the order they ended; what never ended comes last.
#[derive(Default, Debug, PartialEq)]
struct Out {
    done: Vec<(Place, Vec<u8>)>,
    open: Option<(Place, Vec<u8>)>,
}

impl Pieces for Out {
    fn piece(&mut self, piece: Piece<'_>) {
        let Piece { place, part, bytes, .. } = piece;
        if part == Part::Whole {
            self.done.push((place, bytes.to_vec()));
            return;
        }
        let (at, text) = self.open.get_or_insert((place, Vec::new()));
        assert_eq!(*at, place);
        text.extend_from_slice(bytes);
        if part == Part::Last {
            self.done.extend(self.open.take());
        }
    }

    fn message(&mut self, _: About<'_>) {}
    fn field(&mut self, _: Field<'_>) {}
    fn head_too_long(&mut self) {}
}

/// `first`: FIN, RSV and opcode.
fn frame(side: Side, first: u8, payload: &[u8]) -> Vec<u8> {
    let masked = if side == Side::Request { 0x80 } else { 0 };
    let mut bytes = vec![first];
    match payload.len() {
        len @ 0..126 => bytes.push(masked | len as u8),
        len @ 126..65536 => {
            bytes.push(masked | 126);
            bytes.extend((len as u16).to_be_bytes());
        }
        len => {
            bytes.push(masked | 127);
            bytes.extend((len as u64).to_be_bytes());
        }
    }
    if masked == 0 {
        bytes.extend(payload);
    } else {
        let mask = [0x37, 0xfa, 0x21, payload.len() as u8];
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key));
    }
    bytes
}

/// Compresses messages as an endpoint that keeps its window from one to the next.
struct Deflater(Compress);

impl Deflater {
    fn new() -> Self {
        Self(Compress::new(Compression::default(), false))
    }

    fn message(&mut self, plain: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(plain.len() * 2 + 100);
        self.0.compress_vec(plain, &mut bytes, FlushCompress::Sync).unwrap();
        assert!(bytes.ends_with(&TAIL));
        bytes.truncate(bytes.len() - TAIL.len());
        bytes
    }
}

fn feed(side: Side, parts: &[&[u8]]) -> (Out, Result<(), Stopped>) {
    let (mut socket, mut out) = (WebSocket::new(side), Out::default());
    let mut result = Ok(());
    for part in parts {
        result = result.and(socket.feed(part, true, &mut out));
        assert!(socket.buffered() < 64 * 1024);
    }
    (out, result)
}

fn done(messages: &[(Place, &[u8])]) -> Out {
    Out { done: messages.iter().map(|(place, text)| (*place, text.to_vec())).collect(), open: None }
}

#[test]
fn messages_come_out_unmasked_and_put_together() {
    let long = vec![b'l'; 70_000];
    for (side, place) in [(Side::Request, CLIENT), (Side::Response, SERVER)] {
        let bytes = [
            frame(side, 0x81, b"hello"),
            frame(side, 0x02, b"one, "),
            frame(side, 0x89, b"ping"),
            frame(side, 0x00, b"two, "),
            frame(side, 0x80, b"three"),
            frame(side, 0x82, &long),
            frame(side, 0x01, b"ends with nothing"),
            frame(side, 0x80, b""),
            frame(side, 0x81, b""),
            frame(side, 0x88, b"\x03\xe8bye"),
        ];
        let expected: [&[u8]; 6] =
            [b"hello", b"ping", b"one, two, three", &long, b"ends with nothing", b"\x03\xe8bye"];
        let (out, result) = feed(side, &[&bytes.concat()]);
        assert_eq!(out, done(&expected.map(|text| (place, text))));
        assert_eq!(result, Ok(()));
    }
}

#[test]
fn compressed_messages_refer_back_to_the_ones_before() {
    let mut deflater = Deflater::new();
    let text = b"a sentence that is said twice, word by word";
    let (first, second) = (deflater.message(text), deflater.message(text));
    assert!(second.len() < first.len() / 2);
    let (start, end) = first.split_at(10);
    let bytes = [
        frame(Side::Request, 0x41, start),
        frame(Side::Request, 0x80, end),
        frame(Side::Request, 0x81, b"not compressed"),
        frame(Side::Request, 0xc2, &second),
    ];
    let expected = done(&[(CLIENT, text), (CLIENT, b"not compressed"), (CLIENT, text)]);
    assert_eq!(feed(Side::Request, &[&bytes.concat()]), (expected, Ok(())));
}

#[test]
fn a_final_block_does_not_end_a_message() {
    // RFC 7692, 7.2.3.4: "Hello" in a block with BFINAL set, and a byte behind it.
    let hello = [0xf3, 0x48, 0xcd, 0xc9, 0xc9, 0x07, 0x00, 0x00];
    let twice = [frame(Side::Response, 0xc1, &hello), frame(Side::Response, 0xc1, &hello)].concat();
    assert_eq!(feed(Side::Response, &[&twice]), (done(&[(SERVER, b"Hello"), (SERVER, b"Hello")]), Ok(())));
}

#[test]
fn damage_ends_with_its_message() {
    let mut deflater = Deflater::new();
    let bytes = [
        frame(Side::Request, 0xc1, &deflater.message(b"before")),
        frame(Side::Request, 0xc1, b"\xff\xff\xff"),
        frame(Side::Request, 0xc1, &Deflater::new().message(b"after")),
    ];
    let (out, result) = feed(Side::Request, &[&bytes.concat()]);
    assert_eq!(result, Err(Stopped::Broken));
    assert_eq!(out, done(&[(CLIENT, b"before"), (CLIENT, b"after")]));
}

#[test]
fn a_bomb_does_not_go_off() {
    let bomb = frame(Side::Request, 0xc2, &Deflater::new().message(&vec![0; 32 << 20]));
    let after = frame(Side::Request, 0x81, b"after");
    let (out, result) = feed(Side::Request, &[&bomb, &after]);
    assert_eq!(result, Err(Stopped::Limit));
    assert!(out.done[0].1.len() <= 200 * bomb.len());
    assert_eq!(out.done[1].1, b"after");
}

#[test]
fn what_is_no_websocket_is_handed_on() {
    let good = frame(Side::Request, 0x81, b"good");
    let others = [
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        frame(Side::Response, 0x81, b"not masked"),
        frame(Side::Request, 0x83, b"no such opcode"),
        frame(Side::Request, 0xa1, b"RSV2"),
        frame(Side::Request, 0x80, b"goes on with nothing"),
        frame(Side::Request, 0x09, b"control in parts"),
        frame(Side::Request, 0x89, &[b'l'; 126]),
        [&[0x82, 0xff, 0, 0, 1, 0, 0, 0, 0, 0][..], b"mask", b"too long"].concat(),
    ];
    for other in others {
        for size in 1..other.len() {
            let parts: Vec<_> = std::iter::once(&good[..]).chain(other.chunks(size)).collect();
            let (out, result) = feed(Side::Request, &parts);
            let mut expected = done(&[(CLIENT, b"good")]);
            expected.open = Some((Place::Stream, other.clone()));
            assert_eq!((out, result), (expected, Ok(())), "{size}");
        }
    }
}

#[test]
fn a_message_that_begins_inside_another_ends_it() {
    let bytes = [frame(Side::Request, 0x01, b"first"), frame(Side::Request, 0x81, b"second")];
    let (out, _) = feed(Side::Request, &[&bytes[0], &bytes[1]]);
    assert_eq!(out.done, [(CLIENT, b"first".to_vec())]);
    assert_eq!(out.open, Some((Place::Stream, bytes[1].clone())));
}

#[test]
fn a_gap_inside_a_frame_loses_no_more_than_itself() {
    let (mut socket, mut out) = (WebSocket::new(Side::Request), Out::default());
    let bytes = frame(Side::Request, 0x81, b"0123456789abcdef");
    socket.feed(&bytes[..10], true, &mut out).unwrap();
    socket.gap(3, &mut out).unwrap();
    socket.feed(&bytes[13..20], false, &mut out).unwrap();
    socket.gap(2, &mut out).unwrap();
    socket.feed(&frame(Side::Request, 0x81, b"next"), true, &mut out).unwrap();
    assert_eq!(out, done(&[(CLIENT, b"0123789abcd"), (CLIENT, b"next")]));

    let text = Deflater::new().message(b"some text, some text");
    let bytes = frame(Side::Request, 0xc1, &text);
    socket.feed(&bytes[..8], true, &mut out).unwrap();
    socket.gap(1, &mut out).unwrap();
    assert_eq!(socket.feed(&bytes[9..], false, &mut out), Err(Stopped::Broken));
    out.done.clear();
    socket.feed(&frame(Side::Request, 0xc1, &text), true, &mut out).unwrap();
    assert_eq!(out, done(&[(CLIENT, b"some text, some text")]));
}

#[test]
fn after_a_larger_gap_frames_are_looked_for_at_the_start_of_writes() {
    let (mut socket, mut out) = (WebSocket::new(Side::Request), Out::default());
    let bytes = frame(Side::Request, 0x81, b"0123456789");
    socket.feed(&bytes[..8], true, &mut out).unwrap();
    socket.gap(100, &mut out).unwrap();
    socket.feed(b"rest of something", true, &mut out).unwrap();
    socket.feed(&frame(Side::Request, 0x80, b"end of a message"), true, &mut out).unwrap();
    assert!(socket.is_raw());
    out = Out::default();
    socket.feed(&[bytes.clone(), bytes].concat(), true, &mut out).unwrap();
    assert_eq!(out.done[1..], [(CLIENT, b"0123456789".to_vec()), (CLIENT, b"0123456789".to_vec())]);
}

#[test]
fn text_and_http_are_not_likely_frames() {
    assert!(WebSocket::likely(Side::Request, &frame(Side::Request, 0xc1, b"abc")));
    for text in [&b""[..], b"GET / HTTP/1.1\r\n\r\n", b"\x82\x83abcd", b"\x80\x80abcd", b"{\"a\": 1}"] {
        assert!(!WebSocket::likely(Side::Request, text), "{text:?}");
    }
}

fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, more) = rest.split_at((*size).min(rest.len()));
        parts.push(part);
        rest = more;
    }
    parts
}

proptest! {
    #[test]
    fn how_it_is_cut_changes_nothing(
        messages in prop::collection::vec(
            (any::<bool>(), prop::collection::vec(prop_oneof![5 => Just(b'a'), 1 => any::<u8>()], 1..400)), 0..8),
        client in any::<bool>(),
        garbage in prop::collection::vec(any::<u8>(), 0..40),
        sizes in prop::collection::vec(1usize..60, 1..5),
    ) {
        let (side, place) = if client { (Side::Request, CLIENT) } else { (Side::Response, SERVER) };
        let mut deflater = Deflater::new();
        let mut bytes = Vec::new();
        for (zipped, text) in &messages {
            let (rsv, payload) = if *zipped { (0x40, deflater.message(text)) } else { (0, text.clone()) };
            let (start, end) = payload.split_at(payload.len() / 3);
            bytes.extend(frame(side, 0x01 | rsv, start));
            bytes.extend(frame(side, 0x80, end));
        }
        let expected = Out {
            done: messages.into_iter().map(|(_, text)| (place, text)).collect(),
            open: None,
        };
        prop_assert_eq!(feed(side, &cut(&bytes, &sizes)), (expected, Ok(())));
        bytes.extend(garbage);
        prop_assert_eq!(feed(side, &cut(&bytes, &sizes)), feed(side, &[&bytes]));
    }
}
