//! Hits to findings: one per flow, secret and place; repeats are counted.

use super::{Facts, Output, PipelineConfig};
use crate::explain::Story;
use crate::flow::{Flow, Waiting, Writer};
use crate::health::{Cause, Counters};
use crate::policy::{Sighting, judge};
use crate::record::{Channel, Destination, Finding, Process, Record, Repeat, RuleRef, SecretRef, facts};
use keymoat_abi::{Source, Tuple};
use keymoat_detect::{Hit, Rule, Scanner};
use std::hash::{BuildHasher, RandomState};
use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// Repeats of a flow's findings are reported at most this often.
pub const REPEAT_EVERY: Duration = Duration::from_secs(5);

pub struct Reporter<F, O> {
    include_loopback: bool,
    scanner: Arc<Scanner>,
    facts: F,
    counters: Counters,
    output: O,
    hasher: RandomState,
}

impl<F: Facts, O: Output> Reporter<F, O> {
    pub fn new(
        config: &PipelineConfig,
        scanner: Arc<Scanner>,
        facts: F,
        counters: Counters,
        output: O,
    ) -> Self {
        let include_loopback = config.include_loopback;
        Self { include_loopback, scanner, facts, counters, output, hasher: RandomState::new() }
    }

    pub fn process(&self, writer: &Writer) -> Arc<Process> {
        let mut process = self.facts.facts(writer.pid, &writer.comm());
        process.uid.get_or_insert(writer.uid);
        Arc::new(process)
    }

    /// Was this already found on the flow?
    pub fn knows(&self, flow: &Flow, hit: &Hit) -> bool {
        flow.seen.as_ref().is_some_and(|seen| seen.contains(self.identity(hit)))
    }

    /// Sends a finding, or counts it when the flow had it before.
    pub fn release(&self, flow: &mut Flow, waiting: Waiting, now: Instant) {
        if flow.tuple.is_known() && flow.tuple.is_loopback() && !self.include_loopback {
            return;
        }
        let identity = self.identity(&waiting.hit);
        let seen = flow.seen.get_or_insert_default();
        if seen.again(identity, !waiting.hit.second_look) {
            if !waiting.hit.second_look {
                flow.repeats_due.get_or_insert(now + REPEAT_EVERY);
            }
            return;
        }
        let id = Uuid::now_v7();
        if let Some(evicted) = seen.add(identity, id) {
            self.counters.add(Cause::DedupEvicted, 1);
            if evicted.is_due() {
                self.repeat(evicted.finding, evicted.repeats);
            }
        }
        if let Some(finding) = self.finding(id, flow, waiting) {
            self.output.send(Record::Finding(Box::new(finding)));
        }
    }

    /// Reports how often findings of this flow happened again.
    pub fn repeats(&self, flow: &mut Flow) {
        flow.repeats_due = None;
        for seen in flow.seen.iter_mut().flat_map(|seen| seen.take_repeats()) {
            self.repeat(seen.finding, seen.repeats);
        }
    }

    fn repeat(&self, finding: Uuid, repeats: u64) {
        self.output.send(Record::Repeat(Repeat { finding: finding.to_string(), repeats }));
    }

    /// The fingerprint is keyed: nobody outside can aim for equal hashes.
    fn identity(&self, hit: &Hit) -> u64 {
        self.hasher.hash_one((&hit.fingerprint, &hit.location))
    }

    fn finding(&self, id: Uuid, flow: &Flow, waiting: Waiting) -> Option<Finding> {
        let Waiting { hit, writer, process, .. } = waiting;
        let rule = self.scanner.detector().rules().get(&hit.rule)?;
        let process = process.unwrap_or_else(|| self.process(&writer));
        let destination = destination(&flow.tuple, flow.sni.as_deref(), hit.host.as_deref());
        let verdict = judge(&Sighting {
            rule,
            location: &hit.location,
            channel: flow.channel(),
            destination: &destination,
            http_host: hit.host.as_deref(),
        });
        let destination = self.shown(destination);
        let explanation = Story {
            rule,
            action: verdict.action,
            reason: verdict.reason,
            location: &hit.location,
            comm: &process.comm,
            pid: writer.pid,
            destination: &destination,
        }
        .tell();
        Some(Finding {
            id: id.to_string(),
            rule: rule_ref(rule),
            action: verdict.action,
            enforcement: None,
            secret: SecretRef { fingerprint: hit.fingerprint, redacted: hit.redacted, length: hit.length },
            confidence: Some(hit.confidence.to_string()),
            facts: facts(self.scanner.detector(), &hit.facts),
            channel: Channel {
                kind: flow.channel(),
                library: library(flow.source),
                protocol: hit.protocol.map(str::to_owned),
                location: hit.location,
            },
            process: Arc::unwrap_or_clone(process),
            destination,
            explanation,
            remediation: rule.remediation.clone(),
            attack: rule.attack.clone(),
        })
    }

    /// A destination fit to be shown: a host name can carry a secret too.
    pub fn shown(&self, destination: Destination) -> Destination {
        let host = destination.host.map(|host| {
            let shown = self.scanner.without_secrets(&host);
            if shown == host { host.to_ascii_lowercase() } else { shown }
        });
        Destination { host, ..destination }
    }
}

/// Where bytes go: the name in the ClientHello, else the one in the request, else just the address.
pub fn destination(tuple: &Tuple, sni: Option<&str>, http_host: Option<&str>) -> Destination {
    let (host, source) = match (sni, http_host) {
        (Some(name), _) => (Some(name), Some("sni")),
        (None, Some(name)) => (Some(name), Some("http-host")),
        (None, None) => (None, tuple.is_known().then_some("address")),
    };
    Destination {
        ip: tuple.is_known().then(|| Ipv6Addr::from(tuple.remote).to_canonical()),
        port: tuple.is_known().then_some(tuple.remote_port),
        host: host.map(str::to_owned),
        host_source: source.map(str::to_owned),
    }
}

fn rule_ref(rule: &Rule) -> RuleRef {
    RuleRef { id: rule.id.clone(), name: rule.name.clone(), severity: rule.severity.to_string() }
}

fn library(source: Source) -> Option<String> {
    match source {
        Source::OpenSsl => Some("openssl".to_owned()),
        Source::GnuTls => Some("gnutls".to_owned()),
        Source::Tcp | Source::Udp => None,
    }
}
