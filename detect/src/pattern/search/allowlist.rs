//! What a match is not reported for: gitleaks' allowlists, as far as they look at text.

use super::compile::{self, Fault};
use aho_corasick::AhoCorasick;
use regex_automata::meta::Regex;
use regex_syntax::hir::Hir;

/// What the regexes of an allowlist look at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Target {
    #[default]
    Secret,
    Match,
    Line,
}

/// A match, as an allowlist sees it.
pub(super) struct Sight<'a> {
    pub(super) secret: &'a [u8],
    /// Without line breaks around it.
    pub(super) matched: &'a [u8],
    /// The lines the match stands on, as far as they are looked at.
    pub(super) line: &'a [u8],
}

#[derive(Debug)]
pub(crate) struct Allowlist {
    /// `AND`: regexes and stopwords must both agree.
    all: bool,
    target: Target,
    regexes: Option<Regex>,
    stopwords: Option<AhoCorasick>,
}

impl Allowlist {
    /// One without regexes and stopwords allows nothing.
    pub(crate) fn new(
        all: bool,
        target: Target,
        regexes: &[Hir],
        stopwords: &[&str],
    ) -> Result<Allowlist, Fault> {
        let regexes = (!regexes.is_empty()).then(|| compile::compile(regexes)).transpose()?;
        let stopwords = (!stopwords.is_empty())
            .then(|| AhoCorasick::builder().ascii_case_insensitive(true).build(stopwords))
            .transpose()
            .map_err(|_| Fault::TooLarge)?;
        Ok(Allowlist { all, target, regexes, stopwords })
    }

    /// Does it have to see the line?
    pub(super) fn sees_line(&self) -> bool {
        self.target == Target::Line && self.regexes.is_some()
    }

    pub(super) fn allows(&self, sight: &Sight<'_>) -> bool {
        let text = match self.target {
            Target::Secret => sight.secret,
            Target::Match => sight.matched,
            Target::Line => sight.line,
        };
        let by_regex = self.regexes.as_ref().map(|regexes| regexes.is_match(text));
        let by_word = self.stopwords.as_ref().map(|words| words.is_match(sight.secret));
        match (by_regex, by_word) {
            (Some(regex), Some(word)) if self.all => regex && word,
            (regex, word) => regex == Some(true) || word == Some(true),
        }
    }

    pub(crate) fn memory(&self) -> usize {
        self.regexes.as_ref().map_or(0, Regex::memory_usage)
            + self.stopwords.as_ref().map_or(0, AhoCorasick::memory_usage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIGHT: Sight<'_> =
        Sight { secret: b"EXAMPLEkey", matched: b"token=EXAMPLEkey;", line: b"a token=EXAMPLEkey; # test" };

    fn allows(all: bool, target: Target, regexes: &[&str], stopwords: &[&str]) -> bool {
        let regexes: Vec<Hir> = regexes.iter().map(|regex| compile::parse(regex).unwrap()).collect();
        Allowlist::new(all, target, &regexes, stopwords).unwrap().allows(&SIGHT)
    }

    #[test]
    fn regexes_look_at_their_target_only() {
        let table = [
            ("^EXAMPLE", [true, false, false]),
            ("token=", [false, true, true]),
            ("# test$", [false, false, true]),
            ("nothing", [false, false, false]),
        ];
        for (regex, expected) in table {
            for (target, expected) in [Target::Secret, Target::Match, Target::Line].into_iter().zip(expected)
            {
                assert_eq!(allows(false, target, &["never", regex], &[]), expected, "{regex} {target:?}");
            }
        }
    }

    #[test]
    fn stopwords_look_at_the_secret_in_any_case() {
        assert!(allows(false, Target::Secret, &[], &["never", "Example"]));
        assert!(!allows(false, Target::Line, &[], &["token"]), "the word is beside the secret");
    }

    #[test]
    fn and_needs_both_or_needs_one() {
        for (regex, word, and, or) in [
            ("EXAMPLE", "key", true, true),
            ("EXAMPLE", "no", false, true),
            ("no", "key", false, true),
            ("no", "no", false, false),
        ] {
            assert_eq!(allows(true, Target::Secret, &[regex], &[word]), and);
            assert_eq!(allows(false, Target::Secret, &[regex], &[word]), or);
        }
        assert!(allows(true, Target::Secret, &["EXAMPLE"], &[]), "AND over one list is that list");
        assert!(!allows(true, Target::Secret, &[], &[]), "nothing allows nothing");
    }
}
