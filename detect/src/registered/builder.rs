//! What may be registered: a value that is found nowhere else.

use super::form::{self, Encoded};
use super::index::Index;
use super::{Entry, Registry, rule};
use crate::MAX_SECRET_LEN;
use crate::validate::{is_placeholder, reads_like_words};
use std::sync::atomic::{AtomicU32, Ordering};
use zeroize::Zeroizing;

/// Shortest value, in bytes: shorter ones stand in every other text.
const MIN_LEN: usize = 8;
/// Most values of a registry. One takes some 15 times its length.
const MAX_VALUES: usize = 4096;
/// What a value must say at least, if its letters and digits were drawn at random: 12 digits, or 8 of base62.
const MIN_BITS: f32 = 39.0;

/// Why a value was not registered. Shows its name and length, never the value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("`{name}` has {len} bytes: at least 8 are needed, or it would be found in unrelated text")]
    TooShort { name: String, len: usize },
    #[error("`{name}` has {len} bytes, the longest allowed is 4000: register a part of it that is secret")]
    TooLong { name: String, len: usize },
    #[error("`{name}` is a placeholder: register the value that is in use")]
    Placeholder { name: String },
    #[error(
        "`{name}` reads like words, which are found in unrelated text: register only what was made at random"
    )]
    Words { name: String },
    #[error(
        "`{name}` is too easy to guess: it would be found in unrelated text, so register longer values only"
    )]
    TooSimple { name: String },
    #[error("more than 4096 values: leave `{name}` and those after it out, or what is least secret")]
    TooMany { name: String },
}

/// Collects values. A value that is refused leaves the others as they are.
#[derive(Default)]
pub struct RegistryBuilder {
    entries: Vec<Entry>,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl RegistryBuilder {
    /// Registers a value. The same value under a second name is found under the first.
    ///
    /// # Errors
    /// If unrelated traffic could hold the value, or there is no room for it.
    pub fn add(&mut self, name: &str, value: &[u8]) -> Result<(), Refused> {
        if let Some(refused) = refuse(name, value) {
            return Err(refused);
        }
        if self.entries.iter().any(|entry| entry.value.as_slice() == value) {
            return Ok(());
        }
        if self.entries.len() >= MAX_VALUES {
            return Err(Refused::TooMany { name: name.to_owned() });
        }
        self.entries.push(Entry { name: name.to_owned(), value: Zeroizing::new(value.to_vec()) });
        Ok(())
    }

    pub fn build(self) -> Registry {
        let entries = self.entries;
        let mut forms: Vec<Encoded> = Vec::new();
        for (entry, Entry { value, .. }) in (0..).zip(&entries) {
            forms.extend(form::all(entry, value));
        }
        // Of equal forms the one that was made first stays.
        forms.sort_by(|a, b| a.bytes.cmp(&b.bytes));
        forms.dedup_by(|later, first| later.bytes == first.bytes);
        let index = Index::new(&forms);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Registry { rule: rule(), entries, forms, index, id }
    }
}

/// Shows sizes, not values.
impl std::fmt::Debug for RegistryBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RegistryBuilder").field("values", &self.entries.len()).finish_non_exhaustive()
    }
}

fn refuse(name: &str, value: &[u8]) -> Option<Refused> {
    let name = name.to_owned();
    match value.len() {
        len @ 0..MIN_LEN => Some(Refused::TooShort { name, len }),
        len if len > MAX_SECRET_LEN => Some(Refused::TooLong { name, len }),
        _ if is_placeholder(value) => Some(Refused::Placeholder { name }),
        _ if reads_like_words(value) => Some(Refused::Words { name }),
        _ if bits(value) < MIN_BITS => Some(Refused::TooSimple { name }),
        _ => None,
    }
}

/// What the value says at most. Punctuation is left out: `10.0.0.1:8080` says no more than its digits.
fn bits(value: &[u8]) -> f32 {
    let counted = value.iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    let any = |class: fn(&u8) -> bool| counted.clone().any(class);
    let (digits, lower, upper) =
        (any(u8::is_ascii_digit), any(u8::is_ascii_lowercase), any(u8::is_ascii_uppercase));
    let size = |used: bool, size: f32| if used { size } else { 0.0 };
    let alphabet = if (lower || upper) && counted.clone().all(u8::is_ascii_hexdigit) {
        16.0
    } else {
        size(digits, 10.0) + size(lower, 26.0) + size(upper, 26.0) + size(any(|byte| !byte.is_ascii()), 64.0)
    };
    counted.count() as f32 * f32::max(alphabet, 1.0).log2()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests assert by panicking")]
mod tests {
    use super::*;

    fn refused(value: &str) -> Option<Refused> {
        Registry::builder().add("NAME", value.as_bytes()).err()
    }

    #[test]
    fn what_was_made_at_random_is_registered() {
        for value in [
            "q7Zr0Wxk",
            "hunter2-9x!Lq",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "postgres://app:x9Kq2LmPz@db.internal/prod",
            "4111-1201-7789-0315",
            "\u{43f}\u{430}\u{440}\u{43e}\u{43b}\u{44c}-\u{44f}\u{436}\u{449}9",
        ] {
            assert_eq!(refused(value), None, "{value}");
        }
    }

    #[test]
    fn what_stands_in_unrelated_text_is_refused() {
        let name = || "NAME".to_owned();
        assert_eq!(refused("q7Zr0Wx"), Some(Refused::TooShort { name: name(), len: 7 }));
        assert_eq!(refused(""), Some(Refused::TooShort { name: name(), len: 0 }));
        let long = "q7Zr0Wxk".repeat(501);
        assert_eq!(refused(&long), Some(Refused::TooLong { name: name(), len: 4008 }));
        for value in
            ["localhost", "production", "us-east-1-prod", "application/json", "correct horse battery"]
        {
            assert_eq!(refused(value), Some(Refused::Words { name: name() }), "{value}");
        }
        for value in ["password", "changeme-changeme", "xxxxxxxxxxxx", "1234567890"] {
            assert!(refused(value).is_some(), "{value}");
        }
        for value in ["20231117", "10.20.37.4:8091", "e02b2c3d", "--------------"] {
            assert_eq!(refused(value), Some(Refused::TooSimple { name: name() }), "{value}");
        }
    }

    #[test]
    fn a_refusal_names_the_entry_and_says_what_to_do() {
        let text = refused("localhost").unwrap().to_string();
        assert!(text.starts_with("`NAME` ") && text.contains("register only"), "{text}");
        assert!(!text.contains("localhost"), "{text}");
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut builder = Registry::builder();
        for n in 0..MAX_VALUES {
            builder.add("n", format!("q7Zr{n:04}Wxk").as_bytes()).unwrap();
        }
        builder.add("again", b"q7Zr0000Wxk").unwrap();
        assert!(matches!(builder.add("more", b"q7Zr-ab9Wxk"), Err(Refused::TooMany { .. })));
    }
}
