//! What block mode costs in the kernel, for `cargo xtask bench kernel` (as root): `kernel_cost ROUNDS`. Prints lines of
//! `NAME MEASURED BASE`, both taken in one round.
//!
//! - `scan:TEXT`: nanoseconds per byte in the kernel, and of an aho-corasick DFA over the same literals and text;
//! - `write`: nanoseconds of a call that a judging TLS probe sits on, and one with a probe that does nothing;
//! - `verify`: milliseconds in which the kernel verifies all judging programs with 1,000 rules, and with 10;
//! - `instructions`: what it walks for that.
//!
//! Probes sit on functions of this very program.

use aho_corasick::automaton::Automaton as _;
use aho_corasick::{Anchored, dfa};
use aya::maps::{Array, RingBuf};
use keymoat_agent::kernel::Offsets;
use keymoat_agent::loader::{Judging, Kernel, Settings};
use keymoat_detect::{KernelRules, RuleSet};
use std::error::Error;
use std::fmt::Write as _;
use std::hint::black_box;
use std::time::Instant;

/// Bytes of one scan.
const TEXT: usize = 64 * 1024;
/// Scans of a round of which the quickest counts: a wake-up of something else on the machine is no cost of a scan.
const SCANS: usize = 20;
/// Calls of a round, each with so many bytes.
const CALLS: usize = 20_000;
const WRITE: usize = 64;
const RING_BYTES: u32 = 64 << 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

// Three functions, so that each has a probe of its own.
macro_rules! probed {
    ($($name:ident $salt:literal),*) => { $(
        #[unsafe(no_mangle)]
        #[inline(never)]
        extern "C" fn $name(context: usize, buffer: *const u8, len: usize) -> usize {
            black_box(context ^ buffer as usize ^ len ^ $salt)
        }
    )* };
}
probed!(keymoat_write_judged 1, keymoat_write_noop 2);

#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keymoat_scan(buffer: *const u8, len: usize) -> usize {
    black_box(buffer as usize ^ len)
}

fn main() -> Outcome<()> {
    let rounds = std::env::args().nth(1).map_or(Ok(10), |text| text.parse())?;
    let rules = RuleSet::builtin()?;
    let compiled = KernelRules::compile(&rules);
    let program = std::env::current_exe()?;
    let automaton = literals(&rules)?;
    let kernel = load(&rules, &compiled)?;
    kernel.attach_scan_check(&program, "keymoat_scan")?;
    kernel.attach_noop(&program, "keymoat_write_noop", 0)?;
    kernel.attach_write_judged(&program, "keymoat_write_judged")?;
    let mut ring = kernel.take_maps()?.events;
    let (ten, thousand) = (made_up(10)?, made_up(1000)?);
    let sets = (KernelRules::compile(&ten), KernelRules::compile(&thousand));
    for _ in 0..rounds {
        for (name, text) in texts() {
            println!("scan:{name} {:.3} {:.3}", scan(&kernel, &text)?, walk(&automaton, &text)?);
        }
        println!("write {:.1} {:.1}", calls(keymoat_write_judged), calls(keymoat_write_noop));
        drain(&mut ring);
        let (many, few) = (verify(&thousand, &sets.1)?, verify(&ten, &sets.0)?);
        println!("verify {:.3} {:.3}", many.0, few.0);
        println!("instructions {} {}", many.1, few.1);
    }
    Ok(())
}

fn load(rules: &RuleSet, compiled: &KernelRules) -> Outcome<Kernel> {
    let settings = Settings {
        include_loopback: false,
        accepted_connections: false,
        response_budget: 0,
        ring_bytes: RING_BYTES,
        offsets: Offsets::read().unwrap_or_default(),
        unread_hidden: false,
        tree: None,
    };
    let ids = rules.rules().iter().map(|rule| rule.id.as_str()).collect();
    Ok(Kernel::load(
        settings,
        Some(Judging { tables: compiled.tables(), ids, everything: false, strict: None }),
    )?)
}

/// Every literal that some rule is found by.
fn literals(rules: &RuleSet) -> Outcome<dfa::DFA> {
    let markers = rules.rules().iter().filter_map(|rule| rule.marker.as_ref());
    let prefixes = rules.rules().iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.context));
    let mut all: Vec<&String> = prefixes.chain(markers.flat_map(|marker| &marker.texts)).collect();
    all.sort();
    all.dedup();
    Ok(dfa::DFA::builder().prefilter(false).build(all)?)
}

/// Nanoseconds per byte of the scan in the kernel.
fn scan(kernel: &Kernel, text: &[u8]) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..SCANS {
        keymoat_scan(text.as_ptr(), text.len());
        let [nanoseconds, finished] = kernel.with(|ebpf| -> Outcome<[u64; 2]> {
            let map = ebpf.map("SCAN_CHECK").ok_or("the kernel object lacks a map")?;
            Ok(Array::<_, [u64; 2]>::try_from(map)?.get(&0, 0)?)
        })?;
        if finished != 1 {
            return Err("the scan did not come to its end".into());
        }
        best = best.min(nanoseconds as f64);
    }
    Ok(best / text.len() as f64)
}

/// The same of the automaton alone, which does nothing with what it finds.
fn walk(automaton: &dfa::DFA, text: &[u8]) -> Outcome<f64> {
    let mut best = f64::INFINITY;
    for _ in 0..SCANS {
        let began = Instant::now();
        let mut state = automaton.start_state(Anchored::No)?;
        let mut hits = 0;
        for &byte in black_box(text) {
            state = automaton.next_state(Anchored::No, state, byte);
            hits += usize::from(automaton.is_match(state));
        }
        black_box(hits);
        best = best.min(began.elapsed().as_secs_f64() * 1e9);
    }
    Ok(best / text.len() as f64)
}

/// Nanoseconds of one call.
fn calls(function: extern "C" fn(usize, *const u8, usize) -> usize) -> f64 {
    let bytes = [b'.'; WRITE];
    let began = Instant::now();
    for _ in 0..CALLS {
        function(black_box(0x1000), bytes.as_ptr(), bytes.len());
    }
    began.elapsed().as_secs_f64() * 1e9 / CALLS as f64
}

fn drain<T: std::borrow::Borrow<aya::maps::MapData>>(ring: &mut RingBuf<T>) {
    while ring.next().is_some() {}
}

/// Milliseconds, and instructions walked.
fn verify(rules: &RuleSet, compiled: &KernelRules) -> Outcome<(f64, u64)> {
    let kernel = load(rules, compiled)?;
    let began = Instant::now();
    kernel.verify_judging()?;
    let milliseconds = began.elapsed().as_secs_f64() * 1e3;
    let walked = kernel.with(|ebpf| {
        let infos = ebpf.programs().filter_map(|(_, program)| program.info().ok());
        infos.filter_map(|info| info.verified_instruction_count()).map(u64::from).sum()
    });
    Ok((milliseconds, walked))
}

/// Rules of one shape, each with a prefix of its own.
fn made_up(count: usize) -> Outcome<RuleSet> {
    let mut text = "vendor = \"Bench\"\n".to_owned();
    for number in 0..count {
        let prefix = format!("bench{number:04}_");
        write!(
            text,
            "[[rule]]\nid = \"bench-{number}\"\nname = \"Bench {number}\"\nseverity = \"high\"\n\
             pattern = '{prefix}[A-Za-z0-9]{{32}}'\nprefixes = [\"{prefix}\"]\n\
             explanation = \"A made-up key.\"\nremediation = \"None.\"\nattack = [\"T1552\"]\n\
             positives = [[\"{prefix}\", {{ fill = \"base62\", n = 32 }}], [\"{prefix}\", {{ fill = \"base62\", n = 32, seed = 1 }}]]\n\
             negatives = [[\"{prefix}\", {{ fill = \"base62\", n = 31 }}], [\"{prefix}\", {{ fill = \"base62\", n = 30, seed = 1 }}]]\n"
        )?;
    }
    Ok(RuleSet::from_toml("bench", &text)?)
}

fn texts() -> [(&'static str, Vec<u8>); 3] {
    let fill = |text: &str| text.bytes().cycle().take(TEXT).collect::<Vec<u8>>();
    let mut state = 11u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    });
    let base64 = noise.filter(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte));
    [("http", fill(HTTP)), ("json", fill(JSON)), ("base64", base64.take(TEXT).collect())]
}

const HTTP: &str = "POST /v1/items/4711?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Content-Type: application/json\r\nX-Request-Id: 3f0c9b1e-77aa-4f0e-9a58-d2c1a6b0e4f7\r\n\r\n";
const JSON: &str = "{\"id\": 90210, \"created_at\": \"2026-11-22T01:28:15Z\", \"status\": \"completed\", \"items\": \
    [{\"sku\": \"BX-1187\", \"quantity\": 3, \"unit_price\": 12.5, \"description\": \"a parcel of grey wool, \
    delivered to the house by the mill before the evening\"}], \"note\": null, \"paid\": true}";
