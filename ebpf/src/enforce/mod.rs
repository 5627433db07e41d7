//! Refusing: what decides about a write that carries a key, and what stops it.
//!
//! A TLS probe finds the keys in plaintext and notes them (`keys`); the socket that is about to carry that plaintext's record
//! refuses it (`sk_msg`), since only there it is known where it goes. Plaintext of TCP connections and datagrams are scanned
//! where they are refused.

pub mod keys;
pub mod lsm;
pub mod sk_msg;
mod sni;
pub mod strict;

use crate::maps::{ACTIVE, CONFIG};

/// Do the programs of this agent judge, or those of the one before it, which are still attached?
#[inline(always)]
pub fn is_active() -> bool {
    ACTIVE.get(0).is_some_and(|epoch| *epoch == CONFIG.load().epoch)
}
