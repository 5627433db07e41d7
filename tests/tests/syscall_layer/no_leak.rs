//! What does not leave, what is a socket's no more, and what leaves only once.

use super::{note, shared, told_to};
use keymoat_tests::programs::{Linked, km_client, openssl_client};
use keymoat_tests::{Agent, Client, Expect, FakeKey, Script, Server, pki, script};
use std::process::Command;

fn loopback_clients() -> [(Server, Command, FakeKey); 2] {
    let request = |key: &FakeKey| Script::of(script::request(Some(key), b"{}")).save();
    let (http, https) = (Server::loopback_http(), Server::loopback_https());
    let (plain, tls) = (FakeKey::anthropic(), FakeKey::anthropic());
    let plain_client = km_client("write", http.address(), &request(&plain));
    let tls_client = openssl_client(Linked::Shared, https.address(), pki::HOST, &request(&tls));
    [(http, plain_client, plain), (https, tls_client, tls)]
}

#[test]
fn loopback() {
    let agent = shared();
    for (server, client, key) in loopback_clients() {
        Client::run(client);
        server.wait_for(key.reveal().as_bytes());
        agent.settle();
        agent.assert_count(&key, 0);
    }
}

#[test]
fn loopback_counts_when_asked_for() {
    let agent = Agent::own(&told_to().include_loopback());
    for (server, client, key) in loopback_clients() {
        let client = Client::run(client);
        agent.expect_once(&Expect::observed(&key).pid(client.pid).to(server.address()), &key);
    }
}

#[test]
fn unix_sockets() {
    let (agent, key) = (shared(), FakeKey::anthropic());
    Client::run(km_client("unix", ([127, 0, 0, 1], 9).into(), &note(key.reveal()).save()));
    agent.settle();
    agent.assert_count(&key, 0);
}
