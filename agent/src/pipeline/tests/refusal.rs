//! What the kernel refused, and what it let pass, as findings.

use super::*;
use crate::enforce::hang_up::Refused;
use crate::enforce::judgement::Judgement;
use crate::flow::VERDICT_WAIT;
use keymoat_abi::{Kind, Refusal};
use keymoat_detect::KernelRules;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::Receiver;

/// A pipeline of an agent that blocks, and the connections it ends.
fn blocking() -> (Rig, Receiver<Refused>) {
    blocking_while(Arc::default())
}

/// The same where TLS connections hold back what they are given while `full` is true.
fn blocking_while(full: Arc<AtomicBool>) -> (Rig, Receiver<Refused>) {
    let (hang_ups, ended) = channel();
    let rules = DETECTOR.rules();
    let policy = Policy::builtin().unwrap();
    let permits = policy.permits(rules, jiff::Timestamp::now());
    let judgement = Judgement::blocking(policy, &permits, rules, KernelRules::compile(rules).grades());
    (
        Rig::with_judge(
            false,
            1024,
            Judge::new(judgement),
            Some(Blocking {
                hang_up: hang_ups,
                numbers: Arc::default(),
                unsent: Arc::new(move |_, _| full.load(Relaxed)),
            }),
        ),
        ended,
    )
}

fn request(n: u64) -> String {
    format!("GET / HTTP/1.1\r\nHost: a.test\r\nX-Api-Key: {}\r\n\r\n", key(n))
}

fn refusal(conn: &Conn, cookie: u64, offset: u64) -> Event<'static> {
    Event::Refusal(refusal_record(conn, cookie, offset))
}

fn refusal_record(conn: &Conn, cookie: u64, offset: u64) -> Refusal {
    Refusal {
        header: Header { kind: Kind::Refusal as u32, size: size_of::<Refusal>() as u32 },
        cookie,
        context: conn.context,
        pid_tgid: u64::from(conn.pid) << 32 | 1,
        time_ns: 0,
        offset,
        tuple: REMOTE,
        rule: 0,
        why: 0,
        as_packet: 0,
        reserved: [0; 2],
    }
}

/// As long as findings wait for a word of the kernel.
fn no_word_comes(rig: &mut Rig) {
    rig.pass(VERDICT_WAIT.as_millis() as u64 + 20);
}

fn outcomes(rig: &Rig) -> Vec<(Action, Option<String>)> {
    rig.findings().into_iter().map(|finding| (finding.action, finding.enforcement)).collect()
}

fn blocked(method: &str) -> (Action, Option<String>) {
    (Action::Blocked, Some(method.to_owned()))
}

#[test]
fn plaintext_that_was_refused_is_blocked_and_its_connection_ended() {
    let (mut rig, ended) = blocking();
    rig.write_in(&mut Conn::tcp(7), flags::REFUSED, request(1).as_bytes(), usize::MAX);
    assert_eq!(outcomes(&rig), [blocked("sk-msg")]);
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [Refused { pid: 123, cookie: 7, port: 40_000 }]);
}

#[test]
fn plaintext_that_left_is_late() {
    let (mut rig, ended) = blocking();
    rig.write(&mut Conn::tcp(7), request(1));
    assert_eq!(outcomes(&rig), [(Action::Late, None)]);
    assert_eq!(ended.try_iter().count(), 0);
}

#[test]
fn a_datagram_that_was_refused_is_blocked_and_the_next_one_is_not() {
    let (mut rig, ended) = blocking();
    let mut conn = Conn::udp(7);
    rig.write_in(&mut conn, flags::REFUSED, format!("a {} b", key(1)).as_bytes(), usize::MAX);
    rig.write_in(&mut conn, 0, format!("a {} b", key(2)).as_bytes(), usize::MAX);
    assert_eq!(outcomes(&rig), [blocked("cgroup-skb"), (Action::Late, None)]);
    assert_eq!(ended.try_iter().count(), 0, "there is no connection to end");
}

#[test]
fn tls_waits_for_the_word_of_its_socket() {
    let (mut rig, ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    rig.write(&mut conn, request(1));
    assert_eq!(outcomes(&rig), [], "it may still be refused");
    rig.pipeline.event(&refusal(&conn, 9, 0), rig.now);
    assert_eq!(outcomes(&rig), [blocked("sk-msg")]);
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [Refused { pid: 123, cookie: 9, port: 40_000 }]);
}

#[test]
fn tls_that_was_refused_as_a_packet_ends_its_connection_too() {
    let (mut rig, ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    rig.write(&mut conn, request(1));
    let as_packet = Refusal { as_packet: 1, ..refusal_record(&conn, 9, 0) };
    rig.pipeline.event(&Event::Refusal(as_packet), rig.now);
    assert_eq!(outcomes(&rig), [blocked("cgroup-skb")]);
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [Refused { pid: 123, cookie: 9, port: 40_000 }]);
}

#[test]
fn tls_of_which_no_socket_says_anything_has_left() {
    let (mut rig, _ended) = blocking();
    rig.write(&mut Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) }, request(1));
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), [(Action::Late, None)]);
}

#[test]
fn tls_that_waits_for_room_in_its_socket_waits_here_too() {
    let full = Arc::new(AtomicBool::new(true));
    let (mut rig, _ended) = blocking_while(Arc::clone(&full));
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    rig.write(&mut conn, request(1));
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), []);
    rig.pipeline.event(&refusal(&conn, 9, 0), rig.now);
    assert_eq!(outcomes(&rig), [blocked("sk-msg")]);

    let mut conn = Conn { cookie: 10, tuple: REMOTE, ..Conn::tls(0x20) };
    rig.write(&mut conn, request(2));
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), []);
    full.store(false, Relaxed);
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), [(Action::Late, None)]);
}

#[test]
fn what_left_before_the_refused_write_is_not_blocked() {
    let (mut rig, _ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    rig.write(&mut conn, request(1));
    let second = conn.offset;
    rig.write(&mut conn, request(2));
    rig.pipeline.event(&refusal(&conn, 9, second), rig.now);
    assert_eq!(outcomes(&rig), [(Action::Late, None), blocked("sk-msg")]);
}

#[test]
fn a_refusal_that_nothing_explains_is_counted() {
    let (mut rig, _ended) = blocking();
    rig.write_in(&mut Conn::tcp(7), flags::REFUSED, b"GET / HTTP/1.1\r\n\r\n", usize::MAX);
    assert_eq!(outcomes(&rig), []);
    assert_eq!(rig.counters.snapshot().get("refused-unexplained"), Some(&1));
}

/// A TLS call that was stopped: its bytes are shown, and count for nothing.
fn stop(rig: &mut Rig, conn: &Conn, flag: u8, bytes: &str) {
    rig.write_in(&mut conn.clone(), flags::REFUSED | flag, bytes.as_bytes(), usize::MAX);
}

#[test]
fn a_call_that_was_stopped_is_blocked_and_its_connection_goes_on() {
    let (mut rig, ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    stop(&mut rig, &conn, 0, &request(1));
    assert_eq!(outcomes(&rig), [blocked("return-override")]);
    rig.write(&mut conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    stop(&mut rig, &conn, 0, &request(2));
    let found = rig.findings();
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].action, found[0].channel.location.as_str()), (Action::Blocked, "header:x-api-key"));
    rig.write(&mut conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), []);
    assert_eq!(ended.try_iter().count(), 0, "nothing is hung up");
    assert_eq!(rig.lost(Cause::FlowGap), 0);
    assert_eq!(rig.lost(Cause::RefusedUnexplained), 0);
}

/// Until after the time that a program may be silent.
fn wait_in_silence(rig: &mut Rig) {
    rig.pass(crate::flow::SILENCE.as_millis() as u64 + 20);
}

#[test]
fn a_connection_that_is_silent_after_a_call_that_was_stopped_is_ended() {
    let (mut rig, ended) = blocking();
    let conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    stop(&mut rig, &conn, 0, &request(1));
    rig.pass(1000);
    stop(&mut rig, &conn, 0, &request(1));
    rig.pass(1500);
    assert_eq!(ended.try_iter().count(), 0, "it tried again");
    wait_in_silence(&mut rig);
    wait_in_silence(&mut rig);
    assert_eq!(ended.try_iter().collect::<Vec<_>>(), [Refused { pid: 123, cookie: 9, port: 40_000 }]);
}

#[test]
fn a_connection_that_goes_on_after_a_call_that_was_stopped_is_not_ended() {
    let (mut rig, ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    stop(&mut rig, &conn, 0, &request(1));
    rig.pass(1000);
    rig.write(&mut conn, "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n");
    wait_in_silence(&mut rig);
    assert_eq!(ended.try_iter().count(), 0);
}

#[test]
fn a_connection_that_was_closed_after_a_call_that_was_stopped_is_not_ended() {
    let (mut rig, ended) = blocking();
    let mut conn = Conn::tls(0x10);
    rig.link(&mut conn, 9, REMOTE);
    stop(&mut rig, &conn, 0, &request(1));
    rig.close(9);
    wait_in_silence(&mut rig);
    assert_eq!(ended.try_iter().count(), 0);
}

#[test]
fn what_left_before_a_call_that_was_stopped_is_not_blocked_by_it() {
    let (mut rig, _ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    rig.write(&mut conn, request(1));
    stop(&mut rig, &conn, 0, &request(2));
    assert_eq!(outcomes(&rig), [blocked("return-override")]);
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), [(Action::Late, None)]);
}

/// One's own key is in every request: in one that left, and in one that was stopped for another key.
#[test]
fn a_key_that_left_and_was_stopped_is_both() {
    let (mut rig, _ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    rig.write(&mut conn, request(1));
    stop(&mut rig, &conn, 0, &request(1));
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), [blocked("return-override"), (Action::Late, None)]);
    rig.write(&mut conn, request(1));
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), [], "a repeat");
}

#[test]
fn a_key_that_began_in_an_earlier_call_is_found_in_the_one_that_was_stopped() {
    let (mut rig, _ended) = blocking();
    let mut conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    let text = request(1);
    let (head, tail) = text.split_at(text.len() - 20);
    rig.write(&mut conn, head);
    stop(&mut rig, &conn, 0, tail);
    assert_eq!(outcomes(&rig), [blocked("return-override")]);
    // The program ends the message otherwise.
    rig.write(&mut conn, "\r\n\r\n");
    rig.write(&mut conn, request(2));
    no_word_comes(&mut rig);
    assert_eq!(outcomes(&rig), [(Action::Late, None)]);
}

#[test]
fn a_process_that_was_killed_is_said_to_be() {
    let (mut rig, ended) = blocking();
    let conn = Conn { cookie: 9, tuple: REMOTE, ..Conn::tls(0x10) };
    stop(&mut rig, &conn, flags::KILLED, &request(1));
    let finding = rig.findings().remove(0);
    assert_eq!((finding.action, finding.enforcement), blocked("signal"));
    assert!(finding.explanation.contains("was killed"), "{}", finding.explanation);
    assert_eq!(ended.try_iter().count(), 0);
}
