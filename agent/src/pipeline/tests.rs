//! Whole ways through the pipeline: ring events in, records out.

mod chunking;
mod http;
mod limits;
mod policy;
mod refusal;
mod tls;

use super::*;
use crate::enforce::judgement::Judge;
use crate::record::{Action, ChannelKind, Finding};
use keymoat_abi::event::tuple_flags;
use keymoat_abi::{Close, Header};
use keymoat_detect::RuleSet;
use keymoat_detect::policy::Policy;
use std::net::Ipv4Addr;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{LazyLock, Mutex};

static DETECTOR: LazyLock<Arc<Detector>> =
    LazyLock::new(|| Arc::new(Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap()));

const HOME: &str = "api.anthropic.com";
const REMOTE: Tuple = tuple(Ipv4Addr::new(192, 0, 2, 7), 443, 0);

/// A fake key of its own for every number. Put together here, so that no scanner takes this file for a leak.
fn key(n: u64) -> String {
    ["sk-", "ant-", "api", "03-", &"aB3-_".repeat(17), &format!("{n:08}"), "AA"].concat()
}

const fn tuple(remote: Ipv4Addr, port: u16, flags: u8) -> Tuple {
    Tuple {
        local: Ipv4Addr::new(192, 0, 2, 1).to_ipv6_mapped().octets(),
        remote: remote.to_ipv6_mapped().octets(),
        local_port: 40_000,
        remote_port: port,
        flags,
        known: 1,
        reserved: [0; 2],
    }
}

struct NoFacts;

impl Facts for NoFacts {
    fn facts(&self, pid: u32, comm: &str) -> Process {
        Process { pid, comm: comm.to_owned(), ..Process::default() }
    }
}

#[derive(Clone, Default)]
struct Records(Arc<Mutex<Vec<Record>>>);

impl Output for Records {
    fn send(&self, record: Record) {
        self.0.lock().unwrap().push(record);
    }
}

/// One side of a connection, as the kernel counts it.
#[derive(Clone, Copy)]
struct Conn {
    source: Source,
    cookie: u64,
    context: u64,
    pid: u32,
    tuple: Tuple,
    offset: u64,
}

impl Conn {
    fn tcp(cookie: u64) -> Self {
        Self { source: Source::Tcp, cookie, context: 0, pid: 123, tuple: REMOTE, offset: 0 }
    }

    fn tls(context: u64) -> Self {
        Self { source: Source::OpenSsl, cookie: 0, context, pid: 123, tuple: Tuple::UNKNOWN, offset: 0 }
    }

    fn udp(cookie: u64) -> Self {
        Self { source: Source::Udp, ..Self::tcp(cookie) }
    }
}

struct Rig {
    pipeline: Pipeline<NoFacts, Records>,
    records: Records,
    hellos: Receiver<Hello>,
    counters: Counters,
    now: Instant,
}

impl Rig {
    fn new() -> Self {
        Self::with(false, 1024)
    }

    fn with(include_loopback: bool, max_flows: usize) -> Self {
        Self::with_policy(include_loopback, max_flows, "")
    }

    fn with_policy(include_loopback: bool, max_flows: usize, policy: &str) -> Self {
        let judge = Judge::detecting(Policy::from_toml("test", policy, DETECTOR.rules()).unwrap());
        Self::with_judge(include_loopback, max_flows, judge, None)
    }

    fn with_judge(
        include_loopback: bool,
        max_flows: usize,
        judge: Judge,
        blocking: Option<Blocking>,
    ) -> Self {
        let (sender, hellos) = channel();
        let (records, counters) = (Records::default(), Counters::default());
        let config =
            PipelineConfig { include_loopback, max_flows, fleet_key: b"test".to_vec(), judge, blocking };
        let detector = Arc::clone(&DETECTOR);
        let pipeline = Pipeline::new(config, detector, NoFacts, counters.clone(), records.clone(), sender);
        Self { pipeline, records, hellos, counters, now: Instant::now() }
    }

    /// One write, delivered in records of at most `size` bytes.
    fn write_in(&mut self, conn: &mut Conn, flags: u8, bytes: &[u8], size: usize) {
        let total = bytes.len() as u64;
        for (chunk, payload) in bytes.chunks(size).enumerate() {
            if conn.source == Source::Udp {
                conn.offset = (chunk * size) as u64;
            }
            self.record(conn, flags, chunk as u32, total, payload);
        }
    }

    fn write(&mut self, conn: &mut Conn, bytes: impl AsRef<[u8]>) {
        self.write_in(conn, 0, bytes.as_ref(), 1 << 30);
    }

    fn record(&mut self, conn: &mut Conn, flags: u8, chunk: u32, total: u64, payload: &[u8]) {
        let mut comm = [0; 16];
        comm[..4].copy_from_slice(b"curl");
        let head = Data {
            header: Header { kind: 1, size: 0 },
            len: payload.len() as u32,
            chunk,
            total,
            offset: conn.offset,
            cookie: conn.cookie,
            context: conn.context,
            pid_tgid: u64::from(conn.pid) << 32 | 1,
            time_ns: 0,
            tuple: conn.tuple,
            uid: 1000,
            source: conn.source as u8,
            flags,
            rule: 0,
            comm,
        };
        if conn.source != Source::Udp {
            conn.offset += payload.len() as u64;
        }
        self.pipeline.event(&Event::Data { head, source: conn.source, payload }, self.now);
    }

    /// The kernel sees where a TLS connection's records go.
    fn link(&mut self, conn: &mut Conn, cookie: u64, tuple: Tuple) {
        conn.cookie = cookie;
        self.link_event(conn, cookie, tuple);
    }

    fn link_event(&mut self, conn: &Conn, cookie: u64, tuple: Tuple) {
        let header = Header { kind: 2, size: 0 };
        let pid_tgid = u64::from(conn.pid) << 32 | 1;
        let link = Link { header, cookie, context: conn.context, pid_tgid, time_ns: 0, tuple };
        self.pipeline.event(&Event::Link(link), self.now);
    }

    fn close(&mut self, cookie: u64) {
        let close = Close { header: Header { kind: 3, size: 0 }, cookie, time_ns: 0 };
        self.pipeline.event(&Event::Close(close), self.now);
    }

    /// Time passes, with a tick as often as the ring thread gives one.
    fn pass(&mut self, milliseconds: u64) {
        let end = self.now + Duration::from_millis(milliseconds);
        while self.now < end {
            self.now = (self.now + Duration::from_millis(20)).min(end);
            self.pipeline.tick(self.now);
        }
    }

    fn taken(&self) -> Vec<Record> {
        std::mem::take(&mut self.records.0.lock().unwrap())
    }

    /// Findings since the last look; no record may hold anything of a key.
    fn findings(&self) -> Vec<Finding> {
        let findings = self.taken().into_iter().filter_map(|record| match record {
            Record::Finding(finding) => Some(*finding),
            _ => None,
        });
        findings
            .inspect(|finding| {
                let text = serde_json::to_string(finding).unwrap();
                assert!(!text.contains("aB3-_aB3-_"), "{text}");
            })
            .collect()
    }

    fn repeats(&self) -> Vec<u64> {
        let repeats = self.taken().into_iter().filter_map(|record| match record {
            Record::Repeat(repeat) => Some(repeat.repeats),
            _ => None,
        });
        repeats.collect()
    }

    fn locations(&self) -> Vec<String> {
        self.findings().into_iter().map(|finding| finding.channel.location).collect()
    }

    fn lost(&self, cause: Cause) -> u64 {
        self.counters.snapshot().get(cause.label()).copied().unwrap_or(0)
    }
}

/// Fingerprint and place: what a finding is about.
fn gist(finding: &Finding) -> (String, String) {
    (finding.secret.fingerprint.clone(), finding.channel.location.clone())
}
