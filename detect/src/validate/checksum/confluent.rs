//! Confluent's API secrets: the last six characters are the CRC-32 of the 54 after `cflt`, little-endian, in base64.
//!
//! Source: observed on a published secret.

use super::{Checksum, split_last};
use data_encoding::BASE64_NOPAD;
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

const WIDTH: usize = 6;

fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    split_last(secret, WIDTH)
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    let crc = crc32fast::hash(text.strip_prefix(b"cflt")?);
    Some(Zeroizing::new(BASE64_NOPAD.encode(&crc.to_le_bytes())))
}
