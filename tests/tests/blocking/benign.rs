//! What carries no key is served, however much it looks like one; so is a key on its way home.

use keymoat_detect::{Detector, RuleSet};
use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, FakeKey, Options, Server, env, pki};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, LazyLock};

/// Texts that are nearly keys, of every rule: the end is missing, or a byte in the middle is none of a key's.
static NEARLY_KEYS: LazyLock<PathBuf> = LazyLock::new(|| {
    let rules = Arc::new(RuleSet::builtin().expect("the rules"));
    let detector = Detector::new(Arc::clone(&rules)).expect("the rules' patterns");
    let is_key = |text: &str| {
        let mut found = false;
        detector.scan(format!("x-note: {text}\r\n").as_bytes(), &mut |_| found = true);
        found
    };
    let mut lines = String::new();
    for positive in rules.rules().iter().filter(|rule| rule.on).flat_map(|rule| &rule.positives) {
        let one_line = !positive.contains(['\r', '\n']) && positive.is_ascii();
        for text in [cut_short(positive, is_key), broken(positive)].into_iter().flatten() {
            if one_line && !is_key(&text) {
                writeln!(lines, "{text}").expect("to a string");
            }
        }
    }
    let count = lines.lines().count();
    assert!(count > 500, "only {count} texts are nearly keys");
    env::temp_file("nearly-keys", lines.as_bytes())
});

/// As much of a key as there can be without being one.
fn cut_short(key: &str, is_key: impl Fn(&str) -> bool) -> Option<String> {
    (1..key.len()).rev().filter_map(|end| key.get(..end)).find(|text| !is_key(text)).map(str::to_owned)
}

fn broken(key: &str) -> Option<String> {
    let (head, tail) = key.split_at_checked(key.len() / 2)?;
    Some(format!("{head}!{}", tail.get(1..)?))
}

/// The client's process; every request was served.
fn all_are_served(kind: &str, server: &Server, name: &str, requests: usize, key: Option<&FakeKey>) -> u32 {
    let requests = requests / (env::slow() as usize).max(1);
    let mut command = Command::new("/usr/bin/python3");
    command.arg(program("lookalikes_client.py")).arg(kind).args(host_port(server)).arg(name).arg(authority());
    command.arg(requests.to_string()).arg(&*NEARLY_KEYS).envs(key_variable(key));
    let client = Client::run_within(command, requests as f64 / 500.0);
    assert_eq!(client.stdout.trim(), format!("served {requests} refused 0"));
    assert_eq!(server.count(), requests);
    client.pid
}

#[test]
fn a_million_requests_in_the_clear() {
    let agent = Agent::shared_as(&Options::blocking());
    let server = Server::http_that_counts();
    let pid = all_are_served("plain", &server, pki::HOST, env::count(5_000, 850_000), None);
    agent.assert_clean(&server, pid);
}

#[test]
fn and_over_tls() {
    let agent = Agent::shared_as(&Options::blocking());
    let server = Server::https_that_counts();
    let pid = all_are_served("tls", &server, pki::HOST, env::count(5_000, 150_000), None);
    agent.assert_clean(&server, pid);
}

#[test]
fn keys_on_their_way_home() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https_that_counts(), FakeKey::anthropic());
    let before = agent.losses();
    all_are_served("tls", &server, pki::ANTHROPIC, env::count(2_000, 50_000), Some(&key));
    agent.settle();
    let findings = agent.findings_of(&key);
    assert!(!findings.is_empty());
    // Where the agent misses bytes it no longer knows a header from a body. It says so.
    let misses = agent.losses() != before;
    let wrong = findings.iter().filter(|it| it.action != "allowed" && !(misses && it.action == "late"));
    let wrong: Vec<_> = wrong.map(|it| it.facts()).collect();
    assert!(wrong.is_empty(), "{wrong:#?}\n{:?}", agent.losses());
}
