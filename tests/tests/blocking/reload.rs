//! Rules and policy are exchanged while the agent runs (SIGHUP), and nothing that leaves meanwhile is left unjudged.

use keymoat_tests::commands::*;
use keymoat_tests::key::random;
use keymoat_tests::meanwhile::meanwhile;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Server, env, pki};
use std::io::Write as _;
use std::net::TcpStream;
use std::path::{Path, PathBuf};

const RULE: &str = r#"
vendor = "Acme"
[[rule]]
id = "acme-reloaded-key"
name = "Acme key"
severity = "critical"
pattern = 'acmerl_[A-Za-z0-9]{32}'
prefixes = ["acmerl_"]
explanation = "It opens Acme."
remediation = "Revoke it."
attack = ["T1552"]
positives = [["acmerl_", { fill = "base62", n = 32 }], ["acmerl_", { fill = "base62", n = 32, seed = 1 }]]
negatives = [["acmerl_", { fill = "base62", n = 31 }], ["acmerl_", { fill = "base62", n = 30, seed = 1 }]]
"#;
const NO_RULES: &str = "vendor = \"Acme\"\n";

fn acme() -> FakeKey {
    FakeKey::new(&["acmerl_", &random(32)], "acme-reloaded-key")
}

/// Files of rules and of a policy that an agent is started with.
struct Files {
    rules: PathBuf,
    policy: PathBuf,
}

impl Files {
    fn new(rules: &str) -> Self {
        Self {
            rules: env::temp_file("own.toml", rules.as_bytes()),
            policy: env::temp_file("policy.toml", b""),
        }
    }

    fn options(&self, options: Options) -> Options {
        options.config(&format!("rules = [{:?}]\npolicy = {:?}", self.rules, self.policy))
    }
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).expect("write a file");
}

/// Sends this key over TLS; true: it arrived.
fn arrives(key: &FakeKey) -> bool {
    let server = Server::https();
    let client = Client::start(curl("https", &server).args(header("x-api-key: ", Some(key))).command).end();
    if !client.status.success() {
        server.assert_never(key.reveal().as_bytes());
    }
    client.status.success()
}

#[test]
fn a_rule_that_comes_refuses_and_one_that_goes_does_not() {
    let files = Files::new(NO_RULES);
    let agent = Agent::own(&files.options(Options::blocking()));
    assert!(arrives(&acme()), "nobody knows it yet");
    write(&files.rules, RULE);
    agent.reload("ok");
    let key = acme();
    assert!(!arrives(&key));
    agent.expect(&Expect::key(&key).action("blocked"));
    write(&files.rules, NO_RULES);
    agent.reload("ok");
    assert!(arrives(&acme()), "nobody knows it any more");
    assert!(!arrives(&FakeKey::anthropic()), "the others stay");
}

#[test]
fn a_policy_says_what_is_home_from_then_on() {
    let files = Files::new(NO_RULES);
    let agent = Agent::own(&files.options(Options::blocking()));
    assert!(!arrives(&FakeKey::anthropic()));
    write(&files.policy, &format!("[home]\nanthropic-api-key = [{:?}]\n", pki::HOST));
    agent.reload("ok");
    assert!(arrives(&FakeKey::anthropic()));
    write(&files.policy, "");
    agent.reload("ok");
    assert!(!arrives(&FakeKey::anthropic()));
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let files = Files::new(RULE);
    let agent = Agent::own(&files.options(Options::blocking()));
    write(&files.rules, "vendor = 7");
    assert!(agent.reload("degraded").contains("own.toml"));
    assert!(!arrives(&acme()));
    write(&files.rules, RULE);
    agent.reload("ok");
    assert!(!arrives(&acme()));
}

#[test]
fn an_agent_that_only_looks_learns_too() {
    let files = Files::new(NO_RULES);
    let agent = Agent::own(&files.options(Options::default()));
    write(&files.rules, RULE);
    agent.reload("ok");
    let key = acme();
    assert!(arrives(&key));
    agent.expect_once(&Expect::observed(&key), &key);
}

#[test]
fn no_key_slips_through_while_rules_are_exchanged() {
    const RELOADS: usize = 10;
    let files = Files::new(NO_RULES);
    let agent = Agent::own(&files.options(Options::blocking()));
    let (server, key) = (Server::sink(), FakeKey::anthropic());
    let send = || {
        let mut stream = TcpStream::connect(server.address()).expect("connect");
        let text = format!("note {} end\n", key.reveal());
        stream.write_all(text.as_bytes()).expect_err("it is refused");
    };
    let tries = meanwhile(send, || {
        for reload in 0..RELOADS {
            write(&files.rules, if reload % 2 == 0 { RULE } else { NO_RULES });
            agent.reload("ok");
        }
    });
    assert!(tries > RELOADS * 10, "{tries} keys were sent while rules were exchanged {RELOADS} times");
    server.assert_never(key.reveal().as_bytes());
}
