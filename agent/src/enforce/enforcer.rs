//! Keeps what the kernel decides by in step with the policy, and with what the user allows meanwhile.

use super::exceptions::Exceptions;
use super::judgement::{Judge, Judgement};
use super::verdicts::Verdicts;
use crate::kernel::numbers::Numbers;
use crate::loader::LoadError;
use jiff::Timestamp;
use keymoat_detect::policy::{Permits, Policy};
use keymoat_detect::{Detector, Grade, KernelRules};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

pub struct Enforcer {
    verdicts: Verdicts,
    judge: Judge,
    detector: Arc<Detector>,
    grades: Vec<Grade>,
    /// By rule: those that the kernel tells of its keys.
    told_together: Vec<BTreeSet<usize>>,
    /// The policy of the configuration.
    policy: Policy,
    exceptions: PathBuf,
    /// What the exceptions' file said last.
    read: Exceptions,
    /// What the kernel decides by; none before it does, and while its rules are exchanged.
    applied: Option<Permits>,
}

impl Enforcer {
    /// Tells the kernel what to refuse.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn start(
        verdicts: Verdicts,
        policy: Policy,
        detector: Arc<Detector>,
        compiled: &KernelRules,
        exceptions: PathBuf,
    ) -> Result<Self, LoadError> {
        let judge = Judge::detecting(policy.clone());
        let grades = compiled.grades().to_vec();
        let told_together = compiled.told_together(detector.rules());
        let (read, applied) = (Exceptions::default(), None);
        let mut enforcer =
            Self { verdicts, judge, detector, grades, told_together, policy, exceptions, read, applied };
        enforcer.begin()?;
        Ok(enforcer)
    }

    /// Has everything decided by other rules and another policy.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn exchange(
        &mut self,
        policy: Policy,
        detector: Arc<Detector>,
        compiled: &KernelRules,
        numbers: Arc<Numbers>,
    ) -> Result<(), LoadError> {
        self.grades = compiled.grades().to_vec();
        self.told_together = compiled.told_together(detector.rules());
        (self.policy, self.detector, self.applied) = (policy, detector, None);
        self.verdicts.renumber(numbers);
        self.begin()
    }

    fn begin(&mut self) -> Result<(), LoadError> {
        let now = Timestamp::now();
        for entry in self.policy.permits(self.detector.rules(), now).beyond {
            tracing::warn!(
                "the entry `{entry}` of the policy rests on more than a rule and a host: it decides what is reported, not what \
                 is refused"
            );
        }
        // With the exceptions that are in force, so that nothing is refused for a moment that they allow.
        let exceptions = self.read.policy(self.detector.rules()).ok();
        let policy = exceptions.map_or_else(|| self.policy.clone(), |it| self.policy.preceded_by(&it));
        self.apply(policy, now)?;
        self.follow(now);
        Ok(())
    }

    /// Who judges by it.
    pub fn judge(&self) -> Judge {
        self.judge.clone()
    }

    /// Looks for exceptions that were made, used up, or have ended. To be called a few times a second.
    pub fn follow(&mut self, now: Timestamp) {
        self.use_up();
        let read = match Exceptions::read(&self.exceptions) {
            Ok(read) => read,
            Err(error) => return self.complain(&error),
        };
        match read.policy(self.detector.rules()) {
            Ok(exceptions) => {
                self.read = read;
                if let Err(error) = self.apply(self.policy.preceded_by(&exceptions), now) {
                    tracing::error!("what is refused could not be changed: {error}");
                }
            }
            Err(error) => self.complain(&error),
        }
    }

    /// What was allowed once and has passed is allowed no more.
    fn use_up(&mut self) {
        let used = self.judge.take_used();
        if used.is_empty() {
            return;
        }
        let mut exceptions = self.read.clone();
        exceptions.entries.retain(|entry| !used.contains(&entry.name));
        if let Err(error) = exceptions.write(&self.exceptions) {
            tracing::error!("an exception that was used up still holds: {error}");
        }
    }

    fn apply(&mut self, policy: Policy, now: Timestamp) -> Result<(), LoadError> {
        let permits = policy.permits(self.detector.rules(), now).broadened(&self.told_together);
        if self.applied.as_ref() == Some(&permits) {
            return Ok(());
        }
        // First those who explain: what the kernel lets pass then is known to be allowed.
        let judgement = Judgement::blocking(policy, &permits, self.detector.rules(), &self.grades);
        self.judge.replace(judgement);
        self.verdicts.apply(&permits)?;
        self.applied = Some(permits);
        Ok(())
    }

    /// The exceptions that were in force stay so, until they end.
    fn complain(&self, error: &dyn std::fmt::Display) {
        tracing::debug!("exceptions are not read: {error}");
    }
}
