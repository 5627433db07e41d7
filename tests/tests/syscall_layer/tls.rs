//! TLS: the plaintext finds its socket although no socket program is there.

use super::{python3, shared};
use keymoat_tests::programs::{Linked, km_rustls, openssl_client};
use keymoat_tests::{Client, Expect, FakeKey, Script, Server, env, pki, script};
use std::path::Path;
use std::process::Command;

fn header(key: Option<&FakeKey>) -> Option<String> {
    key.map(|key| format!("x-api-key: {}", key.reveal()))
}

fn curl(server: &Server, key: Option<&FakeKey>) -> Command {
    let (host, port) = (pki::HOST, server.port);
    let resolve = format!("{host}:{port}:{}", server.address().ip());
    let mut command = Command::new(env::tool("curl"));
    command.args(["-sS", "--fail", "--http1.1", "--resolve", &resolve, "--cacert"]).arg(pki::authority());
    command.arg(format!("https://{host}:{port}/v1/messages"));
    command.args(header(key).iter().flat_map(|header| ["-H", header]));
    command
}

fn wget(server: &Server, key: Option<&FakeKey>) -> Command {
    let mut command = Command::new(env::tool("wget"));
    command.args(["-q", "-O", "-", "--tries=1", "--ca-certificate"]).arg(pki::authority());
    command.arg(format!("https://{}/", server.address()));
    command.args(header(key).map(|header| format!("--header={header}")));
    command
}

/// Encrypts into memory and sends later, through another call.
fn asyncio(server: &Server, key: Option<&FakeKey>) -> Command {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs/asyncio_client.py");
    let mut command = python3();
    let (ip, port) = (server.address().ip().to_string(), server.port.to_string());
    command.arg(program).args([&ip, &port, pki::HOST]).arg(pki::authority());
    command.envs(key.map(|key| ("KM_KEY", key.reveal())));
    command
}

/// Where it goes is known: the plaintext found its socket although no socket program was there.
fn key_is_found_and_its_twin_is_silent(
    client: fn(&Server, Option<&FakeKey>) -> Command,
    expect: fn(Expect) -> Expect,
) {
    let (agent, server, key) = (shared(), Server::https(), FakeKey::anthropic());
    let before = agent.losses();
    let twin = Client::run(client(&server, None));
    agent.assert_clean(&server, twin.pid);
    let client = Client::run(client(&server, Some(&key)));
    server.wait_for(key.reveal().as_bytes());
    let wanted = Expect::observed(&key).location("header:x-api-key").pid(client.pid);
    agent.expect_once(&expect(wanted).to(server.address()), &key);
    for pid in [twin.pid, client.pid] {
        assert!(agent.unseen_tls(pid).is_empty(), "a program with a probe counts as unseen");
    }
    agent.assert_no_loss_since(&before);
}

#[test]
fn openssl_by_curl() {
    key_is_found_and_its_twin_is_silent(curl, |it| it.library("openssl").host(pki::HOST, "sni"));
}

#[test]
fn gnutls_by_wget() {
    key_is_found_and_its_twin_is_silent(wget, |it| it.library("gnutls").only_address());
}

#[test]
fn memory_bio_by_asyncio() {
    key_is_found_and_its_twin_is_silent(asyncio, |it| it.library("openssl").host(pki::HOST, "sni"));
}

#[test]
fn many_connections_of_one_process() {
    let (agent, server) = (shared(), Server::https());
    let keys: Vec<_> = (0..200).map(|_| FakeKey::anthropic()).collect();
    let requests = keys.iter().fold(Script::default(), |it, key| it.then(script::request(Some(key), b"{}")));
    let mut command = openssl_client(Linked::Shared, server.address(), pki::HOST, &requests.save());
    command.arg("threads=10");
    let client = Client::run(command);
    server.wait_for_count(keys.len());
    agent.expect_each_once(&keys);
    for key in &keys {
        let wanted = Expect::observed(key).location("header:x-api-key").pid(client.pid);
        agent.expect(&wanted.to(server.address()).host(pki::HOST, "sni"));
    }
}

#[test]
fn a_program_nobody_sees_into_is_reported() {
    let (agent, server, key) = (shared(), Server::https(), FakeKey::anthropic());
    let script = Script::of(script::request(Some(&key), b"{}")).save();
    let client = Client::run(km_rustls(server.address(), pki::HOST, &script));
    let line = agent.expect_unseen_tls(client.pid);
    assert_eq!(line.destination.port, Some(server.port));
    agent.settle();
    agent.assert_count(&key, 0);
}
