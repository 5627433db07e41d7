//! Encodings that hide bytes in text, undone.
//!
//! Two kinds, because they leave different traces. **Escapes** ([`percent`], [`json`]) replace single characters
//! where they stand: [`escape`] gives the same text with the escapes undone, and remembers where they were
//! ([`seams`]). **Runs** ([`base64`], [`hex`]) turn a stretch of bytes into an unbroken stretch of a small
//! alphabet: [`runs`] finds such stretches.
//!
//! **Architecture Invariant:** nothing here knows rules or secrets, and everything can stop after any byte and go
//! on with the next.

pub mod base64;
pub mod escape;
pub mod hex;
pub mod json;
pub mod percent;
pub mod runs;
pub mod seams;
