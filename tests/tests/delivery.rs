//! From the agent to the collector: nothing lost, nothing double, nothing secret, and no talk about the talk.

use keymoat_tests::collector::Collector;
use keymoat_tests::programs::{copy_program, km_client};
use keymoat_tests::server::contains;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Script, Server, env};
use std::collections::BTreeSet;

/// Sends each key on a connection of its own and waits for the findings.
fn send(agent: &Agent, keys: &[FakeKey]) {
    let server = Server::sink();
    let note = |it: Script, key: &FakeKey| it.then(format!("key={}\n", key.reveal()));
    let script = keys.iter().fold(Script::default(), note).save();
    let mut client = km_client("write", server.address(), &script);
    client.arg(format!("threads={}", keys.len()));
    Client::run(client);
    agent.expect_each_once(keys);
}

fn some_keys() -> Vec<FakeKey> {
    (0..20).map(|_| FakeKey::anthropic()).collect()
}

/// The collector has exactly these keys' findings, under the ids the agent printed; sentinels come on top.
fn assert_stored(collector: &Collector, agent: &Agent, keys: &[FakeKey]) {
    let printed: BTreeSet<String> = agent.findings().into_iter().map(|finding| finding.id).collect();
    let stored = collector.wait_for(printed.len());
    assert_eq!(printed, stored.keys().cloned().collect(), "printed and stored ids differ");
    for key in keys {
        let count = stored.values().filter(|it| it.secret.fingerprint == key.fingerprint()).count();
        assert_eq!(count, 1, "{key:?} is stored {count} times");
    }
}

/// No file of the collector and none of its answers holds a key.
fn assert_secret(collector: &Collector, keys: &[FakeKey]) {
    let mut texts = collector.files();
    texts.push(("findings --json".into(), collector.findings_json().into_bytes()));
    for key in keys {
        for (name, text) in &texts {
            assert!(!contains(text, key.reveal().as_bytes()), "{key:?} is in {}", name.display());
        }
    }
}

#[test]
fn findings_reach_the_collector() {
    let collector = Collector::started();
    let agent = Agent::own(&Options::default().collector(&collector.url()));
    let keys = some_keys();
    send(&agent, &keys);
    assert_stored(&collector, &agent, &keys);
    assert_secret(&collector, &keys);
    assert!(agent.stop().success(), "the agent did not end well");
}

#[test]
fn killed_collector_loses_and_doubles_nothing() {
    let mut collector = Collector::started();
    let agent = Agent::own(&Options::default().collector(&collector.url()));
    let before = agent.losses();
    let mut keys = Vec::new();
    for round in 0..3 {
        let (early, late) = (some_keys(), some_keys());
        send(&agent, &early);
        // At once: what was sent is anywhere between the agent's buffer and the database.
        collector.kill();
        send(&agent, &late);
        collector.start();
        keys.extend(early);
        keys.extend(late);
        assert_eq!(keys.len(), 40 * (round + 1));
    }
    assert_stored(&collector, &agent, &keys);
    agent.assert_no_loss_since(&before);
    assert_secret(&collector, &keys);
}

#[test]
fn collector_that_comes_later_gets_everything() {
    let mut collector = Collector::new();
    let agent = Agent::own(&Options::default().collector(&collector.url()));
    let keys = some_keys();
    send(&agent, &keys);
    collector.start();
    assert_stored(&collector, &agent, &keys);
}

/// What is found just before the agent is asked to end is delivered.
#[test]
fn agent_that_ends_delivers_what_it_has() {
    let collector = Collector::started();
    let agent = Agent::own(&Options::default().collector(&collector.url()));
    let keys = some_keys();
    send(&agent, &keys);
    assert!(agent.stop().success(), "the agent did not end well");
    assert_stored(&collector, &agent, &keys);
}

/// A rule for the name of a program, which the agent then tells the collector in the clear over loopback: were
/// its own connection captured, that would be a finding.
#[test]
fn own_traffic_is_not_captured() {
    const RULE: &str = "self-test";
    let name = FakeKey::new(&["kmself", "7403", "95"], RULE);
    let rules = env::temp_file("self.toml", RULES.as_bytes());
    let collector = Collector::started();
    let options = Options::default().config(&format!("rules = [{rules:?}]")).include_loopback();
    let agent = Agent::own(&options.collector(&collector.url()));

    let server = Server::sink();
    let client = env::fresh_dir("self").join(name.reveal());
    copy_program(&env::bin("km-client", "keymoat-tests"), &client);
    let key = FakeKey::anthropic();
    let script = Script::of(format!("key={}\n", key.reveal())).save();
    let mut command = std::process::Command::new(client);
    command.arg("write").arg(server.address().to_string()).arg(script);
    Client::run(command);
    agent.expect_once(&Expect::observed(&key).comm(name.reveal()), &key);
    let count = agent.findings().len();
    collector.wait_for(count);
    assert!(collector.findings_json().contains(name.reveal()), "the name did not travel: nothing was shown");
    agent.settle();
    agent.assert_count(&name, 0);

    // The rule does work: from anybody else it is a finding.
    let script = Script::of(format!("name={} end\n", name.reveal())).save();
    Client::run(km_client("write", server.address(), &script));
    agent.expect_once(&Expect::observed(&name), &key);
}

const RULES: &str = r#"
vendor = "Self test"
home = []

[[rule]]
id = "self-test"
name = "Self test"
severity = "low"
pattern = 'kmself[0-9]{6}'
prefixes = ["kmself"]
usual = []
explanation = "A name the tests give a program."
remediation = "Nothing to do."
attack = ["T1552"]
positives = [["kmself", "123456"], ["kmself", "000000"]]
negatives = [["kmself", "12345"], ["kmself", "abcdef"]]
"#;
