//! Refusing: what decides about a write that carries a key, and what stops it.
//!
//! A TLS probe finds the keys in plaintext and notes them (`keys`); the socket that is about to carry that plaintext's record
//! refuses it (`sk_msg`), since only there it is known where it goes. Plaintext of TCP connections and datagrams are scanned
//! where they are refused.

pub mod keys;
pub mod sk_msg;
mod sni;
