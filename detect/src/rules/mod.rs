//! All rules in use.

pub(crate) mod file;
mod home;
mod rule;
mod sample;

pub use crate::pattern::Marker;
pub use home::{is_home, is_usual};
pub use rule::{Origin, Rule, Severity};

use crate::error::{Problem, RuleError};
use file::Proof;

/// `rules/*.toml` as (name, text), listed by build.rs.
static BUILTIN: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/builtin.rs"));

/// Rules in the order of their files; ids are unique.
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

    /// The one rule that findings of a [`Registry`](crate::Registry) are of. Merged into the others it can be looked up
    /// like them; by itself it finds nothing.
    pub fn registered() -> RuleSet {
        RuleSet { rules: vec![crate::registered::rule()] }
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
        Ok(())
    }

    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    pub fn get(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }
}
