//! A real collector process, and what agents and browsers say to it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests assert by panicking"
)]
#![allow(dead_code, reason = "each test file uses its part of this")]

use keymoat_proto::v1::collector_client::CollectorClient;
use keymoat_proto::v1::{self, event::Kind};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Status, Streaming};
use uuid::Uuid;

pub const DEADLINE: Duration = Duration::from_secs(60);

/// Asks again and again, until the answer is yes.
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A directory with a store in it.
pub struct Store {
    directory: TempDir,
}

impl Store {
    pub fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> PathBuf {
        self.directory.path().join("state/collector.db")
    }

    /// A file beside it.
    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn address(&self) -> String {
        format!("sqlite:{}", self.path().display())
    }

    /// `keymoat-collector findings` on this store.
    pub fn list(&self, arguments: &[&str]) -> Output {
        collector().arg("findings").args(arguments).args(["--store", &self.address()]).output().unwrap()
    }

    /// All findings, newest first.
    pub fn findings(&self) -> Vec<Value> {
        let output = self.list(&["--json"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    pub fn ids(&self) -> Vec<String> {
        self.findings().iter().map(|finding| finding["id"].as_str().unwrap().to_owned()).collect()
    }

    pub fn count(&self) -> usize {
        let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
        let reader = rusqlite::Connection::open_with_flags(self.path(), flags).unwrap();
        reader.busy_timeout(DEADLINE).unwrap();
        reader.query_row("SELECT count(*) FROM findings", [], |row| row.get(0)).unwrap()
    }

    /// Every byte of every file.
    pub fn bytes(&self) -> Vec<u8> {
        let directory = self.path().parent().map(Path::to_owned).unwrap();
        let files = std::fs::read_dir(directory).unwrap();
        files.flat_map(|file| std::fs::read(file.unwrap().path()).unwrap()).collect()
    }
}

fn collector() -> Command {
    Command::new(env!("CARGO_BIN_EXE_keymoat-collector"))
}

/// A running `keymoat-collector serve`; killed when dropped.
pub struct Collector {
    child: Child,
    pub grpc: SocketAddr,
    pub http: SocketAddr,
}

impl Collector {
    pub fn start(store: &Store) -> Self {
        Self::start_at(store, ([127, 0, 0, 1], 0).into())
    }

    pub fn start_at(store: &Store, grpc: SocketAddr) -> Self {
        let mut child = collector()
            .args([
                "serve",
                "--http",
                "127.0.0.1:0",
                "--grpc",
                &grpc.to_string(),
                "--store",
                &store.address(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let ready: Value = serde_json::from_str(&line).expect("a ready line");
        assert_eq!(ready["type"], "ready");
        let address = |name: &str| ready[name].as_str().unwrap().parse().unwrap();
        Self { grpc: address("grpc"), http: address("http"), child }
    }

    /// SIGKILL: nothing is cleaned up.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Its exit code, once it has ended by itself.
    pub fn wait(&mut self) -> i32 {
        let mut code = None;
        until("the collector ended", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        code.unwrap().code().expect("an exit code")
    }

    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, _, body) = self.get_as(path, &self.http.to_string());
        (status, body)
    }

    /// Status, head and body of an HTTP answer, asked for under the name `host`.
    pub fn get_as(&self, path: &str, host: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.http).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, head.to_owned(), body.to_owned())
    }

    pub fn json(&self, path: &str) -> Value {
        let (status, body) = self.get(path);
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    pub async fn client(&self) -> CollectorClient<Channel> {
        CollectorClient::connect(format!("http://{}", self.grpc)).await.unwrap()
    }

    pub async fn stream(&self) -> Agent {
        let (batches, outgoing) = mpsc::channel(64);
        let acks = self.client().await.stream(ReceiverStream::new(outgoing)).await.unwrap().into_inner();
        Agent { batches, acks, host: host("build-7"), sequence: 0 }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An agent's end of a stream, without the agent's buffer.
pub struct Agent {
    pub batches: mpsc::Sender<v1::Batch>,
    pub acks: Streaming<v1::Ack>,
    pub host: v1::Host,
    sequence: u64,
}

impl Agent {
    /// Sends a batch and waits for what is said of it.
    pub async fn send(&mut self, events: Vec<v1::Event>) -> Result<v1::Ack, Status> {
        self.sequence += 1;
        let batch = v1::Batch { sequence: self.sequence, host: Some(self.host.clone()), events };
        self.batches.send(batch).await.map_err(|_| Status::aborted("the stream is closed"))?;
        let ack = tokio::time::timeout(DEADLINE, self.acks.message()).await.expect("an answer in time")?;
        let ack = ack.ok_or_else(|| Status::aborted("the stream ended"))?;
        assert_eq!(ack.sequence, self.sequence);
        Ok(ack)
    }
}

pub fn host(name: &str) -> v1::Host {
    v1::Host {
        name: name.to_owned(),
        run: id(),
        version: "0.1.0".to_owned(),
        mode: "detect".to_owned(),
        kernel: "6.1.0".to_owned(),
        hooks: vec!["cgroup_skb".to_owned()],
    }
}

pub fn id() -> String {
    Uuid::now_v7().to_string()
}

pub fn event(kind: Kind) -> v1::Event {
    v1::Event { id: id(), time_unix_nanos: 1_767_323_045_678_901_234, kind: Some(kind) }
}

/// The finding of `proto/fixtures/finding.json`, under an id of its own.
pub fn finding() -> v1::Event {
    event(Kind::Finding(sample()))
}

pub fn sample() -> v1::Finding {
    v1::Finding {
        rule: Some(v1::RuleRef {
            id: "anthropic-api-key".to_owned(),
            name: "Anthropic API key".to_owned(),
            severity: v1::Severity::Critical.into(),
        }),
        action: v1::Action::Observed.into(),
        enforcement: None,
        secret: Some(v1::SecretRef {
            fingerprint: format!("{:064x}", 0x1234),
            redacted: "sk-ant-api…(108)".to_owned(),
            length: 108,
        }),
        channel: Some(v1::Channel {
            kind: v1::ChannelKind::Tls.into(),
            library: Some("openssl".to_owned()),
            protocol: Some("http/1.1".to_owned()),
            location: "header:x-api-key".to_owned(),
        }),
        process: Some(v1::Process {
            pid: 4242,
            comm: "curl".to_owned(),
            exe: Some("/usr/bin/curl".to_owned()),
            cmdline: vec!["curl".to_owned(), "https://webhook.example/".to_owned()],
            uid: Some(1000),
            container: None,
            unit: Some("session-1.scope".to_owned()),
            ancestors: vec![v1::Ancestor { pid: 4241, comm: "bash".to_owned() }],
        }),
        destination: Some(v1::Destination {
            ip: Some("192.0.2.7".to_owned()),
            port: Some(443),
            host: Some("webhook.example".to_owned()),
            host_source: Some("sni".to_owned()),
            category: Some("webhook-catcher".to_owned()),
        }),
        explanation: "The key went to a place that is not its provider.".to_owned(),
        remediation: "Revoke the key.".to_owned(),
        confidence: v1::Confidence::High.into(),
        facts: [("iss".to_owned(), "https://id.example".to_owned())].into(),
        attack: vec!["T1567".to_owned()],
        reason: Some("not-home".to_owned()),
        policy: None,
    }
}

/// The sample, changed.
pub fn changed(change: impl FnOnce(&mut v1::Finding)) -> v1::Event {
    let mut finding = sample();
    change(&mut finding);
    event(Kind::Finding(finding))
}

pub fn loss(totals: &[(&str, u64)]) -> v1::Event {
    let counters = totals.iter().map(|(cause, total)| ((*cause).to_owned(), *total)).collect();
    event(Kind::Loss(v1::Loss { counters }))
}
