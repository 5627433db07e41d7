//! A line as the contract says it. Text is clipped to the contract's bounds here, so that a collector never has
//! a reason to refuse what this agent sends.

use crate::record::{self, Line, Record};
use keymoat_proto::limits::{ARGUMENT, ARGUMENTS, ENTRIES, PATH, REDACTED, TEXT, WORD, clip};
use keymoat_proto::v1::{self, event::Kind};

/// The event for a line; none for what is said to this host only.
pub(super) fn event(id: &str, line: &Line) -> Option<v1::Event> {
    let kind = match &line.record {
        Record::Ready(_) => return None,
        Record::Finding(f) => Kind::Finding(finding(f)),
        Record::Repeat(r) => Kind::Repeat(v1::Repeat { finding: word(&r.finding), repeats: r.repeats }),
        Record::Loss(l) => Kind::Loss(v1::Loss {
            counters: l.counters.iter().take(ENTRIES).map(|(cause, total)| (word(cause), *total)).collect(),
        }),
        Record::UnseenTls(u) => Kind::UnseenTls(v1::UnseenTls {
            process: Some(process(&u.process)),
            destination: Some(destination(&u.destination)),
            reason: clip(&u.reason, TEXT),
        }),
        Record::Refusal(r) => Kind::Refusal(v1::Refusal {
            process: Some(process(&r.process)),
            destination: Some(destination(&r.destination)),
            reason: word(r.reason),
            enforcement: word(r.enforcement),
            explanation: clip(r.explanation, TEXT),
        }),
        Record::Health(h) => Kind::Health(v1::Health {
            component: word(&h.component),
            status: word(&h.status),
            message: clip(&h.message, TEXT),
        }),
    };
    let nanos = line.time.as_nanosecond();
    let time_unix_nanos = i64::try_from(nanos).unwrap_or(if nanos < 0 { i64::MIN } else { i64::MAX });
    Some(v1::Event { id: id.to_owned(), time_unix_nanos, kind: Some(kind) })
}

/// What `ready` tells the collector about this host.
pub(super) fn host(name: &str, run: &str, ready: Option<&record::Ready>) -> v1::Host {
    v1::Host {
        name: word(name),
        run: run.to_owned(),
        version: ready.map_or(env!("CARGO_PKG_VERSION"), |r| r.version).to_owned(),
        mode: ready.map(|r| word(&r.mode)).unwrap_or_default(),
        kernel: ready.map(|r| word(&r.kernel)).unwrap_or_default(),
        hooks: ready.map(|r| words(&r.hooks)).unwrap_or_default(),
    }
}

fn finding(f: &record::Finding) -> v1::Finding {
    v1::Finding {
        rule: Some(v1::RuleRef {
            id: word(&f.rule.id),
            name: word(&f.rule.name),
            severity: severity(&f.rule.severity).into(),
        }),
        action: action(f.action).into(),
        enforcement: f.enforcement.as_deref().map(word),
        secret: Some(v1::SecretRef {
            fingerprint: word(&f.secret.fingerprint),
            redacted: redacted(&f.secret),
            length: u32::try_from(f.secret.length).unwrap_or(u32::MAX),
        }),
        confidence: confidence(f.confidence.as_deref()).into(),
        facts: f.facts.iter().take(ENTRIES).map(|(name, value)| (word(name), clip(value, TEXT))).collect(),
        channel: Some(channel(&f.channel)),
        process: Some(process(&f.process)),
        destination: Some(destination(&f.destination)),
        explanation: clip(&f.explanation, TEXT),
        remediation: clip(&f.remediation, TEXT),
        attack: words(&f.attack),
        reason: Some(f.reason.to_string()),
        policy: f.policy.as_deref().map(word),
    }
}

/// The form ends with the length, which must survive: a prefix that is too long is left out instead.
fn redacted(secret: &record::SecretRef) -> String {
    if secret.redacted.len() <= REDACTED {
        secret.redacted.clone()
    } else {
        format!("…({})", secret.length)
    }
}

fn channel(c: &record::Channel) -> v1::Channel {
    let kind = match c.kind {
        record::ChannelKind::Tls => v1::ChannelKind::Tls,
        record::ChannelKind::Tcp => v1::ChannelKind::Tcp,
        record::ChannelKind::Udp => v1::ChannelKind::Udp,
    };
    v1::Channel {
        kind: kind.into(),
        library: c.library.as_deref().map(word),
        protocol: c.protocol.as_deref().map(word),
        location: clip(&c.location, PATH),
    }
}

fn process(p: &record::Process) -> v1::Process {
    let ancestor = |a: &record::Ancestor| v1::Ancestor { pid: a.pid, comm: word(&a.comm) };
    v1::Process {
        pid: p.pid,
        comm: word(&p.comm),
        exe: p.exe.as_deref().map(|exe| clip(exe, PATH)),
        cmdline: arguments(&p.cmdline),
        uid: p.uid,
        container: p.container.as_deref().map(word),
        unit: p.unit.as_deref().map(word),
        ancestors: p.ancestors.iter().take(ENTRIES).map(ancestor).collect(),
    }
}

/// A long command line ends with `…`.
fn arguments(cmdline: &[String]) -> Vec<String> {
    let mut clipped: Vec<String> = cmdline.iter().take(ARGUMENTS).map(|a| clip(a, ARGUMENT)).collect();
    if cmdline.len() > ARGUMENTS {
        clipped.truncate(ARGUMENTS - 1);
        clipped.push("…".to_owned());
    }
    clipped
}

fn destination(d: &record::Destination) -> v1::Destination {
    v1::Destination {
        ip: d.ip.map(|ip| ip.to_string()),
        port: d.port.map(u32::from),
        host: d.host.as_deref().map(|host| clip(host, PATH)),
        host_source: d.host_source.as_deref().map(word),
        category: d.category.as_deref().map(word),
    }
}

fn action(action: record::Action) -> v1::Action {
    match action {
        record::Action::Observed => v1::Action::Observed,
        record::Action::Allowed => v1::Action::Allowed,
        record::Action::Blocked => v1::Action::Blocked,
        record::Action::Late => v1::Action::Late,
    }
}

/// A severity nobody knows must not hide a finding: it counts as the worst.
fn severity(severity: &str) -> v1::Severity {
    match severity {
        "info" => v1::Severity::Info,
        "low" => v1::Severity::Low,
        "medium" => v1::Severity::Medium,
        "high" => v1::Severity::High,
        _ => v1::Severity::Critical,
    }
}

fn confidence(confidence: Option<&str>) -> v1::Confidence {
    match confidence {
        Some("low") => v1::Confidence::Low,
        Some("medium") => v1::Confidence::Medium,
        Some("high") => v1::Confidence::High,
        _ => v1::Confidence::Unspecified,
    }
}

fn word(text: &str) -> String {
    clip(text, WORD)
}

fn words(texts: &[String]) -> Vec<String> {
    texts.iter().take(ENTRIES).map(|text| word(text)).collect()
}
