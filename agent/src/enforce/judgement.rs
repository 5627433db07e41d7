//! What a sighting means while the agent runs: the policy, and what the kernel refuses by it. Both change together.

use super::{Method, exceptions};
use crate::record::Action;
use keymoat_detect::policy::{self, Permits, Policy};
use keymoat_detect::{Grade, RuleSet};
use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

/// Shared between who judges and who changes the policy.
#[derive(Clone)]
pub struct Judge {
    current: Arc<RwLock<Arc<Judgement>>>,
    /// Names of exceptions for one time that let something pass.
    used: Arc<Mutex<Vec<String>>>,
}

pub struct Judgement {
    pub policy: Policy,
    /// Ids of the rules whose keys are refused; none while the agent only detects.
    refused: HashSet<String>,
}

impl Judge {
    /// One that refuses nothing.
    pub fn detecting(policy: Policy) -> Self {
        Self::new(Judgement::detecting(policy))
    }

    pub fn new(judgement: Judgement) -> Self {
        Self { current: Arc::new(RwLock::new(Arc::new(judgement))), used: Arc::default() }
    }

    /// A panic elsewhere while the lock was held leaves it usable: it is only ever replaced.
    pub fn current(&self) -> Arc<Judgement> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// This entry of the policy let something pass.
    pub fn passed_by(&self, entry: &str) {
        if exceptions::is_for_once(entry) {
            self.used.lock().unwrap_or_else(PoisonError::into_inner).push(entry.to_owned());
        }
    }

    /// Exceptions for one time that let something pass since this was last asked.
    pub fn take_used(&self) -> Vec<String> {
        std::mem::take(&mut self.used.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub fn replace(&self, judgement: Judgement) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(judgement);
    }
}

impl Judgement {
    /// Nothing is refused.
    pub fn detecting(policy: Policy) -> Self {
        Self { policy, refused: HashSet::new() }
    }

    /// `grades`: which rules the kernel decides, by place in the set.
    pub fn blocking(policy: Policy, permits: &Permits, rules: &RuleSet, grades: &[Grade]) -> Self {
        let decided = |number: &&usize| grades.get(**number) == Some(&Grade::Kernel);
        let numbers = permits.refused.iter().filter(decided);
        let refused =
            numbers.filter_map(|&number| rules.rules().get(number)).map(|rule| rule.id.clone()).collect();
        Self { policy, refused }
    }

    /// What became of a secret that the policy judges so. None: it is not reported.
    ///
    /// A key that should have been refused and was not (because it was encoded, compressed, or cut in a way that the kernel
    /// does not undo) is late: it was found when its bytes were gone.
    pub fn outcome(&self, rule: &str, judged: policy::Action, refused: Option<Method>) -> Option<Action> {
        match judged {
            _ if refused.is_some() => Some(Action::Blocked),
            policy::Action::Block if !self.refused.is_empty() => Some(Action::Late),
            policy::Action::Observe if self.refused.contains(rule) => Some(Action::Late),
            judged => Action::while_detecting(judged),
        }
    }
}
