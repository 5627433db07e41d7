//! Literals of which one stands in every match of a regex: how a rule without keywords is found.

use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Hir, HirKind};
use std::collections::BTreeSet;

/// Shorter ones stand everywhere.
const SHORTEST: usize = 3;
/// More of them say little.
const MOST: usize = 64;
/// Larger classes are not spelled out: a letter in either case has two.
const CLASS: usize = 2;

/// Parts of a sequence that are looked at from each place on: no literal is longer.
const AHEAD: usize = 32;

/// In lower case; none if the regex has no such literals. The set whose shortest literal is longest is taken.
pub(super) fn required(hir: &Hir) -> Option<Vec<String>> {
    match hir.kind() {
        HirKind::Capture(capture) => required(&capture.sub),
        HirKind::Repetition(repeat) if repeat.min > 0 => required(&repeat.sub),
        HirKind::Concat(parts) => {
            let ahead = (0..parts.len()).filter_map(|at| starts(parts.iter().skip(at).take(AHEAD)));
            let inside = parts.iter().filter_map(required);
            ahead.chain(inside).max_by_key(|literals| literals.iter().map(String::len).min())
        }
        _ => starts(std::iter::once(hir)),
    }
}

/// The literals one of which a match of this sequence starts with.
fn starts<'a>(parts: impl Iterator<Item = &'a Hir>) -> Option<Vec<String>> {
    let found = Extractor::new().limit_class(CLASS).extract(&Hir::concat(parts.cloned().collect()));
    let mut texts = BTreeSet::new();
    for literal in found.literals()? {
        // Cut off in the middle of a character, or no text at all: of no use in a rule's list of keywords.
        let text = std::str::from_utf8(literal.as_bytes()).ok()?.to_ascii_lowercase();
        if text.len() < SHORTEST {
            return None;
        }
        texts.insert(text);
    }
    (1..=MOST).contains(&texts.len()).then(|| texts.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pattern::search::compile::parse;

    fn of(pattern: &str) -> Option<Vec<String>> {
        required(&parse(pattern).unwrap())
    }

    #[test]
    fn a_literal_is_found_wherever_it_stands() {
        assert_eq!(of("acme_[a-z]{20}").unwrap(), ["acme_"]);
        assert_eq!(of(r"\b(acme_[a-z]{20})(?:\s|$)").unwrap(), ["acme_"]);
        assert_eq!(of(r"[\w.-]{0,50}?(?:acme|zenith)[\s]*=([a-f0-9]{32})").unwrap(), ["acme", "zenith"]);
        assert_eq!(of("[a-z]+@(?:token:)+[0-9]+").unwrap(), ["@token:"]);
    }

    #[test]
    fn case_does_not_matter() {
        assert_eq!(of("(?i)zap_[a-z]{20}").unwrap(), ["zap_"]);
    }

    #[test]
    fn what_may_be_missing_is_no_way_to_find_a_match() {
        for pattern in ["[a-z]{32}", "(?:acme)?[0-9]{8}", "ab[0-9]{8}", "acme|[0-9]{8}", "(?:token)*[0-9]"] {
            assert_eq!(of(pattern), None, "{pattern}");
        }
    }
}
