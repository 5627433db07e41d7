//! Every system call that sends, in the clear: the call that completes a key is refused.

use keymoat_tests::calls::{is_silent, note};
use keymoat_tests::programs::{Linked, km_client, openssl_client};
use keymoat_tests::{
    Agent, Client, Expect, FakeKey, Options, Script, Server, pki, script, tcp_calls, udp_calls,
};
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;

macro_rules! refused_calls {
    ($module:ident, $server:expr, $kind:literal, $($name:ident => $call:literal,)*) => {
        mod $module {
            use super::*;
            $(#[test]
            fn $name() {
                is_refused($call, $kind, &$server);
                is_silent(&Agent::shared_as(&Options::blocking()), note, $call, &$server);
            })*
        }
    };
}

tcp_calls!(refused_calls, tcp, Server::sink(), "tcp");
udp_calls!(refused_calls, udp, Server::udp(), "udp");

fn is_refused(call: &str, kind: &str, server: &Server) {
    let agent = Agent::shared_as(&Options::blocking());
    for address in [server.address(), server.address6()] {
        let key = FakeKey::anthropic();
        let client = Client::start(km_client(call, address, &note(key.reveal()).save())).end();
        assert_eq!(client.status.signal(), None, "killed: {}", client.stderr);
        let wanted = Expect::key(&key).action("blocked").kind(kind).pid(client.pid).to(address);
        agent.expect(&wanted);
        server.assert_never(key.reveal().as_bytes());
    }
}

/// Keys cut at every so many bytes over two writes. Each on a connection of its own: a refused one is dead.
fn refuses_split_keys(client: impl Fn(&Server, &Script) -> Command, server: impl Fn() -> Server) {
    let agent = Agent::shared_as(&Options::blocking());
    let length = FakeKey::anthropic().reveal().len();
    for offset in (1..length).step_by(9) {
        let (key, server) = (FakeKey::anthropic(), server());
        let (head, tail) = key.reveal().split_at(offset);
        let script = Script::of(format!("token {head}")).then(format!("{tail}\n"));
        let client = Client::start(client(&server, &script)).end();
        assert_eq!(client.status.signal(), None, "killed: {}", client.stderr);
        agent.expect_refused(client.pid);
        server.assert_never(key.reveal().as_bytes());
    }
}

#[test]
fn a_key_cut_over_two_writes() {
    refuses_split_keys(|server, script| km_client("write", server.address(), &script.save()), Server::sink);
}

#[test]
fn a_key_cut_over_two_tls_writes() {
    let client = |server: &Server, script: &Script| {
        openssl_client(Linked::Shared, server.address(), pki::HOST, &script.save())
    };
    refuses_split_keys(client, Server::tls_sink);
}

/// As Ruby, Perl and Rust's native-tls have it: the rest is given to the library again and again. A key in it is known from the first time.
#[test]
fn a_write_that_is_sent_in_parts() {
    let agent = Agent::shared_as(&Options::blocking());
    let send = |server: &Server, text: String| {
        let script = Script::of(text).save();
        let mut client = openssl_client(Linked::Shared, server.address(), pki::HOST, &script);
        client.arg("parts");
        Client::start(client).end()
    };
    let (server, key) = (Server::tls_sink(), FakeKey::anthropic());
    let words = "words and ".repeat(150_000);
    let client = send(&server, format!("{words} {} {words}", key.reveal()));
    assert!(!client.status.success());
    agent.expect_refused(client.pid);
    server.assert_never(b"words");

    let server = Server::tls_sink();
    let client = send(&server, format!("{words} nothing {words} end"));
    assert!(client.status.success(), "{}", client.stderr);
    server.wait_for(b"words and  end");
    agent.assert_clean(&server, client.pid);
}

/// What comes after the last part is looked at as ever.
#[test]
fn a_write_after_one_that_was_sent_in_parts() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::tls_sink(), FakeKey::anthropic());
    let words = "words and ".repeat(10_000);
    let (head, tail) = key.reveal().split_at(20);
    let script = Script::of(format!("{words} {head}")).then(tail).then(" end");
    let mut client = openssl_client(Linked::Shared, server.address(), pki::HOST, &script.save());
    client.arg("parts");
    let client = Client::start(client).end();
    assert!(!client.status.success());
    agent.expect_refused(client.pid);
    server.assert_never(key.reveal().as_bytes());
}

/// Of a write the agent is shown the first 17 x 64 KiB, and what is around a key that lies behind.
#[test]
fn a_key_behind_what_is_shown_of_a_tls_write() {
    const SHOWN: usize = 17 * 64 * 1024;
    let agent = Agent::shared_as(&Options::blocking());
    let text = |len: usize| "words and ".repeat(len / 10 + 1)[..len].to_owned();
    let send = |body: String| {
        let server = Server::tls_sink();
        let script = Script::of(script::request(None, body.as_bytes())).save();
        let client =
            Client::start(openssl_client(Linked::Shared, server.address(), pki::HOST, &script)).end();
        (server, client)
    };
    // Of a call that was stopped, only what is around the key is shown.
    let place = if agent.method("tls") == "return-override" { "stream" } else { "body" };
    for before in [SHOWN - 300, SHOWN + 5, SHOWN + 2_000_000] {
        let key = FakeKey::anthropic();
        let (server, client) = send(format!("{} {} {}", text(before), key.reveal(), text(1_000_000)));
        let wanted = Expect::key(&key).action("blocked").pid(client.pid).location(place);
        agent.expect_once(&wanted, &key);
        server.assert_never(b"words and");
    }
    let (server, client) = send(text(4_000_000));
    assert!(client.status.success(), "{}", client.stderr);
    agent.assert_clean(&server, client.pid);
}

#[test]
fn a_key_at_the_end_of_a_mebibyte() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::sink(), FakeKey::anthropic());
    let text = format!("{} {}\n", ".".repeat(1024 * 1024), key.reveal());
    let client = Client::start(km_client("write", server.address(), &Script::of(text).save())).end();
    agent.expect_refused(client.pid);
    server.assert_never(key.reveal().as_bytes());
}
