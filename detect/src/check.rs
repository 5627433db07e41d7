//! Every rule brings its own tests: positives that must be found, look-alikes that must not.

use crate::engine::Detector;
use crate::error::RuleError;
use crate::rules::Rule;
use crate::rules::RuleSet;
use crate::validate::{Assessment, Confidence};
use std::ops::Range;
use std::sync::Arc;

/// A sample that does not behave as its rule file says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{origin}: rule `{rule}`: {field} number {number} {problem}")]
pub struct Failure {
    /// `file:line` of the rule.
    pub origin: String,
    pub rule: String,
    /// `positives` or `negatives`.
    pub field: &'static str,
    /// Counted from 1.
    pub number: usize,
    pub problem: String,
}

/// What stands around a key where keys are met: alone, in a header, a URL, JSON, an escaped line break.
const AROUND: [(&str, &str); 6] = [
    ("", ""),
    ("Authorization: Bearer ", "\r\nAccept: */*\r\n\r\n"),
    ("GET /v1?key=", "&page=2 HTTP/1.1\r\n"),
    ("{\"a\": \"my key:\\n", "\\nthank you\", \"b\": 1}"),
    ("export KEY='", "'\n"),
    ("token%3D", "%26x"),
];

impl RuleSet {
    /// Runs the samples of every rule against this whole set: as it is, and with every rule on. Empty when all
    /// is well.
    pub fn check(&self) -> Result<Vec<Failure>, RuleError> {
        let mut failures = self.failures()?;
        if self.rules().iter().any(|rule| !rule.on) {
            let mut all = self.clone();
            all.rules_mut().iter_mut().for_each(|rule| rule.on = true);
            let known = failures.clone();
            failures.extend(all.failures()?.into_iter().filter(|failure| !known.contains(failure)));
        }
        Ok(failures)
    }

    fn failures(&self) -> Result<Vec<Failure>, RuleError> {
        let detector = Detector::new(Arc::new(self.clone()))?;
        let mut failures = Vec::new();
        for rule in self.rules().iter().filter(|rule| rule.on) {
            for (index, sample) in rule.positives.iter().enumerate() {
                let problem = positive(&detector, rule, sample);
                failures.extend(problem.map(|problem| failure(rule, "positives", index, problem)));
            }
            for (index, sample) in rule.negatives.iter().enumerate() {
                let problem = negative(&detector, rule, sample);
                failures.extend(problem.map(|problem| failure(rule, "negatives", index, problem)));
            }
        }
        Ok(failures)
    }
}

fn failure(rule: &Rule, field: &'static str, index: usize, problem: String) -> Failure {
    Failure { origin: rule.origin.to_string(), rule: rule.id.clone(), field, number: index + 1, problem }
}

/// Exactly one finding, of this rule and not a doubtful one, wherever the sample stands.
fn positive(detector: &Detector, rule: &Rule, sample: &str) -> Option<String> {
    for (before, after) in AROUND {
        let found = find(detector, &format!("{before}{sample}{after}"));
        let ids: Vec<&str> = found.iter().map(|found| found.rule.as_str()).collect();
        let [Found { rule: id, span, assessment }] = found.as_slice() else {
            return Some(format!("after {before:?} gives the findings {ids:?} instead of one"));
        };
        if *id != rule.id {
            return Some(format!("after {before:?} is found by `{id}`, which has precedence"));
        }
        let whole = before.len() as u64..(before.len() + sample.len()) as u64;
        if rule.context.is_empty() && *span != whole {
            return Some(format!("after {before:?} is found at {span:?}, it stands at {whole:?}"));
        }
        if assessment.confidence == Confidence::Low {
            return Some(format!("is doubted: {}", assessment.reasons.join(", ")));
        }
    }
    None
}

fn negative(detector: &Detector, rule: &Rule, sample: &str) -> Option<String> {
    let found = AROUND.iter().find(|(before, after)| {
        find(detector, &format!("{before}{sample}{after}")).iter().any(|found| found.rule == rule.id)
    });
    found.map(|(before, _)| format!("is found after {before:?}, though it is no such key"))
}

struct Found {
    rule: String,
    span: Range<u64>,
    assessment: Assessment,
}

fn find(detector: &Detector, text: &str) -> Vec<Found> {
    let mut all = Vec::new();
    detector.scan(text.as_bytes(), &mut |found| {
        let span = found.start..found.end;
        let rule = found.rule.id.clone();
        all.extend(found.assessment.map(|assessment| Found { rule, span, assessment }));
    });
    all
}
