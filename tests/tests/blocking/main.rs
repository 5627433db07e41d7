//! Block mode: what carries a key is refused, in the very call that sends it, and everything else is served.
//!
//! A leak is what the receiver has; so every test looks at the receiver's bytes.

#![allow(clippy::expect_used, reason = "a test asserts by panicking")]

mod benign;
mod capture;
mod clients;
mod comings_and_goings;
mod everyday;
mod kernel_tls;
mod ladder;
mod life;
mod overload;
mod race;
mod reload;
mod right_connection;
mod strict;
mod ways_out;
mod writes;
