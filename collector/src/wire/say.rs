//! A stored finding in the words of the contract.

use super::{action_number, channel_kind_number, confidence_number, severity_number};
use crate::model::{Ancestor, Channel, Destination, Finding, Process};
use keymoat_proto::v1;

pub fn finding(f: Finding) -> v1::StoredFinding {
    let nanos = f.time.as_nanosecond();
    v1::StoredFinding {
        id: f.id,
        // It came in as 64 bits.
        time_unix_nanos: i64::try_from(nanos).unwrap_or_default(),
        host: f.host,
        repeats: f.repeats,
        finding: Some(v1::Finding {
            rule: Some(v1::RuleRef {
                id: f.rule.id,
                name: f.rule.name,
                severity: severity_number(f.rule.severity),
            }),
            action: action_number(f.action),
            enforcement: f.enforcement,
            secret: Some(v1::SecretRef {
                fingerprint: f.secret.fingerprint,
                redacted: f.secret.redacted,
                length: f.secret.length,
            }),
            confidence: f.confidence.map_or(0, confidence_number),
            facts: f.facts,
            channel: Some(channel(f.channel)),
            process: Some(process(f.process)),
            destination: Some(destination(f.destination)),
            explanation: f.explanation,
            remediation: f.remediation,
            attack: f.attack,
            reason: f.reason,
            policy: f.policy,
        }),
    }
}

fn channel(c: Channel) -> v1::Channel {
    let kind = channel_kind_number(c.kind);
    v1::Channel { kind, library: c.library, protocol: c.protocol, location: c.location }
}

fn process(p: Process) -> v1::Process {
    let ancestor = |a: Ancestor| v1::Ancestor { pid: a.pid, comm: a.comm };
    v1::Process {
        pid: p.pid,
        comm: p.comm,
        exe: p.exe,
        cmdline: p.cmdline,
        uid: p.uid,
        container: p.container,
        unit: p.unit,
        ancestors: p.ancestors.into_iter().map(ancestor).collect(),
    }
}

fn destination(d: Destination) -> v1::Destination {
    v1::Destination {
        ip: d.ip,
        port: d.port.map(u32::from),
        host: d.host,
        host_source: d.host_source,
        category: d.category,
    }
}
