//! The hooks.

pub mod noop;
pub mod scan_check;
pub mod socket;
pub mod tls;
