//! A Go regex, parsed and compiled within limits.

use super::syntax;
use regex_automata::meta::Regex;
use regex_syntax::hir::{self, Hir};

/// Bytes the program of one regex may take.
pub(crate) const SIZE_LIMIT: usize = 1 << 20;
/// States of a regex are made while it runs, and forgotten when this many bytes are full, per direction. With an eighth
/// of it the wide patterns for secrets of any kind forget all the time, and run thirty times as slow.
const CACHE: usize = 1 << 20;

/// Why a regex cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Syntax(String),
    /// A class of characters that are more than one byte.
    Unicode,
    TooLarge,
}

/// Bytes, not characters: a class beyond ASCII is refused.
pub(crate) fn parse(go: &str) -> Result<Hir, Fault> {
    let pattern = syntax::from_go(go);
    let parsed = regex_syntax::ParserBuilder::new().unicode(false).utf8(false).build().parse(&pattern);
    parsed.map_err(|error| match &error {
        regex_syntax::Error::Translate(error) if *error.kind() == hir::ErrorKind::UnicodeNotAllowed => {
            Fault::Unicode
        }
        // A place in the rewritten pattern would mislead.
        regex_syntax::Error::Translate(error) => Fault::Syntax(error.kind().to_string()),
        regex_syntax::Error::Parse(error) => Fault::Syntax(error.kind().to_string()),
        other => Fault::Syntax(other.to_string()),
    })
}

/// Leftmost-first, as Go's regexes are. Several patterns are alternatives.
pub(crate) fn compile(patterns: &[Hir]) -> Result<Regex, Fault> {
    let config = Regex::config()
        .utf8_empty(false)
        .nfa_size_limit(Some(SIZE_LIMIT))
        .onepass_size_limit(Some(SIZE_LIMIT))
        // A full automaton of such a pattern is large, and slow to make.
        .dfa(false)
        .hybrid_cache_capacity(CACHE);
    Regex::builder().configure(config).build_many_from_hir(patterns).map_err(|_| Fault::TooLarge)
}
