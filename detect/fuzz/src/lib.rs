//! What the fuzz targets share. `tests/*.rs` are the targets, one each; docs/testing.md says how to run them for longer.

use keymoat_detect::{Detector, Fed, Hit, Inspector, RuleSet, Scanner};
use std::sync::{Arc, LazyLock};

/// All built-in rules.
pub static DETECTOR: LazyLock<Arc<Detector>> = LazyLock::new(|| {
    let rules = RuleSet::builtin().unwrap_or_default();
    Arc::new(Detector::new(Arc::new(rules)).unwrap_or_else(|error| unreachable!("{error}")))
});

pub static SCANNER: LazyLock<Scanner> = LazyLock::new(|| Scanner::new(Arc::clone(&DETECTOR), &[7; 32]));

/// The input says itself how it is cut: each part is as long as its first byte says.
pub fn parts(input: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = input;
    std::iter::from_fn(move || {
        let (&length, behind) = rest.split_first()?;
        let (part, behind) = behind.split_at(usize::from(length).min(behind.len()));
        rest = behind;
        Some(part)
    })
}

/// Sends the parts through an inspector, as the agent does with the writes of a connection.
pub fn inspect<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Hit>, Fed) {
    let (mut hits, mut inspector, mut all) = (Vec::new(), Inspector::default(), Fed::default());
    for part in parts {
        all = inspector.feed(&SCANNER, part, true, &mut hits);
        if part.len() % 7 == 0 {
            inspector.flush(&SCANNER, &mut hits);
        }
        if part.len() % 11 == 0 {
            inspector.gap(&SCANNER, part.len() as u64, &mut hits);
        }
    }
    inspector.flush(&SCANNER, &mut hits);
    (hits, all)
}
