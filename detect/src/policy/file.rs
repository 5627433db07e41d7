//! The policy file: TOML as people write it, checked field by field. `docs/policy.md` is its manual.

use super::entry::{self, Keys, LocationPattern, Senders, Targets};
use super::error::{PolicyError, Problem};
use super::hosts::Hosts;
use super::sighting::Direction;
use super::{Action, Policy};
use crate::rules::file::is_kebab;
use crate::rules::home::is_host_pattern;
use crate::rules::{RuleSet, Severity};
use ipnet::IpNet;
use jiff::Timestamp;
use serde::Deserialize;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use toml::Spanned;

type Texts = Spanned<Vec<Spanned<String>>>;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    home: BTreeMap<Spanned<String>, Texts>,
    #[serde(default, rename = "entry")]
    entries: Vec<Spanned<EntryTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryTable {
    name: Spanned<String>,
    action: Action,
    severity: Option<Severity>,
    expires: Option<Spanned<Time>>,
    destination: Option<Spanned<DestinationTable>>,
    process: Option<Spanned<ProcessTable>>,
    rule: Option<Spanned<RuleTable>>,
    locations: Option<Texts>,
    direction: Option<Direction>,
}

/// TOML has times of its own; as text they are welcome, too.
#[derive(Deserialize)]
#[serde(untagged, expecting = "expected a time such as 2027-01-31T00:00:00Z")]
enum Time {
    Native(toml::value::Datetime),
    Text(String),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationTable {
    hosts: Option<Texts>,
    categories: Option<Texts>,
    networks: Option<Texts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProcessTable {
    exe: Option<Texts>,
    comm: Option<Texts>,
    uid: Option<Spanned<Vec<u32>>>,
    container: Option<Texts>,
    unit: Option<Texts>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleTable {
    ids: Option<Texts>,
    vendors: Option<Texts>,
    severity: Option<Severity>,
}

/// The built-in policy with what the file says, or the first thing wrong with the file.
pub(super) fn parse(
    origin: &str,
    text: &str,
    rules: &RuleSet,
    mut policy: Policy,
) -> Result<Policy, PolicyError> {
    let file: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        PolicyError::at(origin, text, offset, Problem::Syntax(explain(error.message())))
    })?;
    let reader = Reader { origin, text, rules, policy: &policy };
    let home = reader.home(&file.home)?;
    let entries = reader.entries(&file.entries)?;
    policy.home = home;
    policy.entries = entries;
    Ok(policy)
}

/// The parser's message on one line, plus what to do about the mistake that is likely.
fn explain(message: &str) -> String {
    let message = message.trim_end().replace('\n', "; ");
    if message.contains("unknown field") {
        format!("{message}. Correct or remove the key; docs/policy.md lists them all")
    } else {
        message
    }
}

/// The text under check: turns offsets into places.
struct Reader<'a> {
    origin: &'a str,
    text: &'a str,
    rules: &'a RuleSet,
    policy: &'a Policy,
}

impl Reader<'_> {
    fn at<T>(&self, place: &Spanned<T>, problem: Problem) -> PolicyError {
        PolicyError::at(self.origin, self.text, place.span().start, problem)
    }

    fn home(
        &self,
        table: &BTreeMap<Spanned<String>, Texts>,
    ) -> Result<HashMap<String, Hosts<()>>, PolicyError> {
        let mut home = HashMap::new();
        for (id, hosts) in table {
            self.known_rule(id)?;
            home.insert(id.get_ref().clone(), self.hosts("home", hosts)?);
        }
        Ok(home)
    }

    fn entries(&self, tables: &[Spanned<EntryTable>]) -> Result<Vec<entry::Entry>, PolicyError> {
        let mut lines: HashMap<&str, usize> = HashMap::new();
        let mut entries = Vec::with_capacity(tables.len());
        for table in tables {
            let name = &table.get_ref().name;
            if !is_kebab(name.get_ref()) {
                return Err(self.at(name, Problem::BadName(name.get_ref().clone())));
            }
            let (line, _) = crate::error::position(self.text, name.span().start);
            if let Some(line) = lines.insert(name.get_ref(), line) {
                return Err(self.at(name, Problem::DuplicateName { name: name.get_ref().clone(), line }));
            }
            entries.push(self.entry(table)?);
        }
        Ok(entries)
    }

    fn entry(&self, spanned: &Spanned<EntryTable>) -> Result<entry::Entry, PolicyError> {
        let table = spanned.get_ref();
        let entry = entry::Entry {
            name: table.name.get_ref().clone(),
            action: table.action,
            severity: table.severity,
            expires: table.expires.as_ref().map(|time| self.time(time)).transpose()?,
            targets: table
                .destination
                .as_ref()
                .map_or(Ok(Targets::default()), |t| self.targets(t.get_ref()))?,
            senders: table.process.as_ref().map_or(Ok(Senders::default()), |t| self.senders(t.get_ref()))?,
            keys: table.rule.as_ref().map_or(Ok(Keys::default()), |t| self.keys(t))?,
            locations: self.locations(table.locations.as_ref())?,
            direction: table.direction,
        };
        if entry.is_unconditional() {
            return Err(self.at(&table.name, Problem::NoCondition));
        }
        Ok(entry)
    }

    fn time(&self, time: &Spanned<Time>) -> Result<Timestamp, PolicyError> {
        let text = match time.get_ref() {
            Time::Native(time) => time.to_string(),
            Time::Text(text) => text.clone(),
        };
        text.parse().map_err(|_| self.at(time, Problem::BadTime(text)))
    }

    fn targets(&self, table: &DestinationTable) -> Result<Targets, PolicyError> {
        Ok(Targets {
            hosts: table.hosts.as_ref().map(|list| self.hosts("hosts", list)).transpose()?,
            categories: self.each("categories", table.categories.as_ref(), |name| self.category(name))?,
            networks: self.each("networks", table.networks.as_ref(), network)?,
        })
    }

    fn senders(&self, table: &ProcessTable) -> Result<Senders, PolicyError> {
        if let Some(list) = table.uid.as_ref().filter(|list| list.get_ref().is_empty()) {
            return Err(self.at(list, Problem::Empty("uid")));
        }
        Ok(Senders {
            exe: self.each("exe", table.exe.as_ref(), |text| kept(text, is_exe, Problem::BadExe))?,
            comm: self.each("comm", table.comm.as_ref(), |text| kept(text, is_comm, Problem::BadComm))?,
            uid: table.uid.as_ref().map(|list| list.get_ref().clone()),
            container: self.each("container", table.container.as_ref(), |text| {
                kept(text, is_container, Problem::BadContainer)
            })?,
            unit: self.each("unit", table.unit.as_ref(), |text| kept(text, is_unit, Problem::BadUnit))?,
        })
    }

    fn keys(&self, spanned: &Spanned<RuleTable>) -> Result<Keys, PolicyError> {
        let table = spanned.get_ref();
        for id in table.ids.iter().flat_map(|ids| ids.get_ref()) {
            self.known_rule(id)?;
        }
        let of_vendor =
            |text: &str| self.rules.rules().iter().any(|rule| rule.vendor.eq_ignore_ascii_case(text));
        let keys = Keys {
            ids: self.each("ids", table.ids.as_ref(), |id| Ok(id.to_owned()))?,
            vendors: self.each("vendors", table.vendors.as_ref(), |vendor| {
                kept(vendor, of_vendor, Problem::UnknownVendor)
            })?,
            severity: table.severity,
        };
        if !self.rules.rules().iter().any(|rule| keys.contain(rule)) {
            return Err(self.at(spanned, Problem::NoSuchRule));
        }
        Ok(keys)
    }

    fn locations(&self, list: Option<&Texts>) -> Result<Option<Vec<LocationPattern>>, PolicyError> {
        self.each("locations", list, |text| {
            LocationPattern::new(text).ok_or_else(|| Problem::BadLocation(text.to_owned()))
        })
    }

    fn known_rule(&self, id: &Spanned<String>) -> Result<(), PolicyError> {
        match self.rules.get(id.get_ref()) {
            Some(_) => Ok(()),
            None => Err(self.at(id, Problem::UnknownRule(id.get_ref().clone()))),
        }
    }

    fn category(&self, name: &str) -> Result<String, Problem> {
        let known: Vec<&str> = self.policy.destinations.names().collect();
        if known.contains(&name) {
            return Ok(name.to_owned());
        }
        Err(Problem::UnknownCategory { name: name.to_owned(), known: known.join(", ") })
    }

    fn hosts(&self, field: &'static str, list: &Texts) -> Result<Hosts<()>, PolicyError> {
        let mut hosts = Hosts::default();
        for pattern in self
            .each(field, Some(list), |text| kept(text, is_host_pattern, Problem::BadHost))?
            .iter()
            .flatten()
        {
            // Naming one twice does no harm.
            let _ = hosts.insert(pattern, ());
        }
        Ok(hosts)
    }

    /// Every item of a list as what it stands for. A list that is there has at least one.
    fn each<T>(
        &self,
        field: &'static str,
        list: Option<&Texts>,
        read: impl Fn(&str) -> Result<T, Problem>,
    ) -> Result<Option<Vec<T>>, PolicyError> {
        let Some(list) = list else { return Ok(None) };
        if list.get_ref().is_empty() {
            return Err(self.at(list, Problem::Empty(field)));
        }
        let read = |item: &Spanned<String>| read(item.get_ref()).map_err(|problem| self.at(item, problem));
        list.get_ref().iter().map(read).collect::<Result<_, _>>().map(Some)
    }
}

fn kept(text: &str, good: impl Fn(&str) -> bool, problem: fn(String) -> Problem) -> Result<String, Problem> {
    if good(text) { Ok(text.to_owned()) } else { Err(problem(text.to_owned())) }
}

fn network(text: &str) -> Result<IpNet, Problem> {
    let bad = || Problem::BadNetwork(text.to_owned());
    let network = match text.parse::<IpNet>() {
        Ok(network) => network,
        Err(_) => IpNet::from(text.parse::<IpAddr>().map_err(|_| bad())?),
    };
    // Addresses are looked at in their shortest form: no IPv4 address is met as an IPv6 one.
    if matches!(network.addr(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()) {
        return Err(bad());
    }
    if network != network.trunc() {
        return Err(Problem::LooseNetwork { given: text.to_owned(), meant: network.trunc().to_string() });
    }
    Ok(network)
}

fn is_exe(pattern: &str) -> bool {
    pattern.starts_with(['/', '*'])
}

/// The kernel keeps 15 bytes of a thread's name (TASK_COMM_LEN).
fn is_comm(pattern: &str) -> bool {
    !pattern.is_empty() && pattern.bytes().filter(|byte| *byte != b'*').count() <= 15
}

fn is_container(pattern: &str) -> bool {
    let digits = pattern.bytes().filter(|byte| *byte != b'*');
    let count = digits.clone().count();
    let whole = count == 64 || pattern.contains('*');
    count <= 64 && whole && digits.into_iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_unit(pattern: &str) -> bool {
    pattern.ends_with(".service") || pattern.ends_with(".scope") || pattern.ends_with('*')
}
