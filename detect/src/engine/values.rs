//! Registered values beside the rules: each that is found is a match of one rule of the set.

use super::Match;
use super::stream::Stream;
use crate::registered::{Exact, Registry, Trail};
use crate::rules::RuleSet;
use crate::validate::{Assessment, Confidence, Fact};
use std::sync::atomic::{AtomicU64, Ordering};

/// The values, and the place of their rule in the set.
pub(super) struct Values {
    rule: usize,
    registry: Registry,
    /// Matches in the making that there was no room for.
    pub(super) given_up: AtomicU64,
}

impl Values {
    /// None if there is nothing to find: no value, or a rule that is off or not in the set.
    pub(super) fn new(rules: &RuleSet, registry: Registry) -> Option<Values> {
        let rule = rules.rules().iter().position(|rule| rule.is_registered() && rule.on)?;
        (!registry.is_empty()).then_some(Values { rule, registry, given_up: AtomicU64::new(0) })
    }

    /// Goes on with a flow. `stream` is where it was before these bytes.
    pub(super) fn push(
        &self,
        rules: &RuleSet,
        stream: &mut Stream,
        bytes: &[u8],
        found: &mut dyn FnMut(Match<'_>),
    ) {
        let position = stream.position;
        let trail = stream.trail.get_or_insert_with(|| Box::new(Trail::at(position)));
        self.look(rules, trail, bytes, found);
    }

    pub(super) fn scan(&self, rules: &RuleSet, bytes: &[u8], found: &mut dyn FnMut(Match<'_>)) {
        self.look(rules, &mut Trail::default(), bytes, found);
    }

    fn look(&self, rules: &RuleSet, trail: &mut Trail, bytes: &[u8], found: &mut dyn FnMut(Match<'_>)) {
        let Some(rule) = rules.rules().get(self.rule) else { return };
        let given_up = self.registry.push(trail, bytes, &mut |exact| {
            let Exact { name, form, start, end, secret, .. } = exact;
            let assessment = Ok(Assessment {
                confidence: Confidence::High,
                reasons: vec!["it is exactly a registered value"],
                facts: vec![Fact::new("registered-as", name)],
            });
            found(Match { rule, start, end, secret, form, assessment });
        });
        self.given_up.fetch_add(given_up, Ordering::Relaxed);
    }
}
