//! `cargo bench -p keymoat-detect`: what the parts of the detector cost. `cargo xtask bench detect` puts them beside other
//! ways to do the same.

#[path = "../examples/compare/traffic.rs"]
mod traffic;

use base64::prelude::*;
use divan::counter::BytesCount;
use divan::{Bencher, black_box};
use keymoat_detect::{Detector, Inspector, KernelRules, RuleSet, Scanner, Stream, text};
use std::sync::{Arc, LazyLock};

/// What a program writes at once, and a TLS record holds.
const WRITE: usize = 16 * 1024;
const LENGTH: usize = 4 << 20;

static DETECTOR: LazyLock<Arc<Detector>> = LazyLock::new(|| {
    let rules = RuleSet::builtin().unwrap_or_else(|error| unreachable!("{error}"));
    Arc::new(Detector::new(Arc::new(rules)).unwrap_or_else(|error| unreachable!("{error}")))
});
static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(Arc::clone(&DETECTOR), &[7; 32]));
static HTTP1: LazyLock<Vec<u8>> = LazyLock::new(|| traffic::http1(LENGTH));

fn main() {
    divan::main();
}

#[divan::bench]
fn rules_loaded() -> usize {
    RuleSet::builtin()
        .map_or(0, |rules| Detector::new(Arc::new(rules)).map_or(0, |it| it.rules().rules().len()))
}

#[divan::bench]
fn rules_compiled_for_the_kernel() -> usize {
    KernelRules::compile(DETECTOR.rules()).tables().size()
}

/// The engine alone, whatever the text.
#[divan::bench(args = [100, 1400, WRITE])]
fn engine(bencher: Bencher<'_, '_>, write: usize) {
    bencher.counter(BytesCount::of_slice(&HTTP1[..])).bench(|| {
        let mut stream = Stream::default();
        for bytes in HTTP1.chunks(write) {
            DETECTOR.push(&mut stream, bytes, &mut |found| {
                black_box(found);
            });
        }
    });
}

#[divan::bench]
fn http1(bencher: Bencher<'_, '_>) {
    inspect(bencher, &HTTP1);
}

#[divan::bench]
fn http2(bencher: Bencher<'_, '_>) {
    inspect(bencher, &traffic::http2(LENGTH));
}

/// The worst ordinary case for encodings: all of it is one.
#[divan::bench]
fn base64_text(bencher: Bencher<'_, '_>) {
    let encoded = BASE64_STANDARD.encode(HTTP1.get(..LENGTH / 2).unwrap_or_default());
    bencher.counter(BytesCount::of_str(&encoded)).bench(|| {
        text::scan(&DETECTOR, encoded.as_bytes(), &mut |found| {
            black_box(found);
        })
    });
}

fn inspect(bencher: Bencher<'_, '_>, bytes: &[u8]) {
    bencher.counter(BytesCount::of_slice(bytes)).bench(|| {
        let (mut inspector, mut hits) = (Inspector::default(), Vec::new());
        for write in bytes.chunks(WRITE) {
            inspector.feed(&SCANNER, write, true, &mut hits);
        }
        hits.len()
    });
}
