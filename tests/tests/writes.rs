//! Every system call a program can send with, in the clear: what leaves through it is seen, whole, and nothing
//! is seen where nothing was.

use keymoat_tests::calls::note;
use keymoat_tests::programs::{Linked, km_client, openssl_client};
use keymoat_tests::{
    Agent, Client, Expect, FakeKey, Options, Script, Server, calls, pki, script, tcp_calls, udp_calls,
};
use std::net::SocketAddr;

tcp_calls!(calls, tcp, Agent::shared(), note, Server::sink(), "tcp");
udp_calls!(calls, udp, Agent::shared(), note, Server::udp(), "udp");

#[test]
fn both_messages_of_a_sendmmsg_are_seen() {
    let agent = Agent::shared();
    for (call, server) in [("sendmmsg", Server::sink()), ("udp-sendmmsg", Server::udp())] {
        let keys = [FakeKey::anthropic(), FakeKey::openai()];
        let script =
            keys.iter().fold(Script::default(), |it, key| it.then(format!("a {} b\n", key.reveal())));
        Client::run(km_client(call, server.address(), &script.save()));
        agent.expect_each_once(&keys);
    }
}

/// Sends keys split at every offset, two writes of the script per key.
fn finds_split_keys(client: impl Fn(&Server, &Script) -> std::process::Command, server: &Server) {
    let agent = Agent::shared();
    let before = agent.losses();
    for make in [FakeKey::anthropic, FakeKey::anthropic_oauth] {
        let (script, keys) = Script::splits(make);
        Client::run(client(server, &script));
        agent.expect_each_once(&keys);
    }
    agent.assert_no_loss_since(&before);
}

fn finds_keys_split_by(call: &'static str, option: Option<&'static str>) {
    let client = |server: &Server, script: &Script| {
        let mut command = km_client(call, server.address(), &script.save());
        command.args(option);
        command
    };
    finds_split_keys(client, &Server::sink());
}

#[test]
fn split_over_two_writes_at_every_offset() {
    finds_keys_split_by("write", None);
}

#[test]
fn split_over_two_iovecs_at_every_offset() {
    finds_keys_split_by("writev", Some("group=2"));
    finds_keys_split_by("sendmsg", Some("group=2"));
}

#[test]
fn split_over_two_messages_at_every_offset() {
    finds_keys_split_by("sendmmsg", Some("group=2"));
}

#[test]
fn split_over_two_tls_writes_at_every_offset() {
    let client = |server: &Server, script: &Script| {
        openssl_client(Linked::Shared, server.address(), pki::HOST, &script.save())
    };
    finds_split_keys(client, &Server::tls_sink());
}

const MIB: usize = 1024 * 1024;

/// A request of 1 MiB with the key as its very last bytes, written in one call.
fn large_request(key: &FakeKey) -> Vec<u8> {
    let mut body = vec![b'.'; MIB - key.reveal().len() - 1];
    body.push(b' ');
    body.extend_from_slice(key.reveal().as_bytes());
    script::request(None, &body)
}

fn finds_key_at_the_end_of_a_mebibyte(server: &Server, expect: fn(Expect) -> Expect, client: LargeClient) {
    let agent = Agent::shared();
    let before = agent.losses();
    let key = FakeKey::anthropic();
    let request = large_request(&key);
    let finished = Client::run(client(server.address(), &Script::of(request.clone())));
    assert!(server.wait_for(key.reveal().as_bytes()).bytes == request, "the request arrived changed");
    agent.expect_once(&expect(Expect::observed(&key).location("body").pid(finished.pid)), &key);
    agent.assert_no_loss_since(&before);
}

type LargeClient = fn(SocketAddr, &Script) -> std::process::Command;

#[test]
fn one_mebibyte_in_one_write() {
    let client: LargeClient = |to, script| km_client("write", to, &script.save());
    finds_key_at_the_end_of_a_mebibyte(&Server::http(), |it| it.kind("tcp"), client);
}

#[test]
fn one_mebibyte_by_sendfile() {
    let client: LargeClient = |to, script| km_client("sendfile", to, &script.save());
    finds_key_at_the_end_of_a_mebibyte(&Server::http(), |it| it.kind("tcp"), client);
}

#[test]
fn one_mebibyte_in_one_tls_write() {
    let client: LargeClient = |to, script| openssl_client(Linked::Shared, to, pki::HOST, &script.save());
    finds_key_at_the_end_of_a_mebibyte(&Server::https(), |it| it.library("openssl"), client);
}

/// As Ruby, Perl and Rust's native-tls have it: the library sends one record and is given the rest, 65 times. It is shown once.
#[test]
fn one_mebibyte_in_parts() {
    let agent = Agent::own(&Options::default());
    let before = agent.records();
    let client: LargeClient = |to, script| {
        let mut client = openssl_client(Linked::Shared, to, pki::HOST, &script.save());
        client.arg("parts");
        client
    };
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let request = large_request(&key);
    let finished = Client::run(client(server.address(), &Script::of(request.clone())));
    assert!(server.wait_for(key.reveal().as_bytes()).bytes == request, "the request arrived changed");
    agent.expect_once(&Expect::observed(&key).location("body").pid(finished.pid).library("openssl"), &key);
    let shown = agent.records() - before;
    // In 17 records; with them come links, ends, what others send. All of it each time is 600.
    assert!(shown < 100, "{shown} records");
}

#[test]
fn key_at_the_end_of_what_was_sent_is_found_while_the_connection_stays_open() {
    let agent = Agent::shared();
    let server = Server::sink();
    // Nothing follows that would show where this key ends.
    let key = FakeKey::anthropic_oauth();
    let mut command = km_client("write", server.address(), &Script::of(format!("x {}", key.reveal())).save());
    command.arg("hold");
    let mut client = Client::start(command);
    client.wait_line("sent");
    agent.expect_once(&Expect::observed(&key).location("stream").pid(client.pid()), &key);
    client.say(b"\n");
    client.finish();
    agent.settle();
    agent.assert_count(&key, 1);
}

#[test]
fn unix_sockets_are_silent() {
    let agent = Agent::shared();
    let key = FakeKey::anthropic();
    let unused = ([127, 0, 0, 1], 9).into();
    Client::run(km_client("unix", unused, &note(key.reveal()).save()));
    agent.settle();
    agent.assert_count(&key, 0);
}
