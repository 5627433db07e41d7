//! How a run is to be read: as base64 or hexadecimal, and from which of its characters on.
//!
//! Base64 that is glued to a word (`/upload/ZXhw…`) does not begin where the run does, and read from the wrong
//! character it is noise. So where the beginning of a run reads as text from another character, it is read from
//! there as well.

use crate::decode::text::runs::HEAD;
use crate::decode::text::{base64, hex};
use crate::pattern::MIN_SECRET_LEN;

/// Fewer digits are a number or a name. 32 hold 16 bytes.
const SHORTEST_HEX: usize = 32;
/// The beginning is tried from so many places, each with as many characters.
const STEP: usize = 16;
const TRIED: usize = 24;
/// Fewer characters read as text by chance.
const LEAST_TRIED: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    Base64,
    Hex,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    pub(super) code: Code,
    /// The first character that is read.
    pub(super) from: usize,
}

impl Code {
    /// Characters that are decoded together, and the bytes they give.
    pub(super) fn quantum(self) -> (usize, usize) {
        match self {
            Code::Base64 => (base64::QUANTUM, base64::BYTES),
            Code::Hex => (hex::QUANTUM, 1),
        }
    }

    /// As many of the characters as it can read.
    pub(super) fn prefix(self, chars: &[u8]) -> &[u8] {
        let len = match self {
            Code::Base64 => chars.len(),
            Code::Hex => chars.iter().take_while(|&&byte| hex::belongs(byte)).count(),
        };
        chars.get(..len).unwrap_or(chars)
    }

    pub(super) fn decode<'b>(self, chars: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
        match self {
            Code::Base64 => base64::decode(chars, buffer),
            Code::Hex => hex::decode(chars, buffer),
        }
    }
}

/// How a run that begins like this may be read.
pub(super) fn readings(head: &[u8]) -> impl Iterator<Item = Reading> + use<> {
    let base64 = |from| Reading { code: Code::Base64, from };
    let (first, second) = match hex_stretch(head) {
        Some(from) => (Reading { code: Code::Hex, from }, None),
        None => (base64(0), other_start(head).map(base64)),
    };
    std::iter::once(first).chain(second)
}

/// Could these bytes hold a secret, or a run that does? Secrets are ASCII.
pub(super) fn may_hold_secret(bytes: &[u8]) -> bool {
    let mut stretch = 0;
    bytes.iter().any(|byte| {
        stretch = if byte.is_ascii() { stretch + 1 } else { 0 };
        stretch >= MIN_SECRET_LEN
    })
}

/// Where enough hexadecimal digits in a row begin.
fn hex_stretch(head: &[u8]) -> Option<usize> {
    // One of every so many characters is in it.
    let in_it = (SHORTEST_HEX - 1..head.len()).step_by(SHORTEST_HEX).find_map(|at| {
        let (before, after) = head.split_at_checked(at)?;
        let before = before.iter().rev().take_while(|&&byte| hex::belongs(byte)).count();
        let after = after.iter().take_while(|&&byte| hex::belongs(byte)).count();
        (before + after >= SHORTEST_HEX).then(|| at - before)
    })?;
    // A digit may belong to what stands before, `0x` apart: take the one of the two that reads as text.
    let read = |from: usize| -> bool {
        let mut buffer = [0; TRIED / hex::QUANTUM];
        let digits = head.get(from..from + TRIED).unwrap_or_default();
        !digits.is_empty() && hex::decode(digits, &mut buffer).iter().all(|&byte| is_text(byte))
    };
    Some(if !read(in_it) && read(in_it + 1) { in_it + 1 } else { in_it })
}

/// The first character from which base64 reads as text, if it does not do so from the run's first one on.
fn other_start(head: &[u8]) -> Option<usize> {
    for start in (0..head.len().min(HEAD)).step_by(STEP) {
        for from in start..start + base64::QUANTUM {
            if reads_as_text(head.get(from..).unwrap_or_default()) {
                return if from % base64::QUANTUM == 0 { None } else { Some(from) };
            }
        }
    }
    None
}

fn reads_as_text(chars: &[u8]) -> bool {
    let chars = chars.get(..TRIED).unwrap_or(chars);
    let quanta = chars.as_chunks::<{ base64::QUANTUM }>().0;
    chars.len() >= LEAST_TRIED
        && quanta.iter().all(|&quantum| base64::quantum(quantum).iter().all(|&byte| is_text(byte)))
}

fn is_text(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\r' | b' '..=b'~')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(head: &str) -> Vec<(Code, usize)> {
        readings(head.as_bytes()).map(|reading| (reading.code, reading.from)).collect()
    }

    #[test]
    fn text_that_is_glued_to_a_word_is_read_from_its_own_start() {
        let text = "dXNlcjpvcGVuIHNlc2FtZSwgcGxlYXNl";
        assert_eq!(of(text), [(Code::Base64, 0)]);
        for glue in ["x", "ab", "v1/", "/v1/files/", "a/longer/path/to/the/upload/"] {
            let all = of(&format!("{glue}{text}"));
            let aligned = glue.len() % 4 == 0;
            assert_eq!(all.len(), if aligned { 1 } else { 2 }, "{glue}");
            assert!(all.iter().any(|&(_, from)| from % 4 == glue.len() % 4), "{glue}");
        }
    }

    #[test]
    fn hexadecimal_is_read_as_such_and_from_its_first_digit() {
        let text = "6f70656e20736573616d652c20706c65617365".repeat(2);
        assert_eq!(of(&text), [(Code::Hex, 0)]);
        assert_eq!(of(&format!("0x{text}")), [(Code::Hex, 2)]);
        assert_eq!(of(&format!("v-a{text}")), [(Code::Hex, 3)]);
        assert_eq!(of(&text[..31]), [(Code::Base64, 0)]);
    }

    #[test]
    fn noise_is_read_once() {
        assert_eq!(of("q83vASNFZ4mrze8BI0VniavN7wEjRWeJq83vASNFZ4mrze8"), [(Code::Base64, 0)]);
    }

    #[test]
    fn bytes_without_eight_characters_in_a_row_hold_no_secret() {
        assert!(!may_hold_secret(b"seven77\xffseven77"));
        assert!(may_hold_secret(b"\xffeight888\xff"));
    }
}
