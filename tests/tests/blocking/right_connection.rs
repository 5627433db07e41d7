//! The connection that carries a key is refused, and no other: two of them, interleaved on one thread, or one in the other's place.

use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, FakeKey, Options, Server, env};
use std::process::Command;

/// Pairs of connections of one client; each pair is two TLS connections that one thread writes to in turn. As many as a busy
/// machine gets done in the time that a client has.
const PAIRS: usize = 100;

/// Clients one after another.
fn clients() -> usize {
    env::count(4, 100)
}

/// What the client says: how often what happened.
fn interleaved(kind: &str, pairs: usize, server: &Server, key: &FakeKey) -> String {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(program("interleaved_client.py")).arg(kind).args(named(server)).arg(authority());
    command.arg(pairs.to_string()).envs(key_variable(Some(key)));
    Client::run(command).stdout.trim().to_owned()
}

fn clean_ones_pass_and_others_do_not(kind: &str) {
    let _agent = Agent::shared_as(&Options::blocking());
    let pairs = PAIRS / (env::slow() as usize).max(1);
    for _ in 0..clients() {
        let (server, key) = (Server::https(), FakeKey::anthropic());
        let said = interleaved(kind, pairs, &server, &key);
        assert_eq!(said, format!("clean served {pairs} refused 0; key served 0 refused {pairs}"));
        // On connections that were used before, both sent a clean request first.
        let requests = if kind == "reused" { 3 * pairs } else { pairs };
        assert_eq!(server.received().len(), requests);
        server.assert_never(key.reveal().as_bytes());
    }
}

#[test]
fn sockets_that_are_written_at_once() {
    clean_ones_pass_and_others_do_not("socket");
}

#[test]
fn memory_buffers_that_are_sent_later_and_in_turn() {
    clean_ones_pass_and_others_do_not("memory");
}

#[test]
fn connections_that_were_used_before() {
    clean_ones_pass_and_others_do_not("reused");
}

/// What the old one spoke says nothing of the new one.
#[test]
fn connections_whose_objects_lie_where_others_did() {
    const TIMES: usize = 10;
    let _agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let mut command = Command::new("/usr/bin/python3");
    command.arg(program("successor_client.py")).args(named(&server)).arg(authority());
    command.arg(TIMES.to_string()).envs(key_variable(Some(&key)));
    assert_eq!(Client::run(command).stdout.trim(), format!("refused {TIMES}"));
    server.assert_never(key.reveal().as_bytes());
}

/// What goes to this very host is left alone, and its keys are nobody's when the next connection's object lies where the last one did.
#[test]
fn a_connection_whose_object_lies_where_one_to_this_host_did() {
    const TIMES: usize = 10;
    let agent = Agent::shared_as(&Options::blocking());
    let (here, away, key) = (Server::loopback_https(), Server::https(), FakeKey::anthropic());
    let client = Client::run(here_then_away(&here, &away, &key, TIMES).command);
    assert_eq!(client.stdout.trim(), format!("served {TIMES}"));
    agent.assert_clean(&away, client.pid);
}
