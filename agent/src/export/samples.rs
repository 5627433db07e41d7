//! Records for tests. The secret in them is a redacted form, as everywhere.

use crate::record::{
    Action, Ancestor, Channel, ChannelKind, Destination, Finding, Line, Loss, Process, Reason, Record,
    RuleRef, SecretRef,
};
use std::sync::Arc;

/// A finding of its own id and fingerprint.
pub(crate) fn finding(n: u64) -> Record {
    Record::Finding(Box::new(Finding {
        id: uuid::Uuid::now_v7().to_string(),
        rule: RuleRef {
            id: "anthropic-api-key".to_owned(),
            name: "Anthropic API key".to_owned(),
            severity: "critical".to_owned(),
        },
        action: Action::Observed,
        enforcement: None,
        reason: Reason::NotHome,
        policy: None,
        secret: SecretRef {
            fingerprint: format!("{n:064x}"),
            redacted: "sk-ant-api…(108)".to_owned(),
            length: 108,
        },
        confidence: Some("high".to_owned()),
        facts: [("iss".to_owned(), "https://id.example".to_owned())].into(),
        channel: Channel {
            kind: ChannelKind::Tls,
            library: Some("openssl".to_owned()),
            protocol: Some("http/1.1".to_owned()),
            location: "header:x-api-key".to_owned(),
        },
        process: Process {
            pid: 4242,
            comm: "curl".to_owned(),
            exe: Some("/usr/bin/curl".to_owned()),
            cmdline: vec!["curl".to_owned(), "https://webhook.example/".to_owned()],
            uid: Some(1000),
            container: None,
            unit: Some("session-1.scope".to_owned()),
            ancestors: vec![Ancestor { pid: 4241, comm: "bash".to_owned() }],
        },
        destination: Destination {
            ip: Some([192, 0, 2, 7].into()),
            port: Some(443),
            host: Some("webhook.example".to_owned()),
            host_source: Some("sni".to_owned()),
            category: Some("webhook-catcher".to_owned()),
        },
        explanation: "The key went to a place that is not its provider.".to_owned(),
        remediation: "Revoke the key.".to_owned(),
        attack: vec!["T1567".to_owned()],
    }))
}

/// Losses with one total.
pub(crate) fn loss(total: u64) -> Record {
    Record::Loss(Loss { counters: [("flow-gap".to_owned(), total)].into() })
}

/// A record in its envelope.
pub(crate) fn line(record: Record) -> Arc<Line> {
    Arc::new(Line { record, time: jiff::Timestamp::now(), host: "host".to_owned() })
}
