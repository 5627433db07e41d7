//! The collector as users start it, on an embedded database.

use crate::env;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A collector that can be killed and started again on the same database and address.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    web: SocketAddr,
    dir: PathBuf,
    running: Option<Child>,
}

/// What the tests look at in a finding the collector gives back.
#[derive(Clone, Debug, Deserialize)]
pub struct Stored {
    pub id: String,
    pub secret: crate::record::Secret,
}

impl Collector {
    /// Chooses addresses and a database; nothing runs yet.
    pub fn new() -> Self {
        Self { address: free_address(), web: free_address(), dir: env::fresh_dir("collector"), running: None }
    }

    pub fn started() -> Self {
        let mut collector = Self::new();
        collector.start();
        collector
    }

    /// What agents are told.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Starts it and waits until it takes connections.
    pub fn start(&mut self) {
        let log = File::options().create(true).append(true).open(self.log()).expect("a log file");
        let mut command = Command::new(env::bin("keymoat-collector", "keymoat-collector"));
        command.args(["serve", "--grpc", &self.address.to_string(), "--http", &self.web.to_string()]);
        command.args(["--store", &self.store()]).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log file")).stderr(log);
        let mut running = command.spawn().expect("start the collector");
        let deadline = Instant::now() + env::seconds(20.0);
        while TcpStream::connect(self.address).is_err() {
            let ended = running.try_wait().expect("the collector's status");
            assert!(
                ended.is_none() && Instant::now() < deadline,
                "no collector ({ended:?}): {}",
                self.said()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        self.running = Some(running);
    }

    /// `kill -9`.
    pub fn kill(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().expect("kill the collector");
            running.wait().expect("wait for the collector");
        }
    }

    /// Findings in the database, by id; one that is there twice fails the test.
    pub fn findings(&self) -> BTreeMap<String, Stored> {
        let mut found = BTreeMap::new();
        let text = self.findings_json();
        for stored in serde_json::Deserializer::from_str(&text).into_iter::<Value>() {
            let value = stored.unwrap_or_else(|error| panic!("not JSON: {error}\n{text}"));
            for stored in value.flatten() {
                let id = stored.id.clone();
                assert!(found.insert(id.clone(), stored).is_none(), "finding {id} is stored twice");
            }
        }
        found
    }

    /// What `keymoat-collector findings --json` prints.
    pub fn findings_json(&self) -> String {
        let mut command = Command::new(env::bin("keymoat-collector", "keymoat-collector"));
        command.args(["findings", "--json", "--store", &self.store()]);
        let output = command.output().expect("run the collector");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "keymoat-collector findings: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    /// Waits until the database holds so many findings, and returns them.
    pub fn wait_for(&self, count: usize) -> BTreeMap<String, Stored> {
        let deadline = Instant::now() + env::seconds(30.0);
        loop {
            let found = self.findings();
            if found.len() >= count {
                return found;
            }
            assert!(Instant::now() < deadline, "{} of {count} findings stored: {}", found.len(), self.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everything the collector wrote to disk, log and database.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let entries = std::fs::read_dir(&self.dir).expect("its directory");
        let files = entries.flatten().map(|entry| entry.path());
        files.filter_map(|path| std::fs::read(&path).ok().map(|bytes| (path, bytes))).collect()
    }

    fn store(&self) -> String {
        format!("sqlite:{}", self.dir.join("findings.db").display())
    }

    fn log(&self) -> PathBuf {
        Path::join(&self.dir, "log")
    }

    fn said(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }
}

impl Default for Collector {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            drop(running.kill());
            drop(running.wait());
        }
    }
}

/// One finding a line, or one list of them: both are fair JSON output.
#[derive(Deserialize)]
#[serde(untagged)]
enum Value {
    Many(Vec<Stored>),
    One(Box<Stored>),
}

impl Value {
    fn flatten(self) -> Vec<Stored> {
        match self {
            Self::Many(all) => all,
            Self::One(one) => vec![*one],
        }
    }
}

/// A loopback address nobody listens on.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("an address")
}
