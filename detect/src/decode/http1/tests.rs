use super::*;
use crate::decode::{About, Field};
use proptest::prelude::*;

/// What came out: text by place, neighbours joined.
#[derive(Default, Debug, PartialEq)]
struct Out {
    pieces: Vec<(Place, Vec<u8>)>,
    hosts: Vec<Option<String>>,
    too_long: usize,
}

impl Pieces for Out {
    fn piece(&mut self, piece: Piece<'_>) {
        match self.pieces.last_mut() {
            Some((place, text)) if *place == piece.place && piece.part != Part::Whole => {
                text.extend_from_slice(piece.bytes);
            }
            _ if piece.bytes.is_empty() => {}
            _ => self.pieces.push((piece.place, piece.bytes.to_vec())),
        }
    }

    fn message(&mut self, about: About<'_>) {
        if about.side == Side::Request {
            self.hosts.push(about.host.map(str::to_owned));
        }
    }

    fn field(&mut self, _: Field<'_>) {}

    fn head_too_long(&mut self) {
        self.too_long += 1;
    }
}

impl Out {
    fn texts(&self) -> Vec<(Place, String)> {
        let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
        self.pieces.iter().map(|(place, bytes)| (*place, text(bytes))).collect()
    }
}

const BODY: Place = Place::Body(Side::Request);

fn feed(parts: &[&[u8]]) -> Out {
    let (mut http, mut out) = (Http1::default(), Out::default());
    for part in parts {
        http.feed(part, true, &mut out);
    }
    http.peek(&mut out);
    out
}

#[test]
fn a_message_is_taken_apart() {
    let out = feed(&[
        b"POST / HTTP/1.1\r\nHost: a.test:80\r\nContent-Length: 3\r\n\r\nabc\r\nGET / HTTP/1.1\r\n\r\n",
    ]);
    let places: Vec<_> = out.pieces.iter().map(|(place, _)| *place).collect();
    assert_eq!(places, [Place::Head(Side::Request), BODY, Place::Head(Side::Request)]);
    assert_eq!(out.pieces[1].1, b"abc");
    assert_eq!(out.hosts, [Some("a.test".to_owned()), None]);
}

#[test]
fn framing_is_no_text() {
    let head = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let out = feed(&[head, b"3\r\nabc\r\n3;x=", b"y\r\ndef\r\n0\r\nT: z\r\n\r\nrest"]);
    let trailer = Place::Trailer(Side::Request);
    let expected =
        [(BODY, "abc"), (trailer, "3;x=y\r\n"), (BODY, "def"), (trailer, "T: z\r\n"), (BODY, "rest")];
    assert_eq!(out.texts()[1..], expected.map(|(place, text)| (place, text.to_owned())));
}

#[test]
fn a_peek_says_what_was_shown_before() {
    struct Peeks(Vec<(usize, usize)>);
    impl Pieces for Peeks {
        fn piece(&mut self, piece: Piece<'_>) {
            self.0.push((piece.peeked, piece.bytes.len()));
        }
        fn message(&mut self, _: About<'_>) {}
        fn field(&mut self, _: Field<'_>) {}
        fn head_too_long(&mut self) {}
    }
    let (mut http, mut out) = (Http1::default(), Peeks(Vec::new()));
    http.feed(b"GET / HTTP/1.1\r\n", true, &mut out);
    http.peek(&mut out);
    http.peek(&mut out);
    http.feed(b"A: b\r\n", true, &mut out);
    http.peek(&mut out);
    http.feed(b"\r\n", true, &mut out);
    assert_eq!(out.0, [(0, 16), (16, 22), (22, 24)]);
    assert!(!http.pending());
}

#[test]
fn a_line_between_chunks_is_not_waited_for_without_end() {
    let head: &[u8] = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let line = vec![b'1'; MAX_LINE + 10];
    let out = feed(&[head, &line[..100], &line[100..]]);
    assert_eq!(out.pieces[1], (Place::Stream, line));
}

proptest! {
    /// Every byte but framing and blank lines comes out once, in order, whatever the bytes are.
    #[test]
    fn nothing_is_left_out_of_a_stream(
        text in prop_oneof![
            "[a-z]{1,3}[ -~\r\n]{0,300}",
            "[A-Z]{1,8} [!-~]{1,9} HTTP/2[ -~\r\n]{0,300}",
        ],
        sizes in prop::collection::vec(1usize..40, 1..6),
    ) {
        let mut parts = Vec::new();
        let mut rest = text.as_bytes();
        for size in sizes.iter().cycle() {
            let (part, more) = rest.split_at((*size).min(rest.len()));
            parts.push(part);
            rest = more;
            if rest.is_empty() {
                break;
            }
        }
        let out = feed(&parts);
        let joined: Vec<u8> = out.pieces.iter().flat_map(|(_, text)| text.clone()).collect();
        prop_assert_eq!(String::from_utf8(joined).unwrap(), text);
    }
}
