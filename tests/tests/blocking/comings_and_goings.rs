//! Agents start and end while programs are busy: no program is the worse for it.

use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Server, env, pki};
use std::process::Command;

#[test]
fn busy_programs_outlive_agents() {
    let mut agent = Agent::own(&Options::blocking());
    let server = Server::https_that_counts();
    // Agents come first, as everything else on this host does.
    let mut command = Command::new(env::tool("nice"));
    command
        .args(["-n", "19", "/usr/bin/python3"])
        .arg(program("tls_load.py"))
        .args(named(&server))
        .arg(authority())
        .arg(env::count(12, 50).to_string());
    let mut load = Client::start(command);
    load.wait_line("started");
    let agents = env::count(2, 200);
    for number in 1..=agents {
        refuses(&agent);
        server.wait_for_more();
        agent.assert_clean(&server, load.pid());
        // Every other one has no time to take anything back.
        if number % 2 == 0 {
            agent.stop();
        } else {
            agent.kill();
        }
        server.wait_for_more();
        if number < agents {
            agent.start_again();
        }
    }
    let said = load.finish().stdout;
    assert_eq!(said.trim(), format!("served {} failed 0", server.count()));
    eprintln!("{agents} agents: {}", said.trim());
}

fn refuses(agent: &Agent) {
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let leaking = curl("https", &server).args(header("x-api-key: ", Some(&key)));
    assert!(!Client::start(leaking.command).end().status.success());
    agent.expect(&Expect::key(&key).action("blocked").host(pki::HOST, "sni"));
    server.assert_never(key.reveal().as_bytes());
}
