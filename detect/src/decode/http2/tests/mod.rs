//! What comes out of what one side sends.

mod blocks;
pub(crate) mod encoder;
mod resync;
mod traffic;

use super::frames::{END_HEADERS, END_STREAM, PADDED, PRIORITY};
use super::*;
use crate::decode::place::Place;
use crate::decode::{About, Field};
use encoder::{Encoder, GET, client, frame, padded, settings};

/// Something handed out; pieces that follow each other are joined.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    Message { stream: u32, side: Side, host: Option<String>, kind: Option<String>, encoding: Option<String> },
    Field { stream: u32, side: Side, name: Option<String>, value: String },
    Bytes { stream: u32, place: Place, text: String, over: bool },
    TooLong,
}

#[derive(Default)]
pub struct Out(Vec<Event>);

fn text(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

impl Pieces for Out {
    fn message(&mut self, about: About<'_>) {
        let About { stream, side, host, content_type, content_encoding, .. } = about;
        let host = host.map(str::to_owned);
        let (kind, encoding) = (content_type.map(text), content_encoding.map(text));
        self.0.push(Event::Message { stream, side, host, kind, encoding });
    }

    fn piece(&mut self, piece: Piece<'_>) {
        let (more, ends) = (text(piece.bytes), piece.part != Part::More);
        match self.0.last_mut() {
            Some(Event::Bytes { stream, place, text, over })
                if (*stream, *place, *over) == (piece.stream, piece.place, false) && piece.peeked == 0 =>
            {
                text.push_str(&more);
                *over = ends;
            }
            _ if more.is_empty() && !ends => {}
            _ => {
                let Piece { stream, place, .. } = piece;
                self.0.push(Event::Bytes { stream, place, text: more, over: ends });
            }
        }
    }

    fn field(&mut self, field: Field<'_>) {
        let Field { stream, side, name, value } = field;
        self.0.push(Event::Field { stream, side, name: name.map(text), value: text(value) });
    }

    fn head_too_long(&mut self) {
        self.0.push(Event::TooLong);
    }
}

impl Out {
    /// `name: value` of each field, and the text of each piece.
    fn short(&self) -> Vec<String> {
        self.0
            .iter()
            .map(|event| match event {
                Event::Message { stream, side, host, .. } => {
                    format!("{stream} {side:?} {}", host.as_deref().unwrap_or("-"))
                }
                Event::Field { name, value, .. } => format!("{}: {value}", name.as_deref().unwrap_or("?")),
                Event::Bytes { stream, place, text, over } => {
                    format!("{stream} {place:?} {text}{}", if *over { "." } else { "" })
                }
                Event::TooLong => "too long".to_owned(),
            })
            .collect()
    }
}

fn feed(http: &mut Http2, parts: &[&[u8]]) -> Vec<String> {
    let mut out = Out::default();
    parts.iter().for_each(|part| http.feed(part, true, &mut out));
    out.short()
}

/// A client's connection that goes on with these frames.
fn sent(frames: &[Vec<u8>]) -> Vec<String> {
    feed(&mut Http2::new(), &[&client(), &frames.concat()])
}

#[test]
fn a_request_is_taken_apart() {
    let mut encoder = Encoder::new();
    let head = [GET, &[("content-type", "text/plain"), ("content-encoding", "gzip")]].concat();
    let mut out = Out::default();
    let mut http = Http2::new();
    let bytes = [
        client(),
        frame(1, END_HEADERS, 1, &encoder.block(&head)),
        frame(0, 0, 1, b"hel"),
        frame(0, END_STREAM, 1, b"lo"),
    ];
    http.feed(&bytes.concat(), true, &mut out);
    let about = Event::Message {
        stream: 1,
        side: Side::Request,
        host: Some("api.test".to_owned()),
        kind: Some("text/plain".to_owned()),
        encoding: Some("gzip".to_owned()),
    };
    assert_eq!(out.0[0], about);
    let fields: Vec<_> = head.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(out.short()[1..7], fields);
    assert_eq!(out.short()[7..], ["1 Body(Request) hello."]);
    assert_eq!(http.buffered(), http.table.size());
    assert!(!http.pending());
}

#[test]
fn a_response_has_its_side_from_the_first_frame_on() {
    let mut encoder = Encoder::new();
    let answer = encoder.block(&[(":status", "200"), ("set-cookie", "a=b")]);
    let early = encoder.block(&[(":status", "103"), ("link", "x")]);
    let out = feed(
        &mut Http2::new(),
        &[
            &settings(),
            &frame(0, 0, 9, b"early"),
            &frame(1, END_HEADERS, 1, &answer),
            &frame(1, END_HEADERS, 1, &early),
            &frame(1, END_HEADERS | END_STREAM, 1, &encoder.block(&[("grpc-status", "0")])),
        ],
    );
    let expected = [
        "9 Body(Response) early",
        "1 Response -",
        ":status: 200",
        "set-cookie: a=b",
        "1 Response -",
        ":status: 103",
        "link: x",
        "grpc-status: 0",
        "1 Body(Response) .",
    ];
    assert_eq!(out, expected);
}

#[test]
fn the_host_is_the_authority_or_else_the_host_field() {
    let mut encoder = Encoder::new();
    let mut host = |fields: &[(&str, &str)]| {
        let mut http = Http2::new();
        let block = encoder.block(fields);
        encoder = Encoder::new();
        feed(&mut http, &[&client(), &frame(1, END_HEADERS, 1, &block)]).remove(0)
    };
    assert_eq!(host(&[(":method", "GET"), ("host", "b.test")]), "1 Request b.test");
    assert_eq!(host(&[(":authority", "a.test:8443"), ("host", "b.test")]), "1 Request a.test");
    assert_eq!(host(&[(":authority", "10.0.0.1:80")]), "1 Request -");
    assert_eq!(host(&[(":authority", "\u{e4}"), (":method", "GET")]), "1 Request -");
}

#[test]
fn streams_under_way_at_once_are_told_apart() {
    let mut encoder = Encoder::new();
    let mut head = |stream| frame(1, END_HEADERS, stream, &encoder.block(&[(":path", "/")]));
    let out = sent(&[
        head(1),
        head(3),
        frame(0, 0, 1, b"on"),
        frame(0, 0, 3, b"th"),
        frame(0, END_STREAM, 1, b"e"),
        frame(0, 0, 3, b"ree"),
        frame(3, 0, 3, &[0, 0, 0, 8]),
        frame(3, 0, 1, &[0, 0, 0, 8]),
    ]);
    let bodies: Vec<_> = out.iter().filter(|line| line.contains("Body")).collect();
    let expected = ["1 Body(Request) on", "3 Body(Request) th", "1 Body(Request) e.", "3 Body(Request) ree."];
    assert_eq!(bodies, expected);
}

#[test]
fn padding_and_priority_are_no_content() {
    let mut encoder = Encoder::new();
    let block = encoder.block(GET);
    let (end, with) = (block.len() / 2, [&[0x80, 0, 0, 3, 99][..], &block[..block.len() / 2]].concat());
    let out = sent(&[
        frame(1, PADDED | PRIORITY, 5, &padded(&with, 7)),
        frame(9, END_HEADERS, 5, &block[end..]),
        frame(0, PADDED, 5, &padded(b"body", 0)),
        frame(0, PADDED, 5, &padded(b"", 3)),
        frame(0, PADDED | END_STREAM, 5, &padded(b"", 3)),
    ]);
    let whole: Vec<_> = GET.iter().map(|(name, value)| format!("{name}: {value}")).collect();
    assert_eq!(out[0], "0 Stream \0\0\0\0\0\0\0.");
    assert_eq!(out[1], "5 Request api.test");
    assert_eq!(out[2..6], whole);
    assert_eq!(
        out[6..],
        ["5 Body(Request) body", "0 Stream \0\0\0.", "5 Body(Request) .", "0 Stream \0\0\0."]
    );
}

#[test]
fn trailers_are_fields_of_their_stream_and_no_message() {
    let mut encoder = Encoder::new();
    let out = sent(&[
        frame(1, END_HEADERS, 1, &encoder.block(&[(":path", "/")])),
        frame(0, 0, 1, b"body"),
        frame(1, END_HEADERS | END_STREAM, 1, &encoder.block(&[("x-sum", "1")])),
    ]);
    assert_eq!(out, ["1 Request -", ":path: /", "1 Body(Request) body", "x-sum: 1", "1 Body(Request) ."]);
}

#[test]
fn a_promise_is_a_request_of_its_own_stream() {
    let mut encoder = Encoder::new();
    let promise = [&[0, 0, 0, 4][..], &encoder.block(GET)].concat();
    let out = feed(
        &mut Http2::new(),
        &[
            &settings(),
            &frame(5, END_HEADERS | PADDED, 1, &padded(&promise, 0)),
            &frame(1, END_HEADERS, 4, &encoder.block(&[(":status", "200")])),
            &frame(0, END_STREAM, 4, b"x"),
        ],
    );
    assert_eq!(out[0], "4 Request api.test");
    assert_eq!(out[5..], ["4 Response -", ":status: 200", "4 Body(Response) x."]);
}

#[test]
fn what_other_frames_carry_is_handed_on_and_fixed_formats_are_not() {
    let out = sent(&[
        frame(2, 0, 3, &[0, 0, 0, 1, 5]),
        frame(8, 0, 0, &[0, 0, 0, 1]),
        frame(4, 1, 0, &[]),
        frame(6, 0, 0, b"pingdata"),
        frame(0x4d, 4, 1, b"metadata"),
        frame(0xee, 0, 1, b""),
        frame(7, 0, 0, b"\0\0\0\x01\0\0\0\x02debug"),
        frame(7, 0, 0, b"\0\0\0\x01\0\0\0\x02"),
    ]);
    assert_eq!(out, ["0 Stream pingdata.", "0 Stream metadata.", "0 Stream debug."]);
}

#[test]
fn ten_thousand_open_streams_are_bounded() {
    let mut encoder = Encoder::new();
    let (mut http, mut out) = (Http2::new(), Out::default());
    http.feed(&client(), true, &mut out);
    for stream in (1..20_001).step_by(2) {
        http.feed(&frame(1, END_HEADERS, stream, &encoder.block(GET)), true, &mut out);
        http.feed(&frame(0, 0, stream, b"x"), true, &mut out);
        assert!(http.streams.len() <= MAX_STREAMS && http.buffered() < 8192);
    }
    let ended = out.0.iter().filter(|event| matches!(event, Event::Bytes { over: true, .. })).count();
    assert_eq!(ended, 10_000 - MAX_STREAMS);
}

#[test]
fn what_is_not_http2_is_handed_on_whole() {
    let texts: [&[u8]; 6] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\nand more",
        b"P",
        b"\0\0\x02\0\0\0\0\0\x01hi",
        b"\0\0\x05\x04\0\0\0\0\0hello",
        b"\0\0\0\x04\x01\0\0\0\0",
    ];
    for text in texts {
        for size in [1, 3, 100] {
            let (mut http, mut out) = (Http2::new(), Out::default());
            text.chunks(size).for_each(|part| http.feed(part, false, &mut out));
            http.gap(1, &mut out);
            let all: Vec<u8> = out
                .0
                .iter()
                .flat_map(|event| match event {
                    Event::Bytes { text, place: Place::Stream, .. } => text.clone().into_bytes(),
                    other => panic!("{other:?}"),
                })
                .collect();
            assert_eq!(all, if text == b"P" { b"" } else { text }, "{size}");
        }
    }
}

#[test]
fn a_frame_that_breaks_the_rules_ends_what_is_understood() {
    let broken = [
        frame(0, 0, 0, b"no stream"),
        frame(0, PADDED, 1, &[9, b'x']),
        frame(0, PADDED, 1, &[]),
        frame(1, PRIORITY | END_HEADERS, 1, b"abc"),
        frame(4, 0, 1, &[]),
        frame(6, 0, 0, b"short"),
    ];
    for bytes in broken {
        let out = sent(&[frame(0, 0, 1, b"ok"), bytes.clone(), b"and the rest".to_vec()]);
        assert_eq!(out, ["1 Body(Request) ok".to_owned(), format!("0 Stream {}and the rest", text(&bytes))]);
    }
}

#[test]
fn debug_shows_no_bytes() {
    let mut http = Http2::new();
    let block = Encoder { huffman: false, ..Encoder::new() }.block(&[("x-secret", "hunter2")]);
    feed(&mut http, &[&client(), &frame(1, END_HEADERS, 1, &block), &frame(1, 0, 3, &block)]);
    let shown = format!("{http:?}");
    assert!(!shown.contains("hunter2") && !shown.contains("104, 117"), "{shown}");
    assert!(shown.contains("bytes"), "{shown}");
}
