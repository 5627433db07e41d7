//! Keys of which a part follows from the rest. A file per scheme: where the sum stands, and how it is computed.

pub(super) mod age;
pub(super) mod atlassian;
pub(super) mod confluent;
pub(super) mod crc32_base62;
pub(super) mod github_pat;
pub(super) mod gitlab;
pub(super) mod grafana;

use super::Outcome;
use zeroize::Zeroizing;

/// Borrows two parts of a secret.
type Split = fn(&[u8]) -> Option<(&[u8], &[u8])>;

pub(super) struct Checksum {
    /// What the sum is computed over, and the sum that stands in the secret. None if keys of this kind have none.
    pub(super) split: Split,
    /// None if no such sum can be computed over the text.
    pub(super) sum: fn(&[u8]) -> Option<Zeroizing<String>>,
}

impl Checksum {
    pub(super) fn check(&self, secret: &[u8]) -> Outcome {
        let Some((text, given)) = (self.split)(secret) else { return Outcome::Silent };
        match (self.sum)(text) {
            Some(sum) if sum.as_bytes() == given => Outcome::Proven("its checksum is right"),
            _ => Outcome::Doubtful("its checksum is wrong"),
        }
    }
}

/// The last `len` bytes, and what is before them.
fn split_last(secret: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    secret.split_at_checked(secret.len().checked_sub(len)?)
}

/// A number in the digits of an alphabet, with leading zeros.
fn in_digits(mut number: u32, alphabet: &[u8], width: usize) -> Zeroizing<String> {
    let base = u32::try_from(alphabet.len()).unwrap_or(u32::MAX).max(2);
    let mut text = Zeroizing::new(vec![b'0'; width]);
    for digit in text.iter_mut().rev() {
        *digit = alphabet.get((number % base) as usize).copied().unwrap_or_default();
        number /= base;
    }
    Zeroizing::new(text.iter().map(|&digit| char::from(digit)).collect())
}
