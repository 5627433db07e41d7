//! Who sent it: facts about a process that stay true after it is gone.
//!
//! `process` is the table the rest of the agent asks; `snapshot` reads one process from /proc, `container`
//! explains its control groups, `cmdline` and `mask` take the secrets out of its arguments, and `bounded`
//! keeps the table within its limits.
//!
//! **Architecture Invariant:** an argument is redacted in the function that read it. Nothing in this folder
//! stores, logs or returns one as it was.

mod bounded;
pub mod cmdline;
pub mod container;
pub mod mask;
pub mod process;
mod snapshot;

pub use process::ProcessTable;

/// With the built-in rules; compiled once for all tests.
#[cfg(test)]
fn detector() -> std::sync::Arc<keymoat_detect::Detector> {
    use keymoat_detect::{Detector, RuleSet};
    use std::sync::{Arc, LazyLock};
    static DETECTOR: LazyLock<Arc<Detector>> =
        LazyLock::new(|| Arc::new(Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap()));
    Arc::clone(&DETECTOR)
}
