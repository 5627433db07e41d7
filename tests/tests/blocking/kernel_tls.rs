//! TLS that the kernel does (kTLS). OpenSSL sets it up where a program wishes for it, and what is written then need not pass OpenSSL at
//! all. On connections that are judged it is not to be had, as on kernels without it: OpenSSL encrypts by itself, and is seen.

use keymoat_tests::commands::one;
use keymoat_tests::programs::{Linked, openssl_client};
use keymoat_tests::script::request;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Finished, Options, Script, Server, env, pki};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;

/// Past OpenSSL: a file that it has the kernel send, and a write on the socket.
const PAST_OPENSSL: [&str; 2] = ["sendfile", "write"];

fn send(way: &str, server: &Server, script: &Path) -> Finished {
    let mut client = openssl_client(Linked::Shared, server.address(), pki::HOST, script);
    let client = Client::start({
        client.arg(way);
        client
    })
    .end();
    assert_eq!(client.status.signal(), None, "killed: {}", client.stderr);
    client
}

#[test]
fn who_wishes_for_it_is_refused_a_key() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let client = send("ktls", &server, &one(Some(&key)));
    assert!(!client.status.success());
    assert!(client.stdout.contains("OpenSSL encrypts"), "{}", client.stdout);
    let wanted = Expect::key(&key).action("blocked").library("openssl").pid(client.pid);
    agent.expect(&wanted.location("header:x-api-key").host(pki::HOST, "sni"));
    server.assert_never(key.reveal().as_bytes());
}

#[test]
fn and_served_without() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, body) = (Server::https(), "words ".repeat(50_000));
    let client = send("ktls", &server, &Script::of(request(None, body.as_bytes())).save());
    assert!(client.status.success(), "{}", client.stderr);
    server.wait_for(body.as_bytes());
    agent.assert_clean(&server, client.pid);
}

#[test]
fn nothing_goes_past_openssl() {
    let _agent = Agent::shared_as(&Options::blocking());
    for way in PAST_OPENSSL {
        let (server, key) = (Server::https(), FakeKey::anthropic());
        let client = send(way, &server, &one(Some(&key)));
        assert!(client.stderr.contains("Operation not supported"), "{way}: {}", client.stderr);
        assert!(server.received().is_empty());
    }
}

/// What is not judged is left alone: here, traffic of this host to itself.
#[test]
fn other_connections_have_it() {
    let _agent = Agent::shared_as(&Options::blocking());
    for way in PAST_OPENSSL {
        let server = Server::loopback_https();
        let client = send(way, &server, &one(None));
        assert_eq!(client.status.success(), env::has_kernel_tls(), "{way}: {}", client.stderr);
        assert_eq!(server.received().len(), usize::from(env::has_kernel_tls()));
    }
}
