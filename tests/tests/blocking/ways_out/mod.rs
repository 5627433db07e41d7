//! Each way out of a process, tried with a key while an agent blocks, and without one. What becomes of the key is the table of
//! `docs/threat-model.md`; what becomes of the rest is always the same: it is served.

mod calls;
mod cut;
mod forms;
mod in_strict;

use super::strict::Strict;
use keymoat_tests::cases::Invocation;
use keymoat_tests::threat_model::{self, Expected, Outcome, Tried};
use keymoat_tests::{Agent, Client, FakeKey, Options, Server};
use std::os::unix::process::ExitStatusExt as _;

/// One line of the table.
struct Way {
    what: &'static str,
    attempt: Box<dyn Fn(&Agent) -> Outcome>,
    expected: Expected,
}

#[test]
fn every_way_out_ends_as_the_threat_model_says() {
    let agent = Agent::shared_as(&Options::blocking());
    let sections = [("calls", calls::ways()), ("keys cut in pieces", cut::ways()), ("forms", forms::ways())];
    let mut all = Vec::new();
    sections.into_iter().for_each(|(section, ways)| try_each(section, ways, &agent, &mut all));
    drop(agent);
    try_each("strict", in_strict::ways(), &Strict::start(), &mut all);
    threat_model::save(&all);
    threat_model::assert_as_expected(&all);
    threat_model::assert_documented(&all);
}

fn try_each(section: &'static str, ways: Vec<Way>, agent: &Agent, all: &mut Vec<Tried>) {
    for Way { what, attempt, expected } in ways {
        eprintln!("{section}: {what}");
        all.push(Tried { section, what, came: attempt(agent), expected });
    }
}

/// What the receiver has when a key reached it.
#[derive(Clone, Copy)]
enum Arrives {
    Key,
    /// A request, of which only a decoder sees that there is a key in it.
    Request,
}

/// The call that this client makes does not exist for a connection that is judged: nothing leaves, and the program is told.
fn is_unsupported(server: &Server, client: impl Fn(&Server, Option<&FakeKey>) -> Invocation) -> bool {
    let client = Client::start(client(server, None).command).end();
    client.stderr.contains("Operation not supported") && server.received().is_empty()
}

/// What a client sends with a key never arrives, or it does, and then a finding says so, or none does. What it sends without
/// one arrives, and there is no finding.
fn one(
    agent: &Agent,
    server: impl Fn() -> Server,
    client: impl Fn(&Server, Option<&FakeKey>) -> Invocation,
    arrives: Arrives,
) -> Outcome {
    let clean = server();
    let Invocation { command, input } = client(&clean, None);
    let pid = Client::run_with(command, &input).pid;
    clean.wait_for_count(1);
    agent.assert_clean(&clean, pid);

    let (server, key) = (server(), FakeKey::anthropic());
    let Invocation { command, input } = client(&server, Some(&key));
    let mut client = Client::start(command);
    client.try_say(&input);
    let client = client.end();
    assert_eq!(client.status.signal(), None, "killed: {}", client.stderr);
    agent.settle();
    let findings = agent.findings_of(&key);
    if findings.iter().any(|it| it.action == "blocked") {
        match arrives {
            Arrives::Key => server.assert_never(key.reveal().as_bytes()),
            Arrives::Request => assert_eq!(server.received().len(), 0, "a refused request arrived"),
        }
        return Outcome::Refused;
    }
    match arrives {
        Arrives::Key => drop(server.wait_for(key.reveal().as_bytes())),
        Arrives::Request => server.wait_for_count(1),
    }
    agent.settle();
    let findings = agent.findings_of_late(&key);
    agent.assert_silent_about(&key);
    let actions: Vec<_> = findings.iter().map(|it| it.action.as_str()).collect();
    assert!(actions.iter().all(|it| *it == "late"), "a key that left, and nobody calls it late: {actions:?}");
    if findings.is_empty() { Outcome::NotSeen } else { Outcome::Late }
}
