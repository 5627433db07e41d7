//! Keys in HTTP/2, as real encoders write it.

use super::*;
use crate::decode::http2::tests::encoder::{Encoder, GET, How, client, frame, padded};
use keymoat_abi::scan::Stream as Side;

const HEADERS: u8 = 1;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;

pub(super) static RULES: LazyLock<(RuleSet, KernelRules)> = LazyLock::new(|| {
    let rules = RuleSet::builtin().unwrap();
    let kernel = KernelRules::compile(&rules);
    (rules, kernel)
});

/// The rules told of a connection's writes.
fn told<'a>(writes: impl IntoIterator<Item = &'a [u8]>) -> BTreeSet<u16> {
    let (mut side, mut told) = (Side::NEW, BTreeSet::new());
    for write in writes {
        RULES.1.write_stream(&mut side, write, &mut |rule, _| {
            told.insert(rule);
        });
        told.extend(RULES.1.complete(side.flow()));
    }
    told
}

fn numbered() -> impl Iterator<Item = (u16, &'static Rule)> {
    let graded = RULES.0.rules().iter().zip(RULES.1.grades()).zip(0..);
    graded
        .filter(|((rule, grade), _)| rule.on && **grade == Grade::Kernel)
        .map(|((rule, _), number)| (number, rule))
}

/// Positives that can be the value of a field.
fn values(rule: &Rule) -> impl Iterator<Item = &str> {
    rule.positives
        .iter()
        .map(String::as_str)
        .filter(|key| key.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
}

/// The number of a rule, and a key of it.
pub(super) fn a_key() -> (u16, &'static str) {
    let (number, rule) = numbered().find(|(_, rule)| rule.id == "anthropic-api-key").unwrap();
    (number, values(rule).next().unwrap())
}

fn request(encoder: &mut Encoder, name: &str, value: &str) -> Vec<u8> {
    let fields = [GET, &[(name, value)]].concat();
    [client(), frame(HEADERS, END_HEADERS | 1, 1, &encoder.block(&fields))].concat()
}

fn encoders() -> impl Iterator<Item = Encoder> {
    [(How::Insert, true), (How::Plain, true), (How::Never, true), (How::Never, false)].into_iter().map(
        |(how, huffman)| {
            let mut encoder = Encoder::new();
            (encoder.how, encoder.huffman) = (how, huffman);
            encoder
        },
    )
}

/// The rules told of writes of parts of one memory.
fn told_of(memory: &[u8], parts: &[Range<usize>]) -> Vec<BTreeSet<u16>> {
    let mut side = Side::NEW;
    let told = parts.iter().map(|part| {
        let mut told = BTreeSet::new();
        RULES.1.write_part(&mut side, memory, part.clone(), &mut |rule, _| {
            told.insert(rule);
        });
        told.extend(RULES.1.complete(side.flow()));
        told
    });
    told.collect()
}

/// A library that could not send all is given it again, or the rest of it; what comes then is understood as before.
#[test]
fn what_is_written_again_is_no_more_of_it() {
    let (number, key) = a_key();
    let mut encoder = Encoder { how: How::Never, huffman: true, ..Encoder::new() };
    let open = [client(), frame(HEADERS, END_HEADERS, 1, &encoder.block(GET))].concat();
    let words: Vec<u8> = (0..1500).flat_map(|n| format!("word {n} and ").into_bytes()).collect();
    let body = frame(0, 0, 1, &words);
    let last = frame(HEADERS, END_HEADERS | 1, 3, &encoder.block(&[GET, &[("x-api-key", key)]].concat()));
    let memory = [&open[..], &body, &last].concat();
    let (start, end) = (open.len(), open.len() + body.len());
    let middle = start + 7_000;
    let (begin, finish) = (0..start, end..memory.len());
    let whole = |times| std::iter::repeat_n(start..end, times).collect::<Vec<_>>();
    for again in [
        whole(1),
        whole(2),
        whole(3),
        vec![start..end, middle..end],
        vec![start..end, middle..end, middle + 5_000..end, end - 100..end],
        // In writes that do not end where a frame does.
        vec![start..middle, start..middle, middle..end],
        vec![start..middle, start + 3_000..middle, start + 3_000..middle, middle..end, middle..end],
    ] {
        let parts: Vec<_> = [&begin].into_iter().chain(&again).chain([&finish]).cloned().collect();
        let told = told_of(&memory, &parts);
        assert!(told.last().unwrap().contains(&number), "{again:?}");
    }
    // The same bytes in the same place twice, each time whole frames: two messages.
    let parts = [begin, finish.clone(), finish];
    let told = told_of(&[&open[..], &vec![b'.'; body.len()], &last].concat(), &parts);
    assert!(told[1].contains(&number) && told[2].contains(&number), "{told:?}");
}

/// A library that sends one record and is given the rest, again and again: each rest is known, and looked at no more.
#[test]
fn the_rest_of_a_write_is_not_looked_at_again() {
    let (number, key) = a_key();
    let words = "words and more ".repeat(10_000);
    let memory = format!("POST / HTTP/1.1\r\nhost: a.test\r\n\r\n{words}");
    let mut side = Side::NEW;
    let mut write = |memory: &[u8], part: Range<usize>| {
        let mut told = BTreeSet::new();
        RULES.1.write_part(&mut side, memory, part, &mut |rule, _| {
            told.insert(rule);
        });
        (side.is_rest(), told.contains(&number))
    };
    let bytes = memory.as_bytes();
    assert_eq!(write(bytes, 0..bytes.len()), (false, false));
    for from in (16_384..bytes.len()).step_by(16_384) {
        assert_eq!(write(bytes, from..bytes.len()), (true, false));
        // There was no room for it.
        assert_eq!(write(bytes, from..bytes.len()), (true, false));
    }
    // Something else, which is looked at: of another length, at another place, small, or with other bytes.
    let mut other = bytes.to_vec();
    other.splice(40_000..40_000, format!(" {key} ").into_bytes());
    assert_eq!(write(&other, 0..other.len()), (false, true));
    assert_eq!(write(&other, 16_385..other.len()), (false, true));
    assert_eq!(write(&other, 39_990..41_000), (false, true));
    assert_eq!(write(&other, 39_990..41_000), (false, true));
    let half = other.len() / 2;
    assert_eq!(write(&other, 0..half + 16_384), (false, true));
    other[16_390] ^= 1;
    assert_eq!(write(&other, 16_384..half + 16_384), (false, true));
}

/// An upload of nothing but zeros, in one buffer: each write looks like the last one, and is another.
#[test]
fn what_only_looks_like_it_is_more_of_it() {
    let (number, key) = a_key();
    let mut encoder = Encoder { how: How::Never, huffman: true, ..Encoder::new() };
    let open = [client(), frame(HEADERS, END_HEADERS, 1, &encoder.block(GET))].concat();
    let zeros = frame(0, 0, 1, &[0; 16_384]).repeat(20);
    let last = frame(HEADERS, END_HEADERS | 1, 3, &encoder.block(&[GET, &[("x-api-key", key)]].concat()));
    let all = [&open[..], &zeros, &last].concat();
    for size in [16_384, 16_393, 16_000, 20_000, 33_333, 65_536] {
        let mut buffer = vec![0; size];
        let (mut side, mut told) = (Side::NEW, BTreeSet::new());
        for write in all.chunks(size) {
            buffer[..write.len()].copy_from_slice(write);
            RULES.1.write_stream(&mut side, &buffer[..write.len()], &mut |rule, _| {
                told.insert(rule);
            });
            told.extend(RULES.1.complete(side.flow()));
        }
        assert!(told.contains(&number), "{size}");
    }
}

#[test]
fn every_key_is_told_in_every_kind_of_field() {
    for (number, rule) in numbered() {
        for key in values(rule) {
            for mut encoder in encoders() {
                for (name, value) in [
                    ("authorization", format!("Bearer {key}")),
                    ("x-api-key", key.to_owned()),
                    (":path", format!("/?key={key}")),
                ] {
                    let bytes = request(&mut encoder, name, &value);
                    assert!(told([bytes.as_slice()]).contains(&number), "{} in {name}", rule.id);
                }
            }
        }
    }
}

#[test]
fn what_is_no_key_is_not_told() {
    for (number, rule) in numbered() {
        for text in
            rule.negatives.iter().filter(|text| text.bytes().all(|byte| (b' '..=b'~').contains(&byte)))
        {
            let plain = told([[b"\n", text.as_bytes(), b"\n"].concat().as_slice()]);
            let coded = told([request(&mut Encoder::new(), "x-api-key", text).as_slice()]);
            assert_eq!(coded.contains(&number), plain.contains(&number), "{}: {text}", rule.id);
        }
    }
}

fn anthropic() -> (u16, &'static str) {
    let (number, rule) = numbered().find(|(_, rule)| rule.id == "anthropic-api-key").unwrap();
    (number, rule.positives[0].as_str())
}

#[test]
fn wherever_it_is_cut() {
    let (number, key) = anthropic();
    let bytes = request(&mut Encoder::new(), "x-api-key", key);
    for first in 4..bytes.len() {
        let (head, tail) = bytes.split_at(first);
        assert!(told([head, tail]).contains(&number), "cut at {first}");
        let (middle, tail) = tail.split_at(tail.len() / 2);
        assert!(told([head, middle, tail]).contains(&number), "cut at {first} and behind it");
    }
    assert!(told(bytes.chunks(5)).contains(&number));
}

#[test]
fn padding_priority_and_continuation() {
    let (number, key) = anthropic();
    let block = Encoder::new().block(&[GET, &[("x-api-key", key)]].concat());
    let with_priority = |block: &[u8]| [&[0, 0, 0, 0, 15], block].concat();
    let (head, tail) = block.split_at(block.len() - 40);
    for frames in [
        frame(HEADERS, END_HEADERS | 0x8, 1, &padded(&block, 20)),
        frame(HEADERS, END_HEADERS | 0x20, 1, &with_priority(&block)),
        frame(HEADERS, END_HEADERS | 0x28, 1, &padded(&with_priority(&block), 7)),
        [frame(HEADERS, 1, 1, head), frame(CONTINUATION, END_HEADERS, 1, tail)].concat(),
        [
            frame(HEADERS, 0x8, 1, &padded(head, 3)),
            frame(CONTINUATION, 0, 1, &[]),
            frame(CONTINUATION, END_HEADERS, 1, tail),
        ]
        .concat(),
    ] {
        let bytes = [client(), frames].concat();
        assert!(told([bytes.as_slice()]).contains(&number));
    }
}

#[test]
fn a_body_is_one_text_over_its_frames() {
    let (number, key) = anthropic();
    let (head, tail) = key.split_at(30);
    let data = |stream, text: &str| frame(0, 0, stream, text.as_bytes());
    let settings = frame(4, 1, 0, &[]);
    let together = [client(), data(1, head), settings.clone(), data(1, &format!("{tail} "))].concat();
    assert!(told([together.as_slice()]).contains(&number));
    let apart = [client(), data(1, head), data(3, &format!("{tail} "))].concat();
    assert!(!told([apart.as_slice()]).contains(&number), "two streams are two texts");
    let padded = [client(), frame(0, 0x8, 1, &padded(key.as_bytes(), 9))].concat();
    assert!(told([padded.as_slice()]).contains(&number));
}

#[test]
fn a_request_in_the_clear_is_no_http2() {
    let (number, key) = anthropic();
    assert!(told([format!("PRINT {key} ").as_bytes()]).contains(&number));
    assert!(told([format!("POST / HTTP/1.1\r\nx: {key}\r\n").as_bytes()]).contains(&number));
}

proptest! {
    #[test]
    fn nonsense_ends_and_is_the_same_however_it_is_cut(
        noise in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(1..80usize, 1..12),
    ) {
        let (_, key) = anthropic();
        let bytes = [client(), noise.clone(), key.as_bytes().to_vec(), noise].concat();
        let whole: BTreeSet<u16> = {
            let (mut side, mut found) = (Side::NEW, BTreeSet::new());
            RULES.1.write_stream(&mut side, &bytes, &mut |rule, _| { found.insert(rule); });
            found
        };
        let (mut side, mut found) = (Side::NEW, BTreeSet::new());
        let (first, mut rest) = bytes.split_at(24);
        RULES.1.write_stream(&mut side, first, &mut |rule, _| { found.insert(rule); });
        for cut in cuts {
            let (write, left) = rest.split_at(cut.min(rest.len()));
            RULES.1.write_stream(&mut side, write, &mut |rule, _| { found.insert(rule); });
            rest = left;
        }
        RULES.1.write_stream(&mut side, rest, &mut |rule, _| { found.insert(rule); });
        prop_assert_eq!(whole, found);
    }

    #[test]
    fn fields_come_out_as_they_were_put_in(values in prop::collection::vec("[ -~]{0,60}", 1..6)) {
        // A rule is told of a value between others exactly as it is told of the value alone.
        let fields: Vec<(&str, &str)> = values.iter().map(|value| ("x-value", value.as_str())).collect();
        let (_, key) = anthropic();
        let all = [GET, &fields, &[("x-key", key)], &fields].concat();
        let bytes = [client(), frame(HEADERS, END_HEADERS, 1, &Encoder::new().block(&all))].concat();
        let text: String = values.iter().chain([&key.to_owned()]).chain(&values).map(|value| format!("\n{value}\n")).collect();
        prop_assert_eq!(told([bytes.as_slice()]), told([text.as_bytes()]));
    }
}

/// A TLS library makes its next connection object where the last one was: what that one spoke says nothing of this one.
#[test]
fn a_new_connection_at_the_place_of_an_old_one_begins_anew() {
    let (rule, key) = (0..).zip(RULES.0.rules()).find(|(_, rule)| rule.id == "anthropic-api-key").unwrap();
    let key = &key.positives[0];
    let old = request(&mut Encoder::new(), "accept", "text/plain");
    let new = format!("GET / HTTP/1.1\r\nx-api-key: {key}\r\n\r\n");
    let told = |sent: u64| {
        let (mut side, mut told) = (Side::NEW, BTreeSet::new());
        for (sent, write) in [(0, old.as_slice()), (sent, new.as_bytes())] {
            side.comes_after(sent);
            RULES.1.write_stream(&mut side, write, &mut |rule, _| {
                told.insert(rule);
            });
        }
        told
    };
    assert!(told(0).contains(&rule));
    assert!(told(old.len() as u64).is_empty(), "these are no frames of HTTP/2");
}
