//! Atlassian's tokens (`ATATT`, `ATCTT`, `ATBB`): the last eight characters are the CRC-32 of everything before them,
//! in upper-case hex. The `=` before it counts as one character even where it travels as `%3D`.
//!
//! Source: observed on published tokens.

use super::{Checksum, split_last};
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

const WIDTH: usize = 8;

fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    split_last(secret, WIDTH)
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    let mut crc = crc32fast::Hasher::new();
    match text.strip_suffix(b"%3D") {
        Some(text) => {
            crc.update(text);
            crc.update(b"=");
        }
        None => crc.update(text),
    }
    Some(Zeroizing::new(format!("{:08X}", crc.finalize())))
}
