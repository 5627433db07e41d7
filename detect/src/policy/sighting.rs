//! Everything a verdict rests on.

use crate::rules::Rule;
use jiff::Timestamp;
use std::net::IpAddr;

/// A secret that was seen leaving.
#[derive(Clone, Copy, Debug)]
pub struct Sighting<'a> {
    pub rule: &'a Rule,
    /// Where in the message: a [path](crate::location).
    pub location: &'a str,
    /// Only the two ends can read it.
    pub encrypted: bool,
    pub destination: Destination<'a>,
    /// Host the message itself names.
    pub claimed_host: Option<&'a str>,
    pub direction: Option<Direction>,
    pub process: Process<'a>,
    /// When it was seen.
    pub at: Timestamp,
}

/// Where it went, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Destination<'a> {
    pub host: Option<&'a str>,
    pub ip: Option<IpAddr>,
}

/// Who opened the connection it went out on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// This host.
    Outbound,
    /// The other end: what leaves is a server's answer.
    Inbound,
}

/// Who sent it, as far as it is known.
#[derive(Clone, Copy, Debug, Default)]
pub struct Process<'a> {
    /// Path of the program.
    pub exe: Option<&'a str>,
    /// Name of the sending thread.
    pub comm: Option<&'a str>,
    pub uid: Option<u32>,
    /// Id of the container, 64 hex digits.
    pub container: Option<&'a str>,
    /// systemd service or scope.
    pub unit: Option<&'a str>,
}

impl<'a> Sighting<'a> {
    /// Every name the traffic gives for where it goes.
    pub(super) fn names(&self) -> impl Iterator<Item = &'a str> {
        self.destination.host.into_iter().chain(self.claimed_host)
    }
}
