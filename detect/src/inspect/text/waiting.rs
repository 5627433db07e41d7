//! Sights that wait until it is certain that nothing better is found where they stand.
//!
//! What was found behind escapes is certain at once. What was found as it stands waits while escapes are about,
//! and what was found inside a run waits until the text around it is decided.

use super::{Path, Sight};
use crate::rules::RuleSet;
use crate::{Assessment, Suppressed};
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
    taken: Vec<Claim>,
}

/// A stretch of the text that something was found in.
#[derive(Clone, Debug)]
struct Claim {
    span: Range<u64>,
    suppressed: bool,
    /// Registered values and what rules describe do not hide each other.
    registered: bool,
}

struct Held {
    inside_run: bool,
    claim: Claim,
    secret: Zeroizing<Vec<u8>>,
    assessment: Result<Assessment, Suppressed>,
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
        self.held.iter().map(|held| held.claim.span.start).min()
    }

    /// Found as it stands. `wait`: something behind escapes may turn out to lie there.
    pub(super) fn raw(&mut self, sight: Sight<'_>, wait: bool, found: &mut dyn FnMut(Sight<'_>)) {
        let claim = Claim::of(&sight);
        if self.is_taken(&claim) {
            return;
        }
        if wait {
            self.hold(sight, false, found);
        } else {
            self.take(claim);
            found(sight);
        }
    }

    /// Found behind escapes.
    pub(super) fn escaped(&mut self, sight: Sight<'_>, found: &mut dyn FnMut(Sight<'_>)) {
        let claim = Claim::of(&sight);
        self.held.retain(|held| !claim.hides(&held.claim));
        self.take(claim);
        found(sight);
    }

    /// Found inside a run. Whatever ends at `decided` or before is decided.
    pub(super) fn inside(&mut self, sight: Sight<'_>, decided: u64, found: &mut dyn FnMut(Sight<'_>)) {
        let claim = Claim::of(&sight);
        if self.is_taken(&claim) {
            return;
        }
        if claim.span.end <= decided && !self.raw_waits_in(&claim) {
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
                    && held.claim.span.end <= decided
                    && !(inside_run && self.raw_waits_in(&held.claim));
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
        self.taken.retain(|claim| claim.span.end > place);
    }

    fn hold(&mut self, sight: Sight<'_>, inside_run: bool, found: &mut dyn FnMut(Sight<'_>)) {
        if self.held.len() == MOST {
            self.report(0, found);
        }
        let claim = Claim::of(&sight);
        let Sight { rule, secret, assessment, wrapped, rules, .. } = sight;
        let Some(rule) = rules.rules().iter().position(|other| std::ptr::eq(other, rule)) else { return };
        let wrapped = Path::default().then(wrapped.iter().copied());
        let (secret, rules) = (Zeroizing::new(secret.to_vec()), Arc::clone(rules));
        let assessment = assessment.clone();
        self.held.push(Held { inside_run, claim, secret, assessment, wrapped, rules, rule });
    }

    fn report(&mut self, at: usize, found: &mut dyn FnMut(Sight<'_>)) {
        let Held { inside_run, claim, secret, assessment, wrapped, rules, rule } = self.held.remove(at);
        if self.is_taken(&claim) {
            return;
        }
        let span = claim.span.clone();
        if !inside_run {
            self.take(claim);
        }
        if let Some(rule) = rules.rules().get(rule) {
            wrapped.with(|wrapped| {
                found(Sight { rule, secret: &secret, assessment: &assessment, span, wrapped, rules: &rules });
            });
        }
    }

    fn take(&mut self, claim: Claim) {
        if self.taken.len() == MOST_TAKEN {
            self.taken.remove(0);
        }
        self.taken.push(claim);
    }

    fn is_taken(&self, claim: &Claim) -> bool {
        self.taken.iter().any(|taken| taken.hides(claim))
    }

    fn raw_waits_in(&self, claim: &Claim) -> bool {
        self.held.iter().any(|held| !held.inside_run && held.claim.hides(claim))
    }
}

impl Claim {
    fn of(sight: &Sight<'_>) -> Claim {
        Claim {
            span: sight.span.clone(),
            suppressed: sight.assessment.is_err(),
            registered: sight.rule.is_registered(),
        }
    }

    /// Where both are, is only this one to be reported? What is no finding hides none.
    fn hides(&self, other: &Claim) -> bool {
        let overlap = self.span.start < other.span.end && other.span.start < self.span.end;
        overlap && self.registered == other.registered && (other.suppressed || !self.suppressed)
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Waiting").field("held", &self.held.len()).field("taken", &self.taken.len()).finish()
    }
}
