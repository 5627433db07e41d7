//! One entry of a user's policy: what it applies to, and what it says about that.

use super::destinations::Destinations;
use super::hosts::Hosts;
use super::sighting::{Destination, Direction, Process, Sighting};
use super::{Action, glob};
use crate::location;
use crate::rules::{Rule, Severity};
use ipnet::IpNet;
use jiff::Timestamp;

/// Applies where every condition it has holds.
#[derive(Clone, Debug)]
pub struct Entry {
    pub name: String,
    pub action: Action,
    pub severity: Option<Severity>,
    /// From then on it does not apply.
    pub expires: Option<Timestamp>,
    pub targets: Targets,
    pub senders: Senders,
    pub keys: Keys,
    pub locations: Option<Vec<LocationPattern>>,
    pub direction: Option<Direction>,
}

/// Conditions on where it goes.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    pub hosts: Option<Hosts<()>>,
    pub categories: Option<Vec<String>>,
    pub networks: Option<Vec<IpNet>>,
}

/// Conditions on who sent it. All but `uids` are [globs](glob).
#[derive(Clone, Debug, Default)]
pub struct Senders {
    pub exe: Option<Vec<String>>,
    pub comm: Option<Vec<String>>,
    pub uid: Option<Vec<u32>>,
    pub container: Option<Vec<String>>,
    pub unit: Option<Vec<String>>,
}

/// Conditions on what kind of secret it is.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    pub ids: Option<Vec<String>>,
    pub vendors: Option<Vec<String>>,
    /// The rule's own severity is at least this.
    pub severity: Option<Severity>,
}

impl Entry {
    pub fn applies(&self, sighting: &Sighting<'_>, destinations: &Destinations) -> bool {
        self.expires.is_none_or(|end| sighting.at < end)
            && self.direction.is_none_or(|direction| sighting.direction == Some(direction))
            && self.keys.contain(sighting.rule)
            && self.senders.contain(&sighting.process)
            && met(&self.locations, |pattern| pattern.covers(sighting.location))
            && self.targets.named(sighting, destinations, self.action)
            && self.targets.addressed(&sighting.destination)
    }

    /// Would it apply to everything?
    pub fn is_unconditional(&self) -> bool {
        let Targets { hosts, categories, networks } = &self.targets;
        let Keys { ids, vendors, severity } = &self.keys;
        let texts = [categories, ids, vendors];
        hosts.is_none()
            && networks.is_none()
            && !self.senders.has_conditions()
            && severity.is_none()
            && texts.iter().all(|list| list.is_none())
            && self.locations.is_none()
            && self.direction.is_none()
    }
}

impl Targets {
    /// Do the names fit? What lets a secret pass must be sure: every name the traffic gives has to fit, and only names
    /// inside TLS count, since any program can write any name into a plain request. What reports or refuses one is content
    /// with any name.
    fn named(&self, sighting: &Sighting<'_>, destinations: &Destinations, action: Action) -> bool {
        if self.hosts.is_none() && self.categories.is_none() {
            return true;
        }
        let mut names = sighting.names().map(Some).peekable();
        let nameless = names.peek().is_none().then_some(None);
        let mut names = names.chain(nameless);
        let fits = |host: Option<&str>| {
            let host_fits =
                self.hosts.as_ref().is_none_or(|hosts| host.is_some_and(|host| hosts.contains(host)));
            host_fits && met(&self.categories, |name| *name == destinations.category(host).name)
        };
        if action.is_lenient() { sighting.encrypted && names.all(fits) } else { names.any(fits) }
    }

    fn addressed(&self, destination: &Destination<'_>) -> bool {
        met(&self.networks, |network| destination.ip.is_some_and(|ip| network.contains(&ip)))
    }
}

impl Senders {
    pub fn has_conditions(&self) -> bool {
        let Self { exe, comm, uid, container, unit } = self;
        uid.is_some() || [exe, comm, container, unit].into_iter().any(Option::is_some)
    }

    fn contain(&self, process: &Process<'_>) -> bool {
        fits(&self.exe, process.exe)
            && fits(&self.comm, process.comm)
            && met(&self.uid, |uid| process.uid == Some(*uid))
            && fits(&self.container, process.container)
            && fits(&self.unit, process.unit)
    }
}

impl Keys {
    pub fn contain(&self, rule: &Rule) -> bool {
        met(&self.ids, |id| *id == rule.id)
            && met(&self.vendors, |vendor| vendor.eq_ignore_ascii_case(&rule.vendor))
            && self.severity.is_none_or(|least| rule.severity >= least)
    }
}

/// A location in which `*` stands for any text within a step. It covers what lies inside the place, too: `body` is
/// also `body > gzip`.
#[derive(Clone, Debug)]
pub struct LocationPattern {
    steps: Vec<String>,
}

impl LocationPattern {
    /// None: no location can be like this.
    pub fn new(text: &str) -> Option<Self> {
        let mut steps: Vec<String> = location::steps(text).map(str::to_owned).collect();
        let place = steps.first_mut()?;
        place.make_ascii_lowercase();
        let possible = location::starts_with_place(place, glob::matches);
        let spaced = steps.iter().any(|step| step.is_empty() || step.trim() != step);
        (possible && !spaced).then_some(Self { steps })
    }

    /// Names of headers and parameters know no case; what leads into a place does.
    pub fn covers(&self, location: &str) -> bool {
        let place = location::steps(location).take(1).map(str::to_ascii_lowercase);
        let inside = location::steps(location).skip(1).map(str::to_owned);
        let mut steps = place.chain(inside);
        self.steps.iter().all(|pattern| steps.next().is_some_and(|step| glob::matches(pattern, &step)))
    }
}

/// A condition that is not there is met; a list is met by any one of its items.
fn met<T>(list: &Option<Vec<T>>, good: impl Fn(&T) -> bool) -> bool {
    list.as_ref().is_none_or(|list| list.iter().any(good))
}

fn fits(patterns: &Option<Vec<String>>, text: Option<&str>) -> bool {
    met(patterns, |pattern| text.is_some_and(|text| glob::matches(pattern, text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_pattern_covers_what_lies_inside() {
        for (pattern, location) in [
            ("body", "body"),
            ("body", "body > gzip > json:env.KEY > base64"),
            ("*", "query:key"),
            ("header:*", "header:authorization > base64"),
            ("header:X-Api-Key", "header:x-api-key"),
            ("body > json:messages*", "body > json:messages[0].content"),
            ("* > gzip", "message > gzip > json:a"),
        ] {
            assert!(LocationPattern::new(pattern).unwrap().covers(location), "{pattern} {location}");
        }
        for (pattern, location) in [
            ("body", "response-body"),
            ("header", "header:authorization"),
            ("header:authorization > base64", "header:authorization"),
            ("body > json:*", "body > gzip > json:a"),
            ("body > json:env.key", "body > json:env.KEY"),
            ("body > gzip", "body"),
        ] {
            assert!(!LocationPattern::new(pattern).unwrap().covers(location), "{pattern} {location}");
        }
        for never in ["", "bdy", "header:", "body:x", "json:a", "body>gzip", "body > ", " body"] {
            assert!(LocationPattern::new(never).is_none(), "{never:?}");
        }
    }
}
