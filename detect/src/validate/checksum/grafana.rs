//! Grafana's service account tokens: after the last `_` the CRC-32 of everything before it, little-endian, in hex.
//!
//! Source: Grafana's own `pkg/components/satokengen`.

use super::{Checksum, split_last};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

const WIDTH: usize = 8;

fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    split_last(secret, WIDTH)
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    let crc = crc32fast::hash(text.strip_suffix(b"_")?);
    Some(Zeroizing::new(HEXLOWER.encode(&crc.to_le_bytes())))
}
