//! The hooks.

pub mod noop;
pub mod socket;
pub mod tls;
