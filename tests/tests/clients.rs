//! Real clients, one table: each sends a key and is found, and sends the same request without one and is not.

use keymoat_tests::{Agent, Client, Expect, FakeKey, Script, Server, env, pki, programs, script};
use programs::Linked;
use std::path::{Path, PathBuf};
use std::process::Command;

/// One client: where it sends to, how it is started, what a finding must say.
struct Case {
    server: fn() -> Server,
    client: fn(&Server, Option<&FakeKey>) -> Invocation,
    expect: fn(Expect, &Server) -> Expect,
}

/// A command and what it reads from standard input.
struct Invocation {
    command: Command,
    input: Vec<u8>,
}

impl From<Command> for Invocation {
    fn from(command: Command) -> Self {
        Self { command, input: Vec::new() }
    }
}

impl Case {
    fn finds_the_key(&self) {
        let agent = Agent::shared();
        let before = agent.losses();
        let (server, key) = ((self.server)(), FakeKey::anthropic());
        let Invocation { command, input } = (self.client)(&server, Some(&key));
        let client = Client::run_with(command, &input);
        server.wait_for(key.reveal().as_bytes());
        let expect = Expect::observed(&key).pid(client.pid).to(server.address());
        agent.expect_once(&(self.expect)(expect, &server), &key);
        agent.assert_no_loss_since(&before);
    }

    fn is_silent_without(&self) {
        let agent = Agent::shared();
        let server = (self.server)();
        let Invocation { command, input } = (self.client)(&server, None);
        let client = Client::run_with(command, &input);
        server.wait_for_count(1);
        agent.assert_clean(&server, client.pid);
        assert!(agent.unseen_tls(client.pid).is_empty(), "a client with a probe counts as unseen");
    }
}

/// Each entry becomes two tests.
macro_rules! clients {
    ($($name:ident: $case:expr,)*) => {
        $(mod $name {
            use super::*;
            const CASE: Case = $case;
            #[test]
            fn key_is_found() {
                CASE.finds_the_key();
            }
            #[test]
            fn same_request_without_key_is_silent() {
                CASE.is_silent_without();
            }
        })*
    };
}

clients! {
    curl_header: Case {
        server: Server::https,
        client: |server, key| curl("https", server).args(header("x-api-key: ", key)).done(),
        expect: |it, _| it.library("openssl").protocol("http/1.1").location("header:x-api-key").comm("curl").host(pki::HOST, "sni"),
    },
    curl_bearer: Case {
        server: Server::https,
        client: |server, key| curl("https", server).args(header("Authorization: Bearer ", key)).done(),
        expect: |it, _| it.library("openssl").location("header:authorization").host(pki::HOST, "sni"),
    },
    curl_query: Case {
        server: Server::https,
        client: |server, key| curl_to("https", server, &format!("/v1/models?page=2&key={}", text(key))).done(),
        expect: |it, _| it.library("openssl").location("query:key"),
    },
    curl_body: Case {
        server: Server::https,
        client: |server, key| curl("https", server).args(json(key)).done(),
        expect: |it, _| it.library("openssl").location("body").host(pki::HOST, "sni"),
    },
    curl_upload_in_chunks: Case {
        server: Server::https,
        client: |server, key| Invocation {
            command: curl("https", server).args(["-T", "-"].map(String::from).to_vec()).command,
            input: [vec![b'.'; 300_000], format!(" {} ", text(key)).into_bytes(), vec![b'.'; 100_000]].concat(),
        },
        expect: |it, _| it.library("openssl").location("body"),
    },
    wget_header: Case {
        server: Server::https,
        client: |server, key| wget(server).args(key.map(|key| format!("--header=x-api-key: {}", key.reveal()))).done(),
        expect: |it, _| it.library("gnutls").location("header:x-api-key").comm("wget").only_address(),
    },
    wget_body: Case {
        server: Server::https,
        client: |server, key| wget(server).args([format!("--post-data=text={}", text(key))]).done(),
        expect: |it, _| it.library("gnutls").location("body"),
    },
    python_urllib_header: Case {
        server: Server::https,
        client: |server, key| python("urllib", key).args([url("https", server), authority(), "header".into()]).done(),
        expect: |it, _| it.library("openssl").location("header:x-api-key").only_address(),
    },
    python_urllib_body: Case {
        server: Server::https,
        client: |server, key| python("urllib", key).args([url("https", server), authority(), "body".into()]).done(),
        expect: |it, _| it.library("openssl").location("body"),
    },
    python_requests: Case {
        server: Server::https,
        client: |server, key| python("requests", key).args([url("https", server)]).done(),
        expect: |it, _| it.library("openssl").location("header:authorization"),
    },
    python_asyncio: Case {
        server: Server::https,
        client: |server, key| python("asyncio", key).args(named(server)).args([authority()]).done(),
        expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    node_fetch: Case {
        server: Server::https,
        client: |server, key| node("fetch", key).args([url("https", server)]).done(),
        expect: |it, _| it.library("openssl").location("header:authorization").only_address(),
    },
    node_https: Case {
        server: Server::https,
        client: |server, key| node("https", key).args(named(server)).done(),
        expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    openssl_s_client: Case {
        server: Server::https,
        client: |server, key| Invocation {
            command: Args::new("openssl").args(["s_client", "-quiet", "-servername", pki::HOST, "-connect"])
                .args([server.address().to_string()]).command,
            input: last_request(key),
        },
        expect: |it, _| it.library("openssl").location("header:x-api-key").comm("openssl").host(pki::HOST, "sni"),
    },
    static_openssl: Case {
        server: Server::https,
        client: |server, key| programs::openssl_client(Linked::Static, server.address(), pki::HOST, &one(key)).into(),
        expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    openssl_write_ex: Case {
        server: Server::https,
        client: |server, key| {
            let mut command = programs::openssl_client(Linked::Shared, server.address(), pki::HOST, &one(key));
            command.arg("ex");
            command.into()
        },
        expect: |it, _| it.library("openssl").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    openssl_over_ipv6: Case {
        server: Server::https,
        client: |server, key| programs::openssl_client(Linked::Shared, server.address6(), pki::HOST, &one(key)).into(),
        expect: |it, server| it.library("openssl").to(server.address6()).host(pki::HOST, "sni"),
    },
    gnutls_send: Case {
        server: Server::https,
        client: |server, key| programs::gnutls_client("send", server.address(), pki::HOST, &one(key)).into(),
        expect: |it, _| it.library("gnutls").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    gnutls_send2: Case {
        server: Server::https,
        client: |server, key| programs::gnutls_client("send2", server.address(), pki::HOST, &one(key)).into(),
        expect: |it, _| it.library("gnutls").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    gnutls_send_range: Case {
        server: Server::https,
        client: |server, key| programs::gnutls_client("range", server.address(), pki::HOST, &one(key)).into(),
        expect: |it, _| it.library("gnutls").location("header:x-api-key").host(pki::HOST, "sni"),
    },
    curl_plain_header: Case {
        server: Server::http,
        client: |server, key| curl("http", server).args(header("x-api-key: ", key)).done(),
        expect: |it, _| it.kind("tcp").protocol("http/1.1").location("header:x-api-key").host(pki::HOST, "http-host"),
    },
    curl_plain_query: Case {
        server: Server::http,
        client: |server, key| curl_to("http", server, &format!("/?key={}", text(key))).done(),
        expect: |it, _| it.kind("tcp").location("query:key"),
    },
    curl_plain_body: Case {
        server: Server::http,
        client: |server, key| curl("http", server).args(json(key)).done(),
        expect: |it, _| it.kind("tcp").location("body"),
    },
    netcat_tcp: Case {
        server: Server::sink,
        client: |server, key| Invocation {
            command: Args::new("nc").args(["-N"]).args(host_port(server)).command,
            input: format!("backup of notes: {}\n", text(key)).into(),
        },
        expect: |it, _| it.kind("tcp").location("stream").comm("nc").only_address(),
    },
    netcat_udp: Case {
        server: Server::udp,
        client: |server, key| Invocation {
            command: Args::new("nc").args(["-u", "-w", "1"]).args(host_port(server)).command,
            input: format!("metric {}\n", text(key)).into(),
        },
        expect: |it, _| it.kind("udp").location("datagram").only_address(),
    },
}

/// A command line put together in one expression.
struct Args {
    command: Command,
}

impl Args {
    fn new(tool: &str) -> Self {
        Self { command: Command::new(env::tool(tool)) }
    }

    fn args(mut self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    fn done(self) -> Invocation {
        self.command.into()
    }
}

fn curl(scheme: &str, server: &Server) -> Args {
    curl_to(scheme, server, "/v1/messages")
}

/// curl by name: `--resolve` stands for DNS.
fn curl_to(scheme: &str, server: &Server, path: &str) -> Args {
    let (host, port) = (pki::HOST, server.port);
    let resolve = format!("{host}:{port}:{}", server.address().ip());
    let url = format!("{scheme}://{host}:{port}{path}");
    let base = Args::new("curl").args(["-sS", "--fail", "--http1.1", "--resolve", &resolve, "--cacert"]);
    base.args([authority(), url])
}

fn wget(server: &Server) -> Args {
    let base = Args::new("wget").args(["-q", "-O", "-", "--tries=1", "--ca-certificate", &authority()]);
    base.args([url("https", server)])
}

fn python(client: &str, key: Option<&FakeKey>) -> Args {
    static WITH_REQUESTS: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(python_with_requests);
    let mut args = Args { command: Command::new(&*WITH_REQUESTS) };
    args.command.env("REQUESTS_CA_BUNDLE", pki::authority()).envs(key_variable(key));
    args.args([program(&format!("{client}_client.py"))])
}

/// The system's Python, or whichever one on the path has `requests`.
fn python_with_requests() -> PathBuf {
    let has_requests = |python: &Path| {
        let output =
            Command::new(python).args(["-c", "import sys, requests; print(sys.executable)"]).output();
        let output = output.ok().filter(|output| output.status.success())?;
        // The interpreter itself: a wrapper script would be another process.
        Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
    };
    let candidates = [PathBuf::from("/usr/bin/python3"), env::tool("python3")];
    let found = candidates.iter().find_map(|python| has_requests(python));
    found.unwrap_or_else(|| env::missing("python3 with the package requests"))
}

fn node(client: &str, key: Option<&FakeKey>) -> Args {
    let mut args = Args::new("node");
    args.command.env("NODE_EXTRA_CA_CERTS", pki::authority()).envs(key_variable(key));
    args.args([program(&format!("{client}_client.mjs"))])
}

fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

fn key_variable(key: Option<&FakeKey>) -> Option<(&'static str, &str)> {
    key.map(|key| ("KM_KEY", key.reveal()))
}

/// curl's arguments for a header that exists only with a key.
fn header(name: &str, key: Option<&FakeKey>) -> Vec<String> {
    key.map(|key| vec!["-H".into(), format!("{name}{}", key.reveal())]).unwrap_or_default()
}

/// curl's arguments for a JSON body.
fn json(key: Option<&FakeKey>) -> Vec<String> {
    let body = format!(r#"{{"prompt":"why does {} not work?"}}"#, text(key));
    vec!["-H".into(), "content-type: application/json".into(), "-d".into(), body]
}

fn text(key: Option<&FakeKey>) -> &str {
    key.map_or("nothing-secret", FakeKey::reveal)
}

fn url(scheme: &str, server: &Server) -> String {
    format!("{scheme}://{}/v1/messages", server.address())
}

fn authority() -> String {
    pki::authority().display().to_string()
}

fn host_port(server: &Server) -> [String; 2] {
    [server.address().ip().to_string(), server.port.to_string()]
}

/// Address, port and the name to ask for.
fn named(server: &Server) -> [String; 3] {
    let [ip, port] = host_port(server);
    [ip, port, pki::HOST.to_owned()]
}

fn last_request(key: Option<&FakeKey>) -> Vec<u8> {
    let header = key.map(|key| format!("x-api-key: {}\r\n", key.reveal())).unwrap_or_default();
    format!("GET / HTTP/1.1\r\nhost: {}\r\n{header}connection: close\r\n\r\n", pki::HOST).into_bytes()
}

/// A script of one request.
fn one(key: Option<&FakeKey>) -> PathBuf {
    Script::of(script::request(key, b"{}")).save()
}
