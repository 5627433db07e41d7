//! Registered values: secrets without a recognisable shape, found by what they are.
//!
//! A [`Registry`] holds values by name and finds them in traffic, as they are and in the forms that traffic gives them
//! ([`Form`]). It stands beside the rules' automaton and is no part of it: values come and go while the rules stay, a
//! value needs no boundary and no regex, and an automaton would need a state for every byte of every form, in memory
//! that cannot be wiped. So a form is found by its first eight bytes ([`index`]) and compared with the value from there
//! on. An empty registry looks at no byte.

mod builder;
mod form;
mod index;
mod rule;
mod trail;

pub use builder::{Refused, RegistryBuilder};
pub use form::Form;
pub(crate) use rule::rule;
pub use trail::Trail;

use crate::rules::Rule;
use form::Encoded;
use index::Index;
use zeroize::Zeroizing;

/// Values by name, ready to be found. Immutable: share it between threads, one [`Trail`] per flow.
pub struct Registry {
    rule: Rule,
    entries: Vec<Entry>,
    /// Sorted by their bytes, none of them twice.
    forms: Vec<Encoded>,
    index: Index,
    /// Tells the trails of two registries apart.
    id: u32,
}

struct Entry {
    name: String,
    value: Zeroizing<Vec<u8>>,
}

/// A registered value that was found, and where it stands. Debug shows everything but the value.
pub struct Exact<'a> {
    /// Always `registered-value`.
    pub rule: &'a Rule,
    /// The name it was registered under.
    pub name: &'a str,
    pub form: Form,
    /// Offset of its first byte in the stream. For base64 that of the first character that depends on nothing but the
    /// value.
    pub start: u64,
    pub end: u64,
    /// The value as it was registered, whatever form it was found in: one value has one fingerprint.
    pub secret: &'a [u8],
}

impl std::fmt::Debug for Exact<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Exact")
            .field("name", &self.name)
            .field("form", &self.form)
            .field("start", &self.start)
            .field("end", &self.end)
            .finish_non_exhaustive()
    }
}

/// Shows sizes, not values.
impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry")
            .field("values", &self.entries.len())
            .field("forms", &self.forms.len())
            .finish_non_exhaustive()
    }
}

impl Registry {
    pub fn builder() -> RegistryBuilder {
        RegistryBuilder::default()
    }

    /// The rule that all findings of a registry are of: high, and at home nowhere. [`RuleSet::registered`] has it too.
    ///
    /// [`RuleSet::registered`]: crate::RuleSet::registered
    pub fn rule(&self) -> &Rule {
        &self.rule
    }

    /// Values in it.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Finds every registered value in the buffer.
    pub fn scan(&self, bytes: &[u8], found: &mut dyn FnMut(Exact<'_>)) {
        self.push(&mut Trail::default(), bytes, found);
    }
}
