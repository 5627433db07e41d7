//! The detector beside other ways to do the same, on the same text. `cargo xtask bench detect` runs it: for each line on
//! standard input, a contestant's name, it prints how long that one took, in seconds, and what it found.
//!
//!     cargo run --release -p keymoat-detect --example compare -- traffic MIB FILE      writes the text
//!     cargo run --release -p keymoat-detect --example compare -- http2 MIB FILE        writes the same requests over HTTP/2
//!     cargo run --release -p keymoat-detect --example compare -- patterns FILE         writes the rules' regexes, one a line
//!     cargo run --release -p keymoat-detect --example compare -- run FILE

mod traffic;

use aho_corasick::automaton::Automaton as _;
use aho_corasick::{Anchored, dfa};
use keymoat_detect::{Detector, Inspector, Rule, RuleSet, Scanner, Stream};
use std::error::Error;
use std::hint::black_box;
use std::io::BufRead as _;
use std::sync::Arc;
use std::time::Instant;

/// What a program writes at once, and a TLS record holds.
const WRITE: usize = 16 * 1024;
/// Of the text, for the contestant that is a thousand times slower.
const SAMPLE: usize = 256 * 1024;

type Failure = Box<dyn Error>;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["traffic", mib, file] => std::fs::write(file, traffic::http1(mib.parse::<usize>()? << 20))?,
        ["http2", mib, file] => std::fs::write(file, traffic::http2(mib.parse::<usize>()? << 20))?,
        ["patterns", file] => {
            let rules = RuleSet::builtin()?;
            let patterns: Vec<String> = rules.rules().iter().filter(|rule| rule.on).map(in_context).collect();
            std::fs::write(file, patterns.join("\n"))?;
        }
        ["run", file] => run(&std::fs::read(file)?)?,
        _ => return Err("usage: compare traffic|http2 MIB FILE | patterns FILE | run FILE".into()),
    }
    Ok(())
}

/// The pattern behind what must stand before it, without which some match in any text.
fn in_context(rule: &Rule) -> String {
    if rule.context.is_empty() {
        return rule.pattern.clone();
    }
    let context: Vec<String> = rule.context.iter().map(|text| regex_syntax::escape(text)).collect();
    format!("(?:{})(?:{})", context.join("|"), rule.pattern)
}

fn run(text: &[u8]) -> Result<(), Failure> {
    let began = Instant::now();
    let detector = Arc::new(Detector::new(Arc::new(RuleSet::builtin()?))?);
    let loaded = began.elapsed();
    let scanner = Scanner::new(Arc::clone(&detector), &[7; 32]);
    let literals = literals(&detector)?;
    let mut set = None;
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let (found, bytes, seconds) = match line.as_str() {
            "load" => (detector.rules().rules().len(), 0, loaded.as_secs_f64()),
            "engine" => timed(text, |text| engine(&detector, text)),
            "decoders" => timed(text, |text| inspect(&scanner, text)),
            "literals" => timed(text, |text| walk(&literals, text)),
            "set" => {
                let set = match &mut set {
                    Some(set) => set,
                    None => set.insert(regex_set(&detector)?),
                };
                timed(text.get(..SAMPLE).unwrap_or(text), |text| set.find_iter(text).count())
            }
            _ => return Err(format!("no contestant is called {line}").into()),
        };
        println!("{seconds:.6} {bytes} {found}");
    }
    Ok(())
}

fn timed(text: &[u8], work: impl FnOnce(&[u8]) -> usize) -> (usize, usize, f64) {
    let began = Instant::now();
    let found = black_box(work(black_box(text)));
    (found, text.len(), began.elapsed().as_secs_f64())
}

fn engine(detector: &Detector, text: &[u8]) -> usize {
    let (mut found, mut stream) = (0, Stream::default());
    for write in text.chunks(WRITE) {
        detector.push(&mut stream, write, &mut |_| found += 1);
    }
    detector.flush(&mut stream, &mut |_| found += 1);
    found
}

/// Everything: messages taken apart, bodies decoded, every piece judged.
fn inspect(scanner: &Scanner, text: &[u8]) -> usize {
    let (mut hits, mut inspector) = (Vec::new(), Inspector::default());
    for write in text.chunks(WRITE) {
        inspector.feed(scanner, write, true, &mut hits);
    }
    inspector.flush(scanner, &mut hits);
    hits.len()
}

/// The yardstick: an automaton's own loop over the literals by which the rules are found.
fn literals(detector: &Detector) -> Result<dfa::DFA, Failure> {
    let rules = detector.rules().rules();
    let markers = rules.iter().filter_map(|rule| rule.marker.as_ref()).flat_map(|marker| &marker.texts);
    let mut all: Vec<&String> =
        rules.iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.context)).chain(markers).collect();
    all.sort();
    all.dedup();
    Ok(dfa::DFA::builder().prefilter(false).build(all)?)
}

fn walk(automaton: &dfa::DFA, text: &[u8]) -> usize {
    let Ok(mut state) = automaton.start_state(Anchored::No) else { return 0 };
    let mut hits = 0;
    for &byte in text {
        state = automaton.next_state(Anchored::No, state, byte);
        hits += usize::from(automaton.is_special(state) && automaton.is_match(state));
    }
    hits
}

/// All patterns as one unanchored regex.
fn regex_set(detector: &Detector) -> Result<regex_automata::meta::Regex, Failure> {
    let patterns: Vec<&str> = detector.rules().rules().iter().map(|rule| rule.pattern.as_str()).collect();
    let syntax = regex_automata::util::syntax::Config::new().unicode(false).utf8(false);
    let config = regex_automata::meta::Config::new().utf8_empty(false).nfa_size_limit(Some(512 << 20));
    Ok(regex_automata::meta::Builder::new().syntax(syntax).configure(config).build_many(&patterns)?)
}
