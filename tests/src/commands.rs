//! Command lines of real clients, as the tables of [`cases`](crate::cases) use them.

use crate::cases::Invocation;
use crate::{FakeKey, Script, Server, env, pki, script};
use std::path::{Path, PathBuf};
use std::process::Command;

/// A command line put together in one expression.
pub struct Args {
    pub command: Command,
}

impl Args {
    pub fn new(tool: &str) -> Self {
        Self { command: Command::new(env::tool(tool)) }
    }

    pub fn args(mut self, args: impl IntoIterator<Item = impl AsRef<std::ffi::OsStr>>) -> Self {
        self.command.args(args);
        self
    }

    pub fn done(self) -> Invocation {
        self.command.into()
    }
}

pub fn curl(scheme: &str, server: &Server) -> Args {
    curl_to(scheme, server, "/v1/messages")
}

/// curl by name: `--resolve` stands for DNS.
pub fn curl_to(scheme: &str, server: &Server, path: &str) -> Args {
    curl_at(pki::HOST, scheme, server, path)
}

/// The same, to a server of another name.
pub fn curl_at(host: &str, scheme: &str, server: &Server, path: &str) -> Args {
    let port = server.port;
    let resolve = format!("{host}:{port}:{}", server.address().ip());
    let url = format!("{scheme}://{host}:{port}{path}");
    let base = Args::new("curl").args(["-sS", "--fail", "--http1.1", "--resolve", &resolve, "--cacert"]);
    base.args([authority(), url])
}

/// Arguments of curl: asks this server for what it is to reach.
pub fn through(scheme: &str, proxy: &Server) -> [String; 4] {
    let url = format!("{scheme}://{}", proxy.address());
    ["--proxy".to_owned(), url, "--proxy-cacert".to_owned(), authority()]
}

pub fn wget(server: &Server) -> Args {
    let base = Args::new("wget").args(["-q", "-O", "-", "--tries=1", "--ca-certificate", &authority()]);
    base.args([url("https", server)])
}

pub fn python(client: &str, key: Option<&FakeKey>) -> Args {
    static WITH_REQUESTS: std::sync::LazyLock<PathBuf> = std::sync::LazyLock::new(python_with_requests);
    let mut args = Args { command: Command::new(&*WITH_REQUESTS) };
    args.command.env("REQUESTS_CA_BUNDLE", pki::authority()).envs(key_variable(key));
    args.args([program(&format!("{client}_client.py"))])
}

/// The system's Python, or whichever one on the path has `requests`.
pub fn python_with_requests() -> PathBuf {
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

pub fn node(client: &str, key: Option<&FakeKey>) -> Args {
    let mut args = Args::new("node");
    args.command.env("NODE_EXTRA_CA_CERTS", pki::authority()).envs(key_variable(key));
    args.args([program(&format!("{client}_client.mjs"))])
}

pub fn program(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(name)
}

pub fn key_variable(key: Option<&FakeKey>) -> Option<(&'static str, &str)> {
    key.map(|key| ("KM_KEY", key.reveal()))
}

/// curl's arguments for a header that exists only with a key.
pub fn header(name: &str, key: Option<&FakeKey>) -> Vec<String> {
    key.map(|key| vec!["-H".into(), format!("{name}{}", key.reveal())]).unwrap_or_default()
}

/// curl's arguments for a JSON body.
pub fn json(key: Option<&FakeKey>) -> Vec<String> {
    let body = format!(r#"{{"prompt":"why does {} not work?"}}"#, text(key));
    vec!["-H".into(), "content-type: application/json".into(), "-d".into(), body]
}

pub fn text(key: Option<&FakeKey>) -> &str {
    key.map_or("nothing-secret", FakeKey::reveal)
}

pub fn url(scheme: &str, server: &Server) -> String {
    format!("{scheme}://{}/v1/messages", server.address())
}

pub fn authority() -> String {
    pki::authority().display().to_string()
}

pub fn host_port(server: &Server) -> [String; 2] {
    [server.address().ip().to_string(), server.port.to_string()]
}

/// Address, port and the name to ask for.
pub fn named(server: &Server) -> [String; 3] {
    let [ip, port] = host_port(server);
    [ip, port, pki::HOST.to_owned()]
}

/// Takes the key over TLS to `here`, a server on this very host, and then a request without it to `away`, so many times.
pub fn here_then_away(here: &Server, away: &Server, key: &FakeKey, times: usize) -> Args {
    let mut args = Args { command: Command::new("/usr/bin/python3") };
    args.command.envs(key_variable(Some(key)));
    let args = args.args([program("here_then_away_client.py")]).args([authority()]);
    args.args([pki::HOST, &times.to_string()]).args(host_port(here)).args(host_port(away))
}

pub fn last_request(key: Option<&FakeKey>) -> Vec<u8> {
    let header = key.map(|key| format!("x-api-key: {}\r\n", key.reveal())).unwrap_or_default();
    format!("GET / HTTP/1.1\r\nhost: {}\r\n{header}connection: close\r\n\r\n", pki::HOST).into_bytes()
}

/// A script of one request.
pub fn one(key: Option<&FakeKey>) -> PathBuf {
    Script::of(script::request(key, b"{}")).save()
}

/// The same client as [`curl_to`], over HTTP/2.
pub fn curl_http2(server: &Server, path: &str) -> Args {
    curl_to("https", server, path).args(["--http2"])
}

/// Standard alphabet, padded (RFC 4648, 4).
pub fn base64(text: &str) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = |chunk: &[u8]| {
        let group =
            chunk.iter().chain([&0; 2]).take(3).fold(0, |group, &byte| group << 8 | usize::from(byte));
        let digit = move |place: usize| match place <= chunk.len() {
            true => char::from(ALPHABET[group >> (18 - 6 * place) & 63]),
            false => '=',
        };
        (0..4).map(digit).collect::<String>()
    };
    text.as_bytes().chunks(3).map(digits).collect()
}
