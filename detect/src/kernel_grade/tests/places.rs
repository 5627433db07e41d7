//! Where in a message a key is, as the kernel tells it: in a body only where that is certain.

use super::http2::{RULES, a_key};
use crate::decode::http2::tests::encoder::{Encoder, GET, How, client, frame};
use keymoat_abi::scan::Stream as Side;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 4;
const END_STREAM: u8 = 1;

/// For each key that is told of one connection's writes: is it in a body?
fn in_bodies<'a>(writes: impl IntoIterator<Item = &'a [u8]>) -> Vec<bool> {
    let (key, _) = a_key();
    let (mut side, mut told) = (Side::NEW, Vec::new());
    for write in writes {
        RULES.1.write_stream(&mut side, write, &mut |rule, in_body| {
            if rule == key {
                told.push(in_body);
            }
        });
        if RULES.1.complete(side.flow()).any(|rule| rule == key) {
            told.push(side.is_in_body());
        }
    }
    told
}

/// Those of a text in one write, and cut in two anywhere: the same.
fn of(text: &str) -> Vec<bool> {
    let whole = in_bodies([text.as_bytes()]);
    for cut in 0..text.len() {
        let (first, second) = text.as_bytes().split_at(cut);
        let mut cut = in_bodies([first, second]);
        // A key that is complete at the end of a write is told again when it goes on.
        cut.dedup();
        let mut whole = whole.clone();
        whole.dedup();
        assert_eq!(
            cut,
            whole,
            "{:?} | {:?}",
            first.escape_ascii().to_string(),
            second.escape_ascii().to_string()
        );
    }
    whole
}

#[test]
fn the_head_of_a_request_is_no_body() {
    let (_, key) = a_key();
    for head in [
        format!("POST /v1/messages HTTP/1.1\r\nx-api-key: {key}\r\n\r\n"),
        format!("GET /?key={key} HTTP/1.1\r\nhost: a\r\n\r\n"),
        format!("GET /?key={key} HTTP/1.0\r\n\r\n"),
        format!("x-api-key: {key}"),
    ] {
        assert_eq!(of(&head), [false], "{head}");
    }
}

#[test]
fn what_follows_the_empty_line_is_one() {
    let (_, key) = a_key();
    for body in
        [key.to_owned(), format!("{{\"prompt\": \"it is {key}, please\"}}"), format!("\r\n{key}\r\n\r\n")]
    {
        let message = format!("POST /v1/messages HTTP/1.1\r\nhost: a\r\n\r\n{body}");
        assert_eq!(of(&message), [true], "{message}");
        let both = format!("POST /v1/messages HTTP/1.1\r\nx-api-key: {key}\r\n\r\n{body}");
        assert_eq!(of(&both), [false, true], "{both}");
    }
}

/// On a connection that is kept, the next request's head is no part of the last one's body.
#[test]
fn another_request_begins_anew() {
    let (_, key) = a_key();
    let first = "POST /v1/messages HTTP/1.1\r\nhost: a\r\n\r\n{\"a\": 1}";
    for method in ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"] {
        let second = format!("{method} /v1?key={key} HTTP/1.1\r\nx-api-key: {key}\r\n\r\n");
        assert_eq!(of(&format!("{first}{second}")), [false, false], "{method}");
        assert_eq!(of(&format!("{first}{second}{key}")), [false, false, true], "{method}");
    }
}

/// Not certain: it may be the head of another request, or no HTTP at all.
#[test]
fn a_doubt_is_no_body() {
    let (_, key) = a_key();
    for text in [
        format!("\r\n\r\n{key}"),
        format!("EHLO a\r\n\r\n{key}"),
        format!("POST / HTTP/1.1\r\nhost: a\r\n\r\nhow does GET / work with {key}"),
    ] {
        assert_eq!(of(&text), [false], "{text}");
    }
}

#[test]
fn frames_say_what_they_hold() {
    let (_, key) = a_key();
    let mut encoder = Encoder { how: How::Never, ..Encoder::new() };
    let mut head = |stream: u32, fields: &[(&str, &str)]| {
        frame(HEADERS, END_HEADERS, stream, &encoder.block(&[GET, fields].concat()))
    };
    let text = format!("{{\"prompt\": \"{key}\"}}");
    let body = |stream: u32| frame(DATA, END_STREAM, stream, text.as_bytes());
    let plain = |stream: u32| frame(DATA, 0, stream, b"{}");
    let with_key = [("x-api-key", key)];
    let connection =
        [client(), head(1, &with_key), body(1), head(3, &[]), plain(3), head(5, &with_key), body(3), body(5)]
            .concat();
    let expected = [false, true, false, true, true];
    assert_eq!(in_bodies([&connection[..]]), expected);
    for cut in 24..connection.len() {
        let (first, second) = connection.split_at(cut);
        let mut told = in_bodies([first, second]);
        let mut expected = expected.to_vec();
        // Told again when it goes on, as above.
        told.dedup();
        expected.dedup();
        assert_eq!(told, expected, "cut at {cut}");
    }
}
