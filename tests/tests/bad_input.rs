//! What programs, people and attackers get wrong: a clear error or a counted skip, never a crash, and never a
//! neighbour that is overlooked.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests assert by panicking"
)]

use keymoat_tests::agent::keymoat;
use keymoat_tests::programs::{copy_program, fresh_libssl, km_client, libssl};
use keymoat_tests::{Agent, Client, Expect, FakeKey, Script, Server, env, pki};
use rustls::ClientConnection;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

mod settings {
    use super::*;

    /// The agent refuses to start, names the place, and does not repeat what stands there.
    fn refused(args: &[&str], wanted: &[&str]) {
        let (code, text) = keymoat(&[&["agent"], args].concat()).expect("run keymoat");
        assert!(code.is_some_and(|code| code != 0), "exit code {code:?}: {text}");
        assert!(!text.contains("panicked"), "{text}");
        for wanted in wanted {
            assert!(text.contains(wanted), "no {wanted:?} in: {text}");
        }
    }

    fn config(text: &str) -> String {
        env::temp_file("bad.toml", text.as_bytes()).display().to_string()
    }

    #[test]
    fn unknown_key() {
        refused(&["--config", &config("mode = \"detect\"\nmood = 3\n")], &["bad.toml:2:1", "mood"]);
    }

    #[test]
    fn broken_syntax() {
        refused(&["--config", &config("mode = \n")], &["bad.toml:1:"]);
    }

    #[test]
    fn impossible_value() {
        refused(&["--config", &config("ring_bytes = 12345\n")], &["bad.toml:1:", "12345"]);
    }

    #[test]
    fn secret_in_the_wrong_place_is_not_repeated() {
        let key = FakeKey::anthropic();
        let file = config(&format!("mode = \"{}\"\n", key.reveal()));
        let (code, text) = keymoat(&["agent", "--config", &file]).expect("run keymoat");
        assert!(code.is_some_and(|code| code != 0), "exit code {code:?}");
        assert!(!text.contains(key.reveal()), "the message repeats the secret");
    }

    #[test]
    fn missing_file() {
        refused(&["--config", "/nowhere/keymoat.toml"], &["/nowhere/keymoat.toml"]);
    }

    #[test]
    fn bytes_that_are_not_text() {
        let file = env::temp_file("bad.toml", b"mode = \"\xff\xfe\"\n");
        refused(&["--config", &file.display().to_string()], &["bad.toml"]);
    }

    #[test]
    fn bad_collector_address() {
        refused(&["--collector", "not a url"], &["http://"]);
    }

    #[test]
    fn short_fleet_key() {
        let key = env::temp_file("fleet.key", b"short");
        refused(&["--config", &config(&format!("fleet_key_file = {key:?}\n"))], &["fleet.key", "32"]);
    }

    #[test]
    fn malformed_rule_files() {
        for (rules, place) in [
            ("vendor = \n", "rules.toml:1:"),
            ("vendor = \"X\"\n[[rule]]\nid = \"x\"\n", "rules.toml:"),
            ("vendor = \"X\"\n[[rule]]\nid = \"x\"\npattern = '('\nprefixes = [\"x\"]\n", "rules.toml:"),
        ] {
            let rules = env::temp_file("rules.toml", rules.as_bytes());
            refused(&["--config", &config(&format!("rules = [{rules:?}]\n"))], &[place]);
        }
    }
}

/// Bytes that look random and are the same in every run (xorshift).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next() as u8).collect()
    }
}

/// A whole ClientHello, as rustls sends it.
fn client_hello() -> Vec<u8> {
    let name = pki::HOST.to_owned().try_into().expect("a name");
    let mut connection = ClientConnection::new(Arc::new(pki::client()), name).expect("a connection");
    let mut hello = Vec::new();
    connection.write_tls(&mut hello).expect("write to memory");
    hello
}

/// Sends each of these on a connection of its own; what becomes of them is the server's business.
fn send_each(server: &Server, all: Vec<Vec<u8>>) {
    let threads = all.len();
    let script = all.into_iter().fold(Script::default(), Script::then).save();
    let mut client = km_client("write", server.address(), &script);
    client.arg(format!("threads={threads}"));
    Client::start(client).end();
}

#[test]
fn malformed_client_hellos() {
    let agent = Agent::shared();
    let (hello, mut noise) = (client_hello(), Noise(0x6b65_796d_6f61_7431));
    let mutants = (0..200).map(|round| {
        let mut mutant = hello.clone();
        for _ in 0..=round % 4 {
            let at = noise.below(mutant.len());
            mutant[at] = noise.next() as u8;
        }
        // Lengths live in the first bytes of everything: these get an extreme value in every other round.
        if round % 2 == 0 {
            let at = 3 + noise.below(48);
            mutant[at] = if round % 4 == 0 { 0xff } else { 0 };
        }
        mutant.truncate(if round % 3 == 0 { 1 + noise.below(hello.len()) } else { hello.len() });
        mutant
    });
    let mutants: Vec<_> = mutants.collect();
    for server in [Server::sink(), Server::https()] {
        send_each(&server, mutants.clone());
        agent.settle();
    }
    agent.assert_running();
}

#[test]
fn random_bytes_on_a_tls_port() {
    let agent = Agent::shared();
    let (server, mut noise) = (Server::https(), Noise(0x7365_6564_2032_3032));
    send_each(&server, (0..50).map(|round| noise.bytes(1 + round * 97)).collect());
    agent.settle();
    agent.assert_running();
}

/// A key among bytes that are no protocol at all is still a key that leaves.
#[test]
fn key_among_random_bytes() {
    let agent = Agent::shared();
    let (server, key, mut noise) = (Server::sink(), FakeKey::anthropic(), Noise(0x6e6f_6973_6520_3333));
    let bytes = [noise.bytes(5000), b"\0".to_vec(), key.reveal().into(), b"\0".to_vec(), noise.bytes(5000)];
    send_each(&server, vec![bytes.concat()]);
    agent.expect_once(&Expect::observed(&key).location("stream"), &key);
}

#[test]
fn truncated_requests() {
    let agent = Agent::shared();
    let server = Server::http();
    let start = "POST / HTTP/1.1\r\nhost: leak.keymoat.test\r\n";
    let (first, second) = (FakeKey::anthropic(), FakeKey::anthropic());
    send_each(
        &server,
        vec![
            b"GET".to_vec(),
            start.into(),
            format!("{start}x-api-key: {}", first.reveal()).into(),
            format!("{start}content-length: 100000\r\n\r\nabc {} def", second.reveal()).into(),
            format!("{start}content-length: 99999999999999999999\r\n\r\nabc").into(),
            format!("{start}transfer-encoding: chunked\r\n\r\nffffffffffffffff\r\nabc").into(),
        ],
    );
    agent.expect_once(&Expect::observed(&first), &first);
    agent.expect_once(&Expect::observed(&second).location("body"), &second);
    agent.assert_running();
}

/// A head that never ends must neither be kept nor hide a key.
#[test]
fn endless_head() {
    let agent = Agent::shared();
    let (server, key) = (Server::sink(), FakeKey::anthropic());
    let filler = "x-filler: 0123456789012345678901234567890123456789\r\n".repeat(20_000);
    let head = format!("GET / HTTP/1.1\r\n{filler}x-api-key: {}\r\n\r\n", key.reveal());
    send_each(&server, vec![head.into_bytes()]);
    agent.expect_once(&Expect::observed(&key), &key);
}

/// Names of programs are bytes, and JSON is text.
#[test]
fn program_whose_name_is_not_text() {
    let agent = Agent::shared();
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let name = OsStr::from_bytes(b"\xff\xfe\"\n\x1b[31m");
    let program = env::fresh_dir("name").join(name);
    copy_program(&env::tool("curl"), &program);
    let mut command = Command::new(program);
    command.arg0(name).arg("-sSk").arg(format!("https://{}/", server.address()));
    command.args(["-H", &format!("x-api-key: {}", key.reveal())]);
    command.arg("-A").arg(OsStr::from_bytes(b"\xc3\x28"));
    let client = Client::run(command);
    agent.expect_once(&Expect::observed(&key).library("openssl").pid(client.pid), &key);
}

/// Copies of libssl that are gone again while the agent looks at them.
#[test]
fn libraries_that_vanish() {
    let agent = Agent::shared();
    let server = Server::https();
    for _ in 0..30 {
        let copy = fresh_libssl().join("libssl.so.3");
        let mut child = quiet("true").env("LD_PRELOAD", &copy).spawn().expect("run true");
        std::fs::remove_file(&copy).expect("remove the copy");
        child.wait().expect("wait for true");
    }
    neighbour_is_seen(&agent, &server);
}

/// Files that look like libraries until one looks closer.
#[test]
fn libraries_that_are_not() {
    let agent = Agent::shared();
    let server = Server::https();
    let (whole, mut noise) = (std::fs::read(libssl()).expect("read libssl"), Noise(77));
    for round in 0..20 {
        let mut bytes = whole.clone();
        // The headers and section tables are where a parser can be led astray.
        for _ in 0..40 {
            let tail = bytes.len() - 2000;
            let at = if round % 2 == 0 { 16 + noise.below(600) } else { tail + noise.below(2000) };
            bytes[at] = noise.next() as u8;
        }
        if round % 5 == 0 {
            bytes.truncate(noise.below(whole.len()));
        }
        let copy = env::temp_file("libssl.so.3", &bytes);
        map_executable(&copy);
    }
    neighbour_is_seen(&agent, &server);
}

/// A storm of processes that are gone before anybody can look at them, each with a library of its own.
#[test]
fn processes_that_end_during_attach() {
    let agent = Agent::shared();
    let server = Server::https();
    let copies: Vec<_> = (0..5).map(|_| fresh_libssl().join("libssl.so.3")).collect();
    for round in 0..20 {
        let start = |copy: &Path| quiet("true").env("LD_PRELOAD", copy).spawn().expect("run true");
        let children: Vec<_> = (0..10).map(|n| start(&copies[(round + n) % copies.len()])).collect();
        for mut child in children {
            // Some end by themselves first.
            drop(child.kill());
            child.wait().expect("wait for true");
        }
    }
    neighbour_is_seen(&agent, &server);
}

/// The proof that nothing was overlooked meanwhile: an ordinary client right after.
fn neighbour_is_seen(agent: &Agent, server: &Server) {
    let key = FakeKey::anthropic();
    let mut command = Command::new(env::tool("curl"));
    command.args(["-sSk", &format!("https://{}/", server.address())]);
    command.args(["-H", &format!("x-api-key: {}", key.reveal())]);
    let client = Client::run(command);
    agent.expect_once(&Expect::observed(&key).library("openssl").pid(client.pid), &key);
    agent.assert_running();
}

fn quiet(tool: &str) -> Command {
    let mut command = Command::new(env::tool(tool));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

/// Maps a file the way a loader would, in a process of its own, without running any of it.
fn map_executable(file: &Path) {
    let script = "import mmap, sys; f = open(sys.argv[1], 'rb'); \
        mmap.mmap(f.fileno(), 0, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_EXEC)";
    let status = quiet("python3").args(["-c", script]).arg(file).status().expect("run python3");
    assert!(status.success() || std::fs::metadata(file).is_ok_and(|meta| meta.len() == 0), "{status}");
}
