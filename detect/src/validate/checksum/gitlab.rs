//! GitLab's routable tokens: the last seven characters are the CRC-32 of everything before them, in base36. Before
//! them stands the length of the payload, and, in the newer form, `.01.` before that.
//!
//! Source: GitLab's design document "Routable tokens" and its `Authn::TokenField::Generator::RoutableToken`.

use super::{Checksum, in_digits, split_last};
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

const BASE36: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const WIDTH: usize = 7;

/// Only routable tokens have a dot, and only they have a checksum.
fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    split_last(secret, WIDTH).filter(|(text, _)| text.contains(&b'.'))
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    Some(in_digits(crc32fast::hash(text), BASE36, WIDTH))
}
