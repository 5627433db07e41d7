//! All rules in use.

pub(crate) mod file;
mod gitleaks;
pub(crate) mod home;
mod rule;
mod sample;

pub use crate::pattern::Marker;
pub use gitleaks::{Mistake, Unsupported};
pub use home::{is_home, is_usual};
pub(crate) use rule::Finder;
pub use rule::{Origin, Rule, Severity};

use crate::error::{Problem, RuleError, UnknownRule};
use file::Proof;

/// `rules/*.toml` as (name, text), listed by build.rs.
static BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Rules in the order of their files, those that are off by default behind all others; ids are unique.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
    unsupported: Vec<RuleError>,
}

impl RuleSet {
    /// The rules keymoat comes with.
    pub fn builtin() -> Result<RuleSet, RuleError> {
        let mut all = RuleSet::default();
        for (origin, text) in BUILTIN {
            // Their patterns are proved by the tests and compiled when first needed.
            let rules = file::parse(origin, text, Proof::Later)?;
            all.merge(RuleSet { rules, unsupported: Vec::new() })?;
        }
        Ok(all)
    }

    /// The one rule that findings of a [`Registry`](crate::Registry) are of. Merged into the others it can be looked up
    /// like them; by itself it finds nothing.
    pub fn registered() -> RuleSet {
        RuleSet { rules: vec![crate::registered::rule()], unsupported: Vec::new() }
    }

    /// Rules from the text of one file, keymoat's own kind or gitleaks'; `origin` is the name that messages give it.
    pub fn from_toml(origin: &str, text: &str) -> Result<RuleSet, RuleError> {
        let (rules, unsupported) = if gitleaks::is_gitleaks(origin, text) {
            gitleaks::parse(origin, text)?
        } else {
            (file::parse(origin, text, Proof::Now)?, Vec::new())
        };
        Ok(RuleSet { rules, unsupported })
    }

    /// Adds the rules of another set behind these. A rule of gitleaks whose id is taken gets another one:
    /// gitleaks' own ids are in many files, and some are ours.
    pub fn merge(&mut self, mut other: RuleSet) -> Result<(), RuleError> {
        for rule in other.rules.iter_mut().filter(|rule| rule.is_from_gitleaks()) {
            let Some(old) = self.get(&rule.id) else { continue };
            let renamed = Unsupported::Renamed {
                id: rule.id.clone(),
                name: format!("gitleaks-{}", rule.id),
                other: old.origin.to_string(),
            };
            rule.id.insert_str(0, "gitleaks-");
            other.unsupported.push(rule.origin.error(Problem::Unsupported(renamed)));
        }
        if let Some((new, old)) = other.rules.iter().find_map(|new| Some((new, self.get(&new.id)?))) {
            let problem = Problem::DuplicateId { id: new.id.clone(), other: old.origin.to_string() };
            return Err(new.origin.error(problem));
        }
        self.rules.extend(other.rules);
        self.unsupported.extend(other.unsupported);
        // They give way to every rule that knows more.
        self.rules.sort_by_key(|rule| rule.off_by_default);
        Ok(())
    }

    /// What of gitleaks' files has no effect, in the order of the files.
    pub fn unsupported(&self) -> &[RuleError] {
        &self.unsupported
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn rules_mut(&mut self) -> &mut [Rule] {
        &mut self.rules
    }

    /// One rule as a set of its own, on.
    #[cfg(test)]
    pub(crate) fn of(rule: &Rule) -> RuleSet {
        RuleSet { rules: vec![Rule { on: true, ..rule.clone() }], unsupported: Vec::new() }
    }

    pub fn get(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Has these rules looked for. An id that no rule has is an error, and then nothing changes.
    pub fn enable<T: AsRef<str>>(&mut self, ids: &[T]) -> Result<(), UnknownRule> {
        self.switch(ids, true)
    }

    /// Has these rules looked for no longer. An id that no rule has is an error, and then nothing changes.
    pub fn disable<T: AsRef<str>>(&mut self, ids: &[T]) -> Result<(), UnknownRule> {
        self.switch(ids, false)
    }

    fn switch<T: AsRef<str>>(&mut self, ids: &[T], on: bool) -> Result<(), UnknownRule> {
        let chosen = |rule: &Rule| ids.iter().any(|id| id.as_ref() == rule.id);
        if let Some(id) = ids.iter().map(AsRef::as_ref).find(|id| self.get(id).is_none()) {
            return Err(self.unknown(id));
        }
        self.rules.iter_mut().filter(|rule| chosen(rule)).for_each(|rule| rule.on = on);
        Ok(())
    }

    /// The error for an id that no rule has, with ids that are close.
    pub fn unknown(&self, id: &str) -> UnknownRule {
        let ids = self.rules.iter().map(|rule| rule.id.as_str());
        let close: Vec<&str> = ids.filter(|other| !id.is_empty() && other.contains(id)).take(5).collect();
        let hint = if close.is_empty() {
            "`keymoat rules list` shows them all".to_owned()
        } else {
            format!("did you mean {}?", close.join(", "))
        };
        UnknownRule { id: id.to_owned(), hint }
    }
}
