//! `cargo bench -p keymoat-detect`: what the parts of the detector cost. `cargo xtask bench detect` puts the whole beside
//! other ways to do the same.

mod decoders;
mod engine;
mod texts;
#[path = "../../examples/compare/traffic.rs"]
mod traffic;

/// What a program writes at once, and a TLS record holds.
const WRITE: usize = 16 * 1024;

fn main() {
    divan::main();
}
