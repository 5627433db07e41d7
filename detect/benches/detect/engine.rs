//! What finding costs, on each kind of text.

use super::WRITE;
use super::texts::{DETECTOR, KINDS, text, values};
use aho_corasick::automaton::Automaton as _;
use aho_corasick::{Anchored, dfa};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use keymoat_abi::scan::Flow;
use keymoat_detect::{Detector, KernelRules, Registry, RuleSet, Stream, Trail};
use std::sync::Arc;

#[divan::bench]
fn rules_loaded() -> usize {
    let detector = RuleSet::builtin().and_then(|rules| Detector::new(Arc::new(rules)));
    detector.map_or(0, |detector| detector.rules().rules().len())
}

#[divan::bench]
fn rules_compiled_for_the_kernel() -> usize {
    KernelRules::compile(DETECTOR.rules()).tables().size()
}

#[divan::bench(args = KINDS)]
fn engine(bencher: Bencher<'_, '_>, kind: &str) {
    pushed(bencher, &text(kind), WRITE);
}

#[divan::bench(args = [100, 1400, WRITE])]
fn engine_by_write(bencher: Bencher<'_, '_>, write: usize) {
    pushed(bencher, &text("http"), write);
}

fn pushed(bencher: Bencher<'_, '_>, text: &[u8], write: usize) {
    bencher.counter(BytesCount::of_slice(text)).bench(|| {
        let (mut stream, mut found) = (Stream::default(), 0);
        for bytes in text.chunks(write) {
            DETECTOR.push(&mut stream, bytes, &mut |_| found += 1);
        }
        found
    });
}

/// Each piece on its own, as header values are.
#[divan::bench(args = [20, 100, 1400])]
fn engine_on_short_texts(bencher: Bencher<'_, '_>, length: usize) {
    let text = text("http");
    bencher.counter(BytesCount::of_slice(&text)).bench(|| {
        let mut found = 0;
        text.chunks(length).for_each(|piece| DETECTOR.scan(piece, &mut |_| found += 1));
        found
    });
}

/// The yardstick: the automaton's own loop over the same literals, doing nothing with what it finds.
#[divan::bench(args = KINDS)]
fn literals_alone(bencher: Bencher<'_, '_>, kind: &str) {
    let rules = DETECTOR.rules().rules();
    let markers = rules.iter().filter_map(|rule| rule.marker.as_ref()).flat_map(|marker| &marker.texts);
    let mut all: Vec<&String> =
        rules.iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.context)).chain(markers).collect();
    all.sort();
    all.dedup();
    let Ok(automaton) = dfa::DFA::builder().prefilter(false).build(all) else { return };
    let text = text(kind);
    bencher.counter(BytesCount::of_slice(&text)).bench(|| {
        let Ok(mut state) = automaton.start_state(Anchored::No) else { return 0 };
        let mut hits = 0;
        for &byte in &text {
            state = automaton.next_state(Anchored::No, state, byte);
            hits += usize::from(automaton.is_match(state));
        }
        hits
    });
}

/// What the kernel will run, in userspace.
#[divan::bench(args = KINDS)]
fn kernel_grade(bencher: Bencher<'_, '_>, kind: &str) {
    let (kernel, text) = (KernelRules::compile(DETECTOR.rules()), text(kind));
    bencher.counter(BytesCount::of_slice(&text)).bench(|| {
        let (mut flow, mut found) = (Flow::NEW, 0);
        text.chunks(WRITE).for_each(|write| kernel.write(&mut flow, write, &mut |_, _| found += 1));
        found
    });
}

#[divan::bench(args = [10, 1000])]
fn registered_values(bencher: Bencher<'_, '_>, count: u64) {
    let mut builder = Registry::builder();
    for (number, value) in values(count).enumerate() {
        let added = builder.add(&format!("value {number}"), &value);
        black_box(added.is_ok());
    }
    let (registry, text) = (builder.build(), text("http"));
    bencher.counter(BytesCount::of_slice(&text)).bench(|| {
        let (mut trail, mut found) = (Trail::default(), 0);
        for write in text.chunks(WRITE) {
            registry.push(&mut trail, write, &mut |_| found += 1);
        }
        found
    });
}
