//! The agent as users start it, and what it says.
//!
//! A connection can be under one agent's socket program only, so one agent runs at a time: tests share one
//! per process, and a test that needs its own settings waits until nobody uses the shared one.

mod command;
mod mounts;
mod said;
mod spawn;

use crate::env;
use crate::expect::Expect;
use crate::key::FakeKey;
use crate::net::Net;
use crate::record::{Finding, Health, Ready, Record, Refusal, UnseenTls};
use crate::server::{Server, contains};
pub(crate) use command::config_file;
pub use command::{keymoat, keymoat_with};
pub use mounts::Mounts;
use rustix::process::{Pid, Signal, kill_process};
use said::{Log, Said};
pub(crate) use spawn::lock_host;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write;
use std::net::TcpStream;
use std::ops::Deref;
use std::process::ExitStatus;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

/// What differs from the shared agent's settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    args: Vec<String>,
    config: String,
    mounts: Mounts,
}

impl Options {
    pub fn arg(mut self, arg: impl ToString) -> Self {
        self.args.push(arg.to_string());
        self
    }

    /// Lines added to the configuration file.
    pub fn config(mut self, toml: &str) -> Self {
        self.config.push_str(toml);
        self.config.push('\n');
        self
    }

    /// What the agent finds mounted.
    pub fn mounts(self, mounts: Mounts) -> Self {
        Self { mounts, ..self }
    }

    /// Keys are refused.
    pub fn blocking() -> Self {
        Self::default().arg("--mode").arg("block")
    }

    /// TLS writes that carry keys are stopped by this method.
    pub fn stopping(method: &str) -> Self {
        Self::blocking().arg("--enforcement").arg(method)
    }

    pub fn include_loopback(self) -> Self {
        self.arg("--include-loopback")
    }

    pub fn collector(self, url: &str) -> Self {
        self.arg("--collector").arg(url)
    }
}

/// Counters that any other program on this host can move, and that count no bytes: programs that ended and
/// files that were gone before they could be looked at; placeholders it sends.
const NO_BYTES: &[&str] = &[
    "process-gone",
    "library-gone",
    "library-unreadable",
    "attach-failed",
    "process-events-lost",
    "old-socket-not-tracked",
    "suppressed-placeholder",
    "suppressed-low-entropy",
];

/// A running agent.
#[derive(Debug)]
pub struct Agent {
    pub pid: u32,
    options: Options,
    log: Arc<Log>,
    sentinels: Server,
}

/// The agent all tests of this process share; it runs at least as long as this.
pub struct Shared(RwLockReadGuard<'static, Option<Agent>>);

/// An agent of one test, while nobody else has one.
pub struct Own {
    agent: Agent,
    _alone: RwLockWriteGuard<'static, Option<Agent>>,
}

/// No test's agent runs on this host while this is held.
pub struct Nobody {
    _lock: File,
    _alone: RwLockWriteGuard<'static, Option<Agent>>,
}

static SHARED: RwLock<Option<Agent>> = RwLock::new(None);

impl Agent {
    /// The shared agent, started if it does not run. Never call [`Agent::own`] while holding it.
    pub fn shared() -> Shared {
        Self::shared_as(&Options::default())
    }

    /// The same for tests that all want these settings: of agents with different ones, one is shared at a time.
    pub fn shared_as(options: &Options) -> Shared {
        let fits = |agent: &Option<Self>| {
            agent.as_ref().is_some_and(|agent| agent.is_running() && agent.options == *options)
        };
        loop {
            let running = SHARED.read().unwrap_or_else(PoisonError::into_inner);
            if fits(&running) {
                return Shared(running);
            }
            drop(running);
            let mut slot = SHARED.write().unwrap_or_else(PoisonError::into_inner);
            if !fits(&slot) {
                // The old one ends before the new one starts.
                drop(slot.take());
                *slot = Some(Self::start(options, || ()));
            }
        }
    }

    /// An agent with settings of its own.
    pub fn own(options: &Options) -> Own {
        Self::own_then(options, || ())
    }

    /// The same, and `at_ready` runs in the very moment the agent says it is ready.
    pub fn own_then(options: &Options, at_ready: impl FnOnce() + Send + 'static) -> Own {
        let mut alone = SHARED.write().unwrap_or_else(PoisonError::into_inner);
        drop(alone.take());
        Own { agent: Self::start(options, at_ready), _alone: alone }
    }

    /// Ends the shared agent, once nobody uses it, and lets none start.
    pub fn nobody() -> Nobody {
        let mut alone = SHARED.write().unwrap_or_else(PoisonError::into_inner);
        drop(alone.take());
        Nobody { _lock: lock_host(), _alone: alone }
    }

    fn start(options: &Options, at_ready: impl FnOnce() + Send + 'static) -> Self {
        let config = config_file(&options.config);
        let mut command = options.mounts.keymoat();
        command.args(["agent", "--jsonl", "-", "--config"]).arg(config).args(&options.args);
        let log = Arc::<Log>::default();
        let pid = spawn::spawn(command, &log, at_ready);
        let agent = Self { pid, options: options.clone(), log, sentinels: Server::sink() };
        agent.wait(env::seconds(90.0), |said| said.ready()).unwrap_or_else(|why| panic!("not ready: {why}"));
        agent
    }

    /// What refuses a write on a channel of this kind.
    pub fn method(&self, kind: &str) -> String {
        match kind {
            "udp" => "cgroup-skb".to_owned(),
            "tcp" => "sk-msg".to_owned(),
            _ => self.ready().enforcement.expect("an agent that blocks names its method"),
        }
    }

    pub fn ready(&self) -> Ready {
        self.log.said().ready().expect("an agent is handed out when it is ready")
    }

    /// Waits for a finding that says all of this.
    pub fn expect(&self, expect: &Expect) -> Finding {
        let fits = |finding: &&Finding| expect.is_about(finding) && expect.differences(finding).is_empty();
        self.wait(env::seconds(10.0), |said| said.findings().find(fits).cloned()).unwrap_or_else(|why| {
            let explanation = expect.explain(self.log.said().findings());
            panic!("{explanation}  {why}\n{}", self.report())
        })
    }

    /// Waits for a finding that says that this process was refused.
    pub fn expect_refused(&self, pid: u32) -> Finding {
        let fits = |finding: &&Finding| finding.process.pid == pid && finding.action == "blocked";
        self.wait(env::seconds(10.0), |said| said.findings().find(fits).cloned())
            .unwrap_or_else(|why| panic!("process {pid} was not refused: {why}\n{}", self.report()))
    }

    /// The same, and nothing else is ever said about this key.
    pub fn expect_once(&self, expect: &Expect, key: &FakeKey) -> Finding {
        let finding = self.expect(expect);
        self.settle();
        self.assert_count(key, 1);
        self.assert_silent_about(key);
        finding
    }

    /// Waits until every key was found, and fails unless each was found once.
    pub fn expect_each_once(&self, keys: &[FakeKey]) {
        let missing = |said: &Said| {
            let found = said.counts();
            keys.iter().filter(|key| !found.contains_key(key.fingerprint())).count()
        };
        let all = |said: &Said| (missing(said) == 0).then_some(());
        self.wait(env::seconds(30.0), all).unwrap_or_else(|why| {
            let missing = missing(&self.log.said());
            panic!("{missing} of {} keys were not found: {why}{}", keys.len(), self.report())
        });
        self.settle();
        let said = self.log.said();
        let found = said.counts();
        let twice: Vec<_> = keys.iter().filter(|key| found.get(key.fingerprint()) != Some(&1)).collect();
        assert!(twice.is_empty(), "found more than once: {twice:?}");
    }

    /// Fails unless there are exactly so many findings of this key by now.
    pub fn assert_count(&self, key: &FakeKey, count: usize) {
        let found: Vec<_> = self.findings_of(key).iter().map(Finding::facts).collect();
        assert_eq!(found.len(), count, "findings of {key:?}: {found:#?}");
    }

    /// Waits until the agent has dealt with everything sent before this call: a key sent now comes out after it.
    pub fn settle(&self) {
        let key = FakeKey::anthropic();
        let address = self.sentinels.address();
        let mut stream = TcpStream::connect(address).expect("connect to the sentinels' server");
        let sent = stream.write_all(format!("sentinel {}\n", key.reveal()).as_bytes());
        let wanted = Expect::key(&key).to(address).pid(std::process::id());
        match sent {
            Ok(()) => self.expect(&wanted.action("observed")),
            // It refuses keys, this one too.
            Err(_) => self.expect(&wanted.action("blocked")),
        };
        self.assert_no_strangers();
        assert_eq!(
            self.log.said().bad_lines,
            Vec::<String>::new(),
            "lines that are not as the contract has them"
        );
    }

    /// After [`Self::settle`]: nothing was found in what went to this server, or what this process sent.
    pub fn assert_clean(&self, server: &Server, pid: u32) {
        self.settle();
        let said = self.log.said();
        let to_it =
            |finding: &&Finding| finding.destination.port == Some(server.port) || finding.process.pid == pid;
        let wrong: Vec<_> = said.findings().filter(to_it).map(Finding::facts).collect();
        assert!(wrong.is_empty(), "findings in clean traffic: {wrong:#?}");
    }

    /// Every finding in this process's network is about a key that some test made.
    fn assert_no_strangers(&self) {
        let ours = |ip: std::net::IpAddr| Net::shared().contains(ip);
        let said = self.log.said();
        let strange: Vec<_> = said
            .findings()
            .filter(|finding| finding.destination.ip.is_some_and(ours))
            // A part of a key can be refused as a key of another kind.
            .filter(|finding| !FakeKey::is_known(&finding.secret.fingerprint) && finding.action != "blocked")
            .collect();
        assert!(strange.is_empty(), "findings of keys nobody sent: {strange:#?}");
    }

    /// Everything found so far.
    pub fn findings(&self) -> Vec<Finding> {
        self.log.said().findings().cloned().collect()
    }

    pub fn findings_of(&self, key: &FakeKey) -> Vec<Finding> {
        let fingerprint = key.fingerprint();
        self.log.said().findings().filter(|found| found.secret.fingerprint == fingerprint).cloned().collect()
    }

    /// The same once TLS of which no socket is known has been given up on (`flow::LINK_WAIT` in the agent).
    pub fn findings_of_late(&self, key: &FakeKey) -> Vec<Finding> {
        let fingerprint = key.fingerprint();
        let of_it =
            |said: &Said| said.findings().find(|found| found.secret.fingerprint == fingerprint).map(|_| ());
        // Where there is none, that is what was to be found out.
        let _ = self.wait(env::seconds(3.0), of_it);
        self.findings_of(key)
    }

    /// Waits until a finding was repeated so many times.
    pub fn expect_repeats(&self, finding: &Finding, wanted: u64) {
        let last = |said: &Said| said.repeats(&finding.id);
        self.wait(env::seconds(10.0), |said| (last(said) == wanted).then_some(())).unwrap_or_else(|why| {
            panic!("{why}: {} repeats of {} instead of {wanted}", last(&self.log.said()), finding.id)
        });
    }

    /// The lines about processes doing TLS out of sight, for one process.
    pub fn unseen_tls(&self, pid: u32) -> Vec<UnseenTls> {
        let said = self.log.said();
        let lines = said.records().filter_map(|record| match record {
            Record::UnseenTls(line) if line.process.pid == pid => Some(line.clone()),
            _ => None,
        });
        lines.collect()
    }

    pub fn expect_unseen_tls(&self, pid: u32) -> UnseenTls {
        self.expect_line("unseen-tls", pid, |record| match record {
            Record::UnseenTls(line) if line.process.pid == pid => Some(line),
            _ => None,
        })
    }

    /// Waits until this process was refused what could not be inspected.
    pub fn expect_refusal(&self, pid: u32) -> Refusal {
        self.expect_line("refusal", pid, |record| match record {
            Record::Refusal(line) if line.process.pid == pid => Some(line),
            _ => None,
        })
    }

    /// Waits for a line of this kind about a process.
    fn expect_line<T: Clone>(&self, kind: &str, pid: u32, of: impl Fn(&Record) -> Option<&T>) -> T {
        self.wait(env::seconds(10.0), |said| said.records().find_map(&of).cloned())
            .unwrap_or_else(|why| panic!("no {kind} line for process {pid}: {why}{}", self.report()))
    }

    /// Records that came from the kernel by now, as the agent's status says.
    pub fn records(&self) -> u64 {
        const STATUS: &str = "/run/keymoat/status.json";
        // It is written once in a second, if it changed.
        self.settle();
        std::thread::sleep(env::seconds(2.0));
        let text = std::fs::read_to_string(STATUS).expect("the agent's status");
        let status: serde_json::Value = serde_json::from_str(&text).expect("the agent's status is JSON");
        status["records"].as_u64().expect("the agent's status has `records`")
    }

    /// Totals of what was not delivered.
    pub fn losses(&self) -> BTreeMap<String, u64> {
        self.log.said().losses()
    }

    /// Waits until more was lost for this reason than at `before`.
    pub fn expect_loss_since(&self, before: &BTreeMap<String, u64>, cause: &str) {
        let grown = |said: &Said| (said.losses().get(cause) > before.get(cause)).then_some(());
        self.wait(env::seconds(10.0), grown)
            .unwrap_or_else(|why| panic!("{cause} did not grow: {why}{}", self.report()));
    }

    /// Waits until each of `sent` datagrams of a process was found something in, or counted as lost for this reason since
    /// `before`. Gives how many were which.
    pub fn expect_accounted(
        &self,
        pid: u32,
        sent: usize,
        cause: &str,
        before: &BTreeMap<String, u64>,
    ) -> (usize, u64) {
        let counts = |said: &Said| {
            let found = said.findings().filter(|finding| finding.process.pid == pid).count();
            let total = |losses: &BTreeMap<String, u64>| losses.get(cause).copied().unwrap_or_default();
            (found, total(&said.losses()) - total(before))
        };
        let all = |said: &Said| {
            let (found, lost) = counts(said);
            (found + lost as usize >= sent).then_some((found, lost))
        };
        self.wait(env::seconds(30.0), all).unwrap_or_else(|why| {
            let (found, lost) = counts(&self.log.said());
            panic!("{sent} sent, {found} found, {lost} counted as {cause}: {why}{}", self.report())
        })
    }

    /// Waits until the agent told the person who started it this, on standard error.
    pub fn expect_message(&self, wanted: &str) {
        let told = |said: &Said| contains(&said.stderr, wanted.as_bytes()).then_some(());
        self.wait(env::seconds(10.0), told)
            .unwrap_or_else(|why| panic!("no message {wanted:?}: {why}{}", self.report()));
    }

    /// Fails if bytes of a program were lost since `before`.
    pub fn assert_no_loss_since(&self, before: &BTreeMap<String, u64>) {
        let mut grown = self.losses();
        grown.retain(|cause, total| before.get(cause) != Some(total) && !NO_BYTES.contains(&cause.as_str()));
        assert!(grown.is_empty(), "lost since the test began: {grown:?}");
    }

    pub fn assert_running(&self) {
        let said = self.log.said();
        assert!(said.ended.is_none(), "the agent ended with {:?}{}", said.ended, said.last_words());
    }

    /// Fails if the agent ever said this key aloud.
    pub fn assert_silent_about(&self, key: &FakeKey) {
        let said = self.log.said();
        assert!(!contains(&said.stdout, key.reveal().as_bytes()), "{key:?} is in the agent's output");
        assert!(!contains(&said.stderr, key.reveal().as_bytes()), "{key:?} is in the agent's messages");
    }

    /// Has the agent read its rules and its policy again, and waits until it says how that went; gives its words.
    pub fn reload(&self, status: &str) -> String {
        let before = self.log.said().health().filter(|health| health.component == "rules").count();
        self.signal(Signal::HUP);
        let new = |it: &Said| {
            let mut all = it.health().filter(|health| health.component == "rules");
            all.nth(before).cloned()
        };
        let health = self
            .wait(env::seconds(70.0), new)
            .unwrap_or_else(|why| panic!("no word: {why}{}", self.report()));
        assert_eq!(health.status, status, "{}", health.message);
        health.message
    }

    /// Asks the agent to end and waits; returns how it ended.
    pub fn stop(&self) -> ExitStatus {
        self.signal(Signal::TERM);
        if let Ok(status) = self.wait_for_end() {
            return status;
        }
        self.signal(Signal::KILL);
        self.wait_for_end().unwrap_or_else(|why| panic!("cannot be killed: {why}"))
    }

    /// Ends the agent without asking it, as the kernel does when memory runs out.
    pub fn kill(&self) {
        self.signal(Signal::KILL);
        self.wait_for_end().unwrap_or_else(|why| panic!("cannot be killed: {why}"));
    }

    fn wait_for_end(&self) -> Result<ExitStatus, String> {
        // Each probe is taken out with a wait for the whole machine, and there can be hundreds.
        self.log.wait(env::seconds(60.0), |said| said.ended)
    }

    fn is_running(&self) -> bool {
        self.log.said().ended.is_none()
    }

    fn signal(&self, signal: Signal) {
        // Only while its status was not collected: the number can be another process's afterwards.
        let said = self.log.said();
        if let (None, Some(pid)) = (said.ended, Pid::from_raw(self.pid as i32)) {
            // It may have ended this very moment.
            let _gone = kill_process(pid, signal);
        }
    }

    /// Waits for something to be said; an agent that ended says nothing any more.
    fn wait<T>(&self, limit: Duration, mut look: impl FnMut(&Said) -> Option<T>) -> Result<T, String> {
        let found = self.log.wait(limit, |said| match look(said) {
            Some(found) => Some(Ok(found)),
            None => {
                said.ended.map(|status| Err(format!("the agent ended with {status}{}", said.last_words())))
            }
        });
        found?
    }

    /// What helps to understand a failure.
    fn report(&self) -> String {
        let said = self.log.said();
        let mut text = format!("  losses: {:?}\n", said.losses());
        for health in said.health().filter(|health| health.status != "ok") {
            let Health { component, status, message } = health;
            let _infallible = writeln!(text, "  {component} is {status}: {message}");
        }
        text + &said.last_words()
    }
}

impl Own {
    /// Starts another one with the same settings in place of this one, which has ended. No other test comes in between.
    pub fn start_again(&mut self) {
        assert!(!self.agent.is_running(), "two agents at a time");
        self.agent = Agent::start(&self.agent.options.clone(), || ());
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.is_running() {
            self.stop();
        }
    }
}

impl Deref for Shared {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        self.0.as_ref().expect("filled while this is held")
    }
}

impl Deref for Own {
    type Target = Agent;
    fn deref(&self) -> &Agent {
        &self.agent
    }
}
