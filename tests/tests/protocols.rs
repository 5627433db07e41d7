//! Real clients whose bytes have to be taken apart first: HTTP/2, WebSocket, compression, encodings, git.

use keymoat_tests::cases::{Case, Invocation};
use keymoat_tests::commands::*;
use keymoat_tests::{Agent, Client, Expect, FakeKey, Server, clients, pki};

clients! {
    curl_http2_header: Case {
        server: Server::http2,
        client: |server, key| curl_http2(server, "/v1/messages").args(header("x-api-key: ", key)).done(),
        expect: |it, _| it.library("openssl").protocol("h2").location("header:x-api-key").comm("curl").host(pki::HOST, "sni"),
    },
    curl_http2_bearer: Case {
        server: Server::http2,
        client: |server, key| curl_http2(server, "/v1/messages").args(header("Authorization: Bearer ", key)).done(),
        expect: |it, _| it.protocol("h2").location("header:authorization").host(pki::HOST, "sni"),
    },
    curl_http2_query: Case {
        server: Server::http2,
        client: |server, key| curl_http2(server, &format!("/v1/models?page=2&key={}", text(key))).done(),
        expect: |it, _| it.protocol("h2").location("query:key"),
    },
    curl_http2_body: Case {
        server: Server::http2,
        client: |server, key| curl_http2(server, "/v1/messages").args(json(key)).done(),
        expect: |it, _| it.protocol("h2").location("body > json:prompt"),
    },
    curl_http2_prior_knowledge_upload: Case {
        server: Server::http2,
        client: |server, key| Invocation {
            command: curl_http2(server, "/upload").args(["-T", "-"]).command,
            input: [vec![b'.'; 300_000], format!(" {} ", text(key)).into_bytes(), vec![b'.'; 100_000]].concat(),
        },
        expect: |it, _| it.protocol("h2").location("body"),
    },
    python_httpx_header: Case {
        server: Server::http2,
        client: |server, key| python("httpx", key).args([url("https", server), authority(), "header".into()]).done(),
        expect: |it, _| it.library("openssl").protocol("h2").location("header:authorization").only_address(),
    },
    python_httpx_body: Case {
        server: Server::http2,
        client: |server, key| python("httpx", key).args([url("https", server), authority(), "body".into()]).done(),
        expect: |it, _| it.protocol("h2").location("body > json:env.API_KEY"),
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
