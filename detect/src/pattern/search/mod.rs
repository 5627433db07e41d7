//! A pattern that is searched for around a keyword, as gitleaks' rules are: it may stand anywhere near, brings
//! the text around the secret along, and a group says which part of a match is the secret.

mod allowlist;
mod compile;
mod keywords;
mod syntax;

pub(crate) use allowlist::{Allowlist, Target};
pub(crate) use compile::{Fault, SIZE_LIMIT, parse};

use allowlist::Sight;
use regex_automata::Input;
use regex_automata::meta::Regex;
use regex_automata::util::captures::Captures;
use regex_syntax::hir::Hir;
use std::ops::Range;
use std::sync::Arc;

/// Farthest that is searched from a keyword's end, where the regex itself sets no bound: most names stand before
/// a secret, and the longest secret in use, a private key of 4096 bits, has 3.3 KiB.
const MAX_BEFORE: usize = 1 << 10;
const MAX_AFTER: usize = 4 << 10;
/// Keywords this close to the first one are searched around in one go.
const MAX_SPREAD: usize = 2 << 10;
/// How much of a line on either side of a match an allowlist sees.
const LINE: usize = 512;

/// What to search for, and what to make of it.
#[derive(Debug)]
pub(crate) struct Search {
    regex: Regex,
    /// The group that is the secret; none: the first one that took part and is not empty, or the match.
    group: Option<usize>,
    /// Least entropy of a secret in bits per byte, exclusive; 0 is any.
    entropy: f64,
    allowlists: Vec<Arc<Allowlist>>,
    /// In lower case; one of them stands near every match.
    pub(crate) keywords: Vec<String>,
    pub(crate) reach: Reach,
    /// Shortest and longest secret in bytes.
    pub(crate) secret_len: (usize, usize),
}

/// Where to search, in bytes from the end of a keyword.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) before: u64,
    pub(crate) after: u64,
    /// Another keyword within this of the first one makes no search of its own.
    pub(crate) spread: u64,
    /// What is looked at on both sides without being searched: the neighbour that decides about `\b` and `$`, or the
    /// line.
    pub(crate) margin: u64,
}

/// How a rule describes its search.
pub(crate) struct Settings {
    pub(crate) group: Option<usize>,
    pub(crate) entropy: f64,
    pub(crate) keywords: Option<Vec<String>>,
    pub(crate) allowlists: Vec<Arc<Allowlist>>,
}

/// Why there is nothing to search by.
pub(crate) enum Refusal {
    Fault(Fault),
    NoSuchGroup { groups: usize },
    NoKeyword,
}

impl Search {
    pub(crate) fn new(hir: &Hir, settings: Settings) -> Result<Search, Refusal> {
        let Settings { group, entropy, keywords, allowlists } = settings;
        let groups = hir.properties().explicit_captures_len();
        if group.is_some_and(|group| group > groups) {
            return Err(Refusal::NoSuchGroup { groups });
        }
        let regex = compile::compile(std::slice::from_ref(hir)).map_err(Refusal::Fault)?;
        let keywords = keywords.or_else(|| keywords::required(hir)).ok_or(Refusal::NoKeyword)?;
        let longest = hir.properties().maximum_len().unwrap_or(usize::MAX);
        let shortest = hir.properties().minimum_len().unwrap_or(0);
        let sees_line = allowlists.iter().any(|allowlist| allowlist.sees_line());
        let after = longest.min(MAX_AFTER);
        let reach = Reach {
            before: longest.min(MAX_BEFORE) as u64,
            after: after as u64,
            spread: after.min(MAX_SPREAD) as u64,
            margin: if sees_line { LINE as u64 } else { 1 },
        };
        let secret_len = (if groups == 0 { shortest } else { 1 }, longest.min(MAX_BEFORE + MAX_AFTER));
        Ok(Search { regex, group, entropy, allowlists, keywords, reach, secret_len })
    }

    /// Calls `found` with every secret of matches in `span`. Bytes of the text outside of it are seen by `\b`, `^`, `$`
    /// and by allowlists that look at lines.
    pub(crate) fn find(&self, text: &[u8], span: Range<usize>, mut found: impl FnMut(Range<usize>)) {
        for captures in self.regex.captures_iter(Input::new(text).span(span)) {
            let Some(matched) = captures.get_match() else { continue };
            let matched = trimmed(text, matched.range());
            let Some(secret) = self.secret(&captures, &matched) else { continue };
            if !self.is_allowed(text, &matched, &secret) {
                found(secret);
            }
        }
    }

    /// Not empty: an empty secret is none.
    fn secret(&self, captures: &Captures, matched: &Range<usize>) -> Option<Range<usize>> {
        let group =
            |index| captures.get_group(index).map(|span| span.range()).filter(|span| !span.is_empty());
        match self.group {
            Some(index) => group(index),
            None => (1..captures.group_len())
                .find_map(group)
                .or_else(|| Some(matched.clone()).filter(|span| !span.is_empty())),
        }
    }

    fn is_allowed(&self, text: &[u8], matched: &Range<usize>, secret: &Range<usize>) -> bool {
        let bytes = |span: &Range<usize>| text.get(span.clone()).unwrap_or_default();
        if self.entropy != 0.0 && entropy(bytes(secret)) <= self.entropy {
            return true;
        }
        let line = if self.reach.margin > 1 { line(text, matched) } else { 0..0 };
        let sight = Sight { secret: bytes(secret), matched: bytes(matched), line: bytes(&line) };
        self.allowlists.iter().any(|allowlist| allowlist.allows(&sight))
    }

    /// Bytes it takes, without what searching needs and without allowlists, which rules share.
    pub(crate) fn memory(&self) -> usize {
        self.regex.memory_usage()
    }
}

/// gitleaks takes line breaks off both ends of a match.
fn trimmed(text: &[u8], span: Range<usize>) -> Range<usize> {
    let bytes = text.get(span.clone()).unwrap_or_default();
    let breaks = |byte: &&u8| **byte == b'\n';
    let before = bytes.iter().take_while(breaks).count();
    let after = bytes.iter().skip(before).rev().take_while(breaks).count();
    span.start + before..span.end - after
}

/// The lines a match stands on, without their line break, and at most [`LINE`] bytes on either side: a stream may
/// have no line breaks at all.
fn line(text: &[u8], matched: &Range<usize>) -> Range<usize> {
    let before = text.get(matched.start.saturating_sub(LINE)..matched.start).unwrap_or_default();
    let after = text.get(matched.end..text.len().min(matched.end + LINE)).unwrap_or_default();
    let start = before.iter().rev().take_while(|byte| **byte != b'\n').count();
    let end = after.iter().take_while(|byte| **byte != b'\n').count();
    matched.start - start..matched.end + end
}

/// Shannon entropy in bits per byte. gitleaks counts characters and divides by bytes; for ASCII that is the same.
fn entropy(secret: &[u8]) -> f64 {
    let mut counts = [0u32; 256];
    for &byte in secret {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let len = secret.len() as f64;
    let share = |count: &u32| f64::from(*count) / len;
    -counts.iter().filter(|count| **count > 0).map(share).map(|share| share * share.log2()).sum::<f64>()
}

#[cfg(test)]
mod tests;
