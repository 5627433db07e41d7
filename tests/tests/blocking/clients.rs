//! Real clients: a key away from home is refused, the client ends by itself, the same request without it is served.

use keymoat_tests::cases::{Case, Invocation};
use keymoat_tests::commands::*;
use keymoat_tests::programs::{self, Linked};
use keymoat_tests::{
    Agent, Client, Expect, FakeKey, Options, Server, http1_clients, pki, protocol_clients, refused,
};
use std::process::Command;

http1_clients!(refused);
protocol_clients!(refused);

/// What the kernel does not undo leaves, and is found then.
fn is_late(
    server: fn() -> Server,
    client: impl Fn(&Server, &FakeKey) -> Invocation,
    expect: impl Fn(Expect) -> Expect,
) {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (server(), FakeKey::anthropic());
    let Invocation { command, input } = client(&server, &key);
    let client = Client::run_with(command, &input);
    server.wait_for_count(1);
    let finding = agent.expect_once(&expect(Expect::key(&key).action("late").pid(client.pid)), &key);
    assert_eq!(finding.enforcement, None);
}

#[test]
fn a_compressed_key_is_found_late() {
    is_late(
        Server::https,
        |server, key| python("telemetry", Some(key)).args([url("https", server)]).done(),
        |it| it.location("body > gzip > json:env.API_KEY"),
    );
}

#[test]
fn an_encoded_key_is_found_late() {
    is_late(
        Server::https,
        |server, key| curl("https", server).args(["-d", &base64(key.reveal())]).done(),
        |it| it.location("body > base64"),
    );
}

#[test]
fn a_masked_key_is_found_late() {
    is_late(
        Server::websocket,
        |server, key| python("websocket", Some(key)).args(named(server)).args([authority()]).done(),
        |it| it.protocol("websocket").location("message"),
    );
}

#[test]
fn a_key_on_its_usual_way_home_passes() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let command =
        curl_at(pki::ANTHROPIC, "https", &server, "/v1/messages").args(header("x-api-key: ", Some(&key)));
    let client = Client::run(command.command);
    server.wait_for(key.reveal().as_bytes());
    let wanted = Expect::key(&key).action("allowed").pid(client.pid).host(pki::ANTHROPIC, "sni");
    agent.expect_once(&wanted, &key);
}

/// In the head it belongs there, in the prompt it does not; also where both are on one connection that was used before.
fn only_the_prompt_is_refused(server: fn() -> Server, protocol: &str) {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, own, pasted) = (server(), FakeKey::anthropic(), FakeKey::anthropic());
    let prompt = |key: &FakeKey| {
        let clean = json(None).into_iter().chain(header("x-api-key: ", Some(&own)));
        let first = curl_at(pki::ANTHROPIC, "https", &server, "/v1/messages").args([protocol]).args(clean);
        let url = format!("https://{}:{}/v1/messages", pki::ANTHROPIC, server.port);
        let again = ["--next", "-sS", protocol, "--cacert", &authority(), "--resolve"].map(str::to_owned);
        let at = format!("{}:{}:{}", pki::ANTHROPIC, server.port, server.address().ip());
        first.args(again).args([at, url]).args(header("x-api-key: ", Some(&own))).args(json(Some(key)))
    };
    let client = Client::start(prompt(&pasted).command).end();
    assert_eq!(client.stdout.lines().next(), Some("ok"), "{}", client.stderr);
    assert!(!client.status.success());
    agent.expect(&Expect::key(&pasted).action("blocked").pid(client.pid).host(pki::ANTHROPIC, "sni"));
    agent.expect(&Expect::key(&own).action("allowed").pid(client.pid).location("header:x-api-key"));
    server.assert_never(pasted.reveal().as_bytes());
}

#[test]
fn a_key_in_a_prompt_to_its_own_vendor_is_refused() {
    only_the_prompt_is_refused(Server::https, "--http1.1");
}

#[test]
fn and_over_http2() {
    only_the_prompt_is_refused(Server::http2, "--http2");
}

#[test]
fn a_key_of_another_vendor_is_refused_there() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https(), FakeKey::openai());
    let command =
        curl_at(pki::ANTHROPIC, "https", &server, "/v1/messages").args(header("x-api-key: ", Some(&key)));
    let client = Client::start(command.command).end();
    assert!(!client.status.success());
    agent.expect(&Expect::key(&key).action("blocked").host(pki::ANTHROPIC, "sni"));
    server.assert_never(key.reveal().as_bytes());
}

/// A TLS library that could not send all of a write is given it again. What comes then is understood as before.
#[test]
fn what_is_written_again_hides_no_key() {
    let agent = Agent::shared_as(&Options::blocking());
    let client = |server: &Server, key: Option<&FakeKey>| {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(program("full_buffer_client.py")).args(named(server)).arg(authority());
        command.envs(key_variable(key));
        Client::start(command).end()
    };
    for _ in 0..3 {
        let (server, key) = (Server::tls_sink(), FakeKey::anthropic());
        assert!(!client(&server, Some(&key)).status.success());
        agent.expect(&Expect::key(&key).action("blocked").protocol("h2"));
        server.assert_never(key.reveal().as_bytes());
    }
    let server = Server::tls_sink();
    let clean = client(&server, None);
    assert_eq!(clean.stdout.trim(), "wrote again 3", "{}", clean.stderr);
    agent.assert_clean(&server, clean.pid);
}

#[test]
fn what_was_refused_is_explained_with_the_command_that_allows_it() {
    let agent = Agent::shared_as(&Options::blocking());
    let (server, key) = (Server::https(), FakeKey::anthropic());
    let client = Client::start(curl("https", &server).args(header("x-api-key: ", Some(&key))).command).end();
    let error = if agent.method("tls") == "return-override" { "bad length" } else { "Permission denied" };
    assert!(client.stderr.contains(error), "an ordinary error: {}", client.stderr);
    let finding = agent.expect(&Expect::key(&key).action("blocked"));
    let command = format!("keymoat allow anthropic-api-key --to {} --for 1h", pki::HOST);
    assert!(finding.explanation.contains("was stopped before it left"), "{}", finding.explanation);
    assert!(finding.explanation.contains(&command), "{}", finding.explanation);
}
