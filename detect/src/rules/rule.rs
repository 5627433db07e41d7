//! One rule: what a key looks like, where it is at home, and what to tell the person who leaked it.

use crate::MAX_SECRET_LEN;
use crate::error::{Problem, RuleError};
use crate::pattern::search::Search;
use crate::pattern::{MIN_SECRET_LEN, Marker, Shape};
use crate::validate::{Confidence, Validator};
use std::sync::Arc;

/// How bad a leak is. Ordered: `Info < Low < Medium < High < Critical`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Public or worthless by itself; useful to know.
    Info,
    /// An identifier that needs its other half.
    Low,
    /// Limited reach: test keys, write-only webhooks.
    Medium,
    /// Reads or changes somebody's data.
    High,
    /// Spends money, or opens an account, an organisation or a supply chain.
    Critical,
}

impl std::fmt::Display for Severity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Severity::Info => "info",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        })
    }
}

/// A literal this long stands in few texts by chance, and not at the start of a token of the right length.
const OWN_LITERAL: usize = 4;

/// A rule as its file describes it. `docs/rules.md` says what each field means.
#[derive(Clone, Debug)]
pub struct Rule {
    pub id: String,
    pub name: String,
    pub vendor: String,
    pub severity: Severity,
    /// It guesses more than it knows: looked for only where somebody asked for it.
    pub off_by_default: bool,
    /// Is it looked for? [`RuleSet::enable`](crate::RuleSet::enable) changes it.
    pub on: bool,
    /// Regex over bytes that describes the whole secret, as written.
    pub pattern: String,
    /// Literals a secret starts with; public, so they are also what a redacted secret shows.
    pub prefixes: Vec<String>,
    /// A fixed text inside the secret, for formats that do not start with one.
    pub marker: Option<Marker>,
    /// Literals that stand directly before the secret and are not part of it.
    pub context: Vec<String>,
    /// Literals that must all occur inside the secret.
    pub contains: Vec<String>,
    /// Checks beyond the shape.
    pub(crate) checks: Vec<&'static Validator>,
    /// Hosts to which this secret belongs: `api.example.com`, `*.example.com`.
    pub home: Vec<String>,
    /// Where in a message to its home it is expected: `header:authorization`, `query:key`, `path`, `body`.
    pub usual: Vec<String>,
    /// Why it matters that this left.
    pub explanation: String,
    /// What to do now, and what to do instead.
    pub remediation: String,
    /// MITRE ATT&CK technique ids.
    pub attack: Vec<String>,
    /// Texts that hold exactly one such secret, put together from the pieces in the file.
    pub positives: Vec<String>,
    /// Look-alikes that are none.
    pub negatives: Vec<String>,
    /// Where the rule stands, for messages.
    pub origin: Origin,
    pub(crate) finder: Finder,
}

/// How a secret is found.
#[derive(Clone, Debug)]
pub(crate) enum Finder {
    /// A literal says where it starts: keymoat's own rules.
    Shape(Arc<Shape>),
    /// A keyword is near: gitleaks' rules.
    Search(Arc<Search>),
    /// It is one of the registered values.
    Exact,
}

/// A place in a rule file. Displays as `file:line`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    pub file: String,
    pub line: usize,
    pub column: usize,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

impl Origin {
    pub(crate) fn error(&self, problem: Problem) -> RuleError {
        RuleError { origin: self.file.clone(), line: self.line, column: self.column, problem }
    }
}

impl Rule {
    /// Shortest and longest secret the pattern describes, in bytes.
    pub fn length(&self) -> (usize, usize) {
        match &self.finder {
            Finder::Shape(shape) => (shape.min_len, shape.max_len),
            Finder::Search(search) => search.secret_len,
            Finder::Exact => (MIN_SECRET_LEN, MAX_SECRET_LEN),
        }
    }

    /// None for a rule whose secrets are not found by their shape.
    pub(crate) fn shape(&self) -> Option<&Shape> {
        match &self.finder {
            Finder::Shape(shape) => Some(shape),
            Finder::Search(_) | Finder::Exact => None,
        }
    }

    /// Was it written for gitleaks? Its `pattern` then describes the text around the secret, too.
    pub fn is_from_gitleaks(&self) -> bool {
        matches!(self.finder, Finder::Search(_))
    }

    /// Does it stand for all registered values? They have no shape in common.
    pub fn is_registered(&self) -> bool {
        matches!(self.finder, Finder::Exact)
    }

    /// Names of the checks that raise or lower the confidence of a match.
    pub fn validators(&self) -> impl Iterator<Item = &'static str> {
        self.checks.iter().map(|check| check.name)
    }

    /// What a match is worth by its shape alone: a literal of its own, and nothing else looks like it.
    pub fn confidence(&self) -> Confidence {
        let markers = self.marker.iter().flat_map(|marker| &marker.texts);
        let shortest = self.prefixes.iter().chain(markers).map(String::len).min();
        if shortest.is_some_and(|len| len >= OWN_LITERAL) { Confidence::High } else { Confidence::Medium }
    }

    /// How many leading bytes of this secret are public knowledge and may be shown.
    pub fn public_prefix_len(&self, secret: &[u8]) -> usize {
        let prefixes = self.prefixes.iter().map(String::as_bytes);
        prefixes
            .chain(self.shape().map(|shape| shape.lead.as_slice()))
            .filter(|prefix| secret.starts_with(prefix))
            .map(<[u8]>::len)
            .max()
            .unwrap_or(0)
    }
}
