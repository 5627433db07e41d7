//! Real clients whose bytes have to be taken apart first: HTTP/2, WebSocket, compression, encodings, git.

use keymoat_tests::cases::{Case, Invocation};
use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Server, clients, env, pki, protocol_clients};
use std::path::Path;
use std::process::Command;

protocol_clients!(clients);

clients! {
    python_websockets: Case {
        server: Server::websocket,
        client: |server, key| python("websocket", key).args(named(server)).args([authority()]).done(),
        expect: |it, _| it.library("openssl").protocol("websocket").location("message").host(pki::HOST, "sni"),
    },
}

/// A client that sends the key in another form: with it, and without. The server keeps what it is sent as it comes,
/// so what has to arrive is that form.
fn is_opened(
    client: impl Fn(&Server, Option<&FakeKey>) -> Invocation,
    arrives: impl Fn(&FakeKey) -> Option<String>,
    expect: impl Fn(Expect) -> Expect,
) {
    for with_key in [true, false] {
        let (agent, server, key) = (Agent::shared(), Server::https(), FakeKey::anthropic());
        let before = agent.losses();
        let Invocation { command, input } = client(&server, with_key.then_some(&key));
        let client = Client::run_with(command, &input);
        server.wait_for_count(1);
        if with_key {
            server.wait_for(arrives(&key).unwrap_or_default().as_bytes());
            agent.expect_once(&expect(Expect::observed(&key).pid(client.pid)), &key);
            agent.assert_no_loss_since(&before);
        } else {
            agent.assert_clean(&server, client.pid);
        }
    }
}

#[test]
fn password_of_basic_authentication() {
    is_opened(
        |server, key| curl("https", server).args(["-u", &format!("worker:{}", text(key))]).done(),
        |key| Some(base64(&format!("worker:{}", key.reveal()))),
        |it| it.library("openssl").location("header:authorization > base64"),
    );
}

/// What worms do to hide a whole environment.
#[test]
fn base64_of_base64() {
    let hidden = |key: Option<&FakeKey>| {
        let environment = format!(r#"{{"env":{{"PATH":"/usr/bin","TOKEN":"{}"}}}}"#, text(key));
        base64(&base64(&environment))
    };
    is_opened(
        |server, key| curl("https", server).args(["-d", &hidden(key)]).done(),
        |key| Some(hidden(Some(key))),
        |it| it.library("openssl").location("body > base64 > base64"),
    );
}

#[test]
fn compressed_telemetry() {
    is_opened(
        |server, key| python("telemetry", key).args([url("https", server)]).done(),
        |_| None,
        |it| it.location("body > gzip > json:env.API_KEY"),
    );
}

#[test]
fn git_push_is_opened() {
    for with_key in [true, false] {
        let (agent, server, key) = (Agent::shared(), Server::git(), FakeKey::anthropic());
        let repository = env::fresh_dir("push");
        let note = if with_key { key.reveal() } else { "nothing" };
        let settings = format!("# settings\nAPI_KEY = \"{note}\"\n");
        std::fs::write(repository.join("settings.py"), settings).expect("write the file to commit");
        let before = agent.losses();
        for args in [&["init", "-q"][..], &["add", "."], &["commit", "-q", "-m", "settings"]] {
            Client::run(git(&repository, args));
        }
        let target = format!("https://{}:{}/notes.git", pki::HOST, server.port);
        let branch = format!("HEAD:refs/heads/{}", server.port);
        let resolve = format!("http.curloptResolve={}:{}:{}", pki::HOST, server.port, server.address().ip());
        let push = Client::run(git(&repository, &["-c", &resolve, "push", "-q", &target, &branch]));
        if with_key {
            let wanted = Expect::observed(&key).location("body > git:blob").host(pki::HOST, "sni");
            let finding = agent.expect_once(&wanted.protocol("http/1.1"), &key);
            let ancestors = &finding.process.ancestors;
            assert!(ancestors.iter().any(|it| it.pid == push.pid), "not a child of git push: {ancestors:?}");
            agent.assert_no_loss_since(&before);
        } else {
            agent.assert_clean(&server, push.pid);
        }
    }
}

fn git(repository: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env::tool("git"));
    command.current_dir(repository).env("GIT_SSL_CAINFO", pki::authority()).env("HOME", repository);
    command.args(["-c", "user.name=test", "-c", "user.email=test@keymoat.test"]).args(args);
    command
}
