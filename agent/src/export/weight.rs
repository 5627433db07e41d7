//! How much memory a waiting line holds, near enough to bound a buffer by it.

use crate::record::{Channel, Destination, Finding, Line, Process, Record};

/// Bytes `line` occupies, allocator overhead left out.
pub(super) fn of(line: &Line) -> usize {
    size_of::<Line>() + line.host.len() + record(&line.record)
}

fn record(record: &Record) -> usize {
    match record {
        Record::Ready(r) => texts(&r.hooks) + r.mode.len() + r.kernel.len() + option(r.enforcement.as_ref()),
        Record::Finding(f) => finding(f),
        Record::Repeat(r) => r.finding.len(),
        Record::Loss(l) => l.counters.keys().map(|cause| cause.len() + NODE).sum(),
        Record::UnseenTls(u) => process(&u.process) + destination(&u.destination) + u.reason.len(),
        Record::Refusal(r) => process(&r.process) + destination(&r.destination),
        Record::Health(h) => h.component.len() + h.status.len() + h.message.len(),
    }
}

/// What a map or a vector needs beside the text of an entry.
const NODE: usize = 32;

fn finding(f: &Finding) -> usize {
    let rule = f.rule.id.len() + f.rule.name.len() + f.rule.severity.len();
    let secret = f.secret.fingerprint.len() + f.secret.redacted.len();
    let facts: usize = f.facts.iter().map(|(name, value)| name.len() + value.len() + NODE).sum();
    let words = f.id.len() + f.explanation.len() + f.remediation.len() + option(f.enforcement.as_ref());
    size_of::<Finding>()
        + rule
        + secret
        + option(f.confidence.as_ref())
        + facts
        + words
        + texts(&f.attack)
        + channel(&f.channel)
        + process(&f.process)
        + destination(&f.destination)
}

fn channel(c: &Channel) -> usize {
    option(c.library.as_ref()) + option(c.protocol.as_ref()) + c.location.len()
}

fn process(p: &Process) -> usize {
    let ancestors: usize = p.ancestors.iter().map(|a| a.comm.len() + NODE).sum();
    let ids = option(p.container.as_ref()) + option(p.unit.as_ref());
    p.comm.len() + option(p.exe.as_ref()) + texts(&p.cmdline) + ids + ancestors
}

fn destination(d: &Destination) -> usize {
    option(d.host.as_ref()) + option(d.host_source.as_ref())
}

fn texts(texts: &[String]) -> usize {
    texts.iter().map(|text| text.len() + NODE).sum()
}

fn option(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}
