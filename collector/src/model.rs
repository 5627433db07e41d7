//! What the collector keeps. As JSON each type has the shape of the agent's own line, so that whoever reads one
//! can read the other.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A batch whose events are all fit to be stored.
#[derive(Clone, Debug)]
pub struct Batch {
    pub agent: Agent,
    pub events: Vec<Event>,
}

/// One run of one agent.
#[derive(Clone, Debug, Serialize)]
pub struct Agent {
    pub host: String,
    /// UUID of the run.
    pub run: String,
    pub version: String,
    pub mode: String,
    pub kernel: String,
    pub hooks: Vec<String>,
    /// When it was last heard of, by the collector's clock.
    pub seen: Timestamp,
    /// What it could not deliver: totals by cause, since the run began.
    pub losses: BTreeMap<String, u64>,
}

#[derive(Clone, Debug)]
pub enum Event {
    Finding(Box<Finding>),
    Repeat { finding: String, repeats: u64 },
    Loss(BTreeMap<String, u64>),
    Notice(Box<Notice>),
}

/// A secret that was seen leaving a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename = "finding")]
pub struct Finding {
    /// UUID v7.
    pub id: String,
    pub rule: Rule,
    pub action: Action,
    pub enforcement: Option<String>,
    /// What speaks for or against it; agents before this field do not say.
    pub reason: Option<String>,
    /// The entry of the host's policy that decided.
    pub policy: Option<String>,
    pub secret: Secret,
    /// Agents and stores older than this field do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confidence: Option<Confidence>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    pub channel: Channel,
    pub process: Process,
    pub destination: Destination,
    pub explanation: String,
    pub remediation: String,
    pub attack: Vec<String>,
    pub time: Timestamp,
    pub host: String,
    /// Times it was seen again; the one field the agent's line has not.
    #[serde(default)]
    pub repeats: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    pub id: String,
    pub name: String,
    pub severity: Severity,
}

/// What may be said of a secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Secret {
    pub fingerprint: String,
    pub redacted: String,
    pub length: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    pub kind: ChannelKind,
    pub library: Option<String>,
    pub protocol: Option<String>,
    pub location: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    pub exe: Option<String>,
    pub cmdline: Vec<String>,
    pub uid: Option<u32>,
    pub container: Option<String>,
    pub unit: Option<String>,
    pub ancestors: Vec<Ancestor>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ancestor {
    pub pid: u32,
    pub comm: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Destination {
    pub ip: Option<String>,
    pub port: Option<u16>,
    pub host: Option<String>,
    pub host_source: Option<String>,
    pub category: Option<String>,
}

/// Something about an agent that a person should know.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    pub id: String,
    #[serde(flatten)]
    pub about: About,
    pub time: Timestamp,
    pub host: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum About {
    UnseenTls {
        process: Process,
        destination: Box<Destination>,
        reason: String,
    },
    Refusal {
        process: Process,
        destination: Box<Destination>,
        reason: String,
        enforcement: String,
        explanation: String,
    },
    Health {
        component: String,
        status: String,
        message: String,
    },
}

/// An enum whose variants have one lower-case name, in JSON and for people.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($variant:ident => $word:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($variant,)* }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(match self { $(Self::$variant => $word,)* })
            }
        }
    };
}

words!(Severity { Info => "info", Low => "low", Medium => "medium", High => "high", Critical => "critical", });
words!(
    /// How sure it is that a finding is a real key.
    Confidence { Low => "low", Medium => "medium", High => "high", }
);
words!(
    /// What the agent did.
    Action { Observed => "observed", Allowed => "allowed", Blocked => "blocked", Late => "late", }
);
words!(ChannelKind { Tls => "tls", Tcp => "tcp", Udp => "udp", });

impl Destination {
    /// `name (address):port`, of which what is known.
    pub fn short(&self) -> String {
        let port = self.port.map(|port| format!(":{port}")).unwrap_or_default();
        match (&self.host, &self.ip) {
            (Some(host), Some(ip)) if host != ip => format!("{host}{port} ({ip})"),
            (Some(place), _) | (None, Some(place)) => format!("{place}{port}"),
            (None, None) => "unknown".to_owned(),
        }
    }
}

impl Process {
    /// `name (pid)`.
    pub fn short(&self) -> String {
        format!("{} ({})", self.comm, self.pid)
    }
}
