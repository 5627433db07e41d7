//! What is missing, too much, or said before.

use super::*;
use crate::flow::seen::MAX_SEEN;

fn request(n: u64) -> String {
    format!("GET /?key={} HTTP/1.1\r\nHost: a.test\r\n\r\n", key(n))
}

#[test]
fn one_finding_per_secret_and_place_and_repeats_are_counted() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    for _ in 0..3 {
        rig.write(&mut conn, request(1));
    }
    rig.write(&mut conn, format!("GET /{} HTTP/1.1\r\n\r\n", key(1)));
    assert_eq!(rig.locations(), ["query:key", "path"]);
    rig.pass(4900);
    assert!(rig.taken().is_empty(), "repeats are not reported at once");
    rig.pass(200);
    assert_eq!(rig.repeats(), [2]);
    rig.write(&mut conn, request(1));
    rig.close(1);
    assert_eq!(rig.repeats(), [3]);
    rig.write(&mut Conn::tcp(2), request(1));
    assert_eq!(rig.findings().len(), 1, "another flow is another finding");
}

#[test]
fn the_end_reports_what_still_waits() {
    let mut rig = Rig::new();
    rig.write(&mut Conn::tcp(1), format!("hello {}", key(1)));
    rig.write(&mut Conn::tls(0x10), request(2));
    let mut conn = Conn::tcp(2);
    rig.write(&mut conn, request(3));
    rig.write(&mut conn, request(3));
    rig.pipeline.finish();
    let records = rig.taken();
    let findings = records.iter().filter(|record| matches!(record, Record::Finding(_))).count();
    assert_eq!((findings, records.len()), (3, 4));
    assert_eq!(rig.pipeline.open_flows(), 0);
}

#[test]
fn a_full_memory_of_findings_is_counted() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    for n in 0..MAX_SEEN as u64 + 5 {
        rig.write(&mut conn, request(n));
    }
    assert_eq!(rig.findings().len(), MAX_SEEN + 5);
    assert_eq!(rig.lost(Cause::DedupEvicted), 5);
}

#[test]
fn the_flow_unused_for_longest_makes_room_and_is_judged_first() {
    let mut rig = Rig::with(false, 2);
    let mut first = Conn::tcp(1);
    rig.write(&mut first, format!("hello {}", key(1)));
    rig.write(&mut Conn::tcp(2), "hello");
    rig.write(&mut Conn::tcp(3), "hello");
    assert_eq!(rig.locations(), ["stream"]);
    assert_eq!(rig.lost(Cause::FlowEvicted), 1);
    assert_eq!(rig.pipeline.open_flows(), 2);
}

#[test]
fn a_thousand_keys_over_fifty_connections_are_a_thousand_findings() {
    let mut rig = Rig::new();
    let mut conns: Vec<_> = (0..50).map(|n| Conn::tls(0x1000 + n)).collect();
    for n in 0..1000 {
        let conn = n as usize % conns.len();
        rig.write(&mut conns[conn], request(n));
        if n < 50 {
            rig.link(&mut conns[conn], n + 1, REMOTE);
        }
    }
    rig.pipeline.finish();
    let prints: std::collections::BTreeSet<_> = rig.findings().iter().map(gist).collect();
    assert_eq!(prints.len(), 1000);
}

#[test]
fn bytes_missing_inside_a_body_of_known_length_do_not_lose_the_next_request() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    rig.write(&mut conn, "POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\nabc");
    conn.offset += 4000;
    rig.write(&mut conn, format!("{:>997}", ""));
    rig.write(&mut conn, request(1));
    assert_eq!(rig.locations(), ["query:key"]);
    assert_eq!(rig.lost(Cause::FlowGap), 1);
}

#[test]
fn after_a_gap_the_next_request_is_found_again() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    rig.write(&mut conn, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n400\r\nabc");
    conn.offset += 10_000;
    rig.write(&mut conn, format!("something {} else", key(1)));
    rig.write(&mut conn, request(2));
    assert_eq!(rig.locations(), ["stream", "query:key"]);
}

#[test]
fn a_key_is_not_put_together_over_a_gap() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    let k = key(1);
    let (a, b) = k.split_at(40);
    rig.write(&mut conn, format!("hello {a}"));
    conn.offset += 1;
    rig.write(&mut conn, format!("{b} world"));
    rig.pass(100);
    rig.close(1);
    assert!(rig.findings().is_empty());
}

#[test]
fn a_truncated_write_is_not_counted_twice() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(1);
    rig.write(&mut conn, "POST / HTTP/1.1\r\nContent-Length: 5000\r\n\r\n");
    rig.record(&mut conn, flags::TRUNCATED, 0, 5000, &[b' '; 3000]);
    conn.offset += 2000;
    rig.write(&mut conn, request(1));
    assert_eq!(rig.locations(), ["query:key"]);
    assert_eq!(rig.lost(Cause::FlowGap), 0);
}

#[test]
fn a_stream_joined_midway_finds_its_requests() {
    let mut rig = Rig::new();
    let mut conn = Conn { offset: 77, ..Conn::tcp(1) };
    rig.write(&mut conn, "the end of something");
    rig.write(&mut conn, request(1));
    let mut other = Conn { offset: 77, ..Conn::tcp(2) };
    rig.write(&mut other, request(2));
    assert_eq!(rig.locations(), ["query:key", "query:key"]);
}

#[test]
fn an_endless_head_is_given_up_and_looked_at_all_the_same() {
    for size in [usize::MAX, 30_000, 1000] {
        let mut rig = Rig::new();
        let mut conn = Conn::tcp(1);
        let long = format!("GET / HTTP/1.1\r\nX: {}{}{}", "a ".repeat(40_000), key(1), " b".repeat(100));
        rig.write_in(&mut conn, 0, long.as_bytes(), size);
        rig.close(1);
        assert_eq!(rig.locations(), ["stream"], "records of {size}");
        assert_eq!(rig.lost(Cause::HeadTooLong), 1);
    }
}

#[test]
fn what_all_flows_hold_back_is_bounded() {
    let mut rig = Rig::with(false, 2000);
    let part = format!("GET /?key={} HTTP/1.1\r\nX: {}", key(1), "a ".repeat(16_000));
    for cookie in 1..=1000 {
        rig.write(&mut Conn::tcp(cookie), &part);
    }
    assert!(rig.pipeline.buffered <= MAX_BUFFERED + 64 * 1024);
    assert!(rig.lost(Cause::HeadTooLong) > 0);
    rig.pipeline.finish();
    assert_eq!(rig.findings().len(), 1000);
    assert_eq!(rig.pipeline.buffered, 0);
}

#[test]
fn datagrams_stand_alone() {
    let mut rig = Rig::new();
    let mut conn = Conn::udp(9);
    rig.write(&mut conn, "clean");
    assert_eq!(rig.pipeline.open_flows(), 0, "a clean datagram leaves nothing behind");
    let k = key(1);
    rig.write(&mut conn, &k[..50]);
    rig.write(&mut conn, &k[50..]);
    rig.write(&mut conn, &k);
    rig.write(&mut conn, &k);
    rig.write_in(&mut conn, 0, format!("{:>60}{}", "", key(2)).as_bytes(), 100);
    let mut other = Conn { tuple: tuple(Ipv4Addr::new(192, 0, 2, 8), 53, 0), ..conn };
    rig.write(&mut other, &k);
    let findings = rig.findings();
    let places: Vec<_> = findings.iter().map(|f| f.channel.location.as_str()).collect();
    assert_eq!(places, ["datagram"; 3]);
    assert_eq!(findings[0].channel.kind, ChannelKind::Udp);
    assert_eq!(findings[2].destination.port, Some(53));
    rig.pipeline.finish();
    assert_eq!(rig.repeats(), [1]);
}

#[test]
fn loopback_sockets_are_none_of_its_business() {
    let mut rig = Rig::new();
    let mut conn = Conn { tuple: tuple(Ipv4Addr::LOCALHOST, 80, tuple_flags::LOOPBACK), ..Conn::tcp(1) };
    rig.write(&mut conn, request(1));
    conn.source = Source::Udp;
    rig.write(&mut conn, key(1));
    rig.pipeline.finish();
    assert!(rig.taken().is_empty());
}

#[test]
fn what_is_no_finding_is_counted_by_reason() {
    let mut rig = Rig::new();
    let placeholder = ["sk-", "ant-", "api", "03-", &"x".repeat(93), "AA"].concat();
    for n in 0..2 {
        rig.write(&mut Conn::tcp(n), format!("GET / HTTP/1.1\r\nx-api-key: {placeholder}\r\n\r\n"));
    }
    rig.pass(20);
    assert!(rig.findings().is_empty());
    assert_eq!((rig.lost(Cause::SuppressedPlaceholder), rig.lost(Cause::SuppressedLowEntropy)), (2, 0));
}
