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

fn found_whole(bytes: &[u8]) -> Vec<String> {
    let whole = found(bytes, bytes.len()).0;
    for write in [1, 13, 100] {
        assert_eq!(found(bytes, write).0, whole, "{write}");
    }
    whole
}

#[test]
fn the_part_of_a_form_is_named() {
    let form = |text: &str| {
        let part = |name: &str, text: &str| {
            format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{text}\r\n")
        };
        let body =
            part("title", "notes") + &part("meta", &format!("{{\"k\": \"{text}\"}}")) + &part("note", text);
        post("Content-Type: multipart/form-data; boundary=b\r\n", (body + "--b--\r\n").as_bytes())
    };
    assert_eq!(found_whole(&form(&key())), ["body > part:meta > json:k", "body > part:note"]);
    assert!(found_whole(&form("nothing")).is_empty());
    // A file's name is in the part's header lines.
    let named =
        format!("--b\r\nContent-Disposition: form-data; name=f; filename=\"{}\"\r\n\r\n\r\n--b--", key());
    let headers = "Content-Type: multipart/form-data; boundary=b\r\n";
    assert_eq!(found_whole(&post(headers, named.as_bytes())), ["body > part:f"]);
    assert_eq!(found_whole(&post("Content-Type: text/plain\r\n", named.as_bytes())), ["body"]);
}

#[test]
fn grpc_messages_are_opened_one_by_one() {
    let message = |flag: u8, bytes: &[u8]| [&[flag][..], &(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let (first, second) = (message(0, b"\x0a\x04text"), message(1, &gzip(key().as_bytes())));
    let headers = "Content-Type: application/grpc-web+proto\r\nGrpc-Encoding: gzip\r\n";
    assert_eq!(found_whole(&post(headers, &[&first[..], &second].concat())), ["body > grpc"]);
    assert!(found_whole(&post(headers, &first)).is_empty());
    // Two halves of a key in two messages are no key.
    let key = key();
    let (one, other) = key.as_bytes().split_at(20);
    assert!(found_whole(&post(headers, &[message(0, one), message(0, other)].concat())).is_empty());
}

/// A pack of one blob, as `git push` sends it.
fn push_of(blob: &[u8]) -> Vec<u8> {
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), Compression::default());
    zlib.write_all(blob).unwrap();
    let line = format!("{} {} refs/heads/main", "0".repeat(40), "a".repeat(40));
    let mut body = format!("{:04x}{line}0000PACK", line.len() + 4).into_bytes();
    body.extend([0, 0, 0, 2, 0, 0, 0, 1]);
    // Type 3, and the size in seven bits at a time behind the first four.
    assert!((16..2048).contains(&blob.len()));
    body.extend([0xb0 | (blob.len() & 0xf) as u8, (blob.len() >> 4) as u8]);
    body.extend(zlib.finish().unwrap());
    body.extend([0; 20]);
    post("Content-Type: application/x-git-receive-pack-request\r\n", &body)
}

#[test]
fn what_a_git_push_packs_is_unpacked() {
    assert_eq!(found_whole(&push_of(format!("notes\n{}\n", key()).as_bytes())), ["body > git:blob"]);
    assert!(found_whole(&push_of(b"some notes, and nothing else\n")).is_empty());
}

fn websocket_frame(text: &[u8]) -> Vec<u8> {
    assert!((126..65536).contains(&text.len()));
    let mask = [7, 99, 200, 31];
    let masked = text.iter().zip(mask.iter().cycle()).map(|(byte, key)| byte ^ key);
    let header = [&[0x81, 0x80 | 126][..], &(text.len() as u16).to_be_bytes(), &mask].concat();
    header.into_iter().chain(masked).collect()
}

#[test]
fn messages_behind_a_websocket_handshake_are_unmasked() {
    let handshake =
        b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let message = |text: &str| format!("{{\"pad\": \"{}\", \"say\": \"{text}\"}}", " ".repeat(100));
    let talk = |text: &str| [&handshake[..], &websocket_frame(message(text).as_bytes())].concat();
    assert_eq!(found_whole(&talk(&key())), ["message > json:say"]);
    assert!(found_whole(&talk("nothing")).is_empty());
    // The server said no: the next request is one.
    assert_eq!(found_whole(&[&handshake[..], &post("", key().as_bytes())].concat()), ["body"]);
}

#[test]
fn a_websocket_joined_midway_is_known_by_its_frames() {
    let frame = |text: &str| websocket_frame(format!("{}{text}", " ".repeat(130)).as_bytes());
    let run = |frames: &[Vec<u8>]| {
        let (mut inspector, mut hits) = (Inspector::default(), Vec::new());
        inspector.joined_midway();
        for frame in frames {
            inspector.feed(&SCANNER, frame, true, &mut hits);
        }
        inspector.flush(&SCANNER, &mut hits);
        hits.into_iter().map(|hit| (hit.location, hit.protocol)).collect::<Vec<_>>()
    };
    let halves = frame("first").split_off(40);
    let expected = [("message".to_owned(), Some("websocket"))];
    assert_eq!(run(&[halves.clone(), frame(&key())]), expected);
    assert!(run(&[halves, frame("nothing")]).is_empty());
}
