use super::*;
use crate::decode::limit::{MAX_BODY, MAX_PIECE};
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};
use std::io::Write as _;
use std::time::{Duration, Instant};

/// `turns()` as the reference implementation's level 19 writes it, with a checksum. In hex.
const TURNS_BY_ZSTD: &str = "\
    28b52ffd642d12ad0c00f69c3e14b09b0ea767c65125b92349ca2453925e70a75c0c480033003300a5f8229c892c24e8236b739a\
    d81b67019d1047955536c656afeb25d323e3f5ac6c000f114020c0b0905020103010010402080a0d0c020103020a060b0d020104\
    020607090a020e01e74cc99c3643312fa93a443db95353be355b930ad76ad43e5dc58d3834e7e1ab14213bc2aa912438be54490c\
    496f6147f64a03354a8957f328f214542423e298fca1b6b49358a17e141354f7b84c42aeb23b6391fa45cfe2e1bc855d1fbba64a\
    23f4d466dc61df6adbbccdd68ddbb6c5f658c5628e4dac31c6628b3d62fd570ffafccedf7bfc88dcdcdf78fd5a5591aae2a24e09\
    b5840180dba82124b9fbdf01901955d2011278768142f02304e8f23e184b27c54a97530af8505a312725e5259d4c9292d348afc4\
    27492f4827ee5b52e2ed6e6eb172db4ed216f5633bb1133993d88c1836d3f758c41f3ed271c5104b1845d98d8cbd7ef239ce010f\
    43b7b173dfe8a5f62532706633a5b1f0636933679759e7679a126d0cd5e3528962d44359b2e31216671d3466ef1dcf7a156a55da\
    234e68";

fn turns() -> Vec<u8> {
    let turn = |i: u64| format!("{{\"role\": \"user\", \"turn\": {i}, \"cost\": {}}}\n", i * i % 97);
    (0..120).flat_map(|i| turn(i).into_bytes()).collect()
}

fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

fn gzip(plain: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn zlib(plain: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn raw(plain: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(plain).unwrap();
    encoder.finish().unwrap()
}

fn brotli(plain: &[u8], window: u32) -> Vec<u8> {
    let mut encoder = ::brotli::CompressorWriter::new(Vec::new(), 4096, 1, window);
    encoder.write_all(plain).unwrap();
    encoder.into_inner()
}

fn zstd(plain: &[u8]) -> Vec<u8> {
    compress_to_vec(plain, CompressionLevel::Fastest)
}

/// Every coding, and some of them inside one another.
fn encoded(plain: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("gzip", gzip(plain)),
        ("X-GZip", gzip(plain)),
        ("deflate", zlib(plain)),
        ("deflate", raw(plain)),
        ("br", brotli(plain, 22)),
        ("zstd", zstd(plain)),
        ("gzip, br", brotli(&gzip(plain), 18)),
        ("zstd ,identity,gzip", gzip(&zstd(plain))),
        ("deflate, br, zstd", zstd(&brotli(&zlib(plain), 16))),
    ]
}

type Outcome = (Vec<u8>, Result<(), Stopped>);

fn decode(content: &mut Content, parts: &[&[u8]]) -> Outcome {
    let mut out = Vec::new();
    let mut plain = |bytes: &[u8]| {
        assert!(!bytes.is_empty() && bytes.len() <= MAX_PIECE);
        out.extend_from_slice(bytes);
    };
    let pushed = parts.iter().try_for_each(|part| content.push(part, &mut plain));
    let result = pushed.and_then(|()| content.finish(&mut plain));
    (out, result)
}

/// Are these the same? Of damaged `br`, nonsense that follows what is right may be cut off sooner or later.
fn same(header: &str, one: &Outcome, other: &Outcome) -> bool {
    let nonsense = header.contains("br") && one.1.is_err();
    let cut_off = one.0.starts_with(&other.0) || other.0.starts_with(&one.0);
    one.1 == other.1 && (one.0 == other.0 || nonsense && cut_off)
}

fn announced(header: &str, parts: &[&[u8]]) -> Outcome {
    decode(&mut Content::announced(header.as_bytes()).unwrap(), parts)
}

#[test]
fn what_was_encoded_comes_out() {
    for plain in [turns(), b"x".to_vec(), Vec::new()] {
        for (header, bytes) in encoded(&plain) {
            assert_eq!(announced(header, &[&bytes]), (plain.clone(), Ok(())), "{header}");
        }
    }
    assert_eq!(announced("zstd", &[&from_hex(TURNS_BY_ZSTD)]), (turns(), Ok(())));
}

#[test]
fn names_are_the_outermost_first() {
    let names = |header: &str| -> Option<Vec<_>> {
        Content::announced(header.as_bytes()).map(|content| content.names().collect())
    };
    assert_eq!(names("gzip, br"), Some(vec!["br", "gzip"]));
    assert_eq!(names("x-gzip"), Some(vec!["gzip"]));
    for nothing in ["", "identity", " , ", "compress", "gzip, aes128gcm", "br,br,br,br", "gzi", "gzip br"] {
        assert_eq!(names(nothing), None, "{nothing}");
    }
}

#[test]
fn what_is_not_announced_is_known_by_its_first_bytes() {
    let name = |bytes: &[u8]| Content::sniffed(bytes).map(|content| content.names().next().unwrap());
    assert_eq!(name(&gzip(b"a")), Some("gzip"));
    assert_eq!(name(&zstd(b"a")), Some("zstd"));
    for text in [&b""[..], b"\x1f\x8b", b"\x1f\x8b\x07\0", b"{\"a\": 1}", &zlib(b"a")] {
        assert_eq!(name(text), None, "{text:?}");
    }
}

#[test]
fn members_and_frames_follow_one_another() {
    let text = turns();
    let (first, second) = text.split_at(1000);
    let both = [gzip(first), gzip(b""), gzip(second), vec![0; 20]].concat();
    assert_eq!(announced("gzip", &[&both]), (text.clone(), Ok(())));
    let skipped = [&[0x53, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"any", &[0x50, 0x2a, 0x4d, 0x18, 0, 0, 0, 0]];
    let both = [zstd(first), skipped.concat(), zstd(second)].concat();
    assert_eq!(announced("zstd", &[&both]), (text, Ok(())));
}

#[test]
fn a_gzip_header_may_say_much() {
    let builder = flate2::GzBuilder::new().filename("name").comment("comment").extra(vec![7; 300]);
    let mut encoder = builder.write(Vec::new(), Compression::default());
    encoder.write_all(b"text").unwrap();
    let bytes = encoder.finish().unwrap();
    for size in [1, 2, 1000] {
        let parts: Vec<_> = bytes.chunks(size).collect();
        assert_eq!(announced("gzip", &parts), (b"text".to_vec(), Ok(())));
    }
}

#[test]
fn what_came_before_the_damage_is_handed_on() {
    let text = turns();
    for (header, bytes) in [("gzip", gzip(&text)), ("deflate", raw(&text)), ("br", brotli(&text, 22))] {
        for end in 0..bytes.len() {
            let (out, result) = announced(header, &[&bytes[..end]]);
            assert!(text.starts_with(&out), "{header} {end}");
            assert_eq!(result, if end == 0 { Ok(()) } else { Err(Stopped::Broken) }, "{header} {end}");
        }
        let (out, result) = announced(header, &[&bytes, b"more"]);
        assert_eq!((out, result), (text.clone(), Err(Stopped::Broken)), "{header}");
        let (out, _) = announced(header, &[&bytes[..bytes.len() - 20]]);
        assert!(out.len() > text.len() / 2, "{header}: {}", out.len());
    }
}

#[test]
fn a_zstd_frame_that_breaks_off_gives_up_its_window() {
    let text: Vec<u8> = (0..60).flat_map(|_| turns()).collect();
    let bytes = zstd(&text);
    // ruzstd's own encoder writes blocks of 128 KiB: here three.
    let (out, result) = announced("zstd", &[&bytes[..bytes.len() - 5]]);
    assert_eq!(result, Err(Stopped::Broken));
    assert_eq!(out, text[..256 * 1024]);
    let (out, result) = announced("zstd", &[&bytes[..bytes.len() - 5], &[0xff; 200_000]]);
    assert_eq!(result, Err(Stopped::Broken));
    assert!(out.len() >= 256 * 1024);
    let (out, _) = announced("zstd, gzip", &[&gzip(&bytes[..bytes.len() - 5]), b"damage"]);
    assert_eq!(out, text[..256 * 1024]);
}

#[test]
fn once_stopped_it_stays_so_until_the_next_body() {
    let mut content = Content::announced(b"gzip").unwrap();
    assert_eq!(content.push(b"plain text", &mut |_| panic!()), Err(Stopped::Broken));
    assert_eq!(content.push(&gzip(b"a"), &mut |_| panic!()), Err(Stopped::Broken));
    assert_eq!(content.finish(&mut |_| panic!()), Err(Stopped::Broken));
    assert_eq!(content.buffered(), 0);
    content.restart();
    assert_eq!(decode(&mut content, &[&gzip(b"a")]), (b"a".to_vec(), Ok(())));
}

/// A bomb costs at most what its size allows, in output and in time, however deep it is nested.
#[test]
fn a_bomb_does_not_go_off() {
    let zeros = vec![0; 16 << 20];
    let half_gib = gzip(&zeros).repeat(32);
    let bombs = [
        ("gzip", half_gib.clone()),
        ("gzip, gzip", gzip(&half_gib)),
        ("gzip, gzip, gzip", gzip(&gzip(&half_gib))),
        ("br", brotli(&zeros, 22)),
        ("gzip, br", brotli(&half_gib, 22)),
        ("zstd", zstd(&zeros)),
        ("gzip, zstd", zstd(&half_gib)),
    ];
    for (header, bomb) in bombs {
        let begun = Instant::now();
        let mut content = Content::announced(header.as_bytes()).unwrap();
        let (mut given, mut memory) = (0, 0);
        let result = bomb.chunks(10_000).try_for_each(|part| {
            let result = content.push(part, &mut |bytes| given += bytes.len() as u64);
            memory = memory.max(content.buffered());
            result
        });
        assert_eq!(result, Err(Stopped::Limit), "{header}");
        assert!(given <= MAX_BODY.min((200 * bomb.len() as u64).max(1 << 20)), "{header}: {given}");
        assert!(memory <= 9 << 20, "{header}: {memory}");
        assert!(begun.elapsed() < Duration::from_secs(30), "{header}: {:?}", begun.elapsed());
    }
}

#[test]
fn many_small_bodies_are_no_way_around_the_limit() {
    let bomb = gzip(&vec![0; 1 << 20]);
    let mut content = Content::announced(b"gzip").unwrap();
    assert_eq!(decode(&mut content, &[&bomb]).1, Ok(()));
    content.restart();
    assert_eq!(decode(&mut content, &[&bomb]).1, Err(Stopped::Limit));
}

#[test]
fn a_window_may_be_large_only_where_little_is_in_it() {
    let text = turns();
    assert_eq!(announced("br", &[&brotli(&text, 24)]), (text, Ok(())));
    let mut seed = 1u32;
    let noise: Vec<u8> = std::iter::repeat_with(|| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (seed >> 24) as u8
    })
    .take(9 << 20)
    .collect();
    assert_eq!(announced("br", &[&brotli(&noise, 24)]).1, Err(Stopped::Limit));
    assert_eq!(announced("br", &[&brotli(&noise, 22)]).1, Ok(()));
    // A frame header with a window of 16 MiB (exponent 14), then one of 8 MiB.
    let frame = |window: u8| [&[0x28, 0xb5, 0x2f, 0xfd, 0, window << 3][..], &[9, 0, 0, b'a']].concat();
    assert_eq!(announced("zstd", &[&frame(14)]), (Vec::new(), Err(Stopped::Limit)));
    assert_eq!(announced("zstd", &[&frame(13)]), (b"a".to_vec(), Ok(())));
}

/// `bytes` in parts of the given sizes, over and over.
fn cut<'a>(bytes: &'a [u8], sizes: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for size in sizes.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (part, more) = rest.split_at((*size).min(rest.len()));
        parts.push(part);
        rest = more;
    }
    parts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn how_it_is_cut_changes_nothing(
        text in prop::collection::vec(prop_oneof![9 => Just(b'a'), 3 => Just(b'b'), 1 => any::<u8>()], 0..5000),
        sizes in prop::collection::vec(1usize..90, 1..6),
        damage in prop::option::of((any::<prop::sample::Index>(), any::<u8>())),
    ) {
        for (header, mut bytes) in encoded(&text) {
            if let Some((at, value)) = &damage {
                *at.get_mut(&mut bytes) = *value;
            }
            let whole = announced(header, &[&bytes]);
            prop_assert!(same(header, &announced(header, &cut(&bytes, &sizes)), &whole), "{}", header);
            if damage.is_none() {
                prop_assert_eq!(whole, (text.clone(), Ok(())), "{}", header);
            }
        }
    }

    #[test]
    fn garbage_does_no_harm(
        garbage in prop::collection::vec(any::<u8>(), 0..600),
        sizes in prop::collection::vec(1usize..90, 1..6),
    ) {
        for (header, start) in encoded(b"some text to begin with, some text") {
            for keep in [0, 4, 10, start.len() / 2, start.len() - 1] {
                let bytes = [&start[..keep.min(start.len())], &garbage].concat();
                let whole = announced(header, &[&bytes]);
                let parts = cut(&bytes, &sizes);
                prop_assert!(same(header, &announced(header, &parts), &whole), "{} {}", header, keep);
            }
        }
    }
}
