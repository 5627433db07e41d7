//! A stretch of text that is looked into.

use crate::{Detector, Match, Rule, Stream};
use std::ops::Range;

/// A secret that was found in a text.
pub struct Sight<'a> {
    pub rule: &'a Rule,
    pub secret: &'a [u8],
    /// Where it stands in the text, encoded as it is there.
    pub span: Range<u64>,
    /// What it is wrapped in, the outermost first.
    pub wrapped: &'a [&'static str],
}

/// What is remembered of a text that goes on.
#[derive(Default)]
pub struct Text {
    stream: Stream,
}

impl Text {
    pub fn push(&mut self, detector: &Detector, bytes: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
        detector.push(&mut self.stream, bytes, &mut |m| found(sight(&m)));
    }

    pub fn flush(&mut self, detector: &Detector, found: &mut dyn FnMut(Sight<'_>)) {
        detector.flush(&mut self.stream, &mut |m| found(sight(&m)));
    }

    pub fn pending(&self) -> bool {
        self.stream.pending()
    }

    pub fn gap(&mut self, missing: u64) {
        self.stream.gap(missing);
    }
}

pub fn scan(detector: &Detector, bytes: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
    detector.scan(bytes, &mut |m| found(sight(&m)));
}

fn sight<'a>(found: &'a Match<'_>) -> Sight<'a> {
    let end = found.start + found.secret.len() as u64;
    Sight { rule: found.rule, secret: found.secret, span: found.start..end, wrapped: &[] }
}
