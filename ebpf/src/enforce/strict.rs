//! `strict`: what cannot be inspected is refused. Without it, it passes and is counted.

use crate::{emit, maps::CONFIG};
use keymoat_abi::{LossCause, Tuple, Why};

/// Bytes of TLS records that a connection may send before any plaintext of it was seen: the end of a TLS 1.3 handshake
/// looks like data (RFC 8446, 5.2). `Finished` of the longest hash and an alert take 69 and 24.
pub const HANDSHAKE: u64 = 128;

#[inline(always)]
pub fn is_on() -> bool {
    CONFIG.load().strict != 0
}

/// Is this refused, which nobody could look for keys in?
#[inline(always)]
pub fn refuses_unjudged(cookie: u64, pid_tgid: u64, tuple: &Tuple) -> bool {
    if is_on() {
        emit::uninspected(Why::NotJudged, cookie, pid_tgid, tuple);
        return true;
    }
    emit::lost(LossCause::NotJudged);
    false
}
