//! The agent's settings: defaults, then the configuration file, then the command line.
//!
//! Every value has its own type, so a setting that parsed is a setting that holds; `file` reads the TOML,
//! `values` has the types, `rules`, `policy` and `registered` load the files it names, and `fleet_key` the key of
//! the fingerprints. No secret is written in the configuration itself.

mod file;
pub mod fleet_key;
pub mod policy;
pub mod registered;
pub mod rules;
pub mod values;

pub use file::{ConfigError, DEFAULT_PATH};
pub use fleet_key::{FleetKey, FleetKeyError, KeyOrigin};
pub use values::{
    Capture, CollectorUrl, JsonlOutput, LogLevel, MaxFlows, Mode, ResponseBudget, RingBytes, SocketLayer,
};

use crate::enforce::Method;
use serde::Deserialize;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Where `keymoat doctor` looks for the running agent's status.
pub const DEFAULT_STATUS_FILE: &str = "/run/keymoat/status.json";

/// Where `keymoat allow` writes what it lets pass.
pub const DEFAULT_EXCEPTIONS_FILE: &str = "/run/keymoat/exceptions.toml";

/// docs/operations.md explains every key.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    pub mode: Mode,
    /// While blocking: what cannot be inspected is refused, and refusing goes on without the agent.
    pub strict: bool,
    /// What refuses TLS writes; none: the best that the kernel takes.
    pub enforcement: Option<Method>,
    /// While blocking: what the agent sees of what the kernel finds clean.
    pub capture: Capture,
    /// Where findings go as JSON lines; none: nowhere.
    pub jsonl: Option<JsonlOutput>,
    pub collector: Option<CollectorUrl>,
    /// Traffic to this very host counts as leaving.
    pub include_loopback: bool,
    /// Watch connections this host accepted too: a server's responses.
    pub accepted_connections: bool,
    /// How much of those is looked at.
    pub response_budget: ResponseBudget,
    /// None: a key of this host's own.
    pub fleet_key_file: Option<PathBuf>,
    /// Rule files beside the built-in ones.
    pub rules: Vec<PathBuf>,
    /// What a secret on its way out means, where the user knows better.
    pub policy: Option<PathBuf>,
    /// Ids of rules to look for that are off by default.
    pub enable_rules: Vec<String>,
    /// Ids of rules not to look for.
    pub disable_rules: Vec<String>,
    /// Secrets of the user's own, found by what they are.
    pub registered_values_file: Option<PathBuf>,
    pub socket_layer: SocketLayer,
    /// Where the agent writes how it fares, for `keymoat doctor`.
    pub status_file: PathBuf,
    /// What `keymoat allow` lets pass.
    pub exceptions_file: PathBuf,
    pub ring_bytes: RingBytes,
    pub max_flows: MaxFlows,
    pub buffer: Buffer,
    pub log: LogLevel,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mode: Mode::default(),
            strict: false,
            enforcement: None,
            capture: Capture::default(),
            jsonl: None,
            collector: None,
            include_loopback: false,
            accepted_connections: true,
            response_budget: ResponseBudget::default(),
            fleet_key_file: None,
            rules: Vec::new(),
            policy: None,
            enable_rules: Vec::new(),
            disable_rules: Vec::new(),
            registered_values_file: None,
            socket_layer: SocketLayer::default(),
            status_file: PathBuf::from(DEFAULT_STATUS_FILE),
            exceptions_file: PathBuf::from(DEFAULT_EXCEPTIONS_FILE),
            ring_bytes: RingBytes::default(),
            max_flows: MaxFlows::default(),
            buffer: Buffer::default(),
            log: LogLevel::default(),
        }
    }
}

/// What is kept for a collector that does not answer. Whichever limit is reached first counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Buffer {
    pub records: NonZeroUsize,
    pub bytes: NonZeroUsize,
}

impl Default for Buffer {
    fn default() -> Self {
        const RECORDS: NonZeroUsize = NonZeroUsize::new(16_384).unwrap();
        const BYTES: NonZeroUsize = NonZeroUsize::new(16 * 1024 * 1024).unwrap();
        Self { records: RECORDS, bytes: BYTES }
    }
}

#[cfg(test)]
mod tests;
