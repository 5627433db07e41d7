//! The policy as far as it can be said before a message is taken apart: which rules' keys are refused, and where they may go
//! all the same. This is what the kernel decides by, inside the write.
//!
//! It knows a key's rule, the name of the host, and whether the key is in the body of a request, and no more of the place in the message
//! nor the whole of the sender. So a key that goes home passes in any field of a request's head, and is judged as [`super::judge`]
//! does when it has left.

use super::{Action, Entry, Policy};
use crate::rules::{Rule, RuleSet, Severity, is_usual};
use jiff::Timestamp;
use std::collections::{BTreeMap, BTreeSet};

/// Keys of rules from this severity on are refused, unless the policy says otherwise.
pub const REFUSED_FROM: Severity = Severity::High;

/// Rules are numbered by their place in the set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permits {
    /// Rules whose keys are refused wherever they are not permitted.
    pub refused: BTreeSet<usize>,
    /// By host pattern (`docs/rules.md`, `home`): rules whose keys may go there over TLS, but not in the body of a request.
    pub hosts: BTreeMap<String, BTreeSet<usize>>,
    /// The same, in the body of a request.
    pub in_bodies: BTreeMap<String, BTreeSet<usize>>,
    /// Rules whose keys the user's policy lets pass everywhere.
    pub released: BTreeSet<usize>,
    /// Entries of the user's policy that rest on more than a rule and a host: nothing is refused or let pass because of them.
    pub beyond: BTreeSet<String>,
}

impl Policy {
    /// What this policy refuses and permits at a time.
    pub fn permits(&self, rules: &RuleSet, at: Timestamp) -> Permits {
        let mut permits = Permits::default();
        for (number, rule) in rules.rules().iter().enumerate().filter(|(_, rule)| rule.on) {
            self.permit(number, rule, at, &mut permits);
        }
        permits
    }

    fn permit(&self, number: usize, rule: &Rule, at: Timestamp, permits: &mut Permits) {
        let mut refused = rule.severity >= REFUSED_FROM;
        let mut home = true;
        let live = |entry: &&Entry| entry.expires.is_none_or(|end| at < end) && entry.keys.contain(rule);
        for entry in self.entries.iter().filter(live) {
            match (entry.reach(), entry.action) {
                (Reach::Everywhere, action) => {
                    refused = action == Action::Block;
                    if !refused {
                        permits.released.insert(number);
                    }
                    // Nothing after this entry applies, keymoat's own judgement included.
                    home = false;
                    break;
                }
                (Reach::Hosts(hosts), Action::Allow | Action::Ignore | Action::Observe) => {
                    permits.at(hosts, number, true);
                }
                (Reach::Hosts(_), Action::Block) | (Reach::Beyond, _) => {
                    permits.beyond.insert(entry.name.clone());
                }
            }
        }
        if refused {
            permits.refused.insert(number);
        }
        if home {
            let in_bodies = is_usual(rule, "body");
            permits.at(rule.home.iter().map(String::as_str), number, in_bodies);
            let named = self.home.get(&rule.id).into_iter().flat_map(|hosts| hosts.patterns());
            permits.at(named, number, in_bodies);
        }
    }
}

impl Permits {
    /// Has what one rule is permitted permitted to all that are told of its keys: of overlapping matches the kernel tells each.
    #[must_use]
    pub fn broadened(&self, told_together: &[BTreeSet<usize>]) -> Self {
        let with = |rule: &usize| told_together.get(*rule).into_iter().flatten().copied().chain([*rule]);
        let all = |hosts: &BTreeMap<String, BTreeSet<usize>>| {
            let with = |(host, rules): (&String, &BTreeSet<usize>)| {
                (host.clone(), rules.iter().flat_map(with).collect())
            };
            hosts.iter().map(with).collect()
        };
        let (hosts, in_bodies) = (all(&self.hosts), all(&self.in_bodies));
        let released: BTreeSet<usize> = self.released.iter().flat_map(with).collect();
        let refused = self.refused.difference(&released).copied().collect();
        Self { refused, hosts, in_bodies, released, beyond: self.beyond.clone() }
    }

    fn at<'a>(&mut self, patterns: impl IntoIterator<Item = &'a str>, rule: usize, in_bodies: bool) {
        for pattern in patterns {
            self.hosts.entry(pattern.to_owned()).or_default().insert(rule);
            if in_bodies {
                self.in_bodies.entry(pattern.to_owned()).or_default().insert(rule);
            }
        }
    }
}

/// What an entry's conditions other than those on the rule come to.
enum Reach<'a> {
    Everywhere,
    /// These hosts only.
    Hosts(Vec<&'a str>),
    /// More than a host's name decides.
    Beyond,
}

impl Entry {
    fn reach(&self) -> Reach<'_> {
        let named = self.targets.categories.is_none() && self.targets.networks.is_none();
        let anybody = !self.senders.has_conditions();
        if !named || !anybody || self.locations.is_some() || self.direction.is_some() {
            return Reach::Beyond;
        }
        match &self.targets.hosts {
            Some(hosts) => Reach::Hosts(hosts.patterns().collect()),
            None => Reach::Everywhere,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn permits(policy: &str) -> (RuleSet, Permits) {
        let rules = RuleSet::builtin().unwrap();
        let policy = Policy::from_toml("policy.toml", policy, &rules).unwrap();
        let permits = policy.permits(&rules, Timestamp::from_second(1_800_000_000).unwrap());
        (rules, permits)
    }

    fn number(rules: &RuleSet, id: &str) -> usize {
        rules.rules().iter().position(|rule| rule.id == id).unwrap()
    }

    #[test]
    fn by_itself_it_refuses_what_is_worth_something_away_from_home() {
        let (rules, permits) = permits("");
        let anthropic = number(&rules, "anthropic-api-key");
        assert!(permits.refused.contains(&anthropic));
        assert!(permits.hosts["*.anthropic.com"].contains(&anthropic), "{:?}", rules.rules()[anthropic].home);
        for (number, rule) in rules.rules().iter().enumerate() {
            let worth = rule.on && rule.severity >= Severity::High;
            assert_eq!(permits.refused.contains(&number), worth, "{}", rule.id);
        }
        assert!(permits.beyond.is_empty());
    }

    #[test]
    fn at_home_a_body_is_permitted_only_to_keys_that_travel_in_bodies() {
        let (rules, permits) =
            permits("[home]\nanthropic-api-key = ['a.test']\nslack-bot-token = ['a.test']\n");
        let (anthropic, slack) = (number(&rules, "anthropic-api-key"), number(&rules, "slack-bot-token"));
        assert!(!permits.in_bodies["*.anthropic.com"].contains(&anthropic));
        assert!(permits.in_bodies["slack.com"].contains(&slack));
        assert_eq!(permits.hosts["a.test"], BTreeSet::from([anthropic, slack]));
        assert_eq!(permits.in_bodies["a.test"], BTreeSet::from([slack]));
    }

    #[test]
    fn an_entry_of_rules_and_hosts_permits() {
        let (rules, permits) = permits(
            "[[entry]]\nname = 'a'\naction = 'allow'\nrule = { ids = ['anthropic-api-key'] }\n\
             destination = { hosts = ['hook.example.com'] }\n",
        );
        let anthropic = number(&rules, "anthropic-api-key");
        assert_eq!(permits.hosts["hook.example.com"], BTreeSet::from([anthropic]));
        assert_eq!(permits.in_bodies["hook.example.com"], BTreeSet::from([anthropic]));
        assert!(permits.refused.contains(&anthropic));
    }

    #[test]
    fn an_entry_of_rules_alone_decides_everywhere() {
        let entry = |action: &str, ids: &str| {
            format!("[[entry]]\nname = 'a'\naction = '{action}'\nrule = {{ ids = ['{ids}'] }}\n")
        };
        let (rules, lenient) = permits(&entry("observe", "anthropic-api-key"));
        assert!(!lenient.refused.contains(&number(&rules, "anthropic-api-key")));
        let (rules, strict) = permits(&entry("block", "anthropic-api-key"));
        let anthropic = number(&rules, "anthropic-api-key");
        assert!(strict.refused.contains(&anthropic));
        assert!(!strict.hosts.values().any(|rules| rules.contains(&anthropic)), "not even at home");
    }

    #[test]
    fn an_entry_that_needs_more_is_named_and_changes_nothing() {
        let (_, plain) = permits("");
        for condition in ["process = { uid = [0] }", "locations = ['body']", "direction = 'outbound'"] {
            let (_, permits) = permits(&format!(
                "[[entry]]\nname = 'a'\naction = 'allow'\nrule = {{ ids = ['anthropic-api-key'] }}\n{condition}\n"
            ));
            assert_eq!(permits.beyond, BTreeSet::from(["a".to_owned()]), "{condition}");
            assert_eq!((&permits.refused, &permits.hosts), (&plain.refused, &plain.hosts));
        }
    }

    #[test]
    fn what_is_told_together_is_permitted_together() {
        let hosts = BTreeMap::from([
            ("a.test".to_owned(), BTreeSet::from([0, 2])),
            ("b.test".to_owned(), BTreeSet::from([1])),
        ]);
        let permits = Permits { hosts, ..Permits::default() };
        let broadened = permits.broadened(&[BTreeSet::from([0, 3]), BTreeSet::from([1]), BTreeSet::new()]);
        assert_eq!(broadened.hosts["a.test"], BTreeSet::from([0, 2, 3]));
        assert_eq!(broadened.hosts["b.test"], BTreeSet::from([1]));
    }

    #[test]
    fn an_expired_entry_permits_nothing() {
        let (_, plain) = permits("");
        let (_, permits) = permits(
            "[[entry]]\nname = 'a'\naction = 'allow'\nexpires = 2020-01-01T00:00:00Z\n\
             rule = { ids = ['anthropic-api-key'] }\n",
        );
        assert_eq!(permits, plain);
    }
}
