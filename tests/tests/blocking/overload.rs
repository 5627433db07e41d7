//! A ring far too small for what is sent: what the agent is not told of is counted, and every key is refused all the same.

use keymoat_tests::commands::*;
use keymoat_tests::server::contains;
use keymoat_tests::{Agent, Client, FakeKey, Options, Server, env};
use std::process::Command;

/// Of so many datagrams each one carries a key; the others carry something that is found and not refused.
const ONE_IN: usize = 10;

#[test]
fn every_key_is_refused_and_everything_accounted_for() {
    let rules = env::temp_file("marks.toml", RULES.as_bytes());
    // The smallest there is; a datagram takes 400 bytes of it.
    let options = Options::blocking().config(&format!("rules = [{rules:?}]\nring_bytes = 65_536"));
    let agent = Agent::own(&options);
    let (server, count) = (Server::udp(), env::count(10_000, 200_000));
    let keys: Vec<_> = (0..count / ONE_IN).map(|_| FakeKey::anthropic()).collect();
    let line = |number: usize| match (number % ONE_IN, keys.get(number / ONE_IN)) {
        (0, Some(key)) => format!("key {} end\n", key.reveal()),
        _ => format!("mark {} end {}\n", mark(number).reveal(), ".".repeat(90)),
    };
    let lines: String = (0..count).map(line).collect();

    let before = agent.losses();
    let mut command = Command::new("/usr/bin/python3");
    command.arg(program("burst_client.py")).args(host_port(&server));
    command.arg(env::temp_file("datagrams", lines.as_bytes()));
    let client = Client::run(command);
    let said = format!("sent {} refused {}", count - keys.len(), keys.len());
    assert_eq!(client.stdout.trim(), said, "every key is refused, and nothing else is");
    server.wait_for_count(1);
    assert!(!server.received().iter().any(|it| contains(&it.bytes, b"key ")), "a key left");

    let (found, lost) = agent.expect_accounted(client.pid, count, "ring-full", &before);
    eprintln!("{count} sent, {found} found, {lost} lost");
    assert!(lost as usize * 2 > count, "this was no overload: {lost} of {count} lost");
}

/// A secret that is found and passes.
fn mark(number: usize) -> FakeKey {
    FakeKey::new(&["kmmark", &format!("{number:09}")], "overload-mark")
}

const RULES: &str = r#"
vendor = "Overload"
home = []

[[rule]]
id = "overload-mark"
name = "Overload mark"
severity = "low"
pattern = 'kmmark[0-9]{9}'
prefixes = ["kmmark"]
usual = []
explanation = "What the test of a full ring counts."
remediation = "Nothing to do."
attack = ["T1552"]
positives = [["kmmark", "123456789"], ["kmmark", "000000000"]]
negatives = [["kmmark", "12345"], ["kmmark", "abcdef"]]
"#;
