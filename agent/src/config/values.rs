//! One type per setting. What cannot be used is refused while parsing, with words that say what can.

use keymoat_abi::config::BUDGET_PERIOD_BITS;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// See and report.
    #[default]
    Detect,
    /// Refuse the write that carries the secret.
    Block,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Detect => "detect",
            Self::Block => "block",
        })
    }
}

/// What the agent sees of plaintext while it blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capture {
    /// What follows a key, or a sign that only the agent can find one.
    #[default]
    Needed,
    /// All of it, as in `detect` mode.
    Everything,
}

/// How socket writes are seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SocketLayer {
    /// The socket programs where cgroup v2 is, system calls elsewhere.
    #[default]
    Auto,
    Sockets,
    Syscalls,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

impl From<LogLevel> for tracing::Level {
    fn from(level: LogLevel) -> Self {
        match level {
            LogLevel::Error => Self::ERROR,
            LogLevel::Warn => Self::WARN,
            LogLevel::Info => Self::INFO,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Trace => Self::TRACE,
        }
    }
}

/// A value that text does not make; the message says what would.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(String);

fn invalid<T>(message: impl Into<String>) -> Result<T, InvalidValue> {
    Err(InvalidValue(message.into()))
}

/// Where JSON lines go.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum JsonlOutput {
    /// `-`
    Stdout,
    File(PathBuf),
}

impl FromStr for JsonlOutput {
    type Err = InvalidValue;

    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        match text {
            "" => invalid("an empty path: name a file, or `-` for standard output"),
            "-" => Ok(Self::Stdout),
            path => Ok(Self::File(PathBuf::from(path))),
        }
    }
}

/// `http://HOST[:PORT]`: where the collector takes findings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct CollectorUrl(tonic::transport::Uri);

impl CollectorUrl {
    pub fn uri(&self) -> &tonic::transport::Uri {
        &self.0
    }
}

impl fmt::Display for CollectorUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for CollectorUrl {
    type Err = InvalidValue;

    /// The text is not repeated in errors: a URL may carry a password.
    fn from_str(text: &str) -> Result<Self, InvalidValue> {
        const SHAPE: &str = "write it as http://HOST:PORT";
        let Ok(uri) = text.parse::<tonic::transport::Uri>() else {
            return invalid(format!("not a URL: {SHAPE}"));
        };
        match uri.scheme_str() {
            Some("http") => {}
            Some("https") => {
                return invalid("https:// is not supported yet: use http:// on a trusted network");
            }
            _ => return invalid(format!("no http:// in front: {SHAPE}")),
        }
        if uri.host().is_none_or(str::is_empty) {
            return invalid(format!("no host: {SHAPE}"));
        }
        if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return invalid(format!("a user name or password does not belong in this URL: {SHAPE}"));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return invalid(format!("a path has no meaning here: {SHAPE}"));
        }
        Ok(Self(uri))
    }
}

/// Size of the buffer between kernel and agent, as BPF rings must have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct RingBytes(u32);

impl RingBytes {
    pub const MIN: u32 = 64 * 1024; // the largest page size there is
    pub const MAX: u32 = 1024 * 1024 * 1024;

    pub fn get(self) -> u32 {
        self.0
    }
}

impl Default for RingBytes {
    fn default() -> Self {
        Self(8 * 1024 * 1024)
    }
}

impl TryFrom<i64> for RingBytes {
    type Error = InvalidValue;

    fn try_from(value: i64) -> Result<Self, InvalidValue> {
        match u32::try_from(value) {
            Ok(bytes) if (Self::MIN..=Self::MAX).contains(&bytes) && bytes.is_power_of_two() => {
                Ok(Self(bytes))
            }
            _ => invalid(format!(
                "{value} is no ring size: use a power of two from {} (64 KiB) to {} (1 GiB), e.g. 8388608 (8 MiB)",
                Self::MIN,
                Self::MAX
            )),
        }
    }
}

/// Connections remembered at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct MaxFlows(usize);

impl MaxFlows {
    pub const MIN: i64 = 64;
    pub const MAX: i64 = 16 * 1024 * 1024;

    pub fn get(self) -> usize {
        self.0
    }
}

impl Default for MaxFlows {
    fn default() -> Self {
        Self(65_536)
    }
}

impl TryFrom<i64> for MaxFlows {
    type Error = InvalidValue;

    fn try_from(value: i64) -> Result<Self, InvalidValue> {
        match usize::try_from(value) {
            Ok(flows) if (Self::MIN..=Self::MAX).contains(&value) => Ok(Self(flows)),
            _ => invalid(format!("{value} is out of range: use {} to {}", Self::MIN, Self::MAX)),
        }
    }
}

/// MiB of responses that are looked at in a second, on each processor; 0: all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct ResponseBudget(u32);

impl ResponseBudget {
    pub const MAX: i64 = 16 * 1024;

    /// Bytes in a period of the kernel's.
    pub fn per_period(self) -> u32 {
        const PERIOD_NS: u64 = 1 << BUDGET_PERIOD_BITS;
        let bytes = u64::from(self.0) * 1024 * 1024 * PERIOD_NS / 1_000_000_000;
        u32::try_from(bytes).unwrap_or(u32::MAX)
    }
}

impl Default for ResponseBudget {
    /// The agent takes apart and matches some 150 MB/s: this is 3 % of each processor (docs/benchmarks.md).
    fn default() -> Self {
        Self(4)
    }
}

impl TryFrom<i64> for ResponseBudget {
    type Error = InvalidValue;

    fn try_from(value: i64) -> Result<Self, InvalidValue> {
        match u32::try_from(value) {
            Ok(budget) if value <= Self::MAX => Ok(Self(budget)),
            _ => invalid(format!("{value} is out of range: use 0 (all) to {}", Self::MAX)),
        }
    }
}

/// The file and the command line accept the same texts.
macro_rules! from_text {
    ($($name:ty),*) => {$(
        impl TryFrom<String> for $name {
            type Error = InvalidValue;
            fn try_from(text: String) -> Result<Self, InvalidValue> {
                text.parse()
            }
        }
    )*};
}
from_text!(JsonlOutput, CollectorUrl);
