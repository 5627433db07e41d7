//! What the kernel decides by: which rules' keys are refused, and which may go where.

use crate::kernel::numbers::Numbers;
use crate::loader::LoadError;
use aya::maps::lpm_trie::Key;
use aya::maps::{Array, LpmTrie, MapData, MapError};
use keymoat_abi::enforce::{HOST_BYTES, HostKey, Permitted, RuleBits, UNJUDGED};
use keymoat_detect::policy::Permits;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

type Name = [u8; HOST_BYTES];

/// The maps, and what was written there.
pub struct Verdicts {
    refused: Array<MapData, RuleBits>,
    permitted: LpmTrie<MapData, Name, Permitted>,
    written: BTreeMap<(u32, Name), Permitted>,
    numbers: Arc<Numbers>,
    strict: bool,
}

impl Verdicts {
    /// # Errors
    /// [`LoadError::Map`] when what an agent before this one wrote cannot be read.
    pub fn new(
        refused: Array<MapData, RuleBits>,
        permitted: LpmTrie<MapData, Name, Permitted>,
        numbers: Arc<Numbers>,
        strict: bool,
    ) -> Result<Self, LoadError> {
        let entry = |entry: Result<(Key<Name>, Permitted), MapError>| {
            entry.map(|(key, rules)| ((key.prefix_len(), key.data()), rules))
        };
        let written = permitted.iter().map(entry).collect::<Result<_, _>>();
        let written = written.map_err(|error| LoadError::Map { name: "PERMITTED", error })?;
        Ok(Self { refused, permitted, written, numbers, strict })
    }

    /// What is said from now on is said of rules with these numbers.
    pub fn renumber(&mut self, numbers: Arc<Numbers>) {
        self.numbers = numbers;
    }

    /// Has the kernel decide by `permits` from now on. Each write is judged by the old or by the new word on its destination.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses a value.
    pub fn apply(&mut self, permits: &Permits) -> Result<(), LoadError> {
        let wanted = places(permits, &self.numbers);
        let failed = |error: MapError| LoadError::Map { name: "PERMITTED", error };
        for (&(bits, name), rules) in &wanted {
            if self.written.get(&(bits, name)) != Some(rules) {
                self.permitted.insert(&Key::new(bits, name), rules, 0).map_err(failed)?;
            }
        }
        for &(bits, name) in self.written.keys().filter(|place| !wanted.contains_key(*place)) {
            self.permitted.remove(&Key::new(bits, name)).map_err(failed)?;
        }
        self.written = wanted;
        let mut refused = bits(&permits.refused, &self.numbers);
        if self.strict {
            refused.insert(UNJUDGED);
        }
        self.refused.set(0, refused, 0).map_err(|error| LoadError::Map { name: "REFUSED", error })
    }
}

fn bits(rules: &BTreeSet<usize>, numbers: &Numbers) -> RuleBits {
    let mut bits = RuleBits::default();
    rules.iter().filter_map(|&place| numbers.number(place)).for_each(|rule| bits.insert(rule));
    bits
}

/// By place: the rules permitted there. The map gives the longest place that a name lies in, so a place has all that the places
/// around it have.
fn places(permits: &Permits, numbers: &Numbers) -> BTreeMap<(u32, Name), Permitted> {
    let mut own: BTreeMap<(u32, Name), Permitted> = BTreeMap::new();
    let mut add = |pattern: &str, permitted: Permitted| {
        let key = place(pattern);
        own.entry((key.bits, key.name)).or_default().extend(&permitted);
    };
    for (pattern, rules) in &permits.hosts {
        add(pattern, Permitted { elsewhere: bits(rules, numbers), ..Permitted::default() });
    }
    for (pattern, rules) in &permits.in_bodies {
        add(pattern, Permitted { in_body: bits(rules, numbers), ..Permitted::default() });
    }
    let within = |inner: &(u32, Name), outer: &(u32, Name)| {
        let bytes = (outer.0 / 8) as usize;
        outer.0 < inner.0 && inner.1.get(..bytes) == outer.1.get(..bytes)
    };
    let with_outer = |(inner, permitted): (&(u32, Name), &Permitted)| {
        let mut all = *permitted;
        own.iter().filter(|(outer, _)| within(inner, outer)).for_each(|(_, permitted)| all.extend(permitted));
        (*inner, all)
    };
    own.iter().map(with_outer).collect()
}

/// Where a host pattern applies. A `*` that is not in front is more than the map can tell apart: there, everything counts below
/// the labels behind it. What passes because of that is found when it has left.
fn place(pattern: &str) -> HostKey {
    match pattern.rsplit_once('*') {
        None => HostKey::of(pattern),
        Some((_, rest)) => HostKey::below(rest.split_once('.').map_or(rest, |(_, domain)| domain)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(numbers: &[usize]) -> BTreeSet<usize> {
        numbers.iter().copied().collect()
    }

    /// As the kernel looks it up.
    fn permitted(hosts: &[(&str, &[usize])], name: &str) -> Vec<u16> {
        let hosts = hosts.iter().map(|(host, list)| ((*host).to_owned(), rules(list))).collect();
        let permits = Permits { hosts, ..Permits::default() };
        let places = places(&permits, &Numbers::by_place(8));
        let name = HostKey::of(name);
        let fits = |(bits, place): &&(u32, Name)| {
            let bytes = (*bits / 8) as usize;
            *bits <= name.bits && name.name[..bytes] == place[..bytes]
        };
        let longest = places.keys().filter(fits).max_by_key(|(bits, _)| *bits);
        let found = longest.map(|place| places[place]).unwrap_or_default();
        (0..1024).filter(|rule| found.contains(*rule, false)).collect()
    }

    #[test]
    fn a_name_has_what_the_places_around_it_have() {
        let hosts: &[(&str, &[usize])] =
            &[("*.example.com", &[1]), ("api.example.com", &[2]), ("*.api.example.com", &[3])];
        assert_eq!(permitted(hosts, "www.example.com"), [1]);
        assert_eq!(permitted(hosts, "api.example.com"), [1, 2]);
        assert_eq!(permitted(hosts, "eu.api.example.com"), [1, 3]);
        assert_eq!(permitted(hosts, "example.com"), [] as [u16; 0]);
        assert_eq!(permitted(hosts, "api.example.com.evil.test"), [] as [u16; 0]);
        assert_eq!(permitted(hosts, "notexample.com"), [] as [u16; 0]);
    }

    #[test]
    fn what_is_permitted_in_bodies_is_kept_apart() {
        let permits = Permits {
            hosts: BTreeMap::from([("*.example.com".to_owned(), rules(&[1, 2]))]),
            in_bodies: BTreeMap::from([("*.example.com".to_owned(), rules(&[2]))]),
            ..Permits::default()
        };
        let places = places(&permits, &Numbers::by_place(8));
        let [permitted] = places.values().copied().collect::<Vec<_>>()[..] else { panic!("one place") };
        let of = |in_body| (0..8).filter(|rule| permitted.contains(*rule, in_body)).collect::<Vec<_>>();
        assert_eq!((of(false), of(true)), (vec![1, 2], vec![2]));
    }

    #[test]
    fn a_star_inside_stands_for_everything_below_what_follows() {
        let hosts: &[(&str, &[usize])] = &[("bedrock*.*.amazonaws.com", &[7])];
        assert_eq!(permitted(hosts, "bedrock-runtime.eu-west-1.amazonaws.com"), [7]);
        assert_eq!(permitted(hosts, "amazonaws.com"), [] as [u16; 0]);
    }
}
