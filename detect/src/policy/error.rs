//! What can be wrong with a policy file, said so that its author can repair it.

use crate::error::position;

/// A policy file that cannot be used: where, and what to do about it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{origin}:{line}:{column}: {problem}")]
pub struct PolicyError {
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
        "the name `{0}` is not kebab-case: use lower-case letters, digits and single dashes, e.g. `nightly-backup`"
    )]
    BadName(String),
    #[error("an entry named `{name}` exists already in line {line}: give this one another name")]
    DuplicateName { name: String, line: usize },
    #[error(
        "the entry has no condition and would apply to everything: give it a `destination`, `process`, `rule`, \
         `locations` or `direction`"
    )]
    NoCondition,
    #[error("`{0}` is empty, so nothing can match: fill the list or leave it out")]
    Empty(&'static str),
    #[error("no rule has the id `{0}`: `keymoat rules list` shows them all")]
    UnknownRule(String),
    #[error("no rule is of the vendor `{0}`: `keymoat rules list` shows them all")]
    UnknownVendor(String),
    #[error("no rule meets these conditions together: each one given must hold")]
    NoSuchRule,
    #[error("there is no category `{name}`: use {known}")]
    UnknownCategory { name: String, known: String },
    #[error(
        "`{0}` is not a host: use `api.example.com`, `*.example.com`, or `*` inside one label; the last two labels stay literal"
    )]
    BadHost(String),
    #[error("the host `{0}` stands in two categories: remove one")]
    DuplicateHost(String),
    #[error("`{0}` is not a network: write `10.0.0.0/8`, `2001:db8::/32` or a single address")]
    BadNetwork(String),
    #[error("`{given}` has bits set behind its prefix: write `{meant}`")]
    LooseNetwork { given: String, meant: String },
    #[error(
        "`{0}` is not a location: start with a place such as `header:<name>`, `query:<name>`, `path`, `body`, `message` or \
         `stream`, separate steps by ` > `, and use `*` for any text within a step"
    )]
    BadLocation(String),
    #[error("`{0}` is not the path of a program: start it with `/` or `*`, e.g. `*/curl`")]
    BadExe(String),
    #[error("`{0}` is no thread's name: the kernel keeps 15 bytes of one, write `*` at its end")]
    BadComm(String),
    #[error("`{0}` is not a container's id: write its 64 hex digits, or some of them and `*`")]
    BadContainer(String),
    #[error("`{0}` is not a unit: units end with `.service` or `.scope`, e.g. `backup.service` or `backup*`")]
    BadUnit(String),
    #[error("`{0}` is not a time: write it as in RFC 3339, with its zone, e.g. `2027-01-31T00:00:00Z`")]
    BadTime(String),
}

impl PolicyError {
    /// The problem at a byte offset of the text.
    pub(super) fn at(origin: &str, text: &str, offset: usize, problem: Problem) -> Self {
        let (line, column) = position(text, offset);
        Self { origin: origin.to_owned(), line, column, problem }
    }
}
