//! TLS: plaintext comes first, where it goes is learnt later.

use super::*;
use crate::flow::LINK_WAIT;
use crate::flow::tls::tests::hello;

const LOOPBACK: Tuple = tuple(Ipv4Addr::LOCALHOST, 443, tuple_flags::LOOPBACK);

fn request(n: u64) -> String {
    format!("GET / HTTP/1.1\r\nHost: {HOME}\r\nX-Api-Key: {}\r\n\r\n", key(n))
}

fn say_hello(rig: &mut Rig, cookie: u64, name: &str) {
    rig.write_in(&mut Conn::tcp(cookie), flags::CLIENT_HELLO, &hello(Some(name), 16_384), usize::MAX);
}

#[test]
fn a_finding_waits_for_its_link_and_takes_the_name_of_the_hello() {
    let mut rig = Rig::new();
    say_hello(&mut rig, 7, "Collect.example.test");
    let left = rig.hellos.try_recv().unwrap();
    assert_eq!((left.pid, left.comm.as_str()), (123, "curl"));
    assert_eq!(left.destination.host.as_deref(), Some("collect.example.test"));
    let mut tls = Conn::tls(0x10);
    rig.write(&mut tls, request(1));
    rig.pass(100);
    assert!(rig.findings().is_empty());
    rig.link(&mut tls, 7, REMOTE);
    let finding = rig.findings().remove(0);
    assert_eq!(finding.channel.kind, ChannelKind::Tls);
    assert_eq!(finding.channel.library.as_deref(), Some("openssl"));
    assert_eq!(finding.destination.host.as_deref(), Some("collect.example.test"));
    assert_eq!(finding.destination.host_source.as_deref(), Some("sni"));
    assert_eq!(finding.destination.port, Some(443));
    assert_eq!(finding.action, Action::Observed);
    rig.write(&mut tls, request(2));
    assert_eq!(rig.findings().len(), 1, "once linked, nothing waits");
}

#[test]
fn without_a_link_it_goes_out_with_what_is_known() {
    let mut rig = Rig::new();
    rig.write(&mut Conn::tls(0x10), request(1));
    rig.pass(LINK_WAIT.as_millis() as u64 - 10);
    assert!(rig.findings().is_empty());
    rig.pass(40);
    let finding = rig.findings().remove(0);
    assert_eq!(finding.destination.host.as_deref(), Some(HOME));
    assert_eq!(finding.destination.host_source.as_deref(), Some("http-host"));
    assert_eq!(finding.destination.ip, None);
    assert_eq!(finding.action, Action::Allowed);
}

#[test]
fn the_usual_way_home_is_allowed_and_the_body_is_not() {
    let mut rig = Rig::new();
    say_hello(&mut rig, 7, HOME);
    let mut tls = Conn::tls(0x10);
    rig.link(&mut tls, 7, REMOTE);
    let body = key(2);
    rig.write(&mut tls, request(1));
    rig.write(&mut tls, format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let actions: Vec<_> = rig.findings().iter().map(|finding| finding.action).collect();
    assert_eq!(actions, [Action::Allowed, Action::Observed]);
}

#[test]
fn a_link_to_this_very_host_drops_what_waits_and_what_follows() {
    let mut rig = Rig::new();
    let mut tls = Conn::tls(0x10);
    rig.write(&mut tls, request(1));
    rig.link(&mut tls, 7, LOOPBACK);
    rig.write(&mut tls, request(2));
    rig.pass(LINK_WAIT.as_millis() as u64 + 200);
    assert!(rig.taken().is_empty());

    // The same object, now on a connection that leaves. What was written before was for this host.
    rig.write(&mut tls, request(3));
    rig.link(&mut tls, 8, REMOTE);
    assert_eq!(rig.findings().len(), 0);
    rig.write(&mut tls, request(1));
    assert_eq!(rig.findings().len(), 1);
}

#[test]
fn loopback_counts_when_it_is_included() {
    let mut rig = Rig::with(true, 16);
    let mut tls = Conn::tls(0x10);
    rig.write(&mut tls, request(1));
    rig.link(&mut tls, 7, LOOPBACK);
    assert_eq!(rig.findings().len(), 1);
}

#[test]
fn the_same_object_on_a_new_socket_is_a_new_connection() {
    let mut rig = Rig::new();
    say_hello(&mut rig, 1, "one.example.test");
    say_hello(&mut rig, 2, "two.example.test");
    // As the kernel counts: from zero, because the first socket was closed.
    for (cookie, name) in [(1, "one.example.test"), (2, "two.example.test")] {
        let mut tls = Conn::tls(0x10);
        rig.write(&mut tls, request(1));
        rig.link(&mut tls, cookie, REMOTE);
        assert_eq!(rig.findings()[0].destination.host.as_deref(), Some(name));
    }
    // And where it was not closed: the link says it, after the bytes.
    say_hello(&mut rig, 3, "three.example.test");
    let mut tls = Conn { offset: 9999, ..Conn::tls(0x10) };
    rig.write(&mut tls, request(1));
    rig.link(&mut tls, 3, REMOTE);
    assert_eq!(rig.findings()[0].destination.host.as_deref(), Some("three.example.test"));
}

#[test]
fn two_hundred_connections_from_one_address_are_two_hundred_findings() {
    let mut rig = Rig::new();
    for cookie in 1..=200 {
        say_hello(&mut rig, cookie, "collect.example.test");
        let mut tls = Conn::tls(0x10);
        rig.write(&mut tls, request(1));
        rig.link(&mut tls, cookie, REMOTE);
        rig.close(cookie);
    }
    assert_eq!(rig.findings().len(), 200);
    assert_eq!(rig.pipeline.open_flows(), 0);
}

#[test]
fn a_close_right_after_the_link_loses_nothing() {
    let mut rig = Rig::new();
    let mut tls = Conn::tls(0x10);
    rig.write(&mut tls, format!("hello {}", key(1)));
    rig.link(&mut tls, 7, REMOTE);
    rig.close(7);
    let finding = rig.findings().remove(0);
    assert_eq!(finding.destination.ip, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(finding.destination.host_source.as_deref(), Some("address"));
}

#[test]
fn a_link_before_the_bytes_and_a_missed_link_both_work() {
    let mut rig = Rig::new();
    say_hello(&mut rig, 7, HOME);
    let mut tls = Conn::tls(0x10);
    rig.link(&mut tls, 7, REMOTE);
    rig.write(&mut tls, request(1));
    assert_eq!(rig.findings()[0].destination.host.as_deref(), Some(HOME));
    // Another object: the kernel knows its socket, the link got lost.
    let mut missed = Conn { cookie: 7, ..Conn::tls(0x20) };
    rig.write(&mut missed, request(1));
    assert_eq!(rig.findings()[0].destination.host.as_deref(), Some(HOME));
    rig.close(7);
    assert_eq!(rig.pipeline.open_flows(), 0);
}

#[test]
fn a_hello_in_two_records_is_read() {
    for cut in [1, 4, 5, 30, 60] {
        let mut rig = Rig::new();
        rig.write_in(&mut Conn::tcp(7), flags::CLIENT_HELLO, &hello(Some(HOME), 16_384), cut);
        assert_eq!(rig.hellos.try_recv().unwrap().destination.host.as_deref(), Some(HOME), "cut at {cut}");
    }
}

#[test]
fn a_bad_hello_is_ignored() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(7);
    rig.write_in(&mut conn, flags::CLIENT_HELLO, &[22, 3, 1, 0, 5, 1, 0, 0, 1, 9], usize::MAX);
    rig.write_in(&mut conn, flags::CLIENT_HELLO, b"GET / HTTP/1.1\r\n", usize::MAX);
    assert!(rig.hellos.try_recv().is_err());
    rig.write(&mut conn, format!("still {} looked at", key(1)));
    assert_eq!(rig.locations(), ["stream"]);
}

#[test]
fn hellos_of_accepted_connections_do_not_count() {
    let mut rig = Rig::new();
    let mut conn = Conn::tcp(7);
    conn.tuple.flags |= tuple_flags::ACCEPTED;
    rig.write_in(&mut conn, flags::CLIENT_HELLO, &hello(Some(HOME), 16_384), usize::MAX);
    assert!(rig.hellos.try_recv().is_err());
}

#[test]
fn a_retried_write_is_not_a_repeat() {
    let mut rig = Rig::new();
    let mut tls = Conn::tls(0x10);
    rig.link(&mut tls, 7, REMOTE);
    let bytes = request(1);
    for flag in [0, flags::MAYBE_RETRY, flags::MAYBE_RETRY] {
        rig.write_in(&mut tls, flag, bytes.as_bytes(), 128);
    }
    assert_eq!(rig.locations(), ["header:x-api-key"]);
    // Another write of the same length, from the same buffer, that begins like the last one.
    rig.write_in(&mut tls, flags::MAYBE_RETRY, request(2).as_bytes(), 128);
    rig.close(7);
    assert_eq!(rig.locations(), ["stream"]);
    assert!(rig.repeats().is_empty());
    assert_eq!(rig.lost(Cause::FlowGap), 0);
}

#[test]
fn the_rest_of_a_write_given_once_more_is_no_new_finding() {
    let mut rig = Rig::new();
    let mut tls = Conn::tls(0x10);
    rig.link(&mut tls, 7, REMOTE);
    let body = format!("{:>20000}{}{:>20000}", "", key(1), "");
    rig.write(&mut tls, format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n", body.len()));
    for taken in [0, 16_384, 30_000] {
        rig.write(&mut tls, &body[taken..]);
    }
    rig.write(&mut tls, request(2));
    assert_eq!(rig.locations(), ["body", "header:x-api-key"]);
}
