//! From the contract, checked: what passes here can be stored and shown. An event that does not is left out and
//! counted; those beside it are not touched.
//!
//! The bounds are the contract's own. What can only come from a broken agent is refused rather than repaired.

use crate::model::{
    About, Agent, Ancestor, Channel, Destination, Event, Finding, Notice, Process, Rule, Secret,
};
use jiff::Timestamp;
use keymoat_proto::limits::{ARGUMENT, ARGUMENTS, ENTRIES, PATH, REDACTED, TEXT, WORD};
use keymoat_proto::v1::{self, event::Kind};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What is wrong with an event, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct Malformed {
    pub field: &'static str,
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum Problem {
    #[error("is missing")]
    Missing,
    #[error("is too long")]
    TooLong,
    #[error("has too many entries")]
    TooMany,
    #[error("is out of range")]
    OutOfRange,
    #[error("is not a UUID of version 7")]
    NotUuid,
    #[error("is not an HMAC-SHA-256 in lower-case hex")]
    NotFingerprint,
    #[error("is not a redacted form")]
    NotRedacted,
}

impl Problem {
    fn of(self, field: &'static str) -> Malformed {
        Malformed { field, problem: self }
    }
}

type Checked<T> = Result<T, Malformed>;

/// The agent that speaks.
pub fn agent(host: Option<v1::Host>, now: Timestamp) -> Checked<Agent> {
    let host = required("host", host)?;
    Ok(Agent {
        run: uuid("host.run", host.run)?,
        host: filled("host.name", word("host.name", host.name)?)?,
        version: word("host.version", host.version)?,
        mode: word("host.mode", host.mode)?,
        kernel: word("host.kernel", host.kernel)?,
        hooks: words("host.hooks", host.hooks)?,
        seen: now,
        losses: BTreeMap::new(),
    })
}

/// One event of the agent on `host`.
pub fn event(event: v1::Event, host: &str) -> Checked<Event> {
    let id = uuid("id", event.id)?;
    let time = Timestamp::from_nanosecond(event.time_unix_nanos.into())
        .map_err(|_| Problem::OutOfRange.of("time_unix_nanos"))?;
    let host = host.to_owned();
    Ok(match required("kind", event.kind)? {
        Kind::Finding(f) => Event::Finding(Box::new(finding(f, id, time, host)?)),
        Kind::Repeat(r) => Event::Repeat {
            finding: uuid("repeat.finding", r.finding)?,
            repeats: count("repeat.repeats", r.repeats)?,
        },
        Kind::Loss(l) => Event::Loss(losses(l)?),
        Kind::UnseenTls(u) => {
            let about = About::UnseenTls {
                process: process(u.process)?,
                destination: Box::new(destination(u.destination)?),
                reason: bounded("unseen_tls.reason", u.reason, TEXT)?,
            };
            Event::Notice(Box::new(Notice { id, about, time, host }))
        }
        Kind::Refusal(r) => {
            let about = About::Refusal {
                process: process(r.process)?,
                destination: Box::new(destination(r.destination)?),
                reason: word("refusal.reason", r.reason)?,
                enforcement: word("refusal.enforcement", r.enforcement)?,
                explanation: bounded("refusal.explanation", r.explanation, TEXT)?,
            };
            Event::Notice(Box::new(Notice { id, about, time, host }))
        }
        Kind::Health(h) => {
            let about = About::Health {
                component: word("health.component", h.component)?,
                status: word("health.status", h.status)?,
                message: bounded("health.message", h.message, TEXT)?,
            };
            Event::Notice(Box::new(Notice { id, about, time, host }))
        }
    })
}

fn finding(f: v1::Finding, id: String, time: Timestamp, host: String) -> Checked<Finding> {
    let rule = required("rule", f.rule)?;
    let channel = required("channel", f.channel)?;
    Ok(Finding {
        id,
        rule: Rule {
            id: filled("rule.id", word("rule.id", rule.id)?)?,
            name: word("rule.name", rule.name)?,
            severity: required("rule.severity", super::severity(rule.severity))?,
        },
        action: required("action", super::action(f.action))?,
        enforcement: optional("enforcement", f.enforcement, WORD)?,
        reason: optional("reason", f.reason, WORD)?,
        policy: optional("policy", f.policy, WORD)?,
        secret: secret(required("secret", f.secret)?)?,
        confidence: super::confidence(f.confidence),
        facts: facts(f.facts)?,
        channel: Channel {
            kind: required("channel.kind", super::channel_kind(channel.kind))?,
            library: optional("channel.library", channel.library, WORD)?,
            protocol: optional("channel.protocol", channel.protocol, WORD)?,
            location: bounded("channel.location", channel.location, PATH)?,
        },
        process: process(f.process)?,
        destination: destination(f.destination)?,
        explanation: bounded("explanation", f.explanation, TEXT)?,
        remediation: bounded("remediation", f.remediation, TEXT)?,
        attack: words("attack", f.attack)?,
        time,
        host,
        repeats: 0,
    })
}

/// The last line of defence against a raw secret: only the two forms that hide it are let in.
fn secret(s: v1::SecretRef) -> Checked<Secret> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if s.fingerprint.len() != 64 || !s.fingerprint.bytes().all(hex) {
        return Err(Problem::NotFingerprint.of("secret.fingerprint"));
    }
    let redacted = bounded("secret.redacted", s.redacted, REDACTED)?;
    if !redacted.ends_with(&format!("…({})", s.length)) {
        return Err(Problem::NotRedacted.of("secret.redacted"));
    }
    Ok(Secret { fingerprint: s.fingerprint, redacted, length: s.length })
}

fn process(p: Option<v1::Process>) -> Checked<Process> {
    let p = required("process", p)?;
    if p.cmdline.len() > ARGUMENTS {
        return Err(Problem::TooMany.of("process.cmdline"));
    }
    if p.ancestors.len() > ENTRIES {
        return Err(Problem::TooMany.of("process.ancestors"));
    }
    let argument = |text| bounded("process.cmdline", text, ARGUMENT);
    let ancestor =
        |a: v1::Ancestor| Ok(Ancestor { pid: a.pid, comm: word("process.ancestors.comm", a.comm)? });
    Ok(Process {
        pid: p.pid,
        comm: word("process.comm", p.comm)?,
        exe: optional("process.exe", p.exe, PATH)?,
        cmdline: p.cmdline.into_iter().map(argument).collect::<Checked<_>>()?,
        uid: p.uid,
        container: optional("process.container", p.container, WORD)?,
        unit: optional("process.unit", p.unit, WORD)?,
        ancestors: p.ancestors.into_iter().map(ancestor).collect::<Checked<_>>()?,
    })
}

fn destination(d: Option<v1::Destination>) -> Checked<Destination> {
    let d = required("destination", d)?;
    let port =
        d.port.map(u16::try_from).transpose().map_err(|_| Problem::OutOfRange.of("destination.port"))?;
    Ok(Destination {
        ip: optional("destination.ip", d.ip, WORD)?,
        port,
        host: optional("destination.host", d.host, PATH)?,
        host_source: optional("destination.host_source", d.host_source, WORD)?,
        category: optional("destination.category", d.category, WORD)?,
    })
}

fn facts(facts: BTreeMap<String, String>) -> Checked<BTreeMap<String, String>> {
    if facts.len() > ENTRIES {
        return Err(Problem::TooMany.of("facts"));
    }
    let fact = |(name, value)| Ok((word("facts", name)?, bounded("facts", value, TEXT)?));
    facts.into_iter().map(fact).collect()
}

fn losses(l: v1::Loss) -> Checked<BTreeMap<String, u64>> {
    if l.counters.len() > ENTRIES {
        return Err(Problem::TooMany.of("loss.counters"));
    }
    let total = |(cause, total)| Ok((word("loss.counters", cause)?, count("loss.counters", total)?));
    l.counters.into_iter().map(total).collect()
}

fn required<T>(field: &'static str, value: Option<T>) -> Checked<T> {
    value.ok_or(Problem::Missing.of(field))
}

fn filled(field: &'static str, text: String) -> Checked<String> {
    if text.is_empty() { Err(Problem::Missing.of(field)) } else { Ok(text) }
}

fn bounded(field: &'static str, text: String, limit: usize) -> Checked<String> {
    if text.len() > limit { Err(Problem::TooLong.of(field)) } else { Ok(text) }
}

fn word(field: &'static str, text: String) -> Checked<String> {
    bounded(field, text, WORD)
}

fn words(field: &'static str, texts: Vec<String>) -> Checked<Vec<String>> {
    if texts.len() > ENTRIES {
        return Err(Problem::TooMany.of(field));
    }
    texts.into_iter().map(|text| word(field, text)).collect()
}

fn optional(field: &'static str, text: Option<String>, limit: usize) -> Checked<Option<String>> {
    text.map(|text| bounded(field, text, limit)).transpose()
}

/// A number every store can hold.
fn count(field: &'static str, number: u64) -> Checked<u64> {
    if i64::try_from(number).is_ok() { Ok(number) } else { Err(Problem::OutOfRange.of(field)) }
}

/// In one spelling, so that the same id is the same text.
fn uuid(field: &'static str, text: String) -> Checked<String> {
    match Uuid::try_parse(&text) {
        Ok(id) if id.get_version_num() == 7 => Ok(id.hyphenated().to_string()),
        _ => Err(Problem::NotUuid.of(field)),
    }
}
