//! `keymoat run`: one command and what it starts are watched, nothing else is, and the command notices nothing of it.

#![allow(clippy::expect_used, reason = "a test asserts by panicking")]

use keymoat_tests::agent::keymoat;
use keymoat_tests::commands::{Args, authority, curl, header, json, program};
use keymoat_tests::watched::Watched;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Server, pki};
use rustix::process::{Pid, Signal, kill_process};
use std::path::Path;
use std::process::Command;

const BLOCK: &[&str] = &["--mode", "block"];

fn sh(script: &str) -> Command {
    Args::new("sh").args(["-c", script]).command
}

fn kill(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).expect("a process id")).expect("a process id");
    kill_process(pid, signal).expect("a process to kill");
}

#[test]
fn a_key_is_refused_and_the_command_ends_as_it_does() {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let ended = Watched::run(BLOCK, &curl("https", &server).args(header("x-api-key: ", Some(&key))).command);
    assert_eq!(ended.code(), Some(55), "{}", ended.client.stderr);
    assert!(ended.client.stderr.contains("was stopped before it left"), "{}", ended.client.stderr);
    let wanted = Expect::key(&key).action("blocked").library("openssl").comm("curl");
    ended.expect(&wanted.location("header:x-api-key").host(pki::HOST, "sni"));
    server.assert_never(key.reveal().as_bytes());
}

#[test]
fn what_carries_none_is_served_and_nothing_is_said() {
    let server = Server::https();
    let ended = Watched::run(BLOCK, &curl("https", &server).args(json(None)).command);
    assert_eq!((ended.code(), ended.client.stdout.as_str()), (Some(0), "ok\n"));
    assert_eq!(ended.client.stderr, "");
    server.wait_for_count(1);
    ended.assert_silent();
}

#[test]
fn a_key_is_only_seen_unless_it_is_to_be_refused() {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let ended = Watched::run(&[], &curl("https", &server).args(json(Some(&key))).command);
    assert_eq!(ended.code(), Some(0), "{}", ended.client.stderr);
    ended.expect(&Expect::observed(&key).location("body > json:prompt").host(pki::HOST, "sni"));
    server.wait_for(key.reveal().as_bytes());
}

#[test]
fn in_the_clear_and_from_a_childs_child() {
    let (server, key) = (Server::http(), FakeKey::anthropic());
    let command = format!(
        "sh -c 'curl -sS --fail -H \"x-api-key: {}\" http://{}/; echo went on'; true",
        key.reveal(),
        server.address()
    );
    let ended = Watched::run(BLOCK, &sh(&command));
    assert_eq!((ended.code(), ended.client.stdout.as_str()), (Some(0), "went on\n"));
    ended.expect(&Expect::key(&key).action("blocked").kind("tcp").comm("curl"));
    server.assert_never(key.reveal().as_bytes());
}

/// Memory buffers: which socket carries what is found out by the socket programs.
#[test]
fn a_python_program() {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let mut command = Command::new("/usr/bin/python3");
    command
        .arg(program("asyncio_client.py"))
        .args([server.address().ip().to_string(), server.port.to_string()]);
    command.arg(pki::HOST).arg(authority()).env("KM_KEY", key.reveal());
    let ended = Watched::run(BLOCK, &command);
    ended.expect(&Expect::key(&key).action("blocked").library("openssl"));
    server.assert_never(key.reveal().as_bytes());
}

#[test]
fn others_are_left_alone() {
    let mut watched = Watched::start(BLOCK, &sh("echo began; read line"));
    watched.wait_line("began");
    for (server, scheme) in [(Server::https(), "https"), (Server::http(), "http")] {
        let key = FakeKey::anthropic();
        Client::run(curl(scheme, &server).args(header("x-api-key: ", Some(&key))).command);
        server.wait_for(key.reveal().as_bytes());
    }
    watched.say(b"\n");
    let ended = watched.end();
    assert_eq!(ended.code(), Some(0));
    ended.assert_silent();
}

#[test]
fn it_ends_with_the_commands_code() {
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("exec /nothing/here", 127)] {
        assert_eq!(Watched::run(&[], &sh(script)).code(), Some(code), "{script}");
    }
    let ended = Watched::run(&[], &Command::new("/nothing/here"));
    assert_eq!(ended.code(), Some(127));
    assert!(ended.client.stderr.contains("/nothing/here: No such file"), "{}", ended.client.stderr);
}

#[test]
fn a_signal_is_passed_on_also_to_another_user() {
    let mut watched = Watched::start(
        &["--user", "nobody"],
        &sh("trap 'exit 9' TERM; echo began; while :; do sleep 0.1; done"),
    );
    watched.wait_line("began");
    kill(watched.pid(), Signal::TERM);
    assert_eq!(watched.end().code(), Some(9));
}

/// Who is killed cannot go on refusing: as with the agent, what runs goes on.
#[test]
fn the_command_outlives_who_watches() {
    let mut watched = Watched::start(BLOCK, &sh("echo began; read line; echo went on >&2"));
    watched.wait_line("began");
    kill(watched.pid(), Signal::KILL);
    watched.say(b"\n");
    let ended = watched.end();
    assert_eq!(ended.code(), None);
    assert!(ended.client.stderr.contains("went on"), "{}", ended.client.stderr);
}

#[test]
fn the_command_has_what_it_would_have_otherwise() {
    let command = sh(
        "grep -E '^(Cap|NoNewPrivs|Seccomp|Sig|Uid|Gid|Groups)' /proc/self/status; ulimit -a; ls /proc/self/fd; pwd",
    );
    let otherwise = Client::run(sh(&command.get_args().nth(1).expect("a script").to_string_lossy()));
    assert_eq!(Watched::run(BLOCK, &command).client.stdout, otherwise.stdout);
}

#[test]
fn the_command_has_the_rights_of_who_called_sudo() {
    let script = "id -un; id -Gn; echo $HOME $USER; grep CapEff /proc/self/status | tr -d '\\t'";
    let nobody = "nobody\nnogroup\n/nonexistent nobody\nCapEff:0000000000000000\n";
    assert_eq!(Watched::run(&["--user", "nobody"], &sh(script)).client.stdout, nobody);
    let mut by_sudo = sh(script);
    by_sudo.env("SUDO_UID", "65534");
    assert_eq!(Watched::run(&[], &by_sudo).client.stdout, nobody);
    assert!(Watched::run(&["--user", "root"], &by_sudo).client.stdout.starts_with("root\n"));
    let ended = Watched::run(&["--user", "no-such-user"], &sh("true"));
    assert_eq!(ended.code(), Some(126));
    assert!(ended.client.stderr.contains("there is no user no-such-user"), "{}", ended.client.stderr);
}

#[test]
fn no_trace_is_left() {
    let ended = Watched::run(BLOCK, &sh("sed -n s,^0::,,p /proc/self/cgroup; echo $PPID"));
    let cgroup = ended.client.stdout.lines().next().expect("a cgroup");
    assert!(cgroup.contains("/keymoat-run-"), "{cgroup}");
    for mount in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
        assert!(!Path::new(&format!("{mount}{cgroup}")).exists(), "{mount}{cgroup}");
    }
}

#[test]
fn one_refuses_at_a_time() {
    let agent = Agent::own(&Options::blocking());
    let ended = Watched::beside_others(BLOCK, &sh("true")).end();
    assert_eq!(ended.code(), Some(2));
    assert!(ended.client.stderr.contains("it refuses for this command, too"), "{}", ended.client.stderr);
    let (code, said) = keymoat(&["agent", "--mode", "block"]).expect("keymoat");
    assert_eq!(code, Some(2));
    assert!(said.contains("runs on this host already"), "{said}");

    // One that only looks is no hindrance, and sees what the agent refuses.
    let (server, key) = (Server::http(), FakeKey::anthropic());
    let command = curl("http", &server).args(header("x-api-key: ", Some(&key))).command;
    assert_eq!(Watched::beside_others(&[], &command).end().code(), Some(55));
    agent.expect(&Expect::key(&key).action("blocked"));
}

#[test]
fn beside_an_agent_that_only_looks() {
    let agent = Agent::own(&Options::default());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let command = curl("https", &server).args(header("x-api-key: ", Some(&key))).command;
    let ended = Watched::beside_others(BLOCK, &command).end();
    ended.expect(&Expect::key(&key).action("blocked"));
    server.assert_never(key.reveal().as_bytes());
    agent.settle();
}
