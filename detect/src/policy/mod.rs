//! What a secret on its way out means: a pure function of (secret, where in the message, destination, who, when).
//!
//! [`judge`] compares a [`Sighting`] with where the key belongs (`docs/rules.md`, `home` and `usual`), with what
//! kind of place the destination is (`data/destinations.toml`), and with what the user says (`docs/policy.md`).

mod destinations;
mod entry;
mod error;
mod file;
mod glob;
mod hosts;
mod permits;
mod sighting;

pub use destinations::{Category, Destinations};
pub use error::{PolicyError, Problem};
pub use permits::{Permits, REFUSED_FROM};
pub use sighting::{Destination, Direction, Process, Sighting};

use crate::rules::{Rule, RuleSet, Severity, is_home, is_usual};
use entry::Entry;
use hosts::Hosts;
use jiff::Timestamp;
use std::collections::HashMap;

/// What is done about a secret that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// It may go there; noted, no alarm.
    Allow,
    /// It is reported.
    Observe,
    /// It is refused. Whoever only detects reports it.
    Block,
    /// It is counted and nothing else.
    Ignore,
}

impl Action {
    /// Lets something pass that might be a leak: has to be sure of what it applies to.
    const fn is_lenient(self) -> bool {
        matches!(self, Self::Allow | Self::Ignore)
    }
}

/// What speaks for or against a sighting, whatever the user's policy makes of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// To its own provider, encrypted, where such a key belongs.
    Usual,
    /// Readable by everyone on the way, whoever it was for.
    InTheClear,
    /// No name is known for the destination.
    UnknownHost,
    NotHome,
    /// The connection is to the provider, the message inside names somebody else.
    HostsDisagree,
    /// To its own provider, but not where such a key belongs.
    UnusualPlace,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Usual => "usual",
            Self::InTheClear => "in-the-clear",
            Self::UnknownHost => "unknown-host",
            Self::NotHome => "not-home",
            Self::HostsDisagree => "hosts-disagree",
            Self::UnusualPlace => "unusual-place",
        })
    }
}

impl serde::Serialize for Reason {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What a sighting means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict<'p> {
    pub action: Action,
    pub reason: Reason,
    /// What kind of place it went to.
    pub category: &'p Category,
    /// The rule's, raised by one where the category makes things worse, or what the user says.
    pub severity: Severity,
    /// The entry of the user's policy that decided; none: keymoat's own judgement.
    pub by: Option<&'p str>,
}

/// What sightings are judged by.
#[derive(Clone, Debug)]
pub struct Policy {
    destinations: Destinations,
    /// Hosts at which a rule's keys are at home beside those the rule names, by the rule's id.
    home: HashMap<String, Hosts<()>>,
    /// The first that applies decides.
    entries: Vec<Entry>,
}

impl Policy {
    /// keymoat's own judgement, without entries of a user's.
    pub fn builtin() -> Result<Self, PolicyError> {
        Ok(Self { destinations: Destinations::builtin()?, home: HashMap::new(), entries: Vec::new() })
    }

    /// A policy from the text of its file; `origin` is the name that messages give it, `rules` are those in use.
    ///
    /// # Errors
    /// The first thing in the text that cannot be understood, or that no sighting could ever meet.
    pub fn from_toml(origin: &str, text: &str, rules: &RuleSet) -> Result<Self, PolicyError> {
        file::parse(origin, text, rules, Self::builtin()?)
    }

    /// Entries that no longer apply at this time, with their ends.
    pub fn expired(&self, at: Timestamp) -> impl Iterator<Item = (&str, Timestamp)> {
        self.entries.iter().filter_map(move |entry| {
            entry.expires.filter(|end| *end <= at).map(|end| (entry.name.as_str(), end))
        })
    }

    /// The same policy with the entries of another before its own: they decide first.
    pub fn preceded_by(&self, other: &Self) -> Self {
        let entries = other.entries.iter().chain(&self.entries).cloned().collect();
        Self { entries, ..self.clone() }
    }

    /// What kind of place a host is; `unknown` for one without a name, too.
    pub fn category(&self, host: Option<&str>) -> &Category {
        self.destinations.category(host)
    }

    fn is_home(&self, rule: &Rule, host: &str) -> bool {
        is_home(rule, host) || self.home.get(&rule.id).is_some_and(|hosts| hosts.contains(host))
    }
}

/// Judges a sighting.
///
/// Names are what the sender claims: nobody checks here that the address belongs to them. A program that
/// verifies certificates cannot be wrong about the name it put into the ClientHello, so that name counts; a
/// Host header counts only inside TLS and only where the ClientHello is not known (connections older than the
/// agent), and one that contradicts the ClientHello speaks against it.
pub fn judge<'p>(sighting: &Sighting<'_>, policy: &'p Policy) -> Verdict<'p> {
    let reason = reason(sighting, policy);
    let category = category(sighting, reason, policy);
    let entry = policy.entries.iter().find(|entry| entry.applies(sighting, &policy.destinations));
    let action = match entry {
        Some(entry) => entry.action,
        None if reason == Reason::Usual => Action::Allow,
        None => Action::Observe,
    };
    let worse = reason != Reason::Usual && !action.is_lenient() && category.worse;
    let own = if worse { raised(sighting.rule.severity) } else { sighting.rule.severity };
    let severity = entry.and_then(|entry| entry.severity).unwrap_or(own);
    Verdict { action, reason, category, severity, by: entry.map(|entry| entry.name.as_str()) }
}

fn reason(sighting: &Sighting<'_>, policy: &Policy) -> Reason {
    let Sighting { rule, location, destination, .. } = *sighting;
    if !sighting.encrypted {
        return Reason::InTheClear;
    }
    let Some(host) = destination.host else { return Reason::UnknownHost };
    if !policy.is_home(rule, host) {
        return Reason::NotHome;
    }
    if sighting.claimed_host.is_some_and(|claimed| !policy.is_home(rule, claimed)) {
        return Reason::HostsDisagree;
    }
    if is_usual(rule, location) { Reason::Usual } else { Reason::UnusualPlace }
}

/// Where names disagree, the one inside the message is who gets it in the end.
fn category<'p>(sighting: &Sighting<'_>, reason: Reason, policy: &'p Policy) -> &'p Category {
    let host = match reason {
        Reason::HostsDisagree => sighting.claimed_host,
        _ => sighting.destination.host,
    };
    policy.category(host)
}

/// One step worse. What is worthless by itself stays so wherever it goes.
const fn raised(severity: Severity) -> Severity {
    match severity {
        Severity::Info => Severity::Info,
        Severity::Low => Severity::Medium,
        Severity::Medium => Severity::High,
        Severity::High | Severity::Critical => Severity::Critical,
    }
}

#[cfg(test)]
mod tests;
