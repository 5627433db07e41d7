//! Refusing: what decides about a write that carries a key, and what stops it.
//!
//! A TLS probe finds the keys in plaintext. Where it can stop the call that it sits in (`return_override`, `signal`), and it is
//! known where the connection goes, it does. Otherwise it notes them (`keys`), and the socket that is about to carry that
//! plaintext's record refuses it (`sk_msg`). Plaintext of TCP connections and datagrams are scanned where they are refused.

pub mod kernel_tls;
pub mod keys;
pub mod lsm;
pub mod return_override;
pub mod signal;
pub mod sk_msg;
mod sni;
pub mod strict;

use crate::maps::{ACTIVE, CONFIG};
use aya_ebpf::programs::ProbeContext;

/// Do the programs of this agent judge, or those of the one before it, which are still attached?
#[inline(always)]
pub fn is_active() -> bool {
    ACTIVE.get(0).is_some_and(|epoch| *epoch == CONFIG.load().epoch)
}

/// Bytes of a refused write that the agent is shown, and how many of them come before the end of the key.
pub const SHOWN: u64 = 64 * 1024;
pub const SHOWN_BEFORE: u64 = 48 * 1024;

/// What a TLS probe does about keys.
pub trait Rung {
    /// It looks for them.
    const JUDGES: bool;
    /// It can stop the call.
    const STOPS: bool;
    /// Flags of the bytes of a call that it stopped.
    const STOPPED: u8;

    /// Stops the call, which has not begun. False if that cannot be done.
    fn stop(ctx: &ProbeContext) -> bool;
}

/// Nothing: what leaves is only seen.
pub struct LookOn;

impl Rung for LookOn {
    const JUDGES: bool = false;
    const STOPS: bool = false;
    const STOPPED: u8 = 0;

    #[inline(always)]
    fn stop(_ctx: &ProbeContext) -> bool {
        false
    }
}
