//! What the agent is shown of clean traffic while it blocks: nothing, unless it asks for everything.

use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Options, Server};

const REQUESTS: u64 = 50;
/// What a connection costs, clean or not: its ClientHello, its link, its end; and what [`Agent::settle`] sends.
const PER_CONNECTION: u64 = 12;

/// Records that come for so many clean requests on one connection.
fn records(options: &Options, scheme: &str, server: &Server) -> u64 {
    let agent = Agent::own(&options.clone().config("accepted_connections = false"));
    let before = agent.records();
    let client = curl_to(scheme, server, &format!("/?n=[1-{REQUESTS}]"));
    Client::run(client.args(["-d", "nothing of interest", "-o", "/dev/null"]).command);
    server.wait_for_count(REQUESTS as usize);
    agent.records() - before
}

fn everything() -> Options {
    Options::blocking().config("capture = \"everything\"")
}

fn nothing_is_shown(scheme: &str, server: fn() -> Server) {
    let few = records(&Options::blocking(), scheme, &server());
    assert!(few <= PER_CONNECTION, "{few} records of {REQUESTS} clean requests");
    let all = records(&everything(), scheme, &server());
    assert!(all >= REQUESTS, "{all} records of {REQUESTS} requests, all captured");
}

#[test]
fn of_clean_tls() {
    nothing_is_shown("https", Server::https);
}

#[test]
fn of_clean_plaintext() {
    nothing_is_shown("http", Server::http);
}

/// Nothing tells the kernel of it.
#[test]
fn what_is_encoded_twice_is_found_where_everything_is_captured() {
    let agent = Agent::own(&everything());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let client = Client::run(curl("https", &server).args(["-d", &base64(&base64(key.reveal()))]).command);
    let wanted = Expect::key(&key).action("late").pid(client.pid).location("body > base64 > base64");
    agent.expect_once(&wanted, &key);
}
