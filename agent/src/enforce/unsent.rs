//! Keys that TLS connections were given and that no socket has taken yet: whether they leave is not known.

use crate::kernel::monotonic_ns;
use aya::maps::{HashMap, MapData};
use keymoat_abi::enforce::{KEYS_LIFETIME_NS, Keys};

/// The kernel's map of them, by process and connection object.
pub struct Unsent {
    keys: HashMap<MapData, [u64; 2], Keys>,
}

impl Unsent {
    pub fn new(keys: HashMap<MapData, [u64; 2], Keys>) -> Self {
        Self { keys }
    }

    /// Does plaintext with a key wait at this connection, for room in its socket or for its program to send it?
    pub fn waits(&self, tgid: u32, context: u64) -> bool {
        let keys = self.keys.get(&[u64::from(tgid), context], 0);
        keys.is_ok_and(|keys| keys.time_ns.saturating_add(KEYS_LIFETIME_NS) >= monotonic_ns())
    }
}
