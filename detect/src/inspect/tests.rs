use super::*;
use crate::{Detector, RuleSet};
use flate2::{Compression, write::GzEncoder};
use std::io::Write as _;
use std::sync::LazyLock;

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| {
    let detector = Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap();
    Scanner::new(Arc::new(detector), &[7; 32])
});

fn key() -> String {
    SCANNER.detector().rules().get("groq-api-key").unwrap().positives[0].clone()
}

/// What is found when the bytes come in writes of this length.
fn found(bytes: &[u8], write: usize) -> (Vec<String>, Fed) {
    let (mut inspector, mut hits, mut all) = (Inspector::default(), Vec::new(), Fed::default());
    for part in bytes.chunks(write) {
        let fed = inspector.feed(&SCANNER, part, true, &mut hits);
        all.bodies_too_large += fed.bodies_too_large;
    }
    inspector.flush(&SCANNER, &mut hits);
    (hits.into_iter().map(|hit| hit.location).collect(), all)
}

fn post(headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("POST / HTTP/1.1\r\nHost: a.test\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    [head.as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn a_field_of_a_json_body_is_named_however_it_is_cut() {
    let body =
        format!("{{\"model\": \"m\", \"env\": {{\"HOME\": \"/\", \"KEY\": \"{}\"}}, \"n\": [1]}}", key());
    for write in [1, 7, 60, 10_000] {
        assert_eq!(found(&post("", body.as_bytes()), write).0, ["body > json:env.KEY"], "{write}");
    }
    let clean = body.replace(&key(), "nothing");
    assert!(found(&post("", clean.as_bytes()), 7).0.is_empty());
}

#[test]
fn compressed_bodies_are_opened_announced_or_not() {
    let body = gzip(format!("{{\"env\": {{\"KEY\": \"{}\"}}}}", key()).as_bytes());
    for headers in ["Content-Encoding: gzip\r\n", ""] {
        for write in [97, 10_000] {
            assert_eq!(
                found(&post(headers, &body), write).0,
                ["body > gzip > json:env.KEY"],
                "{headers} {write}"
            );
        }
    }
    assert!(found(&post("Content-Encoding: gzip\r\n", &gzip(b"nothing")), 7).0.is_empty());
    // Not what it is said to be: looked at as it is.
    assert_eq!(found(&post("Content-Encoding: gzip\r\n", key().as_bytes()), 10_000).0, ["body"]);
}

#[test]
fn a_compression_bomb_is_given_up_and_said() {
    let bomb = gzip(&gzip(&vec![b' '; 200 << 20]));
    let headers = "Content-Encoding: gzip, gzip\r\n";
    let (locations, fed) = found(&[post(headers, &bomb), post("", key().as_bytes())].concat(), 16_384);
    assert_eq!(fed.bodies_too_large, 1);
    assert_eq!(locations, ["body"], "the next request is looked at");
}

#[test]
fn many_streams_at_once_are_bounded() {
    let mut bodies = Bodies::default();
    let mut hits = Vec::new();
    for stream in 0..10_000 {
        let piece = Piece { stream, ..Piece::new(Place::Body(Side::Request), Part::More, b"some text") };
        bodies.piece(&SCANNER, &piece, Around::default(), &mut hits);
    }
    let last = key();
    let piece =
        Piece { stream: 9_999, ..Piece::new(Place::Body(Side::Request), Part::Last, last.as_bytes()) };
    bodies.piece(&SCANNER, &piece, Around::default(), &mut hits);
    assert!(hits.is_empty(), "glued to what came before it");
    let piece = Piece { stream: 10_001, ..piece };
    bodies.piece(&SCANNER, &piece, Around::default(), &mut hits);
    assert_eq!(hits.len(), 1);
}
