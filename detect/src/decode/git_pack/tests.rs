use super::*;
use flate2::{Compression, write::ZlibEncoder};
use proptest::prelude::*;
use std::io::Write as _;

const OLD: &str = "0000000000000000000000000000000000000000";

fn line(text: &str) -> Vec<u8> {
    format!("{:04x}{text}", text.len() + 4).into_bytes()
}

fn commands() -> Vec<u8> {
    [line(&format!("{OLD} {OLD} refs/heads/main\0report-status")), line("push-option"), b"0000".to_vec()]
        .concat()
}

/// An object as a pack has it. `base` is what names the base of a delta.
fn object(number: u8, base: &[u8], plain: &[u8]) -> Vec<u8> {
    let mut size = plain.len() >> 4;
    let mut bytes = vec![number << 4 | (plain.len() & 15) as u8];
    while size > 0 {
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push((size & 0x7f) as u8);
        size >>= 7;
    }
    bytes.extend(base);
    let mut encoder = ZlibEncoder::new(bytes, Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn pack(objects: &[Vec<u8>]) -> Vec<u8> {
    let header = [&b"PACK\0\0\0\x02"[..], &(objects.len() as u32).to_be_bytes()].concat();
    [header, objects.concat(), vec![0xee; 20]].concat()
}

type Outcome = (Vec<(Kind, Vec<u8>)>, Result<(), Stopped>);

fn parse(parts: &[&[u8]]) -> Outcome {
    let mut push = GitPush::announced(b"application/x-git-receive-pack-request").unwrap();
    let (mut texts, mut open, mut result) = (Vec::new(), None, Ok(()));
    let mut take = |kind: Kind, part: Part, bytes: &[u8]| {
        let (is, text) = open.get_or_insert((kind, Vec::new()));
        assert_eq!(*is, kind);
        text.extend_from_slice(bytes);
        if part != Part::More {
            texts.extend(open.take());
        }
    };
    for part in parts {
        result = result.and(push.push(part, &mut take));
        assert!(push.buffered() < 64 * 1024);
    }
    result = result.and(push.finish(&mut take));
    assert!(open.is_none());
    (texts, result)
}

/// Two instructions of new text in a row, a copy with four operands, and new text.
const DELTA: &[u8] = b"\x90\x01\x20\x03new\x05 text\x95\x01\x02\x03\x04more";
const DELTA_TEXTS: [&[u8]; 2] = [b"new text", b"more"];

fn push() -> (Vec<u8>, Vec<(Kind, Vec<u8>)>) {
    let blob: Vec<u8> = (0..3000u32).flat_map(|i| format!("{} ", i * i).into_bytes()).collect();
    let objects = [
        object(1, b"", b"tree 1\nauthor A\n\nmessage"),
        object(2, b"", b"100644 name\0sha"),
        object(3, b"", &blob),
        object(6, b"\x81\x01", DELTA),
        object(4, b"", b"tag"),
        object(7, &[0xaa; 20], DELTA),
        object(3, b"", b""),
    ];
    let bytes = [commands(), pack(&objects)].concat();
    let texts = [
        (Kind::Line, format!("{OLD} {OLD} refs/heads/main\0report-status").into_bytes()),
        (Kind::Line, b"push-option".to_vec()),
        (Kind::Commit, b"tree 1\nauthor A\n\nmessage".to_vec()),
        (Kind::Tree, b"100644 name\0sha".to_vec()),
        (Kind::Blob, blob),
        (Kind::Delta, DELTA_TEXTS[0].to_vec()),
        (Kind::Delta, DELTA_TEXTS[1].to_vec()),
        (Kind::Tag, b"tag".to_vec()),
        (Kind::Delta, DELTA_TEXTS[0].to_vec()),
        (Kind::Delta, DELTA_TEXTS[1].to_vec()),
        (Kind::Blob, Vec::new()),
    ];
    (bytes, texts.to_vec())
}

#[test]
fn a_push_is_taken_apart() {
    let (bytes, texts) = push();
    assert_eq!(parse(&[&bytes]), (texts, Ok(())));
    assert_eq!(parse(&[b"0000"]), (Vec::new(), Ok(())));
    assert!(GitPush::announced(b"application/x-git-upload-pack-request").is_none());
}

#[test]
fn how_it_is_cut_changes_nothing() {
    let (bytes, texts) = push();
    for size in (1..200).chain([1000, 5000]) {
        assert_eq!(parse(&bytes.chunks(size).collect::<Vec<_>>()), (texts.clone(), Ok(())), "{size}");
    }
}

#[test]
fn names_are_longer_where_they_are_sha_256() {
    let name = OLD.to_owned() + &OLD[..24];
    let command = line(&format!("{name} {name} refs/heads/main\0object-format=sha256"));
    let bytes = [command, b"0000".to_vec(), pack(&[object(7, &[0xaa; 32], DELTA)]), vec![0xee; 12]].concat();
    for size in [3, 1000] {
        let (texts, result) = parse(&bytes.chunks(size).collect::<Vec<_>>());
        assert_eq!(
            (&texts[1..], result),
            (&DELTA_TEXTS.map(|text| (Kind::Delta, text.to_vec()))[..], Ok(()))
        );
    }
}

#[test]
fn an_object_that_is_too_large_is_cut_off_and_the_next_one_found() {
    let mut seed = 1u32;
    let large: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        b'a' + (seed >> 28) as u8
    })
    .take(MAX_OBJECT as usize + 100_000)
    .collect();
    let (texts, result) = parse(&[&pack(&[object(3, b"", &large), object(3, b"", b"next")])]);
    assert_eq!(result, Err(Stopped::Limit));
    assert!(large.starts_with(&texts[0].1) && texts[0].1.len() + 32 * 1024 >= MAX_OBJECT as usize);
    assert_eq!(texts[1..], [(Kind::Blob, b"next".to_vec())]);
}

#[test]
fn a_bomb_does_not_go_off() {
    let bomb = object(3, b"", &vec![0; 8 << 20]);
    let bytes = pack(&vec![bomb; 20]);
    let (texts, result) = parse(&bytes.chunks(10_000).collect::<Vec<_>>());
    assert_eq!(result, Err(Stopped::Limit));
    let size: usize = texts.iter().map(|(_, text)| text.len()).sum();
    assert!(size <= 201 * bytes.len(), "{size}");
}

#[test]
fn what_is_no_push_is_handed_on() {
    for other in [&b"{\"a\": 1}"[..], b"00", b"000z", b"ABCDEF-"] {
        let (texts, _) = parse(&[other]);
        let text: Vec<u8> = texts.into_iter().flat_map(|(_, text)| text).collect();
        assert!(other.ends_with(&text) && text.len() + 4 >= other.len(), "{text:?}");
    }
    let (texts, result) = parse(&[b"{\"a\": 1}"]);
    assert_eq!((texts, result), (vec![(Kind::Unknown, b"{\"a\": 1}".to_vec())], Ok(())));
}

#[test]
fn behind_damage_nothing_is_guessed() {
    let good = object(3, b"", b"good");
    let bytes = pack(&[good, b"\x33no zlib".to_vec()]);
    let (texts, result) = parse(&[&bytes]);
    assert_eq!(result, Err(Stopped::Broken));
    assert_eq!(texts[0], (Kind::Blob, b"good".to_vec()));
    assert_eq!(texts.last().unwrap().0, Kind::Unknown);
}

proptest! {
    #[test]
    fn garbage_does_no_harm(
        garbage in prop::collection::vec(any::<u8>(), 0..100),
        keep in any::<prop::sample::Index>(),
        size in 1usize..60,
    ) {
        let (bytes, _) = push();
        let kept = keep.index(bytes.len());
        let bytes = [&bytes[..kept], &garbage].concat();
        let known = |outcome: Outcome| -> Vec<_> {
            outcome.0.into_iter().filter(|(kind, _)| *kind != Kind::Unknown).collect()
        };
        let whole = known(parse(&[&bytes]));
        prop_assert_eq!(&known(parse(&bytes.chunks(size).collect::<Vec<_>>())), &whole);
    }

    #[test]
    fn any_delta_is_taken(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1usize..20) {
        let run = |parts: &[&[u8]]| {
            let (mut delta, mut texts, mut open) = (Delta::default(), Vec::new(), Vec::new());
            let mut take = |part: Part, bytes: &[u8]| {
                open.extend_from_slice(bytes);
                if part != Part::More {
                    texts.push(std::mem::take(&mut open));
                }
            };
            parts.iter().for_each(|part| delta.push(part, &mut take));
            delta.end(&mut take);
            texts
        };
        prop_assert_eq!(run(&bytes.chunks(size).collect::<Vec<_>>()), run(&[&bytes]));
    }
}
