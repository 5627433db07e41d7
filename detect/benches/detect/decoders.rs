//! What finding costs where traffic has to be taken apart first.

use super::texts::{DETECTOR, LENGTH};
use super::{WRITE, traffic};
use base64::prelude::*;
use divan::Bencher;
use divan::counter::BytesCount;
use keymoat_detect::{Inspector, Scanner, text};
use std::sync::{Arc, LazyLock};

static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(Arc::clone(&DETECTOR), &[7; 32]));

#[divan::bench]
fn http1(bencher: Bencher<'_, '_>) {
    inspect(bencher, &traffic::http1(LENGTH));
}

#[divan::bench]
fn http2(bencher: Bencher<'_, '_>) {
    inspect(bencher, &traffic::http2(LENGTH));
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

/// The worst ordinary case for encodings: all of it is one.
#[divan::bench]
fn base64_of_http(bencher: Bencher<'_, '_>) {
    let encoded = BASE64_STANDARD.encode(traffic::http1(LENGTH * 3 / 4));
    bencher.counter(BytesCount::of_str(&encoded)).bench(|| {
        let mut found = 0;
        text::scan(&DETECTOR, encoded.as_bytes(), &mut |_| found += 1);
        found
    });
}
