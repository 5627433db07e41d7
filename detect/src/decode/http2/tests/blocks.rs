//! Header blocks: every representation, blocks in many frames, and bounds.

use super::encoder::{How, integer};
use super::*;
use crate::decode::http2::block::Fields;
use crate::decode::http2::hpack::{Stop, decode};
use crate::decode::http2::table::{Entry, Table};
use proptest::prelude::*;

type Decoded = Vec<(Option<String>, String)>;

fn fields(block: &[u8], table: &mut Table) -> (Decoded, usize, Stop) {
    let mut fields = Fields::default();
    let (taken, stop) = decode(block, table, &mut fields);
    let decoded = fields.iter().map(|(name, value)| (name.map(text), text(value))).collect();
    (decoded, taken, stop)
}

fn known(fields: &[(&str, &str)]) -> Decoded {
    fields.iter().map(|&(name, value)| (Some(name.to_owned()), value.to_owned())).collect()
}

/// RFC 7541, C.4: three requests with Huffman coding, on one connection.
#[test]
fn the_rfcs_own_examples_decode() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    };
    let mut table = Table::new();
    let get = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "www.example.com")];
    let first = hex("8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
    assert_eq!(fields(&first, &mut table), (known(&get), first.len(), Stop::More));
    let second = hex("8286 84be 5886 a8eb 1064 9cbf");
    let expected = known(&[&get[..], &[("cache-control", "no-cache")]].concat());
    assert_eq!(fields(&second, &mut table).0, expected);
    let third = hex("8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
    let expected = [
        (":method", "GET"),
        (":scheme", "https"),
        (":path", "/index.html"),
        (":authority", "www.example.com"),
        ("custom-key", "custom-value"),
    ];
    assert_eq!(fields(&third, &mut table).0, known(&expected));
    assert_eq!(table.size(), 164);
}

#[test]
fn a_sensitive_field_is_read_and_not_remembered() {
    let mut encoder = Encoder { how: How::Never, ..Encoder::new() };
    for huffman in [true, false] {
        encoder.huffman = huffman;
        let block = encoder.block(&[("authorization", "Bearer x"), ("x-own", "y")]);
        assert_eq!(block[0] >> 4, 1);
        let mut table = Table::new();
        let expected = known(&[("authorization", "Bearer x"), ("x-own", "y")]);
        assert_eq!(fields(&block, &mut table).0, expected);
        assert_eq!(table.size(), 0);
    }
}

#[test]
fn a_table_is_used_over_several_requests_and_resized_between_them() {
    let mut encoder = Encoder::new();
    let mut table = Table::new();
    let all = [("x-a", "1"), ("x-b", "2"), ("x-a", "3")];
    let mut lengths = Vec::new();
    for size in [None, None, Some(0), Some(40), Some(4096), None, Some(65_536)] {
        let mut block = size.map(|size| encoder.resize(size)).unwrap_or_default();
        block.extend(encoder.block(&all));
        assert_eq!(fields(&block, &mut table), (known(&all), block.len(), Stop::More));
        lengths.push(block.len());
    }
    assert_eq!(lengths[1], 3);
}

#[test]
fn joined_late_a_field_is_what_can_be_known_of_it() {
    let mut encoder = Encoder::new();
    let old = encoder.block(&[("x-old", "before"), ("x-kept", "before")]);
    let again =
        encoder.block(&[("x-old", "before"), ("x-old", "after"), ("x-new", "after"), ("x-kept", "2")]);
    let last = encoder.block(&[("x-old", "after"), ("x-new", "after"), ("x-new", "3"), ("x-kept", "before")]);
    let mut table = Table::unknown();
    let nameless = |value: &str| (None, value.to_owned());
    let named = |name: &str, value: &str| (Some(name.to_owned()), value.to_owned());
    assert_eq!(fields(&again, &mut table).0, [nameless("after"), named("x-new", "after"), nameless("2")]);
    assert_eq!(
        fields(&last, &mut table).0,
        [nameless("after"), named("x-new", "after"), named("x-new", "3")]
    );
    let mut table = Table::unknown();
    assert_eq!(fields(&old, &mut table).0, known(&[("x-old", "before"), ("x-kept", "before")]));
}

#[test]
fn an_error_ends_the_block_and_names_by_index_for_ever() {
    let mut http = Http2::new();
    let mut encoder = Encoder { huffman: false, ..Encoder::new() };
    let good = encoder.block(&[("x-a", "1")]);
    let bad = [&encoder.block(&[("x-b", "2")])[..], &[0x80, 0x42, 1, b'x']].concat();
    let later =
        encoder.block(&[("x-a", "3"), ("x-b", "2"), ("x-c", "4"), ("authorization", "k"), ("x-c", "4")]);
    let out = feed(
        &mut http,
        &[
            &client(),
            &frame(1, END_HEADERS, 1, &good),
            &frame(1, END_HEADERS, 3, &bad),
            &frame(1, END_HEADERS, 5, &later),
        ],
    );
    let expected = [
        "1 Request -",
        "x-a: 1",
        "3 Request -",
        "x-b: 2",
        "0 Stream \u{80}B\u{1}x.",
        "5 Request -",
        "?: 3",
        "x-c: 4",
        "authorization: k",
    ];
    assert_eq!(out, expected);
}

#[test]
fn what_is_no_hpack_is_broken() {
    let overlong = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    let huffman_eos = [0x41, 0x84, 0xff, 0xff, 0xff, 0xff];
    let beyond_the_table = [0xbe];
    let broken: [&[u8]; 4] = [&[0x80], &overlong, &huffman_eos, &beyond_the_table];
    for block in broken {
        assert_eq!(fields(block, &mut Table::new()), (Vec::new(), 0, Stop::Broken), "{block:?}");
    }
    for part in [&[][..], &[0x41], &[0x41, 0x84, 0xff], &[0xff, 0x80], &[0x40, 0x7f]] {
        assert_eq!(fields(part, &mut Table::new()), (Vec::new(), 0, Stop::More), "{part:?}");
    }
}

#[test]
fn a_block_in_many_frames_is_one() {
    let mut encoder = Encoder::new();
    let all = [GET, &[("cookie", "a=b; c=d")]].concat();
    let block = encoder.block(&all);
    let mut bytes = frame(1, END_STREAM, 1, &[]);
    for byte in &block {
        bytes.extend(frame(9, 0, 1, &[*byte]));
        bytes.extend(frame(9, 0, 1, &[]));
    }
    bytes.extend(frame(9, END_HEADERS, 1, &[]));
    assert_eq!(sent(&[bytes])[1..6], all.map_lines());
}

trait Lines {
    fn map_lines(&self) -> Vec<String>;
}

impl Lines for [(&str, &str)] {
    fn map_lines(&self) -> Vec<String> {
        self.iter().map(|(name, value)| format!("{name}: {value}")).collect()
    }
}

#[test]
fn a_block_too_long_is_handed_on_as_it_is_sent() {
    let mut encoder = Encoder { how: How::Plain, huffman: false, ..Encoder::new() };
    let filler = "v".repeat(9000);
    let (mut block, mut bytes) = (encoder.block(&[(":path", "/")]), client());
    for _ in 0..8 {
        block.extend(encoder.block(&[("x-filler", &filler)]));
    }
    let parts: Vec<&[u8]> = block.chunks(16_000).collect();
    for (i, part) in parts.iter().enumerate() {
        let kind = if i == 0 { 1 } else { 9 };
        let flags = if i + 1 == parts.len() { END_HEADERS } else { 0 };
        bytes.extend(frame(kind, flags, 1, part));
    }
    encoder.how = How::Insert;
    bytes.extend(frame(1, END_HEADERS, 3, &encoder.block(&[("x-a", "1")])));
    bytes.extend(frame(1, END_HEADERS, 5, &encoder.block(&[("x-a", "1")])));
    let mut outs = Vec::new();
    for size in [1, 1000, usize::MAX] {
        let (mut http, mut out) = (Http2::new(), Out::default());
        for part in bytes.chunks(size.min(bytes.len())) {
            http.feed(part, false, &mut out);
            assert!(http.buffered() < 3 * MAX_BLOCK);
        }
        outs.push(out);
    }
    assert!(outs[0].0 == outs[1].0 && outs[1].0 == outs[2].0);
    let out = outs.remove(0);
    let whole = out.0.iter().filter(|event| matches!(event, Event::Field { value, .. } if *value == filler));
    assert_eq!(whole.count(), 7);
    assert_eq!(out.0[0], Event::TooLong);
    let rest = out.0.iter().find_map(|event| match event {
        Event::Bytes { text, over: true, .. } => Some(text.len()),
        _ => None,
    });
    assert!(rest.is_some_and(|rest| rest >= 9000));
    assert_eq!(out.short()[out.0.len() - 4..], ["3 Request -", "x-a: 1", "5 Request -", "x-a: 1"]);
}

#[test]
fn a_small_block_with_enormous_fields_is_too_long() {
    let mut table = Table::new();
    table.resize(65_536);
    table.insert(Entry::new(Some(b"x-bomb"), &[b'v'; 4000]));
    let (decoded, taken, stop) = fields(&[0xbe; 60_000], &mut table);
    assert_eq!((decoded.len(), taken, stop), (64, 64, Stop::TooLong));
    let (decoded, _, stop) = fields(&[0x82; 60_000], &mut table);
    assert_eq!((decoded.len(), stop), (MAX_FIELDS / (10 + 32), Stop::TooLong));
}

#[test]
fn what_waits_can_be_seen_and_given_up() {
    let mut encoder = Encoder { huffman: false, ..Encoder::new() };
    let block = encoder.block(&[(":path", "/"), ("x-a", "1"), ("x-b", "long value")]);
    let (mut http, mut out) = (Http2::new(), Out::default());
    http.feed(&client(), true, &mut out);
    let bytes = frame(1, END_HEADERS | END_STREAM, 1, &block);
    http.feed(&bytes[..bytes.len() - 4], true, &mut out);
    assert!(http.pending() && out.0.is_empty());
    http.peek(&mut out);
    http.peek(&mut out);
    assert!(!http.pending());
    let seen = ["1 Request -", ":path: /", "x-a: 1", "0 Stream @\u{3}x-b\nlong v."];
    assert_eq!(out.short(), seen);
    let mut other = Out::default();
    http.feed(&bytes[bytes.len() - 4..], false, &mut other);
    assert_eq!(other.short(), ["1 Request -", "x-b: long value", "1 Body(Request) ."]);

    let (mut http, mut out) = (Http2::new(), Out::default());
    http.feed(&client(), true, &mut out);
    http.feed(&bytes[..bytes.len() - 4], true, &mut out);
    assert!(http.buffered() > 0);
    http.give_up(&mut out);
    assert_eq!((http.buffered(), http.pending()), (0, false));
    http.feed(&bytes[bytes.len() - 4..], false, &mut out);
    let whole = "0 Stream @\u{3}x-b\nlong value.";
    assert_eq!(out.short(), ["too long", "1 Request -", ":path: /", "x-a: 1", whole, "1 Body(Request) ."]);
}

proptest! {
    /// Two decoders that know nothing of each other read the same fields.
    #[test]
    fn another_decoder_agrees(blocks in prop::collection::vec(prop::collection::vec(step(), 1..12), 1..8)) {
        let (mut ours, mut theirs) = (Table::new(), loona_hpack::Decoder::new());
        let mut encoder = Encoder::new();
        for steps in blocks {
            let mut block = Vec::new();
            for Step { name, value, how, huffman, reuse, resize } in steps {
                if let Some(size) = resize {
                    block.extend(encoder.resize(size));
                }
                (encoder.how, encoder.huffman, encoder.reuse) = (how, huffman, reuse);
                encoder.field(&name, &value, &mut block);
            }
            let (decoded, taken, _) = fields(&block, &mut ours);
            prop_assert_eq!(taken, block.len());
            let expected = theirs.decode(&block).map_err(|error| TestCaseError::fail(error.to_string()))?;
            let expected: Decoded = expected.iter().map(|(n, v)| (Some(text(n)), text(v))).collect();
            prop_assert_eq!(decoded, expected);
        }
    }

    /// Whatever another decoder makes sense of, so does this one.
    #[test]
    fn noise_is_read_as_others_read_it(block in prop::collection::vec(prop_oneof![0..64u8, any::<u8>()], 0..40)) {
        let mut theirs = loona_hpack::Decoder::new();
        theirs.set_max_allowed_table_size(65_536);
        let mut ours = Table::new();
        let (decoded, _, _) = fields(&block, &mut ours);
        if let Ok(expected) = theirs.decode(&block) {
            let expected: Decoded = expected.iter().map(|(n, v)| (Some(text(n)), text(v))).collect();
            prop_assert_eq!(decoded, expected);
        }
    }

    #[test]
    fn a_number_reads_as_it_was_written(value in 0usize..1 << 28) {
        let mut block = Vec::new();
        integer(value, 5, 0x20, &mut block);
        let (_, taken, stop) = fields(&block, &mut Table::new());
        prop_assert_eq!((taken, stop), (block.len(), Stop::More));
    }
}

#[derive(Debug, Clone)]
struct Step {
    name: String,
    value: String,
    how: How,
    huffman: bool,
    reuse: bool,
    resize: Option<usize>,
}

fn step() -> impl Strategy<Value = Step> {
    let name = prop_oneof!["x-[a-c]", Just("authorization".to_owned()), Just("cookie".to_owned())];
    let how = prop_oneof![Just(How::Insert), Just(How::Plain), Just(How::Never)];
    let resize = prop_oneof![8 => Just(None), 1 => (0usize..200).prop_map(Some), 1 => Just(Some(4096))];
    (name, "[ -~]{0,40}", how, any::<bool>(), any::<bool>(), resize).prop_map(
        |(name, value, how, huffman, reuse, resize)| Step { name, value, how, huffman, reuse, resize },
    )
}
