//! What keymoat can and cannot see on this host. Nothing degrades quietly: every capability that is missing is
//! named here with what it costs and what to do about it.

pub mod checks;
pub mod enforcement;
pub mod text;

use crate::config::DEFAULT_STATUS_FILE;
use crate::discover::{self, LibraryReport};
use crate::health::Counters;
use crate::kernel;
use crate::socket_layer::SocketLayer;
use crate::status;
use enforcement::Enforcement;
use serde::Serialize;
use std::path::Path;

/// Everything `keymoat doctor` says.
#[derive(Debug, Serialize)]
pub struct Report {
    pub version: &'static str,
    pub kernel: String,
    pub architecture: &'static str,
    pub checks: Vec<Check>,
    /// The layer the agent would choose; none when neither works.
    pub socket_layer: Option<SocketLayer>,
    pub enforcement: Enforcement,
    pub libraries: Vec<LibraryReport>,
    /// The running agent's own words: counters, hooks, TLS it could not see. None when none runs.
    pub agent: Option<serde_json::Value>,
}

/// One thing that was tried.
#[derive(Clone, Debug, Serialize)]
pub struct Check {
    pub name: &'static str,
    pub status: Outcome,
    /// What was found, or the kernel's own words.
    pub detail: String,
    /// What it means for the user, and what to do; empty when all is well.
    pub effect: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    Ok,
    /// Works, with less to see.
    Degraded,
    Missing,
}

impl Report {
    /// Tries everything for real: programs are loaded and attached, then let go.
    pub fn make() -> Self {
        let (checks, socket_layer) = checks::all();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            kernel: kernel::release(),
            architecture: std::env::consts::ARCH,
            checks,
            socket_layer,
            enforcement: Enforcement::of_this_kernel(),
            libraries: discover::survey(Counters::default()).unwrap_or_default(),
            agent: status::read(Path::new(DEFAULT_STATUS_FILE)),
        }
    }

    /// Is the main job done on this host: TLS plaintext and socket writes seen, new programs noticed?
    pub fn is_able(&self) -> bool {
        self.socket_layer.is_some()
            && !self.checks.iter().any(|check| check.status == Outcome::Missing && check.name == checks::TLS)
    }
}
