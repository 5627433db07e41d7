//! Percent-encoding (RFC 3986, section 2.1). `+` is left alone: whether it means a space, only forms know.

use super::escape::Read;
use super::hex;

/// Where an escape may start.
pub const MARK: u8 = b'%';

/// What stands at the beginning of `text`, which starts with [`MARK`].
pub fn read(text: &[u8]) -> Read {
    match *text {
        [_, high, low, ..] if hex::belongs(high) && hex::belongs(low) => {
            Read::escape(3, &[hex::value(high) << 4 | hex::value(low)])
        }
        [_] => Read::Partial,
        [_, high] if hex::belongs(high) => Read::Partial,
        _ => Read::Not,
    }
}
