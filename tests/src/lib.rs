//! The harness of the end-to-end tests: a network that is not loopback, servers in it, real clients,
//! the agent and the collector as users start them, and typed expectations about what they say.
//!
//! `docs/testing.md` explains how to add a test.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a harness asserts by panicking, and no outside input reaches it"
)]

pub mod agent;
pub mod calls;
pub mod cases;
pub mod child;
pub mod collector;
pub mod commands;
pub mod env;
pub mod expect;
pub mod key;
pub mod meanwhile;
pub mod net;
pub mod nginx;
pub mod pki;
pub mod postgres;
pub mod programs;
pub mod record;
pub mod script;
pub mod server;
pub mod tables;
pub mod threat_model;
pub mod watched;

pub use agent::{Agent, Options};
pub use child::{Client, Finished};
pub use collector::Collector;
pub use expect::Expect;
pub use key::FakeKey;
pub use net::Net;
pub use script::Script;
pub use server::Server;
