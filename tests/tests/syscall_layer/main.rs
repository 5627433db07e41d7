//! The fallback where cgroup v2 is missing: system calls are watched instead of sockets. What it is to see is seen;
//! what `doctor` says it cannot see is not, so that the day it can, the doctor's words are looked at again.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "tests assert by panicking"
)]

mod edges;
mod no_leak;
mod tls;

use keymoat_tests::agent::{Mounts, Shared, keymoat_with};
use keymoat_tests::key::FLEET_KEY;
use keymoat_tests::programs::{Linked, km_client, openssl_client};
use keymoat_tests::{Agent, Client, Expect, FakeKey, Net, Options, Script, Server, calls, env, pki, script};
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;

/// An agent told to watch system calls, where there is a choice.
fn told_to() -> Options {
    Options::default().mounts(Mounts::Tracefs).config("socket_layer = \"syscalls\"")
}

fn shared() -> Shared {
    Agent::shared_as(&told_to())
}

/// Two writes, so that calls taking several buffers or messages have several; the key is in the last.
fn note(text: &str) -> Script {
    Script::of("first ").then(format!("key={text} end\n"))
}

mod choice {
    use super::*;

    const SYSCALLS: &str = "tracepoint:syscalls";

    #[test]
    fn without_cgroup_v2_system_calls_are_watched_and_the_agent_says_what_that_costs() {
        let agent = Agent::own(&Options::default().mounts(Mounts::TracefsOnly));
        let hooks = agent.ready().hooks;
        assert!(hooks.iter().any(|hook| hook == SYSCALLS), "{hooks:?}");
        assert!(!hooks.iter().any(|hook| hook.contains("cgroup") || hook == "sock_ops"), "{hooks:?}");
        agent.expect_message("cgroup v2 is not mounted");
        agent.expect_message("cannot see sendfile, splice, io_uring");
        let (server, key) = (Server::sink(), FakeKey::anthropic());
        let client = Client::run(km_client("write", server.address(), &note(key.reveal()).save()));
        agent.expect_once(&Expect::observed(&key).kind("tcp").pid(client.pid), &key);
    }

    #[test]
    fn with_cgroup_v2_they_are_watched_on_demand() {
        let hooks = shared().ready().hooks;
        assert!(hooks.iter().any(|hook| hook == SYSCALLS), "{hooks:?}");
        assert!(!hooks.iter().any(|hook| hook.contains("cgroup") || hook == "sock_ops"), "{hooks:?}");
    }

    /// Not even the system calls can be watched: the agent does not pretend.
    #[test]
    fn without_either_the_agent_says_what_to_mount() {
        let fleet_key = env::temp_file("fleet.key", FLEET_KEY.as_bytes());
        let status = env::fresh_dir("status").join("status.json");
        for (layer, wanted) in [
            ("auto", "mount -t cgroup2"),
            ("sockets", "mount -t cgroup2"),
            ("syscalls", "mount -t tracefs tracefs /sys/kernel/tracing"),
        ] {
            let text = format!(
                "fleet_key_file = {fleet_key:?}\nstatus_file = {status:?}\nsocket_layer = \"{layer}\"\n"
            );
            let config = env::temp_file("keymoat.toml", text.as_bytes()).display().to_string();
            let (code, said) = keymoat_with(Mounts::Neither, &["agent", "--config", &config]).expect("run");
            assert!(code.is_some_and(|code| code != 0), "{layer}: exit code {code:?}: {said}");
            assert!(said.contains(wanted) && !said.contains("panicked"), "{layer}: no {wanted:?} in: {said}");
        }
    }
}

calls! { tcp, shared(), note, Server::sink(), "tcp",
    write => "write",
    writev => "writev",
    send => "send",
    sendto => "sendto",
    sendmsg => "sendmsg",
    sendmmsg => "sendmmsg",
    zerocopy => "zerocopy",
}

calls! { udp, shared(), note, Server::udp(), "udp",
    write => "udp-write",
    writev => "udp-writev",
    send => "udp-send",
    sendto => "udpto-sendto",
    sendmsg => "udp-sendmsg",
    sendmsg_with_address => "udpto-sendmsg",
    sendmmsg => "udp-sendmmsg",
    sendmmsg_with_address => "udpto-sendmmsg",
}

#[test]
fn keys_split_over_calls_buffers_and_messages_are_found_at_every_offset() {
    let agent = shared();
    let before = agent.losses();
    for (call, options) in [
        ("write", None),
        ("writev", Some("group=2")),
        ("sendmsg", Some("group=2")),
        ("sendmmsg", Some("group=2")),
    ] {
        let (server, (script, keys)) = (Server::sink(), Script::splits(FakeKey::anthropic));
        let mut command = km_client(call, server.address(), &script.save());
        command.args(options);
        Client::run(command);
        agent.expect_each_once(&keys);
    }
    agent.assert_no_loss_since(&before);
}

#[test]
fn one_mebibyte_in_one_write() {
    let agent = shared();
    let before = agent.losses();
    let (server, key) = (Server::http(), FakeKey::anthropic());
    let mut body = vec![b'.'; 1024 * 1024 - key.reveal().len()];
    body.extend_from_slice(format!(" {}", key.reveal()).as_bytes());
    let script = Script::of(script::request(None, &body)).save();
    let client = Client::run(km_client("write", server.address(), &script));
    server.wait_for(key.reveal().as_bytes());
    let wanted = Expect::observed(&key).kind("tcp").location("body").host(pki::HOST, "http-host");
    agent.expect_once(&wanted.pid(client.pid), &key);
    agent.assert_no_loss_since(&before);
}

/// The system's own: what is first on the path can be a wrapper, which is another process.
fn python3() -> Command {
    let python = Path::new("/usr/bin/python3");
    if python.is_file() { Command::new(python) } else { env::missing("/usr/bin/python3") }
}

fn python(program: &str) -> Command {
    let mut command = python3();
    command.args(["-c", program]);
    command
}

/// One agent for all of them: starting one is what takes time.
#[test]
fn connections_older_than_the_agent() {
    let (sink, udp, https) = (Server::sink(), Server::udp(), Server::https());
    let (http, loopback_https) = (Server::loopback_http(), Server::loopback_https());
    let plain = |call: &'static str, to: SocketAddr, kind: &'static str| {
        let client = move |key: &FakeKey| km_client(call, to, &note(key.reveal()).save());
        Older::start(client, move |it| Some(it.kind(kind).to(to).only_address()))
    };
    let request = |key: &FakeKey| Script::of(script::request(Some(key), b"{}")).save();
    let tls =
        |to: SocketAddr| move |key: &FakeKey| openssl_client(Linked::Shared, to, pki::HOST, &request(key));
    let to = https.address();
    let all = [
        plain("write", sink.address(), "tcp"),
        plain("write", sink.address6(), "tcp"),
        plain("udp-send", udp.address(), "udp"),
        plain("udpto-sendto", udp.address(), "udp"),
        // Its ClientHello is long gone: the name is what the request says.
        Older::start(tls(to), move |it| Some(it.library("openssl").to(to).host(pki::HOST, "http-host"))),
        // What stays on this host is known to, although nobody saw where it was connected to.
        Older::start(|key| km_client("write", http.address(), &request(key)), |_| None),
        Older::start(tls(loopback_https.address()), |_| None),
    ];
    let agent = Agent::own(&told_to());
    for Older { mut client, key, expect } in all {
        client.say(b"\n");
        let client = client.finish();
        match expect(Expect::observed(&key).pid(client.pid)) {
            Some(wanted) => drop(agent.expect_once(&wanted, &key)),
            None => {
                agent.settle();
                agent.assert_count(&key, 0);
            }
        }
    }
}

/// A client that is connected and waits for a word to send its key.
struct Older {
    client: Client,
    key: FakeKey,
    /// None: nothing is to be said of it.
    expect: Box<dyn Fn(Expect) -> Option<Expect>>,
}

impl Older {
    fn start(
        command: impl Fn(&FakeKey) -> Command,
        expect: impl Fn(Expect) -> Option<Expect> + 'static,
    ) -> Self {
        let key = FakeKey::anthropic();
        let mut command = command(&key);
        command.arg("wait");
        let mut client = Client::start(command);
        client.wait_line("connected");
        Self { client, key, expect: Box::new(expect) }
    }
}

/// What this host answers, on a connection somebody else opened.
#[test]
fn accepted_connections_are_watched() {
    const SERVER: &str = "
import socket, sys
text = sys.stdin.buffer.readline()
server = socket.create_server((sys.argv[1], int(sys.argv[2])))
print('listening', flush=True)
connection, _ = server.accept()
connection.sendall(text)
connection.close()
";
    let (agent, net) = (shared(), Net::shared());
    for clean in [true, false] {
        let key = FakeKey::anthropic();
        // Free a moment ago; nobody else uses addresses of this network.
        let port = TcpListener::bind((net.host_v4, 0)).and_then(|it| it.local_addr()).unwrap().port();
        let mut command = python(SERVER);
        command.args([net.host_v4.to_string(), port.to_string()]);
        let mut server = Client::start(command);
        server.say(format!("{}\n", if clean { "nothing-secret" } else { key.reveal() }).as_bytes());
        server.wait_line("listening");
        let (from, received) = net.inside(|| {
            let mut stream = TcpStream::connect((net.host_v4, port)).unwrap();
            let mut received = String::new();
            stream.read_to_string(&mut received).unwrap();
            (stream.local_addr().unwrap(), received)
        });
        assert!(clean || received.contains(key.reveal()), "the answer did not come");
        let pid = server.finish().pid;
        if clean {
            agent.settle();
            assert!(!agent.findings().iter().any(|it| it.process.pid == pid), "a finding in a clean answer");
        } else {
            agent.expect_once(&Expect::observed(&key).kind("tcp").pid(pid).to(from), &key);
        }
    }
}

/// What `doctor` says is not seen. A key that is found here has to be struck off its list.
mod not_seen {
    use super::*;

    fn key_goes_by(call: &str, server: &Server) {
        let (agent, key) = (shared(), FakeKey::anthropic());
        let client = Client::run(km_client(call, server.address(), &note(key.reveal()).save()));
        server.wait_for(key.reveal().as_bytes());
        agent.assert_clean(server, client.pid);
        agent.assert_count(&key, 0);
    }

    #[test]
    fn sendfile_and_splice() {
        for call in ["sendfile", "splice", "vmsplice"] {
            key_goes_by(call, &Server::sink());
        }
    }

    #[test]
    fn io_uring() {
        for call in ["uring-send", "uring-write", "uring-sendmsg"] {
            key_goes_by(call, &Server::sink());
        }
        key_goes_by("udp-uring-send", &Server::udp());
    }

    /// A call that carries one key within what is read of it and one beyond.
    type Split<'a> = &'a dyn Fn(&FakeKey, &FakeKey) -> Script;

    /// What one call carries beyond the limits is counted, and what is within them found. On an agent of its own:
    /// tests that share one fail when something is lost.
    #[test]
    fn what_is_too_much_for_one_call_is_counted() {
        let agent = Agent::own(&told_to());
        let filler = |count: usize| (0..count).fold(Script::default(), |it, _| it.then("..... "));
        let long = |key: &FakeKey| [vec![b'.'; 70_000], format!(" {} ", key.reveal()).into()].concat();
        let line = |key: &FakeKey| format!(" {} \n", key.reveal());
        let limits: [(&str, Split); 3] = [
            ("writev", &|within, beyond| filler(7).then(line(within)).then(line(beyond))),
            ("sendmmsg", &|within, beyond| filler(1).then(line(within)).then(line(beyond))),
            ("writev", &|within, beyond| Script::of(line(within)).then(long(beyond))),
        ];
        for (call, script) in limits {
            let (server, seen, unseen) = (Server::sink(), FakeKey::anthropic(), FakeKey::anthropic());
            let before = agent.losses();
            Client::run(km_client(call, server.address(), &script(&seen, &unseen).save()));
            server.wait_for(unseen.reveal().as_bytes());
            agent.expect_once(&Expect::observed(&seen).kind("tcp"), &seen);
            agent.assert_count(&unseen, 0);
            agent.expect_loss_since(&before, "write-truncated");
        }
    }
}
