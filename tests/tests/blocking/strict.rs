//! `strict`: refusing goes on without the agent and from one to the next, and what cannot be inspected is refused.

use keymoat_tests::agent::{Own, keymoat};
use keymoat_tests::commands::*;
use keymoat_tests::meanwhile::meanwhile;
use keymoat_tests::programs::km_rustls;
use keymoat_tests::script::request;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Script, Server, env, pki};
use rustix::net::{AddressFamily, SocketType, socket};
use std::net::UdpSocket;
use std::ops::Deref;
use std::process::Command;

/// Agents that follow one another, and keys that are sent meanwhile.
const AGENTS: usize = 4;

/// An agent in `strict` mode. Whatever a test did, the host is as before when this is gone.
pub(super) struct Strict(Own);

impl Strict {
    pub(super) fn start() -> Self {
        Self(Agent::own(&Options::blocking().arg("--strict")))
    }
}

impl Strict {
    /// Ends the agent without asking it and, after `between`, starts the next one.
    fn succeed(&mut self, between: impl FnOnce()) {
        self.0.kill();
        between();
        self.0.start_again();
    }
}

impl Drop for Strict {
    fn drop(&mut self) {
        self.0.stop();
        let (status, said) = keymoat(&["agent", "--detach"]).expect("run keymoat agent --detach");
        assert_eq!(status, Some(0), "{said}");
    }
}

impl Deref for Strict {
    type Target = Own;
    fn deref(&self) -> &Own {
        &self.0
    }
}

/// Sends a key, or nothing of the kind, over a new TLS connection; true: it arrived.
fn sends(key: Option<&FakeKey>) -> bool {
    let server = Server::https();
    let command = curl("https", &server).args(header("x-api-key: ", key)).command;
    let sent = Client::start(command).end().status.success();
    if let (false, Some(key)) = (sent, key) {
        server.assert_never(key.reveal().as_bytes());
    }
    sent
}

fn held(server: &Server, key: &FakeKey) -> Client {
    let mut command = Command::new("/usr/bin/python3");
    command.arg(program("held_client.py")).args(named(server)).arg(authority());
    command.envs(key_variable(Some(key)));
    let mut client = Client::start(command);
    client.wait_line("connected");
    client
}

fn says(client: &mut Client, line: &str, answer: &str) {
    client.say(format!("{line}\n").as_bytes());
    client.wait_line(answer);
}

#[test]
fn it_goes_on_without_the_agent_and_the_next_one_takes_over() {
    let (server, key, early, late) =
        (Server::https(), FakeKey::anthropic(), FakeKey::anthropic(), FakeKey::anthropic());
    let mut agent = Strict::start();
    let mut kept = held(&server, &key);
    says(&mut kept, "clean", "served");
    agent.succeed(|| {
        assert!(!sends(Some(&early)), "nobody runs, and keys are refused");
        assert!(sends(None), "nobody runs, and what is clean is served");
        says(&mut kept, "clean", "served");
    });
    assert!(!sends(Some(&late)));
    agent.expect(&Expect::key(&late).action("blocked"));
    says(&mut kept, "clean", "served");
    says(&mut kept, "key", "refused");
    server.assert_never(key.reveal().as_bytes());
    agent.expect(&Expect::key(&key).action("blocked"));
}

#[test]
fn only_detaching_ends_it() {
    let agent = Strict::start();
    let said_by = |args: &[&str]| keymoat(args).expect("run keymoat");
    let (status, said) = said_by(&["agent", "--detach"]);
    assert!(status == Some(2) && said.contains("stop it first"), "{said}");
    agent.stop();
    assert!(!sends(Some(&FakeKey::anthropic())), "ended in order, and keys are refused");
    let (status, said) = said_by(&["agent", "--mode", "block"]);
    assert!(status == Some(2) && said.contains("--detach"), "{said}");
    let (status, said) = said_by(&["agent", "--detach"]);
    assert_eq!(status, Some(0), "{said}");
    assert!(sends(Some(&FakeKey::anthropic())), "detached, and nothing is refused");
}

#[test]
fn no_key_slips_through_while_agents_change() {
    let mut agent = Strict::start();
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let send = || {
        let mut kept = held(&server, &key);
        says(&mut kept, "clean", "served");
        says(&mut kept, "key", "refused");
    };
    let tries = meanwhile(send, || (1..AGENTS).for_each(|_| agent.succeed(|| ())));
    assert!(tries > AGENTS, "{tries} keys were sent while {AGENTS} agents ran");
    server.assert_never(key.reveal().as_bytes());
}

fn unseen(server: &Server) -> Command {
    km_rustls(server.address(), pki::HOST, &Script::of(request(None, b"")).save())
}

#[test]
fn tls_that_nobody_sees_into_is_refused() {
    let (server, lenient) = (Server::https(), Server::tls_sink());
    {
        let _agent = Agent::own(&Options::blocking());
        Client::run(unseen(&lenient));
        lenient.wait_for(b"POST");
    }
    let agent = Strict::start();
    let client = Client::start(unseen(&server)).end();
    assert!(!client.status.success(), "it gets an error");
    server.assert_never(b"POST");
    let refusal = agent.expect_refusal(client.pid);
    assert_eq!((refusal.reason.as_str(), refusal.enforcement.as_str()), ("unseen-tls", "sk-msg"));
}

#[test]
fn a_tls_connection_older_than_any_agent_is_refused() {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let mut kept = held(&server, &key);
    says(&mut kept, "clean", "served");
    let agent = Strict::start();
    says(&mut kept, "clean", "refused");
    assert_eq!(agent.expect_refusal(kept.pid()).reason, "old-connection");
    let mut fresh = held(&server, &key);
    says(&mut fresh, "clean", "served");
}

#[test]
fn quic_is_refused_and_other_datagrams_are_not() {
    let agent = Strict::start();
    let (socket, server) = (UdpSocket::bind("0.0.0.0:0").expect("a socket"), Server::udp());
    // A long header of version 1; what follows does not matter.
    let mut packet = vec![0u8; 1200];
    packet[..5].copy_from_slice(&[0xc3, 0, 0, 0, 1]);
    let to = |port| (server.address().ip(), port);
    let error = socket.send_to(&packet, to(443)).expect_err("it is refused");
    assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied);
    let refusal = agent.expect_refusal(std::process::id());
    assert_eq!((refusal.reason.as_str(), refusal.enforcement.as_str()), ("quic", "cgroup-skb"));
    socket.send_to(&packet[..100], to(443)).expect("too short for QUIC");
    socket.send_to(&packet, to(server.port)).expect("another port");
    server.wait_for_count(1);
}

#[test]
fn it_goes_with_block_mode_only() {
    let (status, said) = keymoat(&["agent", "--strict"]).expect("run keymoat agent");
    assert!(status == Some(2) && said.contains("--mode block"), "{said}");
}

/// Raw packets pass none of the other programs; kernels without BPF among their security modules cannot refuse the socket.
#[test]
fn packet_sockets_are_refused_or_it_is_said_that_they_are_not() {
    let agent = Strict::start();
    let made = || socket(AddressFamily::PACKET, SocketType::RAW, None).map(drop);
    if env::has_bpf_lsm() {
        assert_eq!(made(), Err(rustix::io::Errno::PERM));
        let refusal = agent.expect_refusal(std::process::id());
        assert_eq!((refusal.reason.as_str(), refusal.enforcement.as_str()), ("packet-socket", "lsm"));
    } else {
        agent.expect_message("AF_PACKET");
        made().expect("nothing refuses it here");
    }
    UdpSocket::bind("0.0.0.0:0").expect("an ordinary socket is made");
}
