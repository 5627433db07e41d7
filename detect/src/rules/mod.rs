//! All rules in use.

pub(crate) mod file;
pub(crate) mod home;
mod rule;
mod sample;

pub use crate::pattern::Marker;
pub use home::{is_home, is_usual};
pub use rule::{Origin, Rule, Severity};

use crate::error::{Problem, RuleError, UnknownRule};
use file::Proof;

/// `rules/*.toml` as (name, text), listed by build.rs.
static BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Rules in the order of their files, those that are off by default behind all others; ids are unique.
#[derive(Clone, Debug, Default)]
pub struct RuleSet {
    rules: Vec<Rule>,
}

impl RuleSet {
    /// The rules keymoat comes with.
    pub fn builtin() -> Result<RuleSet, RuleError> {
        let mut all = RuleSet::default();
        for (origin, text) in BUILTIN {
            // Their patterns are proved by the tests and compiled when first needed.
            all.merge(RuleSet { rules: file::parse(origin, text, Proof::Later)? })?;
        }
        Ok(all)
    }

    /// Rules from the text of one file; `origin` is the name that messages give it.
    pub fn from_toml(origin: &str, text: &str) -> Result<RuleSet, RuleError> {
        file::parse(origin, text, Proof::Now).map(|rules| RuleSet { rules })
    }

    /// Adds the rules of another set behind these.
    pub fn merge(&mut self, other: RuleSet) -> Result<(), RuleError> {
        if let Some((new, old)) = other.rules.iter().find_map(|new| Some((new, self.get(&new.id)?))) {
            let problem = Problem::DuplicateId { id: new.id.clone(), other: old.origin.to_string() };
            return Err(new.origin.error(problem));
        }
        self.rules.extend(other.rules);
        // They give way to every rule that knows more.
        self.rules.sort_by_key(|rule| rule.off_by_default);
        Ok(())
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub(crate) fn rules_mut(&mut self) -> &mut [Rule] {
        &mut self.rules
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
