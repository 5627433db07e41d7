//! Bytes that are missing, and connections joined late.

use super::*;

/// A request and what it is the second time, when the table knows all of it.
fn twice() -> [Vec<u8>; 2] {
    let mut encoder = Encoder::new();
    [(); 2].map(|()| encoder.block(&[GET, &[("x-api-key", "k")]].concat()))
}

#[test]
fn a_connection_joined_late_is_read_as_far_as_it_can_be() {
    let mut encoder = Encoder::new();
    encoder.block(&[GET, &[("x-api-key", "k")]].concat());
    let again = encoder.block(&[GET, &[("x-api-key", "k"), ("x-api-key", "k2"), ("x-new", "1")]].concat());
    let last = encoder.block(&[GET, &[("x-new", "1"), ("x-api-key", "k3")]].concat());
    let bytes = [frame(1, END_HEADERS, 9, &again), frame(0, END_STREAM, 9, b"body")].concat();
    let sender = looks_like_frames(&bytes).unwrap();
    assert_eq!(sender, Sender::Client);
    let mut http = Http2::midway(sender);
    let known = [":method: GET", ":scheme: https", ":path: /"];
    let out = feed(&mut http, &[&bytes]);
    assert_eq!(out[0], "9 Request -");
    assert_eq!(out[1..4], known);
    assert_eq!(out[4..], ["?: k2", "x-new: 1", "9 Body(Request) body."]);
    let out = feed(&mut http, &[&frame(1, END_HEADERS, 11, &last)]);
    assert_eq!(out[1..4], known);
    assert_eq!(out[4..], ["x-new: 1", "?: k3"]);
}

#[test]
fn whose_bytes_they_are_is_learned_late() {
    let mut encoder = Encoder::new();
    let head = frame(1, END_HEADERS, 3, &encoder.block(&[(":status", "200")]));
    let data = frame(0, 0, 1, b"text");
    let mut http = Http2::midway(looks_like_frames(&data).unwrap());
    assert_eq!(feed(&mut http, &[&data]), ["1 Stream text"]);
    assert_eq!(http.side(), None);
    let out = feed(&mut http, &[&head, &data]);
    assert_eq!(out, ["3 Response -", ":status: 200", "1 Body(Response) text"]);
}

#[test]
fn the_end_of_a_block_is_no_block() {
    let mut http = Http2::midway(Sender::Client);
    let [first, _] = twice();
    let out = feed(&mut http, &[&frame(9, END_HEADERS, 1, b"hx"), &frame(1, END_HEADERS, 3, &first)]);
    assert_eq!(out[..2], ["0 Stream hx.", "3 Request api.test"]);
}

#[test]
fn a_gap_in_a_body_is_counted() {
    let head = frame(1, END_HEADERS, 1, &twice()[0]);
    let data = frame(0, END_STREAM, 1, b"0123456789");
    let next = frame(0, 0, 3, b"next");
    let start = [client(), head].concat();
    for (from, to) in [(9, 12), (10, 19), (12, 13)] {
        let mut http = Http2::new();
        feed(&mut http, &[&start, &data[..from]]);
        let mut out = Out::default();
        http.feed(b"", true, &mut out);
        http.gap((to - from) as u64, &mut out);
        http.feed(&[&data[to..], &next].concat(), false, &mut out);
        let rest = text(&data[to..]);
        assert_eq!(out.short(), [format!("1 Body(Request) {rest}."), "3 Body(Request) next".to_owned()]);
    }
}

#[test]
fn a_gap_across_frames_is_got_over_at_a_write_of_frames() {
    let [first, second] = twice();
    let data = frame(0, 0, 1, b"0123456789");
    let mut http = Http2::new();
    feed(&mut http, &[&client(), &frame(1, END_HEADERS, 1, &first), &data[..12]]);
    let mut out = Out::default();
    http.gap(100, &mut out);
    http.feed(b"something", true, &mut out);
    http.feed(&frame(1, END_HEADERS, 7, &second), false, &mut out);
    assert!(matches!(&out.0[..], [Event::Bytes { place: Place::Stream, .. }]));
    // The table is unknown now: the host is not guessed, the key's name neither.
    let out = feed(&mut http, &[&frame(1, END_HEADERS, 9, &second)]);
    assert_eq!(out, ["0 Stream .", "9 Request -", ":method: GET", ":scheme: https", ":path: /"]);
    let out = feed(&mut http, &[&frame(1, END_HEADERS, 11, &first)]);
    assert_eq!(out[1..].last().unwrap(), "x-api-key: k");
}

#[test]
fn a_gap_in_a_block_leaves_what_was_read_and_the_frames() {
    let [first, second] = twice();
    let bytes = frame(1, END_HEADERS | END_STREAM, 1, &first);
    let mut http = Http2::new();
    feed(&mut http, &[&client()]);
    let mut out = Out::default();
    http.feed(&bytes[..12], true, &mut out);
    http.gap(3, &mut out);
    http.feed(&bytes[15..], false, &mut out);
    http.feed(&frame(1, END_HEADERS, 3, &second), false, &mut out);
    let lines = out.short();
    assert_eq!(lines[..4], ["1 Request -", ":method: GET", ":scheme: https", ":path: /"]);
    assert!(lines[4].starts_with("0 Stream ") && lines[4].ends_with('.'));
    assert_eq!(lines[5..7], ["1 Body(Request) .", "3 Request -"]);
}

#[test]
fn a_gap_anywhere_else_loses_the_frames() {
    let [first, _] = twice();
    let head = frame(1, 0, 1, &first);
    let cut = [
        &client()[..10],
        &client()[..27],
        &[&client()[..], &head].concat(),
        &[&client()[..], &head[..4]].concat(),
    ]
    .map(<[u8]>::to_vec);
    for bytes in cut {
        for missing in [0, 1, u64::MAX] {
            let (mut http, mut out) = (Http2::new(), Out::default());
            http.feed(&bytes, true, &mut out);
            http.gap(missing, &mut out);
            http.gap(missing, &mut out);
            out.0.clear();
            http.feed(b"text", false, &mut out);
            assert_eq!(out.short(), ["0 Stream text"], "{}", bytes.len());
        }
    }
}

#[test]
fn a_new_connection_is_at_its_start_and_an_old_one_is_not() {
    let mut http = Http2::new();
    assert!(http.at_start());
    feed(&mut http, &[&client()]);
    assert!(!http.at_start() && http.side() == Some(Side::Request));
    assert!(!Http2::midway(Sender::Unknown).at_start());
}
