//! How fast clean traffic passes the detector, and how fast traffic full of keys does.
//!
//!     cargo run --release -p keymoat-detect --example throughput [MiB]

use aho_corasick::automaton::Automaton as _;
use aho_corasick::{Anchored, dfa};
use keymoat_detect::{Detector, Registry, RuleSet, Stream, Trail};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: usize = 5;

fn main() -> Result<(), Box<dyn Error>> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(64), |text| text.parse())?;
    let began = Instant::now();
    let detector = Detector::new(Arc::new(RuleSet::builtin()?))?;
    println!(
        "{} rules loaded in {:.1} ms",
        detector.rules().rules().len(),
        began.elapsed().as_secs_f64() * 1e3
    );

    let clean = traffic(mib << 20, None);
    let keys: Vec<String> = detector.rules().rules().iter().flat_map(|rule| rule.positives.clone()).collect();
    let dirty = traffic(mib << 20, Some(&keys));

    report("literals alone (aho-corasick DFA)", &clean, &literals(&detector)?);
    report("clean, one buffer", &clean, &|bytes| count(&detector, bytes, bytes.len()));
    report("clean, pushes of 16 KiB", &clean, &|bytes| count(&detector, bytes, 16 << 10));
    report("clean, pushes of 1400 bytes", &clean, &|bytes| count(&detector, bytes, 1400));
    report("clean, pushes of 100 bytes", &clean, &|bytes| count(&detector, bytes, 100));
    report("a key every ~2 KB, pushes of 16 KiB", &dirty, &|bytes| count(&detector, bytes, 16 << 10));
    for values in [0, 10, 1000] {
        let registry = registry(values)?;
        report(&format!("{values} registered values, clean"), &clean, &|bytes| exact(&registry, bytes));
    }
    for (kind, bytes) in kinds(mib << 18) {
        report(&format!("{kind}: aho-corasick DFA"), &bytes, &literals(&detector)?);
        report(&format!("{kind}: pushes of 16 KiB"), &bytes, &|bytes| count(&detector, bytes, 16 << 10));
        for len in [20, 100, 1400] {
            report(&format!("{kind}: scans of {len} bytes"), &bytes, &|bytes| scan(&detector, bytes, len));
        }
    }
    Ok(())
}

/// The yardstick: the automaton's own loop over the same literals, doing nothing with what it finds.
fn literals(detector: &Detector) -> Result<impl Fn(&[u8]) -> usize, Box<dyn Error>> {
    let rules = detector.rules().rules();
    let markers = rules.iter().filter_map(|rule| rule.marker.as_ref()).flat_map(|marker| &marker.texts);
    let mut all: Vec<&String> =
        rules.iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.context)).chain(markers).collect();
    all.sort();
    all.dedup();
    let automaton = dfa::DFA::builder().prefilter(false).build(all)?;
    Ok(move |bytes: &[u8]| {
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return 0 };
        let mut hits = 0;
        for &byte in bytes {
            state = automaton.next_state(Anchored::No, state, byte);
            hits += usize::from(automaton.is_match(state));
        }
        hits
    })
}

fn count(detector: &Detector, bytes: &[u8], chunk: usize) -> usize {
    let mut found = 0;
    let mut stream = Stream::default();
    for chunk in bytes.chunks(chunk) {
        detector.push(&mut stream, chunk, &mut |_| found += 1);
    }
    detector.flush(&mut stream, &mut |_| found += 1);
    found
}

/// Values as generators make them.
fn registry(values: u64) -> Result<Registry, Box<dyn Error>> {
    let mut builder = Registry::builder();
    for n in 0..values {
        let mut state = n;
        let value: String = (0..32)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                BASE64.get((state >> 58) as usize).map_or('A', |&byte| char::from(byte))
            })
            .collect();
        builder.add(&format!("value {n}"), value.as_bytes())?;
    }
    Ok(builder.build())
}

fn exact(registry: &Registry, bytes: &[u8]) -> usize {
    let mut found = 0;
    let mut trail = Trail::default();
    for chunk in bytes.chunks(16 << 10) {
        registry.push(&mut trail, chunk, &mut |_| found += 1);
    }
    found
}

/// Each piece on its own, as header values are.
fn scan(detector: &Detector, bytes: &[u8], len: usize) -> usize {
    let mut found = 0;
    bytes.chunks(len).for_each(|piece| detector.scan(piece, &mut |_| found += 1));
    found
}

/// Text of one kind each: what makes literals likely differs.
fn kinds(len: usize) -> [(&'static str, Vec<u8>); 5] {
    let mut state = 11u64;
    let mut noise = |alphabet: &[u8]| -> Vec<u8> {
        let mut byte = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        (0..len).map(|_| alphabet.get(byte() % alphabet.len()).copied().unwrap_or_default()).collect()
    };
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let repeat = |text: &str| text.bytes().cycle().take(len).collect();
    [
        ("base64", noise(BASE64)),
        ("hex", noise(b"0123456789abcdef")),
        ("binary", noise(&all)),
        ("http", repeat(HTTP)),
        ("json", repeat(JSON)),
    ]
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HTTP: &str = "POST /v1/items/4711?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.7\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\
    Content-Length: 1024\r\nX-Request-Id: 3f0c9b1e-77aa-4f0e-9a58-d2c1a6b0e4f7\r\nConnection: keep-alive\r\n\r\n";
const JSON: &str = "{\"id\": 90210, \"created_at\": \"2026-11-22T01:28:15Z\", \"status\": \"completed\", \"items\": \
    [{\"sku\": \"BX-1187\", \"quantity\": 3, \"unit_price\": 12.5, \"description\": \"a parcel of grey wool, \
    delivered to the house by the mill before the evening\"}, {\"sku\": \"QF-0042\", \"quantity\": 1, \
    \"unit_price\": 199.0, \"description\": \"one lamp with a shade of paper\"}], \"note\": null, \"paid\": true}";

/// Best of some rounds: the others measure the machine's other work.
fn report(name: &str, bytes: &[u8], run: &dyn Fn(&[u8]) -> usize) {
    let mut best = f64::INFINITY;
    let mut found = 0;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        found = black_box(run(black_box(bytes)));
        best = best.min(began.elapsed().as_secs_f64());
    }
    println!(
        "{name:<38} {:>7.0} MB/s {:>6.2} ns/byte   {found} found",
        bytes.len() as f64 / best / 1e6,
        best * 1e9 / bytes.len() as f64
    );
}

/// Requests as programs send them: headers, JSON, text and base64 bodies.
fn traffic(len: usize, keys: Option<&[String]>) -> Vec<u8> {
    let mut state = 7u64;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    const WORDS: [&str; 16] = [
        "the",
        "request",
        "of",
        "task",
        "disk-usage",
        "model",
        "assistant",
        "please",
        "summarise",
        "report",
        "user",
        "following",
        "api",
        "and",
        "result",
        "risk",
    ];
    let mut text = String::with_capacity(len + 4096);
    while text.len() < len {
        let _ = write!(
            text,
            "POST /v1/items/{} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: client/{}.{}\r\n\
             Accept: application/json\r\nContent-Type: application/json\r\nX-Request-Id: {:08x}-{:04x}\r\n\r\n\
             {{\"model\": \"large\", \"messages\": [{{\"role\": \"user\", \"content\": \"",
            random(100_000),
            random(9),
            random(99),
            random(u64::from(u32::MAX)),
            random(65_536)
        );
        for _ in 0..random(250) {
            text.push_str(WORDS.get(random(16) as usize).copied().unwrap_or_default());
            text.push(' ');
        }
        if let Some(keys) = keys {
            text.push_str(keys.get(random(keys.len() as u64) as usize).map_or("", String::as_str));
        }
        text.push_str("\"}], \"data\": \"");
        for _ in 0..random(1500) {
            text.push(BASE64.get(random(64) as usize).map_or('A', |&byte| char::from(byte)));
        }
        text.push_str("\"}");
    }
    text.into_bytes()
}
