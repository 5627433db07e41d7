//! What the bytes look like: TLS libraries, protocols, encodings.

use super::{Arrives, Way, is_unsupported, one};
use keymoat_tests::cases::Invocation;
use keymoat_tests::commands::*;
use keymoat_tests::programs::{Linked, gnutls_client, km_rustls, openssl_client};
use keymoat_tests::threat_model::{Expected, Outcome};
use keymoat_tests::{Client, FakeKey, Server, pki};

const ENCODED: &str = "the kernel does not undo it; the agent does, and says so within seconds. To do: forbid the destination, \
    rotate the key";
const NO_PROBE: &str = "there is no function to probe; the process is reported as `unseen-tls`. To do: a program that uses a \
    TLS library that `keymoat doctor` names, or `--strict`";
const NO_KERNEL_TLS: &str = "the kernel does no TLS on a connection that is judged: EPERM, with a key or without. OpenSSL encrypts by itself \
    then, and is judged";

const TLS_IN_TLS: &str = "the socket carries the proxy's TLS, and nothing links the one inside to it. To do: a proxy that is asked in the clear (`http://`), \
    which sees no more";

type Make = fn(&Server, Option<&FakeKey>) -> Invocation;

pub(super) fn ways() -> Vec<Way> {
    let mut ways = libraries();
    ways.extend(protocols());
    ways.extend(encodings());
    ways
}

fn way(
    what: &'static str,
    server: fn() -> Server,
    client: Make,
    arrives: Arrives,
    expected: Expected,
) -> Way {
    Way { what, attempt: Box::new(move |agent| one(agent, server, client, arrives)), expected }
}

fn refused(what: &'static str, server: fn() -> Server, client: Make) -> Way {
    way(what, server, client, Arrives::Key, Expected::Refused)
}

fn late(what: &'static str, server: fn() -> Server, client: Make) -> Way {
    way(what, server, client, Arrives::Request, Expected::Otherwise(Outcome::Late, ENCODED))
}

fn libraries() -> Vec<Way> {
    vec![
        refused("OpenSSL", Server::https, |server, key| {
            openssl_client(Linked::Shared, server.address(), pki::HOST, &one_request(key)).into()
        }),
        refused("OpenSSL, linked statically", Server::https, |server, key| {
            openssl_client(Linked::Static, server.address(), pki::HOST, &one_request(key)).into()
        }),
        refused("OpenSSL, memory buffers (Python asyncio)", Server::https, |server, key| {
            python("asyncio", key).args(named(server)).args([authority()]).done()
        }),
        added("the same, added to a write for which there was no room", &[]),
        added("the same, and the connection half-closed", &["half-close"]),
        refused("OpenSSL of Node.js", Server::https, |server, key| {
            node("https", key).args(named(server)).done()
        }),
        kernel_tls(),
        refused("GnuTLS", Server::https, |server, key| {
            gnutls_client("send", server.address(), pki::HOST, &one_request(key)).into()
        }),
        way(
            "a TLS library without a probe (rustls)",
            Server::https,
            |server, key| km_rustls(server.address(), pki::HOST, &one_request(key)).into(),
            Arrives::Key,
            Expected::Otherwise(Outcome::NotSeen, NO_PROBE),
        ),
    ]
}

/// The kernel keeps its verdict on a message for which there was no room, and does not ask about the next.
fn added(what: &'static str, how: &'static [&'static str]) -> Way {
    let client = move |server: &Server, key: Option<&FakeKey>| {
        python("added", key).args(named(server)).args([authority()]).args(how).done()
    };
    let attempt = move |agent: &_| {
        let clean = Server::late_tls_sink();
        Client::run(client(&clean, None).command);
        clean.wait_for(b"x-api-key: none");
        one(agent, Server::late_tls_sink, client, Arrives::Key)
    };
    Way { what, attempt: Box::new(attempt), expected: Expected::Refused }
}

/// Programs leave it to their library then, as on kernels without.
fn kernel_tls() -> Way {
    let attempt = |_: &_| {
        for how in ["sendfile", "write"] {
            let client = |server: &Server, key: Option<&FakeKey>| {
                let mut client =
                    openssl_client(Linked::Shared, server.address(), pki::HOST, &one_request(key));
                client.arg(how);
                client.into()
            };
            assert!(is_unsupported(&Server::https(), client), "then it has to be judged");
        }
        Outcome::Unsupported
    };
    let expected = Expected::Otherwise(Outcome::Unsupported, NO_KERNEL_TLS);
    Way { what: "TLS of the kernel (kTLS), past OpenSSL", attempt: Box::new(attempt), expected }
}

fn protocols() -> Vec<Way> {
    vec![
        refused("HTTP/1.1 header", Server::http, |server, key| {
            curl("http", server).args(header("x-api-key: ", key)).done()
        }),
        refused("HTTP/1.1 body, TLS", Server::https, |server, key| {
            curl("https", server).args(json(key)).done()
        }),
        refused("HTTP/2 header (Huffman), TLS", Server::http2, |server, key| {
            curl_http2(server, "/v1/messages").args(header("x-api-key: ", key)).done()
        }),
        refused("HTTP/2 body, TLS", Server::http2, |server, key| {
            curl_http2(server, "/v1/messages").args(json(key)).done()
        }),
        refused("HTTP/1.1 header, TLS, through a proxy", Server::https_behind_a_proxy, |server, key| {
            curl("https", server).args(through("http", server)).args(header("x-api-key: ", key)).done()
        }),
        way(
            "the same, through an HTTPS proxy (TLS in TLS)",
            Server::https_behind_an_https_proxy,
            |server, key| {
                curl("https", server).args(through("https", server)).args(header("x-api-key: ", key)).done()
            },
            Arrives::Key,
            Expected::Otherwise(Outcome::Late, TLS_IN_TLS),
        ),
        refused("home, in a prompt", Server::https, |server, key| {
            curl_at(pki::ANTHROPIC, "https", server, "/v1/messages").args(json(key)).done()
        }),
    ]
}

fn encodings() -> Vec<Way> {
    vec![
        late("gzip", Server::https, |server, key| {
            python("telemetry", key).args([url("https", server)]).done()
        }),
        late("base64", Server::https, |server, key| {
            curl("https", server).args(["-d", &base64(&format!("token {}", text(key)))]).done()
        }),
        late("hex", Server::https, |server, key| {
            let hex: String = text(key).bytes().map(|byte| format!("{byte:02x}")).collect();
            curl("https", server).args(["-d", &hex]).done()
        }),
        late("percent-encoding", Server::https, |server, key| {
            let encoded: String = text(key).bytes().map(|byte| format!("%{byte:02X}")).collect();
            curl("https", server).args(["-d", &format!("note={encoded}")]).done()
        }),
        late("WebSocket (masked)", Server::websocket, |server, key| {
            python("websocket", key).args(named(server)).args([authority()]).done()
        }),
    ]
}

fn one_request(key: Option<&FakeKey>) -> std::path::PathBuf {
    keymoat_tests::commands::one(key)
}
