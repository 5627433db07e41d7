//! Is this a placeholder: `xxxxxxxx`, `your-api-key-here`, `1234567890abcdef`, `…EXAMPLE`?
//!
//! A list of words alone would also hit keys that hold one by chance, and a threshold for each pattern would be guessed.
//! But whatever the code, at most one text in 2^k can be written k bits shorter in it. So the secret is written in a
//! code for what people type in place of keys (one character again and again, a run up or down the alphabet, a
//! word from a list), and what that saves is counted: it bounds how often a random key is taken for a placeholder.

use aho_corasick::{AhoCorasick, MatchKind};
use std::sync::LazyLock;
use zeroize::Zeroizing;

/// Bits to be saved: at most one random key in 16 million. It is far fewer, since the code says most texts in many ways.
const LEAST_SAVED: f32 = 24.0;
/// And this share of the secret: a private key may hold a run of zeros, a key the name of somebody's project.
const LEAST_SHARE: f32 = 0.2;
/// Characters in a run.
const SHORTEST_RUN: usize = 3;
/// Up, down, or the same.
const KINDS_OF_RUN: f32 = 3.0;

/// In small letters, with nothing but letters and digits between them.
const WORDS: &[&str] = &[
    "abc123",
    "access",
    "apikey",
    "apikeyhere",
    "asdf",
    "bearer",
    "censored",
    "changeme",
    "changethis",
    "deadbeef",
    "demo",
    "documentation",
    "donotuse",
    "dummy",
    "dummykey",
    "dummysecret",
    "dummytoken",
    "enter",
    "example",
    "examplekey",
    "examplesecret",
    "exampletoken",
    "fake",
    "fakekey",
    "fakesecret",
    "faketoken",
    "foobar",
    "goeshere",
    "here",
    "insert",
    "invalid",
    "keyhere",
    "lorem",
    "mock",
    "notareal",
    "notreal",
    "password",
    "placeholder",
    "qwerty",
    "redacted",
    "removed",
    "replace",
    "replaceme",
    "replacewith",
    "sample",
    "samplekey",
    "secret",
    "secrethere",
    "test",
    "testkey",
    "testtoken",
    "token",
    "tokenhere",
    "your",
    "yourapikey",
    "yourkey",
    "yoursecret",
    "yourtoken",
];

static IN_WORDS: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().match_kind(MatchKind::LeftmostLongest).build(WORDS).ok());

/// `body` is what remains of a secret without its public prefix.
pub(crate) fn is_placeholder(body: &[u8]) -> bool {
    // How the parts are joined, and which letters are capitals, differs from writer to writer.
    let kept = body.iter().filter(|byte| byte.is_ascii_alphanumeric());
    let mut text = Zeroizing::new(Vec::with_capacity(body.len()));
    text.extend(kept.map(u8::to_ascii_lowercase));
    let bits = bits_per_character(&text);
    let saved = saved(&text, bits);
    saved >= LEAST_SAVED && saved >= LEAST_SHARE * bits * text.len() as f32
}

/// What a character of a random text like this one says. Rather too little: a letter that may be small or capital comes
/// twice as often as a digit.
fn bits_per_character(text: &[u8]) -> f32 {
    let all = |of: fn(&u8) -> bool| text.iter().all(of);
    let characters: f32 = if all(u8::is_ascii_digit) {
        10.0
    } else if all(u8::is_ascii_hexdigit) {
        16.0
    } else if all(u8::is_ascii_alphabetic) {
        26.0
    } else {
        31.0
    };
    characters.log2()
}

/// Bits that the code saves on the text.
fn saved(text: &[u8], bits: f32) -> f32 {
    // Each run and each word has to say where it stands.
    let place = (text.len().max(1) as f32).log2();
    let run_costs = bits + KINDS_OF_RUN.log2() + place;
    let word_costs = (WORDS.len() as f32).log2() + place;
    let mut words = IN_WORDS.iter().flat_map(|words| words.find_iter(text)).peekable();
    let (mut saved, mut at) = (0.0, 0);
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        while words.next_if(|word| word.start() < at).is_some() {}
        let word = words.peek().filter(|word| word.start() == at).map_or(0, |word| word.len());
        let run = run(rest);
        let gain = |len: usize, costs: f32| len as f32 * bits - costs;
        let choices = [(gain(word, word_costs), word), (gain(run, run_costs), run)];
        let best = choices.into_iter().filter(|&(gain, _)| gain > 0.0).max_by(|a, b| a.0.total_cmp(&b.0));
        let (gain, len) = best.unwrap_or((0.0, 1));
        saved += gain;
        at += len;
    }
    saved
}

/// Length of the run with which the text starts; 0 if it is too short to be one.
fn run(text: &[u8]) -> usize {
    let mut steps = text.windows(2).map(|pair| match *pair {
        [a, b] => step(a, b),
        _ => None,
    });
    let Some(Some(first)) = steps.next() else { return 0 };
    let len = 2 + steps.take_while(|&step| step == Some(first)).count();
    if len < SHORTEST_RUN { 0 } else { len }
}

/// From one character to the next: the same, one up, one down. After 9 comes 0, and in hex digits a.
fn step(a: u8, b: u8) -> Option<i8> {
    match (a, b) {
        _ if a == b => Some(0),
        (b'9', b'0' | b'a') => Some(1),
        (b'0', b'9') | (b'a', b'9') => Some(-1),
        _ if a.checked_add(1) == Some(b) => Some(1),
        _ if b.checked_add(1) == Some(a) => Some(-1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_people_write_in_place_of_a_key() {
        for text in [
            "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
            "XXXX-XXXX-XXXX-XXXX",
            "................xxxxxxxxxxxx",
            "00000000-0000-0000-0000-000000000000",
            "12345678-1234-1234-1234-123456789012",
            "1234567890abcdef1234567890abcdef",
            "abcdefghijklmnopqrstuvwxyz0123456789",
            "aBcDeFgHiJkLmNoPqRsTuVwXyZ",
            "abc123def456ghi789jkl012mno345pqr678",
            "your-api-key-goes-here",
            "YOUR_SECRET_TOKEN",
            "replace-with-your-token",
            "IOSFODNN7EXAMPLE",
            "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            "T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX",
            "deadbeefdeadbeefdeadbeefdeadbeef",
            "changeme-changeme",
        ] {
            assert!(is_placeholder(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn what_is_none() {
        let key = "q7Zr0WxkT4vN9bYdLh2sJcEa8uGmP1oKfX5iRtQ3";
        for text in [
            key.to_owned(),
            format!("example-{key}"),
            format!("test{key}"),
            format!("{key}xxxx"),
            format!("{key}{key}{}", "A".repeat(12)),
            "f47ac10b-58cc-4372-a567-0e02b2c3d479".to_owned(),
            "k9_Z-".repeat(19),
            "xxx".to_owned(),
            "123456".to_owned(),
            String::new(),
        ] {
            assert!(!is_placeholder(text.as_bytes()), "{text}");
        }
    }

    #[test]
    fn a_run_keeps_its_direction() {
        assert_eq!(run(b"aaab"), 3);
        assert_eq!(run(b"3210987"), 7);
        assert_eq!(run(b"789ab"), 5);
        assert_eq!(run(b"aba"), 0);
        assert_eq!(run(b"ab"), 0);
        assert_eq!(run(b"a"), 0);
    }

    #[test]
    fn the_words_are_as_the_text_is_when_they_are_looked_for() {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        assert!(WORDS.iter().all(|word| word.bytes().all(plain)));
        assert!(WORDS.is_sorted() && IN_WORDS.is_some());
    }
}
