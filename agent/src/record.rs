//! What the agent says: one JSON object per line with `--jsonl`, one message on the gRPC stream.
//!
//! **Architecture Invariant:** no type here can hold a raw secret. A finding carries the rule, a redacted
//! form and a keyed fingerprint, nothing else of the key.

use keymoat_detect::policy;
pub use keymoat_detect::policy::Reason;
use keymoat_detect::{Detector, Fact, redact_all};
use serde::Serialize;
use std::collections::BTreeMap;

/// One line of output, with the envelope every line has.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    #[serde(flatten)]
    pub record: Record,
    /// RFC 3339, UTC.
    pub time: jiff::Timestamp,
    pub host: String,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    /// Everything is attached: whatever is sent from now on is seen.
    Ready(Ready),
    Finding(Box<Finding>),
    /// A finding happened again on the same flow.
    Repeat(Repeat),
    /// Counters of what was not delivered, whenever one of them grew. Totals since the agent started.
    Loss(Loss),
    /// A process speaks TLS through no library keymoat can see into.
    UnseenTls(UnseenTls),
    /// In `strict` mode: something was refused that cannot be inspected.
    Refusal(Refusal),
    Health(Health),
}

#[derive(Clone, Debug, Serialize)]
pub struct Ready {
    pub version: &'static str,
    pub mode: String,
    /// What is attached, e.g. `sock_ops`, `cgroup_skb`, `uprobe:openssl`.
    pub hooks: Vec<String>,
    /// Method used in block mode; none while detecting.
    pub enforcement: Option<String>,
    pub rules: usize,
    pub kernel: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// UUID v7: sortable by time, and what makes redelivery harmless.
    pub id: String,
    pub rule: RuleRef,
    pub action: Action,
    pub enforcement: Option<String>,
    pub reason: Reason,
    /// The entry of the policy that decided; none: keymoat's own judgement.
    pub policy: Option<String>,
    pub secret: SecretRef,
    /// How sure it is that this is a real key: `low`, `medium`, `high`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<String>,
    /// What the secret says about itself.
    #[serde(skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
    pub channel: Channel,
    pub process: Process,
    pub destination: Destination,
    pub explanation: String,
    pub remediation: String,
    /// MITRE ATT&CK technique ids.
    pub attack: Vec<String>,
}

/// By name: `aws-account`, and `iss` and `aud` of a token. None of it is secret.
pub type Facts = BTreeMap<String, String>;

/// Several facts of one name (the audiences of a token) become one. Their text came with the secret, and whoever made
/// that may have put a second one into it.
pub fn facts(detector: &Detector, list: &[Fact]) -> Facts {
    let mut facts = Facts::new();
    for Fact { name, value } in list {
        let known = facts.entry((*name).to_owned()).or_default();
        if !known.is_empty() {
            known.push_str(", ");
        }
        known.push_str(&redact_all(detector, value));
    }
    facts
}

#[derive(Clone, Debug, Serialize)]
pub struct RuleRef {
    pub id: String,
    pub name: String,
    /// How bad this is: the rule's `info`, `low`, `medium`, `high` or `critical`, raised by where it went, or set by the
    /// policy.
    pub severity: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Action {
    /// Seen leaving; nothing was stopped.
    Observed,
    /// Normal use: a key on its usual way to its own provider.
    Allowed,
    Blocked,
    /// Detected after the bytes were gone.
    Late,
}

impl Action {
    /// What becomes of a verdict while nothing is refused; none: it is not reported.
    pub fn while_detecting(action: policy::Action) -> Option<Self> {
        match action {
            policy::Action::Allow => Some(Self::Allowed),
            policy::Action::Observe | policy::Action::Block => Some(Self::Observed),
            policy::Action::Ignore => None,
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct SecretRef {
    /// HMAC-SHA-256 under the fleet key, hex.
    pub fingerprint: String,
    /// The rule's public prefix and the length, e.g. `sk-ant-api…(108)`.
    pub redacted: String,
    pub length: usize,
}

#[derive(Clone, Debug, Serialize)]
pub struct Channel {
    pub kind: ChannelKind,
    /// `openssl`, `gnutls`; none for socket bytes.
    pub library: Option<String>,
    /// `http/1.1`, or none when not recognised.
    pub protocol: Option<String>,
    /// Where in the message: `header:x-api-key`, `query:key`, `body > gzip > json:env.KEY`, `stream`.
    pub location: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelKind {
    Tls,
    Tcp,
    Udp,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Process {
    pub pid: u32,
    pub comm: String,
    pub exe: Option<String>,
    /// Arguments with every secret redacted.
    pub cmdline: Vec<String>,
    pub uid: Option<u32>,
    pub container: Option<String>,
    pub unit: Option<String>,
    /// Parent first, up to pid 1.
    pub ancestors: Vec<Ancestor>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Ancestor {
    pub pid: u32,
    pub comm: String,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Destination {
    pub ip: Option<std::net::IpAddr>,
    pub port: Option<u16>,
    pub host: Option<String>,
    /// What `host` rests on: `sni`, `http-host`, or `address` when only the address is known.
    pub host_source: Option<String>,
    /// What kind of place it is: `llm`, `paste`, …, or `unknown`.
    pub category: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
pub struct Repeat {
    /// Id of the finding that happened again.
    pub finding: String,
    /// Times the secret was seen again at the same place of the same flow, in total.
    pub repeats: u64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// Totals by cause; see `health::Cause`.
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize)]
pub struct UnseenTls {
    pub process: Process,
    pub destination: Destination,
    /// Why nothing could be attached, in words a person can act on.
    pub reason: String,
}

/// Nothing is known of what was refused but that nobody could look for keys in it.
#[derive(Clone, Debug, Serialize)]
pub struct Refusal {
    pub process: Process,
    pub destination: Destination,
    /// `unseen-tls`, `old-connection`, `not-judged`, `quic`, `packet-socket`.
    pub reason: &'static str,
    pub enforcement: &'static str,
    /// What it means, and what to do where it has to pass.
    pub explanation: &'static str,
}

#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// Name of the part that speaks, e.g. `probe:openssl`, `collector`.
    pub component: String,
    /// `ok`, `degraded`, `broken`.
    pub status: String,
    pub message: String,
}
