//! However a stream of bytes is cut into writes and records, the findings are the same.

use super::*;
use proptest::prelude::*;

/// One request and the places where keys are in it.
#[derive(Clone, Debug)]
struct Message {
    text: String,
    places: Vec<&'static str>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Query,
    EncodedQuery,
    Header,
    Body,
    Chunked(usize),
    Trailer,
    UnannouncedBody,
    Clean,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Query),
        Just(Kind::EncodedQuery),
        Just(Kind::Header),
        Just(Kind::Body),
        (1usize..120).prop_map(Kind::Chunked),
        Just(Kind::Trailer),
        Just(Kind::Clean),
    ]
}

fn message(kind: Kind, k: &str) -> Message {
    let host = "Host: a.test\r\n";
    let (text, places) = match kind {
        Kind::Query => (format!("GET /p?a=b&key={k}&z HTTP/1.1\r\n{host}\r\n"), vec!["query:key"]),
        Kind::EncodedQuery => {
            let k = k.replace('_', "%5F");
            (format!("GET /p?key={k} HTTP/1.1\r\n{host}\r\n"), vec!["query:key"])
        }
        Kind::Header => {
            (format!("DELETE / HTTP/1.1\r\n{host}X-Api-Key: {k}\r\n\r\n"), vec!["header:x-api-key"])
        }
        Kind::Body => {
            let body = format!("{{\"key\": \"{k}\"}}");
            (
                format!("PUT / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()),
                vec!["body > json:key"],
            )
        }
        Kind::Chunked(size) => {
            let chunks = k
                .as_bytes()
                .chunks(size)
                .map(|part| format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap()));
            let body: String = chunks.collect();
            (format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{body}0\r\n\r\n"), vec!["body"])
        }
        Kind::Trailer => {
            let head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n";
            (format!("{head}X-Sum: {k}\r\n\r\n"), vec!["header:x-sum"])
        }
        Kind::UnannouncedBody => (format!("POST / HTTP/1.0\r\n\r\n({k})"), vec!["body"]),
        Kind::Clean => (format!("GET / HTTP/1.1\r\n{host}Accept: */*\r\n\r\n"), vec![]),
    };
    Message { text, places }
}

/// Feeds the bytes in records of these sizes, again and again; every `writes`-th one starts a write.
fn feed(bytes: &[u8], sizes: &[usize], writes: usize) -> Vec<(String, String)> {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    let mut rest = bytes;
    for (n, size) in sizes.iter().cycle().enumerate() {
        let (part, more) = rest.split_at((*size).min(rest.len()));
        rig.record(&mut conn, 0, (n % writes) as u32, u64::MAX, part);
        rest = more;
        if rest.is_empty() {
            break;
        }
    }
    rig.close(1);
    let mut gists: Vec<_> = rig.findings().iter().map(gist).collect();
    gists.sort();
    gists
}

proptest! {
    #[test]
    fn any_cut_of_any_requests_gives_the_same_findings(
        kinds in prop::collection::vec(kind(), 1..5),
        end_without_length: bool,
        sizes in prop::collection::vec(1usize..200, 1..8),
        writes in 1usize..4,
    ) {
        let last = end_without_length.then_some(Kind::UnannouncedBody);
        let messages: Vec<_> = kinds.into_iter().chain(last).enumerate()
            .map(|(n, kind)| message(kind, &key(n as u64))).collect();
        let text: String = messages.iter().map(|message| message.text.as_str()).collect();
        let found = feed(text.as_bytes(), &sizes, writes);
        prop_assert_eq!(&found, &feed(text.as_bytes(), &[usize::MAX], 1));
        let mut places: Vec<_> = found.iter().map(|(_, place)| place.as_str()).collect();
        let mut expected: Vec<_> = messages.iter().flat_map(|message| message.places.clone()).collect();
        places.sort_unstable();
        expected.sort_unstable();
        prop_assert_eq!(places, expected);
    }

    #[test]
    fn a_key_in_garbage_is_found_however_it_is_cut(
        before in prop::collection::vec(any::<u8>(), 0..200),
        after in prop::collection::vec(any::<u8>(), 0..200),
        sizes in prop::collection::vec(1usize..100, 1..8),
    ) {
        let bytes = [&before[..], b" ", key(1).as_bytes(), b" ", &after].concat();
        let found = feed(&bytes, &sizes, 1);
        prop_assert!(!found.is_empty());
        let prints: std::collections::BTreeSet<_> = found.iter().map(|(print, _)| print).collect();
        prop_assert_eq!(prints.len(), 1);
    }

    #[test]
    fn no_events_make_it_panic(
        events in prop::collection::vec(
            (0u8..7, 0u64..3, 0u64..400, 0u32..3, any::<u8>(), prop::collection::vec(any::<u8>(), 0..80)), 0..40),
        texts in prop::collection::vec("[A-Z]{1,5} /[a-z%]{0,5} HTTP/1.1\r\n(Content-Length: [0-9]{1,3}\r\n)?\r\n", 1..4),
    ) {
        let mut rig = Rig::with(false, 4);
        for (n, (what, id, offset, chunk, flags, mut bytes)) in events.into_iter().enumerate() {
            if flags & 8 != 0 {
                bytes = texts[n % texts.len()].clone().into_bytes();
            }
            let mut conn = match what {
                0 | 1 => Conn::tcp(id),
                2 => Conn::udp(id),
                _ => Conn { cookie: id, ..Conn::tls(id) },
            };
            conn.offset = offset;
            match what {
                4 => rig.link(&mut conn, id, if flags & 1 == 0 { REMOTE } else { LOOPBACK }),
                5 => rig.close(id),
                6 => rig.pass(u64::from(flags)),
                _ => rig.record(&mut conn, flags, chunk, offset, &bytes),
            }
        }
        rig.pipeline.finish();
        prop_assert_eq!(rig.pipeline.open_flows(), 0);
        prop_assert_eq!(rig.pipeline.waiting, 0);
        prop_assert_eq!(rig.pipeline.buffered, 0);
    }
}

const LOOPBACK: Tuple = tuple(Ipv4Addr::LOCALHOST, 443, tuple_flags::LOOPBACK);

#[test]
fn a_key_split_at_every_offset_is_found_once() {
    for kind in [Kind::Query, Kind::Header, Kind::Body, Kind::Trailer, Kind::UnannouncedBody] {
        let text = message(kind, &key(1)).text;
        let whole = feed(text.as_bytes(), &[usize::MAX], 1);
        assert_eq!(whole.len(), 1);
        for at in 1..text.len() {
            assert_eq!(feed(text.as_bytes(), &[at, usize::MAX], 1), whole, "{kind:?} split at {at}");
        }
    }
}
