//! The bytes that cross between keymoat's kernel programs and its agent.
//!
//! `event` is what the kernel writes to the ring, `config` what the agent tells the kernel, `loss` the
//! counters both agree on, `enforce` what decides about a write, and `decode` (agent only) turns ring bytes into events after checking them. `scan` is the one
//! piece of code made for both sides: the matcher, and its tables.
//!
//! **Architecture Invariant:** nothing here depends on anything; every struct is `repr(C)`, has no implicit
//! padding and a size assertion, so both sides read the same bytes whatever compiled them.
#![no_std]

pub mod config;
#[cfg(feature = "user")]
pub mod decode;
pub mod enforce;
pub mod event;
pub mod http2;
pub mod loss;
pub mod scan;
pub mod state;

pub use config::Config;
pub use event::{Close, Data, Header, Kind, Link, Refusal, Source, Tuple, Why};
pub use loss::LossCause;
pub use state::FlowState;
