//! What the kernel's matcher costs per byte in userspace, beside the automaton over the same literals and the full engine.
//!
//!     cargo run --release -p keymoat-detect --example kernel_grade [MiB]

use aho_corasick::automaton::Automaton as _;
use aho_corasick::{Anchored, dfa};
use keymoat_abi::scan::Flow;
use keymoat_detect::{Detector, Grade, KernelRules, RuleSet, Stream};
use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

const ROUNDS: usize = 5;
/// Bytes of one write.
const WRITE: usize = 16 << 10;

fn main() -> Result<(), Box<dyn Error>> {
    let mib: usize = std::env::args().nth(1).map_or(Ok(8), |text| text.parse())?;
    let rules = RuleSet::builtin()?;
    let began = Instant::now();
    let kernel = KernelRules::compile(&rules);
    let decided = kernel.grades().iter().filter(|grade| **grade == Grade::Kernel).count();
    println!(
        "{decided} of {} rules are kernel grade; {} KiB of tables, compiled in {:.0} ms",
        rules.rules().len(),
        kernel.tables().size() / 1024,
        began.elapsed().as_secs_f64() * 1e3
    );
    let literals = literals(&rules)?;
    let detector = Detector::new(Arc::new(rules))?;
    for (kind, text) in texts(&detector, mib << 20) {
        println!("{kind}");
        report("automaton over the literals", &text, &literals);
        report("full engine", &text, &|text| {
            let (mut stream, mut found) = (Stream::default(), 0);
            text.chunks(WRITE).for_each(|write| detector.push(&mut stream, write, &mut |_| found += 1));
            found
        });
        report("kernel's matcher", &text, &|text| {
            let (mut flow, mut found) = (Flow::NEW, 0);
            text.chunks(WRITE).for_each(|write| kernel.write(&mut flow, write, &mut |_, _| found += 1));
            found
        });
    }
    Ok(())
}

/// The yardstick: the automaton's own loop, doing nothing with what it finds.
fn literals(rules: &RuleSet) -> Result<impl Fn(&[u8]) -> usize + use<>, Box<dyn Error>> {
    let markers =
        rules.rules().iter().filter_map(|rule| rule.marker.as_ref()).flat_map(|marker| &marker.texts);
    let others = rules.rules().iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.context));
    let mut all: Vec<&String> = others.chain(markers).collect();
    all.sort();
    all.dedup();
    let automaton = dfa::DFA::builder().prefilter(false).build(all)?;
    Ok(move |text: &[u8]| {
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return 0 };
        let mut hits = 0;
        for &byte in text {
            state = automaton.next_state(Anchored::No, state, byte);
            hits += usize::from(automaton.is_match(state));
        }
        hits
    })
}

fn texts(detector: &Detector, len: usize) -> [(&'static str, Vec<u8>); 6] {
    let repeat = |text: &str| text.bytes().cycle().take(len).collect::<Vec<u8>>();
    let mut state = 11u64;
    let mut noise = |alphabet: &[u8]| -> Vec<u8> {
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize
        };
        (0..len).map(|_| alphabet.get(next() % alphabet.len()).copied().unwrap_or_default()).collect()
    };
    let all: Vec<u8> = (0..=u8::MAX).collect();
    let keys: String = detector
        .rules()
        .rules()
        .iter()
        .flat_map(|rule| &rule.positives)
        .map(|key| format!("{}key={key}\r\n", PROSE.repeat(6)))
        .collect();
    [
        ("http", repeat(HTTP)),
        ("prose", repeat(PROSE)),
        ("base64", noise(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")),
        ("hex", noise(b"0123456789abcdef")),
        ("binary", noise(&all)),
        ("a key every 2 KB", repeat(&keys)),
    ]
}

/// Best of some rounds: the others measure the machine's other work.
fn report(name: &str, text: &[u8], run: &dyn Fn(&[u8]) -> usize) {
    let (mut best, mut found) = (f64::INFINITY, 0);
    for _ in 0..ROUNDS {
        let began = Instant::now();
        found = black_box(run(black_box(text)));
        best = best.min(began.elapsed().as_secs_f64());
    }
    println!("  {name:<28} {:>6.2} ns/byte   {found} found", best * 1e9 / text.len() as f64);
}

const HTTP: &str = "POST /v1/items/4711?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.7\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\
    Content-Length: 1024\r\nX-Request-Id: 3f0c9b1e-77aa-4f0e-9a58-d2c1a6b0e4f7\r\nConnection: keep-alive\r\n\r\n";
const PROSE: &str = "The request asked the model to summarise a report about disk usage, and to name the three tasks \
    that should come first. Please keep the answer short: the people who read it have little time, and most of them \
    will only look at the list. Where a number is not certain, say so, and say why it is not. ";
