//! Is this as irregular as a key made at random?
//!
//! Shannon's entropy of the characters, against what random text of the same length over the pattern's characters
//! has. Against a fixed number it would say nothing: 32 hex digits cannot reach what 40 of base64 always do.

use super::{Fact, Outcome, Secret, Suppressed};

/// Random text stays above this share of what is expected, by six standard deviations and more. A hash in hex digits
/// where any of 64 characters could stand does not.
const DOUBTFUL: f32 = 0.8;
const HOPELESS: f32 = 0.5;

pub(super) fn check(secret: &Secret<'_>, _: &mut Vec<Fact>) -> Outcome {
    let share = shannon(secret.body) / expected(secret.alphabet, secret.body.len());
    if share < HOPELESS {
        Outcome::Hopeless(Suppressed::LowEntropy)
    } else if share < DOUBTFUL {
        Outcome::Doubtful("it is more regular than a random key")
    } else {
        Outcome::Silent
    }
}

/// Bits per byte.
pub(super) fn shannon(bytes: &[u8]) -> f32 {
    let mut counts = [0_u32; 256];
    for &byte in bytes {
        if let Some(count) = counts.get_mut(usize::from(byte)) {
            *count += 1;
        }
    }
    let all = bytes.len() as f32;
    counts.iter().filter(|&&count| count > 0).map(|&count| count as f32 / all).map(|p| -p * p.log2()).sum()
}

/// Bits per byte that random text has on average. The first estimate is good for texts longer than their alphabet, the
/// second for shorter ones; both are low elsewhere.
fn expected(alphabet: usize, len: usize) -> f32 {
    let (alphabet, len) = (alphabet.max(2) as f32, len.max(2) as f32);
    let long = alphabet.log2() - (alphabet - 1.0) / (2.0 * len * std::f32::consts::LN_2);
    let short = len.log2() - (len - 1.0) / alphabet;
    long.max(short).max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(body: &str, alphabet: usize) -> Outcome {
        check(&Secret { whole: body.as_bytes(), body: body.as_bytes(), alphabet }, &mut Vec::new())
    }

    #[test]
    fn a_key_is_irregular_and_a_hash_is_not_irregular_enough_for_base64() {
        assert_eq!(said("q7Zr0WxkT4vN9bYdLh2sJcEa8uGmP1oKfX5iRtQ3", 64), Outcome::Silent);
        let hash = "da39a3ee5e6b4b0d3255bfef95601890afd80709";
        assert_eq!(said(hash, 16), Outcome::Silent);
        assert!(matches!(said(hash, 64), Outcome::Doubtful(_)));
    }

    #[test]
    fn what_repeats_itself_is_no_key() {
        assert_eq!(said(&"ab".repeat(20), 62), Outcome::Hopeless(Suppressed::LowEntropy));
        assert_eq!(said(&"0".repeat(32), 16), Outcome::Hopeless(Suppressed::LowEntropy));
        assert!(matches!(said(&"my-pass-".repeat(5), 64), Outcome::Doubtful(_)));
    }

    #[test]
    fn entropy_is_shannons() {
        assert_eq!(shannon(b""), 0.0);
        assert_eq!(shannon(b"aaaa"), 0.0);
        assert_eq!(shannon(b"abcdabcd"), 2.0);
    }
}
