//! Keys cut in pieces, at every place. Each key has a connection of its own: a refused one is dead.

use super::Way;
use keymoat_tests::programs::{Linked, km_client, openssl_client};
use keymoat_tests::threat_model::{Expected, Outcome};
use keymoat_tests::{Agent, Client, FakeKey, Script, Server, env, pki};
use std::os::unix::process::ExitStatusExt as _;

const LENGTH: usize = 108;
const BEFORE: &[u8] = b"token ";

pub(super) fn ways() -> Vec<Way> {
    let way = |what, attempt: fn(&Agent) -> Outcome| Way {
        what,
        attempt: Box::new(attempt),
        expected: Expected::Refused,
    };
    vec![
        way("over two writes, at every place", |agent| plain(agent, "write", &pairs())),
        way("over two `MSG_MORE` sends, at every place", |agent| plain(agent, "more", &pairs())),
        way("over three writes", |agent| plain(agent, "write", &triples())),
        way("over two TLS writes, at every place", tls),
    ]
}

/// Where the pieces of each key begin, but the first.
fn pairs() -> Vec<Vec<usize>> {
    (1..LENGTH).map(|at| vec![at]).collect()
}

fn triples() -> Vec<Vec<usize>> {
    let step = env::count(10, 1);
    (1..LENGTH)
        .step_by(step)
        .flat_map(|first| (first + 1..LENGTH).map(move |second| vec![first, second]))
        .collect()
}

fn pieces(script: Script, key: &FakeKey, cuts: &[usize]) -> Script {
    let mut text = String::from_utf8_lossy(BEFORE).into_owned() + key.reveal() + "\n";
    // From the end, so that what was cut off stays where it is.
    let mut tails: Vec<_> = cuts.iter().rev().map(|at| text.split_off(BEFORE.len() + at)).collect();
    tails.reverse();
    [text].into_iter().chain(tails).fold(script, Script::then)
}

/// Did any connection bring a whole key?
fn arrived(server: &Server, keys: &[FakeKey]) -> bool {
    let keys: std::collections::BTreeSet<_> = keys.iter().map(|key| key.reveal().as_bytes()).collect();
    let whole = |bytes: &[u8]| {
        let token = bytes.strip_prefix(BEFORE).and_then(|rest| rest.get(..LENGTH));
        token.is_some_and(|token| keys.contains(token))
    };
    server.received().iter().any(|it| whole(&it.bytes))
}

fn plain(agent: &Agent, call: &str, cuts: &[Vec<usize>]) -> Outcome {
    let server = Server::sink();
    let keys: Vec<_> = cuts.iter().map(|_| FakeKey::anthropic()).collect();
    let script = keys.iter().zip(cuts).fold(Script::default(), |it, (key, cuts)| pieces(it, key, cuts));
    let mut client = km_client(call, server.address(), &script.save());
    let writes = script.writes().len() / keys.len();
    client.arg(format!("lives={writes}"));
    let client = Client::run(client);
    agent.settle();
    if arrived(&server, &keys) {
        return Outcome::Late;
    }
    assert_eq!(client.stdout.trim(), format!("refused {}", keys.len()));
    agent.expect_refused(client.pid);
    Outcome::Refused
}

/// A client per key.
fn tls(agent: &Agent) -> Outcome {
    let server = Server::tls_sink();
    let cuts: Vec<_> = pairs().into_iter().step_by(env::count(5, 1)).collect();
    let keys: Vec<_> = cuts.iter().map(|_| FakeKey::anthropic()).collect();
    for (key, cuts) in keys.iter().zip(&cuts) {
        let script = pieces(Script::default(), key, cuts).save();
        let client =
            Client::start(openssl_client(Linked::Shared, server.address(), pki::HOST, &script)).end();
        assert_eq!(client.status.signal(), None, "killed: {}", client.stderr);
        agent.expect_refused(client.pid);
    }
    if arrived(&server, &keys) { Outcome::Late } else { Outcome::Refused }
}
