//! GitHub's classic tokens and npm's: the last six characters are the CRC-32 of those after the prefix, in base62.
//!
//! Source: "Behind GitHub's new authentication token formats" (github.blog, 2021); npm took the scheme over.

use super::{Checksum, in_digits, split_last};
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

const BASE62: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const WIDTH: usize = 6;

fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    split_last(secret, WIDTH)
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    let prefix = text.iter().position(|&byte| byte == b'_')?;
    Some(in_digits(crc32fast::hash(text.get(prefix + 1..)?), BASE62, WIDTH))
}
