//! What a match says about itself beyond its shape: checksums, structure, randomness.
//!
//! A rule names its validators in its file; each is a file here and a line of [`VALIDATORS`]. They raise or lower the
//! confidence of a finding and take none away. Two kinds of match are no findings, and are told apart from them, not
//! dropped: placeholders, which are looked for under every rule, and what no generator of keys would make, for rules that
//! ask. A secret that proves itself by its checksum is neither.

mod assessment;
mod aws;
mod checksum;
mod entropy;
mod jwt;
mod placeholder;
mod words;

pub use assessment::{Assessment, Confidence, Fact, Suppressed};
pub(crate) use placeholder::is_placeholder;
pub(crate) use words::reads_like_words;

use crate::rules::Rule;
use checksum::{Checksum, age, atlassian, confluent, crc32_base62, github_pat, gitlab, grafana};

/// Every validator, by the name that rule files use.
pub(crate) static VALIDATORS: &[Validator] = &[
    Validator { name: "age-bech32", kind: Kind::Checksum(age::CHECKSUM) },
    Validator { name: "atlassian-crc32", kind: Kind::Checksum(atlassian::CHECKSUM) },
    Validator { name: "aws-account", kind: Kind::Check(aws::check) },
    Validator { name: "confluent-crc32", kind: Kind::Checksum(confluent::CHECKSUM) },
    Validator { name: "crc32-base62", kind: Kind::Checksum(crc32_base62::CHECKSUM) },
    Validator { name: "entropy", kind: Kind::Check(entropy::check) },
    Validator { name: "github-pat-sha256", kind: Kind::Checksum(github_pat::CHECKSUM) },
    Validator { name: "gitlab-crc32", kind: Kind::Checksum(gitlab::CHECKSUM) },
    Validator { name: "grafana-crc32", kind: Kind::Checksum(grafana::CHECKSUM) },
    Validator { name: "jwt", kind: Kind::Check(jwt::check) },
    Validator { name: "not-words", kind: Kind::Check(words::check) },
];

/// A check that rules ask for by name.
pub(crate) struct Validator {
    pub(crate) name: &'static str,
    kind: Kind,
}

enum Kind {
    /// A part of the secret follows from the rest of it.
    Checksum(Checksum),
    Check(fn(&Secret<'_>, &mut Vec<Fact>) -> Outcome),
}

/// What validators look at.
pub(crate) struct Secret<'a> {
    pub(crate) whole: &'a [u8],
    /// Without the public prefix.
    pub(crate) body: &'a [u8],
    /// How many different bytes the pattern's classes allow.
    pub(crate) alphabet: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Only a real key says this of itself; why, in a few words.
    Proven(&'static str),
    /// A real key would look otherwise.
    Doubtful(&'static str),
    Hopeless(Suppressed),
    /// Nothing can be said.
    Silent,
}

impl Validator {
    pub(crate) fn named(name: &str) -> Option<&'static Validator> {
        VALIDATORS.iter().find(|validator| validator.name == name)
    }

    /// The checksum of a text that lacks only it. None if this is no checksum, or the text nothing it could stand in.
    pub(crate) fn seal(&self, text: &str) -> Option<String> {
        let Kind::Checksum(checksum) = &self.kind else { return None };
        (checksum.sum)(text.as_bytes()).map(|sum| sum.to_string())
    }

    fn check(&self, secret: &Secret<'_>, facts: &mut Vec<Fact>) -> Outcome {
        match &self.kind {
            Kind::Checksum(checksum) => checksum.check(secret.whole),
            Kind::Check(check) => check(secret, facts),
        }
    }
}

/// The names of all validators, or of those that compute a checksum, for a message.
pub(crate) fn names(only_checksums: bool) -> String {
    let wanted = |validator: &&Validator| !only_checksums || matches!(validator.kind, Kind::Checksum(_));
    let names: Vec<String> =
        VALIDATORS.iter().filter(wanted).map(|validator| format!("`{}`", validator.name)).collect();
    names.join(", ")
}

impl std::fmt::Debug for Validator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Judges a match of the rule.
pub(crate) fn assess(rule: &Rule, secret: &[u8]) -> Result<Assessment, Suppressed> {
    let body = secret.get(rule.public_prefix_len(secret)..).unwrap_or_default();
    let secret =
        Secret { whole: secret, body, alphabet: rule.shape().map_or(0, |shape| shape.charset.len()) };
    let (mut proofs, mut doubts, mut facts) = (Vec::new(), Vec::new(), Vec::new());
    let mut hopeless = None;
    for validator in &rule.checks {
        match validator.check(&secret, &mut facts) {
            Outcome::Proven(why) => proofs.push(why),
            Outcome::Doubtful(why) => doubts.push(why),
            Outcome::Hopeless(why) => hopeless = Some(why),
            Outcome::Silent => {}
        }
    }
    if !proofs.is_empty() {
        return Ok(Assessment { confidence: Confidence::High, reasons: proofs, facts });
    }
    if is_placeholder(body) {
        return Err(Suppressed::Placeholder);
    }
    if let Some(why) = hopeless {
        return Err(why);
    }
    let confidence = if doubts.is_empty() { rule.confidence() } else { Confidence::Low };
    Ok(Assessment { confidence, reasons: doubts, facts })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]
mod tests;
