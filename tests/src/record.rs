//! The JSON lines of `keymoat agent --jsonl`, as the contract has them. Written down again on purpose:
//! a field the agent renames by accident must fail here.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::net::IpAddr;

#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    pub time: String,
    pub host: String,
    #[serde(flatten)]
    pub record: Record,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
pub enum Record {
    Ready(Ready),
    Finding(Box<Finding>),
    Repeat(Repeat),
    Loss(Loss),
    UnseenTls(UnseenTls),
    Refusal(Refusal),
    Health(Health),
}

#[derive(Clone, Debug, Deserialize)]
pub struct Ready {
    pub hooks: Vec<String>,
    pub enforcement: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Finding {
    pub id: String,
    pub rule: Rule,
    pub action: String,
    pub enforcement: Option<String>,
    pub secret: Secret,
    pub channel: Channel,
    pub process: Process,
    pub destination: Destination,
    pub explanation: String,
    pub remediation: String,
    pub attack: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Rule {
    pub id: String,
    pub name: String,
    pub severity: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Secret {
    pub fingerprint: String,
    pub redacted: String,
    pub length: usize,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Channel {
    pub kind: String,
    pub library: Option<String>,
    pub protocol: Option<String>,
    pub location: String,
}

#[derive(Clone, Debug, Deserialize)]
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

#[derive(Clone, Debug, Deserialize)]
pub struct Ancestor {
    pub pid: u32,
    pub comm: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Destination {
    pub ip: Option<IpAddr>,
    pub port: Option<u16>,
    pub host: Option<String>,
    pub host_source: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Repeat {
    /// Id of the finding that happened again.
    pub finding: String,
    pub repeats: u64,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Loss {
    pub counters: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct UnseenTls {
    pub process: Process,
    pub destination: Destination,
    pub reason: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Refusal {
    pub process: Process,
    pub destination: Destination,
    pub reason: String,
    pub enforcement: String,
    pub explanation: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Health {
    pub component: String,
    pub status: String,
    pub message: String,
}

impl Finding {
    /// Everything a test can expect, by name, as text.
    pub fn facts(&self) -> Vec<(&'static str, String)> {
        let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let to = &self.destination;
        vec![
            ("rule", self.rule.id.clone()),
            ("action", self.action.clone()),
            ("kind", self.channel.kind.clone()),
            ("library", or_none(self.channel.library.clone())),
            ("protocol", or_none(self.channel.protocol.clone())),
            ("location", self.channel.location.clone()),
            ("pid", self.process.pid.to_string()),
            ("comm", self.process.comm.clone()),
            ("ip", or_none(to.ip.map(|ip| ip.to_string()))),
            ("port", or_none(to.port.map(|port| port.to_string()))),
            ("host", or_none(to.host.clone())),
            ("host_source", or_none(to.host_source.clone())),
        ]
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::key::FakeKey;

    /// A line as the contract in the documentation has it.
    pub(crate) fn finding(key: &FakeKey) -> Finding {
        let line = serde_json::json!({
            "type": "finding", "time": "2026-01-01T00:00:00Z", "host": "h", "id": "1",
            "rule": { "id": key.rule, "name": "n", "severity": "high" },
            "action": "observed", "enforcement": null,
            "secret": { "fingerprint": key.fingerprint(), "redacted": "sk-…(9)", "length": 9 },
            "channel": { "kind": "tls", "library": "openssl", "protocol": null, "location": "body" },
            "process": { "pid": 7, "comm": "curl", "exe": null, "cmdline": [], "uid": 0,
                         "container": null, "unit": null, "ancestors": [{ "pid": 1, "comm": "init" }] },
            "destination": { "ip": "198.18.0.2", "port": 443, "host": null, "host_source": null },
            "explanation": "e", "remediation": "r", "attack": ["T1567"],
        });
        match serde_json::from_value::<Line>(line).unwrap().record {
            Record::Finding(finding) => *finding,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_line_without_a_field_of_the_contract_is_refused() {
        let line = r#"{"type":"health","time":"t","host":"h","component":"c","status":"ok","message":"m"}"#;
        assert!(serde_json::from_str::<Line>(line).is_ok());
        assert!(serde_json::from_str::<Line>(&line.replace("component", "part")).is_err());
        assert!(serde_json::from_str::<Line>(&line.replace("health", "unheard-of")).is_err());
    }
}
