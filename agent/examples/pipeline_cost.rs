//! What one event costs: synthetic traffic through the whole pipeline, on one thread.
//!
//!     cargo run --release -p keymoat-agent --example pipeline_cost

use keymoat_abi::decode::{Event, decode};
use keymoat_abi::{Data, Header, Kind, Link, Source, Tuple};
use keymoat_agent::enforce::judgement::Judge;
use keymoat_agent::health::Counters;
use keymoat_agent::pipeline::{Facts, Output, Pipeline, PipelineConfig};
use keymoat_agent::record::{Process, Record};
use keymoat_detect::policy::Policy;
use keymoat_detect::{Detector, RuleSet};
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

const CONNECTIONS: u64 = 1000;
const ROUNDS: u64 = 500;
const IDLE_FLOWS: u64 = 10_000;

struct NoFacts;

impl Facts for NoFacts {
    fn facts(&self, pid: u32, comm: &str) -> Process {
        Process { pid, comm: comm.to_owned(), ..Process::default() }
    }
}

#[derive(Clone, Default)]
struct Count(Arc<AtomicU64>);

impl Output for Count {
    fn send(&self, record: Record) {
        black_box(record);
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

const TUPLE: Tuple =
    Tuple { remote: [0x20; 16], local: [0x21; 16], remote_port: 443, known: 1, ..Tuple::UNKNOWN };

#[allow(clippy::expect_used, reason = "without a policy there is nothing to measure")]
fn config() -> PipelineConfig {
    let judge = Judge::detecting(Policy::builtin().expect("the built-in policy is right"));
    let fleet_key = b"bench".to_vec();
    PipelineConfig { include_loopback: false, max_flows: 65_536, fleet_key, judge, blocking: None }
}

/// The same writes on every connection, round after round. What counts is this thread's own time on a CPU.
fn measure(name: &str, detector: &Arc<Detector>, source: Source, writes: &[Vec<u8>]) {
    let (hellos, _held) = channel();
    let output = Count::default();
    let mut pipeline =
        Pipeline::new(config(), Arc::clone(detector), NoFacts, Counters::default(), output.clone(), hellos);
    let total: u64 = writes.iter().map(|write| write.len() as u64).sum();
    let mut records = vec![Vec::new(); CONNECTIONS as usize * writes.len()];
    let mut spent = Duration::ZERO;
    for round in 0..ROUNDS {
        for (connection, records) in (1..).zip(records.chunks_mut(writes.len())) {
            let mut offset = round * total;
            for (record, write) in records.iter_mut().zip(writes) {
                encode(record, source, connection, offset, write);
                offset += write.len() as u64;
            }
        }
        let now = Instant::now();
        let start = cpu_time();
        for event in records.iter().flat_map(|record| decode(record)) {
            pipeline.event(&event, now);
        }
        pipeline.tick(now);
        spent += cpu_time() - start;
        if round == 0 && source.is_tls() {
            (1..=CONNECTIONS).for_each(|connection| pipeline.event(&Event::Link(link(connection)), now));
        }
    }
    let events = ROUNDS * CONNECTIONS * writes.len() as u64;
    let bytes = ROUNDS * CONNECTIONS * total;
    pipeline.finish();
    println!(
        "{name:<36} {:>6.0} ns/event {:>7.2} ns/byte {:>6} records",
        spent.as_nanos() as f64 / events as f64,
        spent.as_nanos() as f64 / bytes as f64,
        output.0.load(Ordering::Relaxed),
    );
}

fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn encode(record: &mut Vec<u8>, source: Source, connection: u64, offset: u64, payload: &[u8]) {
    use zerocopy::IntoBytes as _;
    let tls = source.is_tls();
    let head = Data {
        header: Header { kind: Kind::Data as u32, size: (size_of::<Data>() + payload.len()) as u32 },
        len: payload.len() as u32,
        chunk: 0,
        total: payload.len() as u64,
        offset,
        cookie: if tls && offset == 0 { 0 } else { connection },
        context: if tls { connection << 12 } else { 0 },
        pid_tgid: 7 << 32 | 7,
        time_ns: 0,
        tuple: if tls { Tuple::UNKNOWN } else { TUPLE },
        uid: 0,
        source: source as u8,
        flags: 0,
        rule: 0,
        comm: *b"nginx\0\0\0\0\0\0\0\0\0\0\0",
    };
    record.clear();
    record.extend_from_slice(head.as_bytes());
    record.extend_from_slice(payload);
}

fn link(connection: u64) -> Link {
    Link {
        header: Header { kind: Kind::Link as u32, size: size_of::<Link>() as u32 },
        cookie: connection,
        context: connection << 12,
        pid_tgid: 7 << 32 | 7,
        time_ns: 0,
        tuple: TUPLE,
    }
}

fn resident_kib() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4
}

/// Connections that have said something and are silent now.
fn idle_flows(detector: &Arc<Detector>, write: &[u8]) {
    let (hellos, _held) = channel();
    let mut pipeline =
        Pipeline::new(config(), Arc::clone(detector), NoFacts, Counters::default(), Count::default(), hellos);
    let before = resident_kib();
    let mut record = Vec::new();
    for connection in 1..=IDLE_FLOWS {
        encode(&mut record, Source::OpenSsl, connection, 0, write);
        if let Ok(event) = decode(&record) {
            pipeline.event(&event, Instant::now());
        }
        pipeline.event(&Event::Link(link(connection)), Instant::now());
    }
    let grown = resident_kib().saturating_sub(before);
    println!("{IDLE_FLOWS} idle TLS connections ({} flows): {grown} KiB", pipeline.open_flows());
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let detector = Arc::new(Detector::new(Arc::new(RuleSet::builtin()?))?);
    println!("{} rules, {CONNECTIONS} connections, {ROUNDS} rounds", detector.rules().rules().len());
    let body: String = (0..64).map(|n| format!("<p class=\"c{n}\">lorem</p>")).collect();
    let body = body.get(..1024).unwrap_or(&body);
    let response = format!(
        "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Mon, 01 Jan 2024 00:00:00 GMT\r\nContent-Type: text/html\r\n\
         Content-Length: 1024\r\nLast-Modified: Mon, 01 Jan 2024 00:00:00 GMT\r\nConnection: keep-alive\r\n\
         ETag: \"65920080-400\"\r\nAccept-Ranges: bytes\r\n\r\n{body}"
    );
    let request = "GET /index.html HTTP/1.1\r\nHost: bench.example.test\r\n\r\n".to_owned();
    let post = format!(
        "POST /v1/things?page=1 HTTP/1.1\r\nHost: bench.example.test\r\nUser-Agent: load/1.0\r\nAccept: */*\r\n\
         Content-Type: application/json\r\nContent-Length: 1024\r\n\r\n{body}"
    );
    let (head, tail) = post.split_at(post.len() - 1024);
    let key = ["sk-", "ant-", "api", "03-", &"aB3-_".repeat(18), "xyz", "AA"].concat();
    let keyed = format!("GET / HTTP/1.1\r\nHost: bench.example.test\r\nX-Api-Key: {key}\r\n\r\n");
    let mut scanned = 0u64;
    let start = cpu_time();
    for _ in 0..100_000 {
        detector.scan(black_box(body.as_bytes()), &mut |_| scanned += 1);
    }
    println!("{:<36} {:>6.0} ns", "the detector alone, 1 KiB", (cpu_time() - start).as_nanos() as f64 / 1e5);
    let bytes = |text: &str| text.as_bytes().to_vec();
    measure("TLS responses, 1 KiB body", &detector, Source::OpenSsl, &[bytes(&response)]);
    measure("TCP responses, 1 KiB body", &detector, Source::Tcp, &[bytes(&response)]);
    measure("TLS requests, small", &detector, Source::OpenSsl, &[bytes(&request)]);
    measure("TLS requests, 1 KiB body", &detector, Source::OpenSsl, &[bytes(&post)]);
    measure("TLS requests, head and body apart", &detector, Source::OpenSsl, &[bytes(head), bytes(tail)]);
    let (first, second) = post.split_at(60);
    measure("TLS requests, head split", &detector, Source::OpenSsl, &[bytes(first), bytes(second)]);
    measure("UDP datagrams, 1 KiB", &detector, Source::Udp, &[bytes(body)]);
    measure("TLS requests with a key (repeats)", &detector, Source::OpenSsl, &[bytes(&keyed)]);
    idle_flows(&detector, request.as_bytes());
    Ok(())
}
