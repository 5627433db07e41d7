//! While it runs and when it ends: exceptions come and go, a dead agent refuses nothing.

use keymoat_tests::agent::keymoat;
use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Server, env, pki};
use std::path::Path;
use std::thread::sleep;

/// Settings with exceptions of their own, and the file `keymoat allow` is to be told.
fn with_exceptions() -> (Options, String) {
    let file = env::fresh_dir("exceptions").join("exceptions.toml");
    let line = format!("exceptions_file = {:?}", file.display().to_string());
    let config = env::temp_file("allow.toml", line.as_bytes());
    (Options::blocking().config(&line), config.display().to_string())
}

fn allow(config: &str, words: &[&str]) {
    let line = [&["allow", "--config", config], words].concat();
    let (status, said) = keymoat(&line).expect("run keymoat allow");
    assert_eq!(status, Some(0), "{said}");
    // What the agent promises: within a second.
    sleep(env::seconds(1.0));
}

/// Sends a key and says whether it arrived.
fn arrives(key: &FakeKey) -> bool {
    let server = Server::https();
    let command = curl("https", &server).args(header("x-api-key: ", Some(key))).command;
    let sent = Client::start(command).end().status.success();
    if sent {
        server.wait_for(key.reveal().as_bytes());
    } else {
        server.assert_never(key.reveal().as_bytes());
    }
    sent
}

#[test]
fn an_exception_holds_for_its_host_and_its_time() {
    let (options, config) = with_exceptions();
    let agent = Agent::own(&options);
    let [before, during, other, after] = std::array::from_fn(|_| FakeKey::anthropic());
    assert!(!arrives(&before));
    let time = env::seconds(6.0);
    allow(&config, &["anthropic-api-key", "--to", pki::HOST, "--for", &format!("{}s", time.as_secs())]);
    assert!(arrives(&during));
    agent.expect(&Expect::key(&during).action("allowed"));
    let elsewhere = Server::http();
    let command = curl("http", &elsewhere).args(header("x-api-key: ", Some(&other))).command;
    assert!(!Client::start(command).end().status.success(), "in the clear no name counts");
    elsewhere.assert_never(other.reveal().as_bytes());
    sleep(time);
    assert!(!arrives(&after));
    agent.expect(&Expect::key(&after).action("blocked"));
}

#[test]
fn an_exception_for_one_time_is_used_up() {
    let (options, config) = with_exceptions();
    let agent = Agent::own(&options);
    let [first, second] = std::array::from_fn(|_| FakeKey::anthropic());
    allow(&config, &["anthropic-api-key", "--once"]);
    assert!(arrives(&first));
    agent.expect(&Expect::key(&first).action("allowed"));
    sleep(env::seconds(3.0));
    assert!(!arrives(&second));
    agent.expect(&Expect::key(&second).action("blocked"));
}

#[test]
fn an_agent_that_was_killed_refuses_nothing() {
    let agent = Agent::own(&Options::blocking());
    assert!(!arrives(&FakeKey::anthropic()));
    agent.kill();
    sleep(env::seconds(0.1));
    assert!(arrives(&FakeKey::anthropic()), "enforcement ends with the agent");
}

#[test]
fn the_command_is_found_out_about() {
    let (status, said) = keymoat(&["allow", "no-such-rule"]).expect("run keymoat allow");
    assert_eq!(status, Some(2), "{said}");
    assert!(said.contains("no-such-rule"), "{said}");
    assert!(!Path::new("/run/keymoat/exceptions.toml").exists());
}
