//! GitHub's fine-grained tokens: of the 59 characters after the second `_`, the eight from the 44th on are the start
//! of the SHA-256 of everything before them, in base32.
//!
//! Source: observed. GitHub documents the prefix only; published tokens that were real fit, invented ones do not.

use super::Checksum;
use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

/// `github_pat_`, 22 characters, `_`, 43 characters.
const COVERED: usize = 11 + 22 + 1 + 43;
const WIDTH: usize = 8;

fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    let (text, rest) = secret.split_at_checked(COVERED)?;
    Some((text, rest.get(..WIDTH)?))
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    // Five bytes are eight characters.
    let digest = Sha256::digest(text);
    Some(Zeroizing::new(BASE32_NOPAD.encode(digest.get(..5)?)))
}
