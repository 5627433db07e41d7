//! What kind of place a host is: `data/destinations.toml`, looked up by name.

use super::error::{PolicyError, Problem};
use super::hosts::Hosts;
use crate::rules::home::is_host_pattern;
use serde::Deserialize;
use std::collections::BTreeMap;
use toml::Spanned;

const ORIGIN: &str = "data/destinations.toml";
static BUILTIN: &str = include_str!("../../data/destinations.toml");
/// What a host is that stands in no category.
const UNKNOWN: &str = "unknown";

/// A kind of destination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Category {
    /// `llm`, `paste`, …, or `unknown`.
    pub name: String,
    /// What it means that a secret went there, for people; empty where there is nothing to say.
    pub why: String,
    /// A secret that goes there is worse off than elsewhere.
    pub worse: bool,
}

/// Hosts by category.
#[derive(Clone, Debug)]
pub struct Destinations {
    categories: Vec<Category>,
    /// Index into `categories`.
    hosts: Hosts<usize>,
    unknown: Category,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    why: String,
    #[serde(default)]
    worse: bool,
    hosts: Vec<Spanned<String>>,
}

impl Destinations {
    /// The hosts keymoat knows.
    pub fn builtin() -> Result<Self, PolicyError> {
        Self::parse(ORIGIN, BUILTIN)
    }

    fn parse(origin: &str, text: &str) -> Result<Self, PolicyError> {
        let error = |offset, problem| PolicyError::at(origin, text, offset, problem);
        let file: BTreeMap<String, Entry> = toml::from_str(text).map_err(|e| {
            let offset = e.span().map_or(0, |span| span.start);
            error(offset, Problem::Syntax(e.message().replace('\n', "; ")))
        })?;
        let (mut categories, mut hosts) = (Vec::new(), Hosts::default());
        for (index, (name, entry)) in file.into_iter().enumerate() {
            for pattern in entry.hosts {
                let (at, pattern) = (pattern.span().start, pattern.into_inner());
                if !is_host_pattern(&pattern) {
                    return Err(error(at, Problem::BadHost(pattern)));
                }
                if hosts.insert(&pattern, index).is_err() {
                    return Err(error(at, Problem::DuplicateHost(pattern)));
                }
            }
            categories.push(Category { name, why: entry.why, worse: entry.worse });
        }
        let unknown = Category { name: UNKNOWN.to_owned(), why: String::new(), worse: false };
        Ok(Self { categories, hosts, unknown })
    }

    /// The category of a host; `unknown` for one without a name, too.
    pub fn category(&self, host: Option<&str>) -> &Category {
        let index = host.and_then(|host| self.hosts.get(host));
        index.and_then(|index| self.categories.get(*index)).unwrap_or(&self.unknown)
    }

    /// All names a category can have.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.categories.iter().chain([&self.unknown]).map(|category| category.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_have_the_category_that_fits_best() {
        let known = Destinations::builtin().unwrap();
        for (host, category) in [
            ("api.anthropic.com", "llm"),
            ("API.OpenAI.com:443", "llm"),
            ("bedrock-runtime.eu-west-1.amazonaws.com", "llm"),
            ("my-own.openai.azure.com", "llm"),
            ("github.com", "code-host"),
            ("gist.github.com", "paste"),
            ("pastebin.com", "paste"),
            ("webhook.site", "webhook-catcher"),
            ("eo1abc.m.pipedream.net", "webhook-catcher"),
            ("x.requestcatcher.com", "webhook-catcher"),
            ("discord.com", "chat"),
            ("hooks.slack.com", "chat"),
            ("api.telegram.org", "chat"),
            ("acme.webhook.office.com", "chat"),
            ("1a2b.ngrok-free.app", "tunnel"),
            ("x-y-z.trycloudflare.com", "tunnel"),
            ("transfer.sh", "file-share"),
            ("files.catbox.moe", "file-share"),
            ("bucket.s3.eu-west-1.amazonaws.com", "cloud-storage"),
            ("storage.googleapis.com", "cloud-storage"),
            ("registry.npmjs.org", "package-registry"),
            ("o123.ingest.us.sentry.io", "telemetry"),
        ] {
            assert_eq!(known.category(Some(host)).name, category, "{host}");
        }
    }

    #[test]
    fn what_only_looks_like_a_known_host_is_unknown() {
        let known = Destinations::builtin().unwrap();
        assert_eq!(known.category(None).name, "unknown");
        for host in [
            "",
            "192.0.2.7",
            "notpastebin.com",
            "pastebin.com.evil.example",
            "evilwebhook.site",
            "api.anthropic.com.evil.example",
            "ec2.eu-west-1.amazonaws.com",
            "compute.googleapis.com",
            "example.com",
        ] {
            assert_eq!(known.category(Some(host)).name, "unknown", "{host}");
        }
    }

    #[test]
    fn the_data_covers_every_category_and_says_why() {
        let known = Destinations::builtin().unwrap();
        let names: Vec<&str> = known.names().collect();
        let expected = [
            "chat",
            "cloud-storage",
            "code-host",
            "file-share",
            "llm",
            "package-registry",
            "paste",
            "telemetry",
            "tunnel",
            "webhook-catcher",
            "unknown",
        ];
        assert_eq!(names, expected);
        for category in &known.categories {
            assert!(category.why.len() > 40 && category.why.ends_with('.'), "{}", category.name);
        }
        let worse: Vec<&str> = known.categories.iter().filter(|c| c.worse).map(|c| c.name.as_str()).collect();
        assert_eq!(worse, ["file-share", "paste", "tunnel", "webhook-catcher"]);
        let file: BTreeMap<String, Entry> = toml::from_str(BUILTIN).unwrap();
        assert!(file.values().map(|entry| entry.hosts.len()).sum::<usize>() >= 250);
    }

    #[test]
    fn a_host_stands_in_one_category_and_reaches_no_further_than_its_owner() {
        let parse = |text: &str| Destinations::parse("d.toml", text).unwrap_err().to_string();
        let twice = "[a]\nwhy = ''\nhosts = ['x.example']\n[b]\nwhy = ''\nhosts = ['x.example']\n";
        assert!(
            parse(twice).starts_with("d.toml:6:10: the host `x.example` stands in two"),
            "{}",
            parse(twice)
        );
        assert!(
            parse("[a]\nwhy = ''\nhosts = ['*.com']\n").starts_with("d.toml:3:10: `*.com` is not a host")
        );
        assert!(parse("[a]\nhosts = []\n").contains("missing field `why`"));
    }
}
