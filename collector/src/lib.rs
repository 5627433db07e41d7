//! The keymoat collector: takes events from agents over gRPC, keeps them, shows them.
//!
//! An event comes in through [`ingest`], is checked and translated by [`wire`] into the types of [`model`], and is
//! committed by [`store`] before the agent hears of it. [`web`] and [`cli`] read the store.

pub mod cli;
pub mod ingest;
pub mod model;
pub mod store;
pub mod web;
pub mod wire;
