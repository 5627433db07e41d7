//! Sights that wait until it is certain that nothing better is found where they stand.
//!
//! What was found behind escapes is certain at once. What was found as it stands waits while escapes are about,
//! and what was found inside a run waits until the text around it is decided.

use super::{Path, Sight};
use crate::rules::RuleSet;
use std::ops::Range;
use std::sync::Arc;
use zeroize::Zeroizing;

/// Most sights that wait. One more, and the first is reported as it is.
const MOST: usize = 256;
/// Most spans remembered as taken.
const MOST_TAKEN: usize = 1024;

#[derive(Default)]
pub(super) struct Waiting {
    held: Vec<Held>,
    /// What was reported as it stands or behind escapes, as far as something inside a run may still lie there.
    taken: Vec<Range<u64>>,
}

struct Held {
    inside_run: bool,
    span: Range<u64>,
    secret: Zeroizing<Vec<u8>>,
    wrapped: Path,
    rules: Arc<RuleSet>,
    /// Of the rule in `rules`.
    rule: usize,
}

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.held.is_empty()
    }

    /// Where the first sight that waits begins.
    pub(super) fn first(&self) -> Option<u64> {
        self.held.iter().map(|held| held.span.start).min()
    }

    /// Found as it stands. `wait`: something behind escapes may turn out to lie there.
    pub(super) fn raw(&mut self, sight: Sight<'_>, wait: bool, found: &mut dyn FnMut(Sight<'_>)) {
        if self.is_taken(&sight.span) {
            return;
        }
        if wait {
            self.hold(sight, false, found);
        } else {
            self.take(sight.span.clone());
            found(sight);
        }
    }

    /// Found behind escapes.
    pub(super) fn escaped(&mut self, sight: Sight<'_>, found: &mut dyn FnMut(Sight<'_>)) {
        self.held.retain(|held| !overlap(&held.span, &sight.span));
        self.take(sight.span.clone());
        found(sight);
    }

    /// Found inside a run. Whatever ends at `decided` or before is decided.
    pub(super) fn inside(&mut self, sight: Sight<'_>, decided: u64, found: &mut dyn FnMut(Sight<'_>)) {
        if self.is_taken(&sight.span) {
            return;
        }
        if sight.span.end <= decided && !self.raw_waits_in(&sight.span) {
            found(sight);
        } else {
            self.hold(sight, true, found);
        }
    }

    /// Nothing more will be found that begins before `decided`, other than inside runs.
    pub(super) fn decided(&mut self, decided: u64, found: &mut dyn FnMut(Sight<'_>)) {
        for inside_run in [false, true] {
            let mut at = 0;
            while let Some(held) = self.held.get(at) {
                let ready = held.inside_run == inside_run
                    && held.span.end <= decided
                    && !(inside_run && self.raw_waits_in(&held.span));
                if ready {
                    self.report(at, found);
                } else {
                    at += 1;
                }
            }
        }
    }

    /// Nothing to come lies before this place.
    pub(super) fn forget_before(&mut self, place: u64) {
        self.taken.retain(|span| span.end > place);
    }

    fn hold(&mut self, sight: Sight<'_>, inside_run: bool, found: &mut dyn FnMut(Sight<'_>)) {
        if self.held.len() == MOST {
            self.report(0, found);
        }
        let Sight { rule, secret, span, wrapped, rules } = sight;
        let Some(rule) = rules.rules().iter().position(|other| std::ptr::eq(other, rule)) else { return };
        let wrapped = Path::default().then(wrapped.iter().copied());
        let (secret, rules) = (Zeroizing::new(secret.to_vec()), Arc::clone(rules));
        self.held.push(Held { inside_run, span, secret, wrapped, rules, rule });
    }

    fn report(&mut self, at: usize, found: &mut dyn FnMut(Sight<'_>)) {
        let Held { inside_run, span, secret, wrapped, rules, rule } = self.held.remove(at);
        if self.is_taken(&span) {
            return;
        }
        if !inside_run {
            self.take(span.clone());
        }
        if let Some(rule) = rules.rules().get(rule) {
            wrapped.with(|wrapped| found(Sight { rule, secret: &secret, span, wrapped, rules: &rules }));
        }
    }

    fn take(&mut self, span: Range<u64>) {
        if self.taken.len() == MOST_TAKEN {
            self.taken.remove(0);
        }
        self.taken.push(span);
    }

    fn is_taken(&self, span: &Range<u64>) -> bool {
        self.taken.iter().any(|taken| overlap(taken, span))
    }

    fn raw_waits_in(&self, span: &Range<u64>) -> bool {
        self.held.iter().any(|held| !held.inside_run && overlap(&held.span, span))
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("held", &self.held.len()).field("taken", &self.taken.len()).finish()
    }
}

fn overlap(one: &Range<u64>, other: &Range<u64>) -> bool {
    one.start < other.end && other.start < one.end
}
