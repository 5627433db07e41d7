//! What is no event is refused, counted and said; what stands beside it is kept.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

mod common;

use common::{Collector, DEADLINE, Store, changed, event, finding, host, loss};
use keymoat_proto::limits;
use keymoat_proto::v1::{self, event::Kind};
use std::io::{Read, Write};
use std::net::TcpStream;
use tonic::Code;

fn long(limit: usize) -> String {
    "x".repeat(limit + 1)
}

/// Events that must not be stored, and what is said of each.
fn malformed() -> Vec<(v1::Event, &'static str)> {
    let raw = ["sk-ant", "-api03-", &"A1b2".repeat(20)].concat();
    let secret = |change: &dyn Fn(&mut v1::SecretRef)| changed(|f| change(f.secret.as_mut().unwrap()));
    let v4 = "0193a5b0-7c00-4000-8000-000000000001";
    vec![
        (v1::Event { kind: None, ..finding() }, "kind is missing"),
        (v1::Event { id: String::new(), ..finding() }, "id is not a UUID of version 7"),
        (v1::Event { id: v4.to_owned(), ..finding() }, "id is not a UUID of version 7"),
        (v1::Event { id: long(limits::WORD), ..finding() }, "id is not a UUID of version 7"),
        (changed(|f| f.rule = None), "rule is missing"),
        (changed(|f| f.action = 0), "action is missing"),
        (changed(|f| f.action = 77), "action is missing"),
        (changed(|f| f.secret = None), "secret is missing"),
        (changed(|f| f.process = None), "process is missing"),
        (changed(|f| f.destination = None), "destination is missing"),
        (changed(|f| f.rule.as_mut().unwrap().severity = -1), "rule.severity is missing"),
        (changed(|f| f.rule.as_mut().unwrap().id = String::new()), "rule.id is missing"),
        (changed(|f| f.rule.as_mut().unwrap().name = long(limits::WORD)), "rule.name is too long"),
        (
            changed(|f| f.channel.as_mut().unwrap().location = long(limits::PATH)),
            "channel.location is too long",
        ),
        (
            changed(|f| f.destination.as_mut().unwrap().port = Some(65_536)),
            "destination.port is out of range",
        ),
        (
            changed(|f| f.process.as_mut().unwrap().cmdline = vec![String::new(); 99]),
            "process.cmdline has too many entries",
        ),
        (changed(|f| f.explanation = long(limits::TEXT)), "explanation is too long"),
        (changed(|f| f.attack = vec![String::new(); 99]), "attack has too many entries"),
        (
            secret(&|s| s.fingerprint = "abc".to_owned()),
            "secret.fingerprint is not an HMAC-SHA-256 in lower-case hex",
        ),
        (
            secret(&|s| s.fingerprint = "Z".repeat(64)),
            "secret.fingerprint is not an HMAC-SHA-256 in lower-case hex",
        ),
        (secret(&|s| s.redacted = raw.clone()), "secret.redacted is not a redacted form"),
        (secret(&|s| s.redacted = long(limits::REDACTED)), "secret.redacted is too long"),
        (
            event(Kind::Repeat(v1::Repeat { finding: "1".to_owned(), repeats: 1 })),
            "repeat.finding is not a UUID of version 7",
        ),
        (
            event(Kind::Repeat(v1::Repeat { finding: common::id(), repeats: u64::MAX })),
            "repeat.repeats is out of range",
        ),
        (loss(&[("flow-gap", u64::MAX)]), "loss.counters is out of range"),
        (event(Kind::UnseenTls(v1::UnseenTls::default())), "process is missing"),
        (
            event(Kind::Health(v1::Health { message: long(limits::TEXT), ..v1::Health::default() })),
            "health.message is too long",
        ),
    ]
}

#[tokio::test]
async fn a_bad_event_is_left_out_and_its_neighbours_are_kept() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let mut agent = collector.stream().await;
    let (mut good, mut bad) = (0, 0);
    for (event, problem) in malformed() {
        let ack = agent.send(vec![finding(), event, finding()]).await.unwrap();
        assert_eq!((ack.refused, ack.refusal.as_str()), (1, problem));
        (good, bad) = (good + 2, bad + 1);
    }
    assert_eq!(store.count(), good);
    let refused = collector.json("/api/losses")["refused"].clone();
    assert_eq!(refused.as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum::<u64>(), bad);
    assert!(collector.get("/").1.contains("secret.redacted is not a redacted form"));
    let bytes = store.bytes();
    assert!(!bytes.windows(8).any(|window| window == b"A1b2A1b2"), "the raw key is nowhere");
}

#[tokio::test]
async fn a_batch_from_nobody_is_acknowledged_and_not_kept() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let mut agent = collector.stream().await;
    let nameless = v1::Host { name: String::new(), ..host("x") };
    let runless = v1::Host { run: "1".to_owned(), ..host("x") };
    for bad in [v1::Host::default(), nameless, runless] {
        agent.host = bad;
        assert_eq!(agent.send(vec![finding(), finding()]).await.unwrap().refused, 2);
    }
    agent.host = host("x");
    assert_eq!(agent.send(vec![finding()]).await.unwrap().refused, 0);
    assert_eq!(store.count(), 1);
}

#[tokio::test]
async fn a_batch_that_is_too_large_ends_its_stream_after_those_before_it_were_acknowledged() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let mut agent = collector.stream().await;
    agent.send(vec![finding()]).await.unwrap();
    let huge = changed(|f| f.explanation = long(limits::MESSAGE));
    let status = agent.send(vec![huge]).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument, "{status}");
    assert_eq!(collector.stream().await.send(vec![finding()]).await.unwrap().refused, 0);
    assert_eq!(store.count(), 2);
}

#[tokio::test]
async fn noise_on_either_port_harms_nobody() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let mut agent = collector.stream().await;
    let noise: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for address in [collector.grpc, collector.http] {
        for start in [b"".as_slice(), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"GET / HTTP/1.1\r\n"] {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.set_read_timeout(Some(DEADLINE)).unwrap();
            // The other end may hang up in the middle of it.
            let _ = stream.write_all(&[start, &noise].concat());
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    assert_eq!(agent.send(vec![finding()]).await.unwrap().refused, 0);
    assert_eq!(collector.get("/healthz"), (200, "ok\n".to_owned()));
}

#[test]
fn a_store_that_is_none_is_a_clear_error() {
    let store = Store::new();
    let absent = store.list(&["--json"]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&absent.stderr).contains("there is no store at"));

    std::fs::create_dir_all(store.path().parent().unwrap()).unwrap();
    std::fs::write(store.path(), "this is not a database, whatever its name says".repeat(100)).unwrap();
    let other = store.list(&[]);
    assert_eq!(other.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&other.stderr).contains("not a database"));
}
