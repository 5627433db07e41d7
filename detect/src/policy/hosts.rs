//! A table of host patterns in which a lookup costs as many steps as the host has labels, however many patterns
//! there are. Patterns are those of rules (`docs/rules.md`, `home`).

use crate::rules::home::{bare, host_matches};
use std::collections::HashMap;

/// Longest name DNS has (RFC 1035, section 2.3.4). What is longer is no host.
const MAX_NAME: usize = 253;

/// Host patterns, each with a value.
#[derive(Clone, Debug)]
pub struct Hosts<T> {
    /// By the labels behind a pattern's last `*`; for `*.eu.example.com` these are `eu.example.com`.
    by_tail: HashMap<String, Vec<(String, T)>>,
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { by_tail: HashMap::new() }
    }
}

impl<T> Hosts<T> {
    /// Gives the value back if the pattern is there already.
    pub fn insert(&mut self, pattern: &str, value: T) -> Result<(), T> {
        let patterns = self.by_tail.entry(tail(pattern).to_owned()).or_default();
        if patterns.iter().any(|(other, _)| other == pattern) {
            return Err(value);
        }
        patterns.push((pattern.to_owned(), value));
        Ok(())
    }

    /// The value of the pattern that says most about this host. `host` may carry a port or a final dot.
    pub fn get(&self, host: &str) -> Option<&T> {
        let host = bare(host);
        if host.len() > MAX_NAME {
            return None;
        }
        let host = host.to_ascii_lowercase();
        let below = host.match_indices('.').filter_map(|(dot, _)| host.get(dot + 1..));
        std::iter::once(host.as_str()).chain(below).find_map(|tail| {
            let mut fitting =
                self.by_tail.get(tail)?.iter().filter(|(pattern, _)| host_matches(pattern, &host));
            fitting.next().map(|(_, value)| value)
        })
    }

    pub fn patterns(&self) -> impl Iterator<Item = &str> {
        self.by_tail.values().flatten().map(|(pattern, _)| pattern.as_str())
    }

    pub fn contains(&self, host: &str) -> bool {
        self.get(host).is_some()
    }
}

/// The labels behind the last one that is not literal.
fn tail(pattern: &str) -> &str {
    let Some((_, rest)) = pattern.rsplit_once('*') else { return pattern };
    rest.split_once('.').map_or(rest, |(_, tail)| tail)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(patterns: &[&'static str]) -> Hosts<&'static str> {
        let mut hosts = Hosts::default();
        for pattern in patterns {
            hosts.insert(pattern, *pattern).unwrap();
        }
        hosts
    }

    #[test]
    fn the_pattern_that_says_most_wins() {
        let hosts = table(&["*.github.com", "github.com", "gist.github.com", "bedrock*.*.amazonaws.com"]);
        for (host, pattern) in [
            ("github.com", "github.com"),
            ("API.GitHub.com:443", "*.github.com"),
            ("gist.github.com.", "gist.github.com"),
            ("x.gist.github.com", "*.github.com"),
            ("bedrock-runtime.eu-west-1.amazonaws.com", "bedrock*.*.amazonaws.com"),
        ] {
            assert_eq!(hosts.get(host), Some(&pattern), "{host}");
        }
        for host in [
            "",
            ".",
            "com",
            "notgithub.com",
            "github.com.evil.example",
            "s3.eu-west-1.amazonaws.com",
            "a.amazonaws.com",
        ] {
            assert_eq!(hosts.get(host), None, "{host}");
        }
    }

    #[test]
    fn a_pattern_is_there_once_and_no_name_is_too_long() {
        let mut hosts = table(&["*.example.com"]);
        assert!(hosts.insert("*.example.com", "again").is_err());
        assert!(hosts.contains(&format!("{}example.com", "a.".repeat(121))));
        assert!(!hosts.contains(&format!("{}example.com", "a.".repeat(122))));
    }
}
