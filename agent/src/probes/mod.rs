//! Tables of what to probe. A table holds no code: finding the functions, choosing the instruction and
//! attaching are done elsewhere for all of them alike.

pub mod tls;

pub use tls::{ProbeSpec, Role, TlsLibrary};
