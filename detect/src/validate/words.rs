//! Does this read like words, or like a key?
//!
//! Words have vowels in regular distances, and keys have digits and changes of case between their letters. No word
//! list: identifiers are full of words that none has.

use super::{Fact, Outcome, Secret};

/// Random text has less of itself in words than this, and identifiers have more.
const READS_LIKE_WORDS: f32 = 0.6;
/// Shorter runs of letters look like words by chance.
const SHORTEST: usize = 4;
/// `strengths` has more consonants in a row than this; few words do.
const MOST_CONSONANTS: usize = 3;
const MOST_VOWELS: usize = 2;

pub(super) fn check(secret: &Secret<'_>, _: &mut Vec<Fact>) -> Outcome {
    if reads_like_words(secret.body) { Outcome::Doubtful("it reads like words") } else { Outcome::Silent }
}

pub(crate) fn reads_like_words(text: &[u8]) -> bool {
    share_of_words(text) >= READS_LIKE_WORDS
}

/// Share of the letters, digits and bytes beyond ASCII that are in words.
fn share_of_words(text: &[u8]) -> f32 {
    let counted = text.iter().filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii()).count();
    let in_words: usize = pieces(text).filter(|piece| is_word(piece)).map(<[u8]>::len).sum();
    in_words as f32 / counted.max(1) as f32
}

/// Letters in a row, cut before a capital that follows a small letter: `myOwnName`.
fn pieces(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    let letters = text.split(|byte| !byte.is_ascii_alphabetic());
    letters.flat_map(|run| run.chunk_by(|a, b| !(a.is_ascii_lowercase() && b.is_ascii_uppercase())))
}

fn is_word(letters: &[u8]) -> bool {
    // `Name`, `name` and `NAME`, but not `naME`: capitals stand at the start, or everywhere.
    let capitals = letters.iter().filter(|byte| byte.is_ascii_uppercase()).count();
    let is_written_so = capitals <= 1 || capitals == letters.len();
    let runs = || letters.chunk_by(|&a, &b| is_vowel(a) == is_vowel(b));
    let most = |vowels: bool| if vowels { MOST_VOWELS } else { MOST_CONSONANTS };
    letters.len() >= SHORTEST
        && is_written_so
        && runs().count() > 1
        && runs().all(|run| run.first().is_some_and(|&first| run.len() <= most(is_vowel(first))))
}

fn is_vowel(letter: u8) -> bool {
    matches!(letter.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_read_like_words() {
        for text in [
            "my-database-password-for-staging",
            "ProductionDatabasePassword2",
            "correct horse battery staple",
            "SOME_SECRET_VALUE_HERE",
        ] {
            assert!(reads_like_words(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn keys_do_not() {
        for text in [
            "q7Zr0WxkT4vN9bYdLh2sJcEa8uGmP1oKfX5iRtQ3",
            "f47ac10b-58cc-4372-a567-0e02b2c3d479",
            "0123456789",
            "",
            "\u{e9}\u{e9}\u{e9}name",
        ] {
            assert!(!reads_like_words(text.as_bytes()), "{text}");
        }
    }
}
