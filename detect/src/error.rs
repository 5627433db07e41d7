//! What can be wrong with a rule file, said so that its author can repair it.

use crate::rules::{Mistake, Unsupported};

/// A rule file that cannot be used: where, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{origin}:{line}:{column}: {problem}")]
pub struct RuleError {
    /// The file (or whatever name the caller gave the text).
    pub origin: String,
    /// Counted from 1.
    pub line: usize,
    /// Counted from 1, in characters.
    pub column: usize,
    pub problem: Problem,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("{0}")]
    Syntax(String),
    #[error(
        "the id `{0}` is not kebab-case: use lower-case letters, digits and single dashes, e.g. `acme-api-key`"
    )]
    BadId(String),
    #[error("a rule with the id `{id}` exists already in {other}: give this one another id")]
    DuplicateId { id: String, other: String },
    #[error("`{field}` is empty: {why}")]
    Empty { field: &'static str, why: &'static str },
    #[error("the pattern is not a regex that can be used: {0}")]
    BadPattern(String),
    #[error(
        "the pattern has no upper bound: give every repeat one, e.g. `{{20,200}}` instead of `{{20,}}`, `+` or `*`"
    )]
    Unbounded,
    #[error(
        "the pattern can match {len} bytes, the longest allowed is {max}: lower the upper bounds of its repeats"
    )]
    TooLong { len: usize, max: usize },
    #[error("the pattern matches as few as {0} bytes: a secret has at least 8, make the pattern say more")]
    TooShort(usize),
    #[error(
        "the pattern uses `^`, `$` or `\\b`: remove them, and use `left` and `right` to say what a key may not be glued to"
    )]
    LookAround,
    #[error(
        "the pattern needs an automaton that is too large: spell repeats around an inner marker as one repeat \
         and name the marker in `contains`"
    )]
    TooComplex,
    #[error(
        "no anchor: give one of `prefixes`, `marker`, `context` or `variables`, a fixed text by which the key is found"
    )]
    NoAnchor,
    #[error("more than one kind of anchor: use `prefixes` or `marker` or `context` and `variables`")]
    ManyAnchors,
    #[error("the literal `{0}` is too short: at least 3 bytes are needed, or it would be found everywhere")]
    ShortLiteral(String),
    #[error("no match of the pattern can start with the prefix `{0}`: correct the prefix or the pattern")]
    ForeignPrefix(String),
    #[error("the pattern can also start with `{0}`, which no prefix covers: add it to `prefixes`")]
    UncoveredPrefix(String),
    #[error(
        "`marker.at` must be an offset or `[least, most]` with at most {max} steps between, inside the pattern's {len} bytes"
    )]
    BadMarker { len: usize, max: usize },
    #[error(
        "`between` without `context` or `variables`: it is what stands between such a text and the secret"
    )]
    BetweenWithoutContext,
    #[error("`{0}` is not a set of bytes: write it like `[A-Za-z0-9_-]`, or `none`")]
    BadSet(String),
    #[error(
        "`{0}` is not a host: use `api.example.com`, `*.example.com`, or `*` inside one label; the last two labels stay literal"
    )]
    BadHost(String),
    #[error(
        "`{0}` is not a location: use `header:<name>`, `query:<name>`, `path`, `body` or `stream`, in lower case"
    )]
    BadLocation(String),
    #[error("there is no validator `{name}`: use one of {known}, or leave it out")]
    UnknownValidator { name: String, known: String },
    #[error(
        "`{name}` computes no checksum of the pieces before it: {known} can, at the end of a text that lacks only that"
    )]
    NoChecksum { name: String, known: String },
    #[error("the rule has {found} {field}, at least 2 are needed: they are its tests")]
    FewSamples { field: &'static str, found: usize },
    #[error("more than {0} rules at once")]
    TooManyRules(usize),
    #[error(transparent)]
    Gitleaks(Mistake),
    #[error(transparent)]
    Unsupported(Unsupported),
}

/// An id that no rule has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no rule has the id `{id}`; {hint}")]
pub struct UnknownRule {
    pub id: String,
    /// What to do about it.
    pub hint: String,
}

impl RuleError {
    /// Is it the reason why a rule of a gitleaks file, itself right, is not used?
    pub fn is_unused_rule(&self) -> bool {
        matches!(&self.problem, Problem::Unsupported(what) if what.is_unused_rule())
    }

    /// The problem at a byte offset of the text.
    pub(crate) fn at(origin: &str, text: &str, offset: usize, problem: Problem) -> RuleError {
        let (line, column) = position(text, offset);
        RuleError { origin: origin.to_owned(), line, column, problem }
    }
}

/// Line and column of a byte offset, both counted from 1, columns in characters.
pub(crate) fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or(before).chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}
