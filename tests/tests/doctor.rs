//! `keymoat doctor`: what it says is true, on this host and on ones that lack something.

#![allow(clippy::expect_used, clippy::unwrap_used, reason = "tests assert by panicking")]

use keymoat_tests::agent::{Mounts, keymoat_with};
use keymoat_tests::key::FLEET_KEY;
use keymoat_tests::programs::{Linked, copy_program, km_rustls, libssl, openssl_client};
use keymoat_tests::{Agent, Client, FakeKey, Finished, Options, Script, Server, env, pki, script};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// The report as users' scripts read it. Written down again on purpose, as `record` is.
#[derive(Debug, Deserialize)]
struct Report {
    kernel: String,
    architecture: String,
    checks: Vec<Check>,
    socket_layer: Option<String>,
    enforcement: Enforcement,
    libraries: Vec<Library>,
    agent: Option<Running>,
}

#[derive(Debug, Deserialize)]
struct Check {
    name: String,
    status: String,
    detail: String,
    effect: String,
}

#[derive(Debug, Deserialize)]
struct Enforcement {
    chosen: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Library {
    path: String,
    libraries: Vec<String>,
    functions: Vec<Function>,
}

#[derive(Debug, Deserialize)]
struct Function {
    symbol: String,
    placement: Placement,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Placement {
    kind: Kind,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    /// With the instruction's name.
    Emulated(String),
    Entry,
}

/// What a running agent says of itself.
#[derive(Debug, Deserialize)]
struct Running {
    pid: u32,
    hooks: Vec<String>,
    counters: BTreeMap<String, u64>,
    unseen_tls: Vec<keymoat_tests::record::UnseenTls>,
}

impl Report {
    fn of(finished: &Finished) -> Self {
        let Finished { stdout, stderr, .. } = finished;
        serde_json::from_str(stdout).unwrap_or_else(|error| panic!("{error} in: {stdout}\n{stderr}"))
    }

    /// Of this host as it is.
    fn here() -> Self {
        Self::of(&doctor(Mounts::Host, &["--json"]))
    }

    fn check(&self, name: &str) -> &Check {
        let found = self.checks.iter().find(|check| check.name == name);
        found.unwrap_or_else(|| panic!("no check {name}: {:?}", self.checks))
    }

    fn has(&self, name: &str) -> bool {
        self.checks.iter().any(|check| check.name == name)
    }

    /// Whatever is not well says what it costs.
    fn assert_nothing_degrades_quietly(&self) {
        let quiet: Vec<_> =
            self.checks.iter().filter(|it| it.status != "ok" && it.effect.is_empty()).collect();
        assert!(quiet.is_empty(), "{quiet:?}");
        let loud: Vec<_> =
            self.checks.iter().filter(|it| it.status == "ok" && !it.effect.is_empty()).collect();
        assert!(loud.is_empty(), "well, and yet with an effect: {loud:?}");
    }
}

fn doctor(mounts: Mounts, args: &[&str]) -> Finished {
    let mut command = mounts.keymoat();
    command.arg("doctor").args(args);
    Client::start(command).end()
}

/// Asks the doctor until its report has what is wanted: the agent writes how it fares once a second.
fn wait_for_agent(wanted: impl Fn(&Running) -> bool) -> Running {
    let deadline = Instant::now() + env::seconds(20.0);
    loop {
        let report = Report::here();
        match report.agent {
            Some(running) if wanted(&running) => return running,
            last => assert!(Instant::now() < deadline, "the doctor does not say it: {last:#?}"),
        }
    }
}

#[test]
fn this_host_lacks_nothing_needed() {
    let finished = doctor(Mounts::Host, &["--json"]);
    assert_eq!(finished.status.code(), Some(0), "{finished:?}");
    let report = Report::of(&finished);
    let missing: Vec<_> = report.checks.iter().filter(|check| check.status == "missing").collect();
    assert!(missing.is_empty(), "{missing:?}");
    report.assert_nothing_degrades_quietly();
    for name in ["architecture", "capabilities", "cgroup-v2", "tls-probes", "sockets"] {
        assert_eq!(report.check(name).status, "ok", "{:?}", report.check(name));
    }
    assert_eq!(report.socket_layer.as_deref(), Some("sockets"));
    assert!(!report.has("syscall-probes"), "the fallback is named where it is not used");
    assert_eq!(report.kernel, rustix::system::uname().release().to_str().unwrap());
    assert_eq!(report.architecture, "x86_64");
    // Every kernel that these tests run on can refuse, but the oldest: it has no `bpf_loop`. The newest can fail the call itself.
    let wanted = match &report.kernel {
        kernel if kernel.starts_with("5.10.") => None,
        kernel if kernel.starts_with("7.") => Some("return-override"),
        _ => Some("sk-msg"),
    };
    assert_eq!(report.enforcement.chosen.as_deref(), wanted);
}

#[test]
fn libraries_have_their_probes_where_the_kernel_emulates() {
    let report = Report::here();
    let libssl = libssl();
    let found =
        report.libraries.iter().find(|it| Path::new(&it.path).canonicalize().ok() == Some(libssl.clone()));
    let found = found.unwrap_or_else(|| panic!("no {} in {:#?}", libssl.display(), report.libraries));
    assert_eq!(found.libraries, ["openssl"]);
    for symbol in ["SSL_write", "SSL_write_ex"] {
        let function = found.functions.iter().find(|function| function.symbol == symbol).expect(symbol);
        assert_eq!(function.error, None, "{function:?}");
        let Kind::Emulated(mnemonic) = &function.placement.kind else { panic!("{function:?}") };
        assert!(function.placement.reason.contains(mnemonic.as_str()), "{function:?}");
    }
    // One that is there twice would have two probes.
    let mut paths: Vec<_> = report.libraries.iter().map(|library| &library.path).collect();
    paths.sort();
    let all = paths.len();
    paths.dedup();
    assert_eq!(paths.len(), all, "{paths:?}");
}

mod without_cgroup_v2 {
    use super::*;

    const NOT_SEEN: [&str; 7] =
        ["sendfile", "splice", "io_uring", "MSG_ZEROCOPY", "forked child", "8 buffers", "2 messages"];

    #[test]
    fn system_calls_are_watched_and_what_they_do_not_show_is_named() {
        let finished = doctor(Mounts::TracefsOnly, &["--json"]);
        let report = Report::of(&finished);
        report.assert_nothing_degrades_quietly();
        assert_eq!(report.socket_layer.as_deref(), Some("syscalls"));
        let cgroup = report.check("cgroup-v2");
        assert_eq!(cgroup.status, "degraded");
        assert!(cgroup.effect.contains("mount -t cgroup2"), "{cgroup:?}");
        let syscalls = report.check("syscall-probes");
        assert_eq!(syscalls.status, "degraded", "{syscalls:?}");
        assert!(syscalls.effect.starts_with("not seen: sendfile, splice, io_uring"), "{syscalls:?}");
        for call in NOT_SEEN {
            assert!(syscalls.effect.contains(call), "no {call} in {syscalls:?}");
        }
        assert!(!report.has("sockets"), "{:?}", report.checks);
        assert_eq!(report.check("tls-probes").status, "ok");
        // The main job is done: TLS plaintext is seen, and most of what is not TLS.
        assert_eq!(finished.status.code(), Some(0));
    }

    #[test]
    fn people_are_told_the_same() {
        let said = doctor(Mounts::TracefsOnly, &[]).stdout;
        for wanted in NOT_SEEN.iter().chain(&["tracepoint:syscalls", "mount -t cgroup2"]) {
            assert!(said.contains(wanted), "no {wanted} in:\n{said}");
        }
    }

    /// That tracefs is there as well changes nothing.
    #[test]
    fn and_with_it_they_are_not() {
        let report = Report::of(&doctor(Mounts::Tracefs, &["--json"]));
        assert_eq!(report.socket_layer.as_deref(), Some("sockets"));
        assert!(!report.has("syscall-probes"), "{:?}", report.checks);
        let said = doctor(Mounts::Tracefs, &[]).stdout;
        assert!(said.contains("cgroup_skb") && !said.contains("io_uring"), "{said}");
    }

    #[test]
    fn and_without_tracefs_nothing_of_sockets_is_seen() {
        let finished = doctor(Mounts::Neither, &["--json"]);
        let report = Report::of(&finished);
        report.assert_nothing_degrades_quietly();
        assert_eq!(report.socket_layer, None);
        let syscalls = report.check("syscall-probes");
        assert_eq!(syscalls.status, "missing");
        assert!(syscalls.detail.contains("tracefs"), "{syscalls:?}");
        assert!(syscalls.effect.contains("mount -t tracefs"), "{syscalls:?}");
        assert_eq!(finished.status.code(), Some(1), "the main job cannot be done");
    }
}

#[test]
fn who_may_not_is_told_what_is_missing() {
    // Where any user can reach it; the target directory may be root's own.
    let copy = env::fresh_dir("doctor").join("keymoat");
    copy_program(&env::bin("keymoat", "keymoat-agent"), &copy);
    for directory in copy.ancestors().skip(1).take_while(|it| it.starts_with(env::run_dir())) {
        let all_may_enter = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(directory, all_may_enter).expect("chmod");
    }
    let mut command = Command::new(&copy);
    command.args(["doctor", "--json"]).uid(65_534).gid(65_534);
    let finished = Client::start(command).end();
    let report = Report::of(&finished);
    report.assert_nothing_degrades_quietly();
    let capabilities = report.check("capabilities");
    assert_eq!(capabilities.status, "missing");
    for wanted in ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_PTRACE", "setcap"] {
        assert!(capabilities.detail.contains(wanted), "no {wanted} in {capabilities:?}");
    }
    assert_eq!(report.check("load").status, "missing");
    assert_eq!(report.socket_layer, None);
    assert_eq!(finished.status.code(), Some(1));
}

/// The agent's settings name no status file: it is where the doctor looks.
#[test]
fn the_running_agents_counters_are_shown() {
    let agent = Agent::own(&Options::default());
    let running = wait_for_agent(|running| running.pid == agent.pid);
    assert_eq!(running.hooks, agent.ready().hooks);
    assert!(!running.counters.contains_key("write-truncated"), "{:?}", running.counters);

    // More than is captured of one write.
    let (server, before) = (Server::tls_sink(), agent.losses());
    let long = Script::of(vec![b'.'; 2 * 1024 * 1024]).save();
    Client::run(openssl_client(Linked::Shared, server.address(), pki::HOST, &long));
    agent.expect_loss_since(&before, "write-truncated");
    let truncated = agent.losses().get("write-truncated").copied();
    wait_for_agent(|running| running.counters.get("write-truncated").copied() == truncated);
    let said = doctor(Mounts::Host, &[]).stdout;
    assert!(said.contains(&format!("running agent (pid {})", agent.pid)), "{said}");
    assert!(said.contains(&format!("write-truncated {}", truncated.unwrap_or_default())), "{said}");

    assert!(agent.stop().success());
    assert!(Report::here().agent.is_none(), "an agent that has ended is shown");
}

/// Both would write the same file; only one of them lives.
#[test]
fn an_agent_that_could_not_start_does_not_take_the_running_one_with_it() {
    let agent = Agent::shared();
    wait_for_agent(|running| running.pid == agent.pid);
    let fleet_key = env::temp_file("fleet.key", FLEET_KEY.as_bytes());
    let config = env::temp_file("keymoat.toml", format!("fleet_key_file = {fleet_key:?}\n").as_bytes());
    let args = ["agent", "--config", config.to_str().unwrap()];
    let (code, said) = keymoat_with(Mounts::Neither, &args).expect("run keymoat");
    assert!(code.is_some_and(|code| code != 0), "exit code {code:?}: {said}");
    let shown = Report::here().agent.map(|running| running.pid);
    assert_eq!(shown, Some(agent.pid), "{said}");
}

#[test]
fn tls_that_the_running_agent_cannot_see_is_shown() {
    let agent = Agent::shared();
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let script = Script::of(script::request(Some(&key), b"{}")).save();
    let client = Client::run(km_rustls(server.address(), pki::HOST, &script));
    agent.expect_unseen_tls(client.pid);
    let of_it = |running: &Running| running.unseen_tls.iter().any(|line| line.process.pid == client.pid);
    let running = wait_for_agent(of_it);
    let unseen = running.unseen_tls.iter().find(|line| line.process.pid == client.pid).unwrap();
    assert_eq!(unseen.process.comm, "km-rustls");
    assert_eq!(unseen.destination.port, Some(server.port));
}
