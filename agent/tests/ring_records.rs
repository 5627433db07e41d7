//! Ring bytes that no kernel program writes: each is refused for what is wrong with it, and none is a panic. It is here
//! and not with `abi` because only the agent decodes (the feature `user`).

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use keymoat_abi::decode::{DecodeError, Event, decode};
use keymoat_abi::{Close, Data, Header, Kind, Link, Refusal, Source, Tuple};
use proptest::prelude::*;
use zerocopy::{FromZeros, Immutable, IntoBytes};

const HEADER: usize = size_of::<Header>();
const DATA: usize = size_of::<Data>();
const LINK: usize = size_of::<Link>();
const CLOSE: usize = size_of::<Close>();
const REFUSAL: usize = size_of::<Refusal>();

const SOURCES: [Source; 4] = [Source::Tcp, Source::Udp, Source::OpenSsl, Source::GnuTls];

fn header(kind: u32, size: usize) -> Header {
    Header { kind, size: u32::try_from(size).unwrap() }
}

/// A record as the kernel programs write it: the payload right behind the struct.
fn data(source: Source, payload: &[u8]) -> Vec<u8> {
    let head = Data {
        header: header(Kind::Data as u32, DATA + payload.len()),
        len: u32::try_from(payload.len()).unwrap(),
        source: source as u8,
        ..Data::new_zeroed()
    };
    [head.as_bytes(), payload].concat()
}

fn link() -> Vec<u8> {
    Link { header: header(Kind::Link as u32, LINK), ..Link::new_zeroed() }.as_bytes().to_vec()
}

fn refused() -> Vec<u8> {
    Refusal { header: header(Kind::Refusal as u32, REFUSAL), ..Refusal::new_zeroed() }.as_bytes().to_vec()
}

fn close() -> Vec<u8> {
    Close { header: header(Kind::Close as u32, CLOSE), ..Close::new_zeroed() }.as_bytes().to_vec()
}

/// One well-formed record of each kind, with its name.
fn well_formed() -> [(&'static str, Vec<u8>); 3] {
    [("data", data(Source::Tcp, b"payload")), ("link", link()), ("close", close())]
}

/// The same record claiming another size.
fn claiming(mut record: Vec<u8>, size: usize) -> Vec<u8> {
    record[4..HEADER].copy_from_slice(&u32::try_from(size).unwrap().to_ne_bytes());
    record
}

fn refusal(bytes: &[u8]) -> DecodeError {
    match decode(bytes) {
        Err(error) => error,
        Ok(event) => panic!("accepted as {event:?}"),
    }
}

/// All bytes of a decoded struct, its reserved ones included.
fn raw(bytes: &(impl IntoBytes + Immutable)) -> Vec<u8> {
    bytes.as_bytes().to_vec()
}

mod well_formed {
    use super::*;

    #[test]
    fn every_field_of_data_comes_back() {
        let payload = b"GET / HTTP/1.1\r\n";
        let tuple = Tuple {
            local: [1; 16],
            remote: [2; 16],
            local_port: 40_000,
            remote_port: 443,
            flags: 3,
            known: 1,
            reserved: [0; 2],
        };
        let sent = Data {
            header: header(Kind::Data as u32, DATA + payload.len()),
            len: payload.len() as u32,
            chunk: 2,
            total: 1 << 40,
            offset: u64::MAX,
            cookie: 5,
            context: 6,
            pid_tgid: 7 << 32 | 8,
            time_ns: 9,
            tuple,
            uid: 1000,
            source: Source::GnuTls as u8,
            flags: 7,
            rule: 0,
            comm: *b"curl\0\0\0\0\0\0\0\0\0\0\0\0",
        };
        let bytes = [sent.as_bytes(), payload].concat();
        let Ok(Event::Data { head, source, payload: came }) = decode(&bytes) else {
            panic!("{:?}", decode(&bytes))
        };
        assert_eq!((source, came), (Source::GnuTls, payload.as_slice()));
        assert_eq!(raw(&head), raw(&sent));
        assert_eq!((head.tgid(), head.tid()), (7, 8));
        assert!(head.tuple.is_known() && head.tuple.is_loopback() && head.tuple.is_accepted());
    }

    #[test]
    fn every_field_of_link_close_and_refusal_comes_back() {
        let sent = Link {
            header: header(Kind::Link as u32, LINK),
            cookie: 1,
            context: 2,
            pid_tgid: 3 << 32 | 4,
            time_ns: 5,
            tuple: Tuple { local: [6; 16], remote_port: 7, ..Tuple::UNKNOWN },
        };
        let Ok(Event::Link(came)) = decode(sent.as_bytes()) else { panic!("not a link") };
        assert_eq!(raw(&came), raw(&sent));
        assert_eq!((came.tgid(), came.tuple.is_known()), (3, false));

        let sent = Close { header: header(Kind::Close as u32, CLOSE), cookie: u64::MAX, time_ns: 1 };
        let Ok(Event::Close(came)) = decode(sent.as_bytes()) else { panic!("not a close") };
        assert_eq!(raw(&came), raw(&sent));

        let sent = Refusal {
            header: header(Kind::Refusal as u32, REFUSAL),
            cookie: 1,
            context: 2,
            pid_tgid: 3 << 32 | 4,
            time_ns: 5,
            offset: u64::MAX,
            tuple: Tuple { local: [6; 16], remote_port: 7, ..Tuple::UNKNOWN },
            rule: 8,
            why: 0,
            as_packet: 1,
            reserved: [0; 2],
        };
        let Ok(Event::Refusal(came)) = decode(sent.as_bytes()) else { panic!("not a refusal") };
        assert_eq!(raw(&came), raw(&sent));
        assert_eq!(came.tgid(), 3);
    }

    #[test]
    fn each_source_is_known_by_its_number() {
        for wanted in SOURCES {
            let bytes = data(wanted, b"x");
            assert!(
                matches!(decode(&bytes), Ok(Event::Data { source, .. }) if source == wanted),
                "{wanted:?}"
            );
        }
    }

    #[test]
    fn a_write_of_no_bytes_has_no_payload() {
        let bytes = data(Source::Udp, b"");
        assert!(matches!(decode(&bytes), Ok(Event::Data { payload: b"", .. })));
    }

    /// The kernel reserves ring space in fixed sizes, so what lies behind a record is whatever was there before.
    #[test]
    fn what_lies_behind_the_record_is_no_part_of_it() {
        for slack in [1, 7, 8, 4096] {
            let old = vec![b'o'; slack];
            let bytes = [data(Source::Tcp, b"new"), old.clone()].concat();
            assert!(matches!(decode(&bytes), Ok(Event::Data { payload: b"new", .. })), "{slack} bytes");
            assert!(matches!(decode(&[link(), old.clone()].concat()), Ok(Event::Link(_))), "{slack} bytes");
            assert!(matches!(decode(&[close(), old].concat()), Ok(Event::Close(_))), "{slack} bytes");
        }
    }

    /// The kernel aligns records to 8 bytes; nothing here relies on it.
    #[test]
    fn any_alignment_will_do() {
        for (name, record) in super::well_formed() {
            for shift in 0..8 {
                let bytes = [vec![0; shift], record.clone()].concat();
                assert!(decode(&bytes[shift..]).is_ok(), "{name} at {shift}");
            }
        }
    }
}

mod refused {
    use super::*;

    #[test]
    fn nothing_at_all() {
        assert_eq!(refusal(&[]), DecodeError::TooShort { have: 0, need: HEADER });
    }

    #[test]
    fn less_than_a_header() {
        for (_, record) in super::well_formed() {
            for have in 1..HEADER {
                assert_eq!(refusal(&record[..have]), DecodeError::TooShort { have, need: HEADER });
            }
        }
    }

    #[test]
    fn less_than_the_record_claims() {
        for (_, record) in super::well_formed() {
            let need = record.len();
            for have in HEADER..need {
                assert_eq!(refusal(&record[..have]), DecodeError::TooShort { have, need });
            }
        }
    }

    #[test]
    fn a_size_beyond_the_bytes() {
        for (_, record) in super::well_formed() {
            let have = record.len();
            for need in [have + 1, have + 4096, u32::MAX as usize] {
                let bytes = claiming(record.clone(), need);
                assert_eq!(refusal(&bytes), DecodeError::TooShort { have, need });
            }
        }
    }

    /// Even one that does not hold its own header.
    #[test]
    fn a_size_smaller_than_the_struct() {
        for (record, whole) in [(data(Source::Tcp, b"payload"), DATA), (link(), LINK), (close(), CLOSE)] {
            for size in 0..whole {
                assert_eq!(refusal(&claiming(record.clone(), size)), DecodeError::BadSize { size });
            }
        }
    }

    #[test]
    fn a_size_larger_than_a_struct_without_payload() {
        for record in [link(), close(), refused()] {
            for more in [1, 8, 200] {
                let size = record.len() + more;
                let bytes = claiming([record.clone(), vec![0; more]].concat(), size);
                assert_eq!(refusal(&bytes), DecodeError::BadSize { size });
            }
        }
    }

    #[test]
    fn an_unknown_kind() {
        let known = [Kind::Data, Kind::Link, Kind::Close, Kind::Refusal].map(|kind| kind as u32);
        for kind in (0..64).chain([u32::MAX, 1 << 8, 1 << 24]).filter(|kind| !known.contains(kind)) {
            // Whatever else is right or wrong with it.
            for size in [HEADER, CLOSE, LINK, DATA] {
                let bytes = [header(kind, size).as_bytes(), &vec![0; size - HEADER]].concat();
                assert_eq!(refusal(&bytes), DecodeError::UnknownKind(kind));
            }
        }
    }

    #[test]
    fn an_unknown_source() {
        let known = SOURCES.map(|source| source as u8);
        for source in (0..=u8::MAX).filter(|source| !known.contains(source)) {
            let mut bytes = data(Source::Tcp, b"payload");
            bytes[std::mem::offset_of!(Data, source)] = source;
            assert_eq!(refusal(&bytes), DecodeError::UnknownSource(source));
        }
    }

    /// A payload shorter or longer than claimed would hand over bytes of another record, or hide some.
    #[test]
    fn a_payload_of_another_length_than_claimed() {
        let room = b"payload".len();
        for len in [0, room - 1, room + 1, u32::MAX as usize] {
            let mut bytes = data(Source::Tcp, b"payload");
            let at = std::mem::offset_of!(Data, len);
            bytes[at..at + 4].copy_from_slice(&u32::try_from(len).unwrap().to_ne_bytes());
            assert_eq!(refusal(&bytes), DecodeError::BadPayload { len, room });
            // The slack behind is no room for it either.
            bytes.extend([0; 64]);
            assert_eq!(refusal(&bytes), DecodeError::BadPayload { len, room });
        }
    }

    /// What is refused ends in a message for a person, with the numbers in it and none of the bytes.
    #[test]
    fn with_a_reason_to_read() {
        let reasons = [
            (DecodeError::TooShort { have: 3, need: 8 }, "ring record of 3 bytes, 8 needed"),
            (DecodeError::BadSize { size: 4 }, "ring record with impossible size 4"),
            (DecodeError::UnknownKind(9), "ring record of unknown kind 9"),
            (DecodeError::UnknownSource(0), "data record of unknown source 0"),
            (DecodeError::BadPayload { len: 9, room: 7 }, "data record claims 9 payload bytes where 7 fit"),
        ];
        for (error, text) in reasons {
            assert_eq!(error.to_string(), text);
        }
    }
}

/// What holds of every answer, whatever the bytes.
fn is_sound(bytes: &[u8]) {
    let size = || u32::from_ne_bytes(bytes[4..HEADER].try_into().unwrap()) as usize;
    match decode(bytes) {
        Ok(Event::Data { head, source, payload }) => {
            assert_eq!(payload.len(), head.len as usize);
            assert_eq!(payload.len() + DATA, size());
            assert_eq!(payload, &bytes[DATA..size()]);
            assert_eq!(source as u8, head.source);
        }
        Ok(Event::Link(_)) => assert_eq!(size(), LINK),
        Ok(Event::Close(_)) => assert_eq!(size(), CLOSE),
        Ok(Event::Refusal(_)) => assert_eq!(size(), REFUSAL),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..1024)) {
        is_sound(&bytes);
    }

    /// Nearly right: a true kind and a size that fits, so that what lies behind the header is looked at.
    #[test]
    fn random_bytes_behind_a_good_header_never_panic(
        kind in 0u32..6,
        size in 0usize..1024,
        mut bytes in proptest::collection::vec(any::<u8>(), HEADER..1024),
    ) {
        bytes[..HEADER].copy_from_slice(header(kind, size).as_bytes());
        is_sound(&bytes);
    }

    /// A good record with some bytes changed and its end cut off.
    #[test]
    fn damaged_records_never_panic(
        which in 0usize..3,
        damage in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<proptest::sample::Index>(),
    ) {
        let mut bytes = well_formed()[which].1.clone();
        for (at, byte) in damage {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        is_sound(&bytes);
    }

    #[test]
    fn any_payload_comes_back(
        source in proptest::sample::select(SOURCES.to_vec()),
        payload in proptest::collection::vec(any::<u8>(), 0..2048),
        slack in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let bytes = [data(source, &payload), slack].concat();
        let Ok(Event::Data { source: came, payload: same, .. }) = decode(&bytes) else {
            panic!("{:?}", decode(&bytes))
        };
        prop_assert_eq!(came, source);
        prop_assert_eq!(same, payload.as_slice());
    }
}
