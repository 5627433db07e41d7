//! What nobody means well by: it ends, keeps little, shows nothing, and a key behind it is found all the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use keymoat_detect::{Detector, Hit, Inspector, RuleSet, Scanner};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let detector = Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap();
    Scanner::new(Arc::new(detector), &[7; 32])
});

const WRITE: usize = 16 * 1024;
/// More than a flow may keep, whatever is sent.
const MOST_KEPT: usize = 1 << 20;

fn key() -> &'static str {
    &SCANNER.detector().rules().get("groq-api-key").unwrap().positives[0]
}

/// What one connection sends, and how long that took.
struct Flow {
    inspector: Inspector,
    hits: Vec<Hit>,
    began: Instant,
}

impl Flow {
    fn new() -> Self {
        Self { inspector: Inspector::default(), hits: Vec::new(), began: Instant::now() }
    }

    fn send(&mut self, bytes: &[u8]) {
        for (at, write) in bytes.chunks(WRITE).enumerate() {
            self.inspector.feed(&SCANNER, write, at == 0, &mut self.hits);
            let kept = self.inspector.buffered();
            assert!(kept <= MOST_KEPT, "{kept} bytes kept");
        }
    }

    fn locations(mut self) -> Vec<String> {
        self.inspector.flush(&SCANNER, &mut self.hits);
        assert!(self.began.elapsed() < Duration::from_secs(60), "{:?}", self.began.elapsed());
        let shown = format!("{:?}", self.hits);
        assert!(!shown.contains(key()), "a key is shown");
        self.hits.into_iter().map(|hit| hit.location).collect()
    }
}

fn post(length: usize) -> Vec<u8> {
    format!("POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {length}\r\n\r\n").into_bytes()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const END_HEADERS: u8 = 4;

fn preface() -> Vec<u8> {
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(SETTINGS, 0, 0, &[])].concat()
}

/// `:method POST` by its index in the static table (RFC 7541, appendix A).
const METHOD_POST: u8 = 0x83;

#[test]
fn a_hundred_megabytes_on_one_line() {
    const LENGTH: usize = 100 << 20;
    let mut flow = Flow::new();
    let line = "{\"a\": \"what a long line, and nothing in it \", ".repeat(400);
    let tail = format!("\"key\": \"{}\"", key());
    flow.send(&post(LENGTH / line.len() * line.len() + tail.len()));
    for _ in 0..LENGTH / line.len() {
        flow.send(line.as_bytes());
    }
    flow.send(tail.as_bytes());
    let locations = flow.locations();
    assert_eq!(locations.len(), 1);
    assert!(locations[0].starts_with("body"), "{locations:?}");
}

#[test]
fn ten_thousand_streams_none_of_which_ends() {
    let mut flow = Flow::new();
    flow.send(&preface());
    for number in 0..10_000 {
        let stream = 2 * number + 1;
        flow.send(&frame(HEADERS, END_HEADERS, stream, &[METHOD_POST]));
        flow.send(&frame(DATA, 0, stream, b"some text "));
    }
    flow.send(&frame(DATA, 0, 2 * 9_999 + 1, format!("and {} ", key()).as_bytes()));
    assert_eq!(flow.locations(), ["body"]);
}

#[test]
fn header_blocks_that_are_garbage_name_nothing_and_hide_nothing() {
    let mut state = 1u64;
    for length in 1..200 {
        let garbage: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        })
        .take(length)
        .collect();
        let mut flow = Flow::new();
        flow.send(&preface());
        flow.send(&frame(HEADERS, END_HEADERS, 1, &garbage));
        flow.send(&frame(DATA, 0, 1, format!("text {} ", key()).as_bytes()));
        // Which part of a message it is may be lost, that it is there must not be.
        let locations = flow.locations();
        assert_eq!(locations.len(), 1, "{locations:?}");
        assert!(["body", "response-body", "stream"].contains(&&*locations[0]), "{locations:?}");
    }
}

#[test]
fn bytes_that_are_no_text_hide_no_key() {
    let noise: Vec<u8> = [0x00, 0xff, 0xc0, 0x80, 0xed, 0xa0, 0x80, 0xf8, 0x00].repeat(1000);
    for around in [&noise[..], b"\0", b"\xff", b"\xe2\x82"] {
        let body = [around, key().as_bytes(), around].concat();
        let mut flow = Flow::new();
        flow.send(&post(body.len()));
        flow.send(&body);
        assert_eq!(flow.locations(), ["body"]);
    }
    let mut silent = Flow::new();
    silent.send(&post(noise.len()));
    silent.send(&noise);
    assert!(silent.locations().is_empty());
}
