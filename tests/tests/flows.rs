//! What is one finding and what is another: connections, repeats, places, homes, loopback, programs nobody
//! sees into.

#![allow(clippy::expect_used, reason = "a test asserts by panicking")]

use keymoat_tests::commands::here_then_away;
use keymoat_tests::programs::{Linked, km_client, km_rustls, openssl_client};
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Script, Server, env, pki, script};
use std::net::SocketAddr;
use std::process::Command;

/// curl to `name` on this server, over TLS.
fn curl(server: &Server, name: &str) -> Command {
    let url = format!("https://{name}:{}/v1/messages", server.port);
    let resolve = format!("{name}:{}:{}", server.port, server.address().ip());
    let mut command = Command::new(env::tool("curl"));
    command.args(["-sS", "--http1.1", "--resolve", &resolve, &url, "--cacert"]).arg(pki::authority());
    command
}

fn header(key: &FakeKey) -> [String; 2] {
    ["-H".to_owned(), format!("x-api-key: {}", key.reveal())]
}

/// One request for each key.
fn requests(keys: &[FakeKey]) -> Script {
    keys.iter().fold(Script::default(), |it, key| it.then(script::request(Some(key), b"{}")))
}

mod many_keys {
    use super::*;

    fn thousand() -> Vec<FakeKey> {
        (0..1000).map(|_| FakeKey::anthropic()).collect()
    }

    fn finds_each_once(server: &Server, mut client: Command, keys: &[FakeKey]) {
        let agent = Agent::shared();
        let before = agent.losses();
        client.arg("threads=50");
        Client::run(client);
        server.wait_for_count(keys.len());
        agent.expect_each_once(keys);
        agent.assert_no_loss_since(&before);
    }

    #[test]
    fn a_thousand_over_fifty_connections() {
        let (server, keys) = (Server::http(), thousand());
        let client = km_client("write", server.address(), &requests(&keys).save());
        finds_each_once(&server, client, &keys);
    }

    #[test]
    fn a_thousand_over_fifty_tls_connections() {
        let (server, keys) = (Server::https(), thousand());
        let script = requests(&keys).save();
        let client = openssl_client(Linked::Shared, server.address(), pki::HOST, &script);
        finds_each_once(&server, client, &keys);
    }
}

mod repeats {
    use super::*;

    fn are_counted(server: &Server, client: fn(SocketAddr, &Script) -> Command) {
        let agent = Agent::shared();
        let key = FakeKey::anthropic();
        let client = Client::run(client(server.address(), &requests(&vec![key.clone(); 5])));
        server.wait_for_count(5);
        let wanted = Expect::observed(&key).location("header:x-api-key").pid(client.pid);
        let finding = agent.expect_once(&wanted, &key);
        agent.expect_repeats(&finding, 4);
    }

    #[test]
    fn on_a_connection_kept_alive() {
        are_counted(&Server::http(), |to, script| km_client("write", to, &script.save()));
    }

    #[test]
    fn on_a_tls_connection_kept_alive() {
        are_counted(&Server::https(), |to, script| {
            openssl_client(Linked::Shared, to, pki::HOST, &script.save())
        });
    }

    #[test]
    fn another_connection_is_another_finding() {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let pids = [(); 2].map(|()| {
            let mut command = curl(&server, pki::HOST);
            command.args(header(&key));
            Client::run(command).pid
        });
        for pid in pids {
            agent.expect(&Expect::observed(&key).pid(pid));
        }
        agent.settle();
        agent.assert_count(&key, 2);
    }

    #[test]
    fn another_place_is_another_finding() {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let mut command = curl(&server, pki::HOST);
        command.args(header(&key)).arg("-d").arg(format!("my key is {}", key.reveal()));
        Client::run(command);
        agent.expect(&Expect::observed(&key).location("header:x-api-key"));
        agent.expect(&Expect::observed(&key).location("body"));
        agent.settle();
        agent.assert_count(&key, 2);
    }

    #[test]
    fn another_key_is_another_finding() {
        let (agent, server) = (Agent::shared(), Server::https());
        let keys = [FakeKey::anthropic(), FakeKey::openai(), FakeKey::anthropic_oauth()];
        let mut command = curl(&server, pki::HOST);
        let [a, b, c] = &keys;
        command.args(header(a)).arg("-d").arg(format!("{} and {}", b.reveal(), c.reveal()));
        Client::run(command);
        agent.expect_each_once(&keys);
    }
}

mod home {
    use super::*;

    fn says(name: &str, place: impl Fn(&FakeKey) -> [String; 2], action: &str) {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let mut command = curl(&server, name);
        command.args(place(&key));
        Client::run(command);
        agent.expect_once(&Expect::key(&key).action(action).host(name, "sni"), &key);
    }

    fn body(key: &FakeKey) -> [String; 2] {
        ["-d".to_owned(), format!("is {} valid?", key.reveal())]
    }

    #[test]
    fn usual_header_to_its_own_provider_is_allowed() {
        says(pki::ANTHROPIC, header, "allowed");
    }

    #[test]
    fn body_to_its_own_provider_is_a_leak() {
        says(pki::ANTHROPIC, body, "observed");
    }

    #[test]
    fn usual_header_to_somebody_else_is_a_leak() {
        says(pki::HOST, header, "observed");
    }

    #[test]
    fn unusual_header_to_its_own_provider_is_a_leak() {
        says(pki::ANTHROPIC, |key| ["-H".into(), format!("x-debug: {}", key.reveal())], "observed");
    }

    /// Whoever writes the request writes the Host header; only the name the TLS handshake asked for counts.
    #[test]
    fn a_host_header_does_not_make_a_home() {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let mut command = curl(&server, pki::HOST);
        command.args(header(&key)).args(["-H", &format!("Host: {}", pki::ANTHROPIC)]);
        Client::run(command);
        agent.expect_once(&Expect::observed(&key).host(pki::HOST, "sni"), &key);
    }
}

mod facts {
    use super::*;

    #[test]
    fn say_who_sent_it_without_saying_what() {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let mut command = curl(&server, pki::HOST);
        command.args(header(&key));
        let client = Client::run(command);
        let finding = agent.expect_once(&Expect::observed(&key).pid(client.pid).comm("curl"), &key);

        let process = &finding.process;
        assert_eq!(process.exe.as_deref(), env::tool("curl").canonicalize().unwrap().to_str());
        assert_eq!(process.uid, Some(0));
        assert_eq!(process.ancestors.first().map(|parent| parent.pid), Some(std::process::id()));
        let redacted = &finding.secret.redacted;
        assert!(process.cmdline.iter().any(|arg| arg.contains(redacted.as_str())), "{:?}", process.cmdline);
        assert!(key.reveal().starts_with(redacted.split('…').next().unwrap()), "{redacted}");
        assert_eq!(finding.secret.length, key.reveal().len());
        let texts = [&finding.explanation, &finding.remediation, &finding.rule.name, &finding.rule.severity];
        assert!(texts.iter().all(|text| !text.is_empty()) && !finding.attack.is_empty(), "{finding:#?}");
        assert_eq!(finding.enforcement, None);
    }
}

mod loopback {
    use super::*;

    fn clients() -> Vec<(Server, Command, FakeKey)> {
        let case = |server: Server, client: &dyn Fn(SocketAddr, &std::path::Path) -> Command| {
            let key = FakeKey::anthropic();
            let client = client(server.address(), &requests(std::slice::from_ref(&key)).save());
            (server, client, key)
        };
        vec![
            case(Server::loopback_http(), &|to, script| km_client("write", to, script)),
            case(Server::loopback_https(), &|to, script| {
                openssl_client(Linked::Shared, to, pki::HOST, script)
            }),
        ]
    }

    #[test]
    fn is_not_leaving() {
        let agent = Agent::shared();
        for (_, client, key) in clients() {
            Client::run(client);
            agent.settle();
            agent.assert_count(&key, 0);
        }
    }

    #[test]
    fn counts_when_asked_for() {
        let agent = Agent::own(&Options::default().include_loopback());
        for (server, client, key) in clients() {
            let client = Client::run(client);
            agent.expect_once(&Expect::observed(&key).pid(client.pid).to(server.address()), &key);
        }
    }

    /// OpenSSL makes the next connection's object where the last one was.
    #[test]
    fn says_nothing_of_the_next_connection() {
        let agent = Agent::shared();
        let (here, away, key) = (Server::loopback_https(), Server::https(), FakeKey::anthropic());
        let client = Client::run(here_then_away(&here, &away, &key, 10).command);
        assert_eq!(client.stdout.trim(), "served 10");
        agent.assert_clean(&away, client.pid);
    }

    /// The host's own address on the way to the other network is this host as well.
    #[test]
    fn is_what_goes_to_an_own_address() {
        let (agent, server) = (Agent::shared(), Server::own_address_http());
        let key = FakeKey::anthropic();
        let script = requests(std::slice::from_ref(&key)).save();
        Client::run(km_client("write", server.address(), &script));
        agent.settle();
        agent.assert_count(&key, 0);
    }
}

mod older_than_the_agent {
    use super::*;

    /// Connects, then starts an agent, then sends.
    fn is_seen(mut command: Command, expect: impl Fn(Expect) -> Expect, key: &FakeKey) {
        command.arg("wait");
        let mut client = Client::start(command);
        client.wait_line("connected");
        let agent = Agent::own(&Options::default());
        client.say(b"\n");
        let client = client.finish();
        agent.expect_once(&expect(Expect::observed(key).pid(client.pid)), key);
    }

    #[test]
    fn connection_in_the_clear() {
        for v6 in [false, true] {
            let (server, key) = (Server::http(), FakeKey::anthropic());
            let to = if v6 { server.address6() } else { server.address() };
            let script = requests(std::slice::from_ref(&key)).save();
            let expect = |it: Expect| it.kind("tcp").location("header:x-api-key").to(to);
            is_seen(km_client("write", to, &script), expect, &key);
        }
    }

    /// Its ClientHello is long gone: the name is what the request says.
    #[test]
    fn tls_connection() {
        let (server, key) = (Server::https(), FakeKey::anthropic());
        let (to, script) = (server.address(), requests(std::slice::from_ref(&key)).save());
        let client = openssl_client(Linked::Shared, to, pki::HOST, &script);
        is_seen(client, |it| it.library("openssl").to(to).host(pki::HOST, "http-host"), &key);
    }

    #[test]
    fn udp_socket() {
        let (server, key) = (Server::udp(), FakeKey::anthropic());
        let script = Script::of(format!("key={}\n", key.reveal())).save();
        let client = km_client("udp-send", server.address(), &script);
        is_seen(client, |it| it.kind("udp").to(server.address()), &key);
    }
}

mod unseen_tls {
    use super::*;

    #[test]
    fn a_program_nobody_sees_into_is_reported_once() {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let script = requests(&[key.clone(), key.clone()]).save();
        let client = Client::run(km_rustls(server.address(), pki::HOST, &script));
        server.wait_for(key.reveal().as_bytes());
        let line = agent.expect_unseen_tls(client.pid);
        assert_eq!(line.destination.port, Some(server.port));
        assert!(!line.reason.is_empty());
        agent.settle();
        assert_eq!(agent.unseen_tls(client.pid).len(), 1);
        agent.assert_count(&key, 0);
    }

    #[test]
    fn a_program_with_a_probe_is_not() {
        let (agent, server) = (Agent::shared(), Server::https());
        let client = Client::run(curl(&server, pki::HOST));
        agent.assert_clean(&server, client.pid);
        assert!(agent.unseen_tls(client.pid).is_empty());
    }
}

mod responses {
    use super::*;
    use keymoat_tests::Net;
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;
    use std::thread;

    const OVER: &str = "responses-over-budget";

    /// This host answers so many bytes on a connection it accepted, and a key at the end.
    fn answer(bytes: usize, key: &FakeKey) {
        let listener = Net::shared().listen();
        let port = listener.local_addr().expect("an address").port();
        let text = [&vec![b'.'; bytes][..], b" key=", key.reveal().as_bytes(), b" "].concat();
        let server = thread::spawn(move || listener.accept().expect("a client").0.write_all(&text));
        let mut received = Vec::new();
        let mut client = TcpStream::connect((Net::shared().v4, port)).expect("connect");
        client.read_to_end(&mut received).expect("the answer");
        server.join().expect("the server").expect("it was sent");
        assert_eq!(received.len(), bytes + key.reveal().len() + 6, "whatever is looked at, all arrives");
    }

    #[test]
    fn over_the_budget_are_counted() {
        let agent = Agent::own(&Options::default().config("response_budget = 1"));
        let before = agent.losses();
        answer(32 << 20, &FakeKey::anthropic());
        agent.expect_loss_since(&before, OVER);
    }

    #[test]
    fn within_it_are_looked_at() {
        let agent = Agent::own(&Options::default().config("response_budget = 0"));
        let (before, key) = (agent.losses(), FakeKey::anthropic());
        answer(1 << 20, &key);
        agent.expect(&Expect::key(&key));
        assert_eq!(agent.losses().get(OVER), before.get(OVER));
    }
}
