//! Hits to findings: one per flow, secret and place; repeats are counted.

use super::{Facts, Output, PipelineConfig};
use crate::enforce::Method;
use crate::enforce::judgement::Judge;
use crate::explain::Story;
use crate::flow::seen::SeenFinding;
use crate::flow::{Flow, Waiting, Writer};
use crate::health::{Cause, Counters};
use crate::record::{
    Action, Channel, ChannelKind, Destination, Finding, Process, Record, Refusal, Repeat, RuleRef, SecretRef,
    facts,
};
use jiff::Timestamp;
use keymoat_abi::{Source, Tuple};
use keymoat_detect::policy::{self, Direction, Sighting, Verdict, judge};
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
    judge: Judge,
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
        let (judge, hasher) = (config.judge.clone(), RandomState::new());
        Self { include_loopback, judge, scanner, facts, counters, output, hasher }
    }

    /// Findings are of these rules from now on.
    pub fn exchange(&mut self, scanner: Arc<Scanner>) {
        self.scanner = scanner;
    }

    pub fn process(&self, writer: &Writer) -> Arc<Process> {
        let mut process = self.facts.facts(writer.pid, &writer.comm());
        process.uid.get_or_insert(writer.uid);
        Arc::new(process)
    }

    /// What is known of a process of which nothing else was seen.
    pub fn process_of(&self, pid: u32) -> Process {
        self.facts.facts(pid, "")
    }

    /// Sends what is no finding.
    pub fn refusal(&self, refusal: Refusal) {
        self.output.send(Record::Refusal(refusal));
    }

    /// Was this already found on the flow, and left?
    pub fn knows(&self, flow: &Flow, hit: &Hit) -> bool {
        flow.seen.as_ref().is_some_and(|seen| seen.contains(self.identity(hit, false)))
    }

    /// Sends a finding, or counts it when the flow had it before.
    pub fn release(&self, flow: &mut Flow, waiting: Waiting, now: Instant) {
        if flow.tuple.is_known() && flow.tuple.is_loopback() && !self.include_loopback {
            return;
        }
        let refused = match &mut flow.refused {
            Some(refused) if waiting.write >= refused.from => {
                refused.explained = true;
                Some(refused.method)
            }
            _ => None,
        };
        let identity = self.identity(&waiting.hit, refused.is_some());
        if let Some(known) = flow.seen.get_or_insert_default().find(identity) {
            match known.finding {
                _ if waiting.hit.second_look => {}
                Some(_) => {
                    known.repeats += 1;
                    flow.repeats_due.get_or_insert(now + REPEAT_EVERY);
                }
                None => self.counters.add(Cause::PolicyIgnored, 1),
            }
            return;
        }
        let finding = self.finding(flow, waiting, refused);
        if let Some(evicted) = flow.seen.get_or_insert_default().add(identity, finding) {
            self.counters.add(Cause::DedupEvicted, 1);
            if evicted.is_due() {
                self.repeat(&evicted);
            }
        }
    }

    /// Reports how often findings of this flow happened again.
    pub fn repeats(&self, flow: &mut Flow) {
        flow.repeats_due = None;
        for seen in flow.seen.iter_mut().flat_map(|seen| seen.take_repeats()) {
            self.repeat(&seen);
        }
    }

    fn repeat(&self, seen: &SeenFinding) {
        if let Some(finding) = seen.finding {
            let repeat = Repeat { finding: finding.to_string(), repeats: seen.repeats };
            self.output.send(Record::Repeat(repeat));
        }
    }

    /// The fingerprint is keyed: nobody outside can aim for equal hashes. What was refused is no repeat of what left.
    fn identity(&self, hit: &Hit, refused: bool) -> u64 {
        self.hasher.hash_one((&hit.fingerprint, &hit.location, refused))
    }

    /// Judges a hit and sends what is to be said about it. None: nothing is, which was counted.
    fn finding(&self, flow: &Flow, waiting: Waiting, refused: Option<Method>) -> Option<Uuid> {
        let Waiting { hit, writer, process, .. } = waiting;
        let rule = self.scanner.detector().rules().get(&hit.rule)?;
        let process = process.unwrap_or_else(|| self.process(&writer));
        let destination = destination(&flow.tuple, flow.sni.as_deref(), hit.host.as_deref());
        let judgement = self.judge.current();
        let verdict = judge(&sighting(flow, &hit, rule, &process, &destination), &judgement.policy);
        let Some(action) = judgement.outcome(&rule.id, verdict.action, refused) else {
            self.counters.add(Cause::PolicyIgnored, 1);
            return None;
        };
        if action == Action::Allowed {
            verdict.by.into_iter().for_each(|entry| self.judge.passed_by(entry));
        }
        let destination =
            Destination { category: Some(verdict.category.name.clone()), ..self.shown(destination) };
        let story = Story {
            rule,
            action,
            killed: refused == Some(Method::Signal),
            verdict,
            location: &hit.location,
            comm: &process.comm,
            pid: writer.pid,
            destination: &destination,
        };
        let explanation = story.tell();
        let remediation = if story.is_in_its_place() { String::new() } else { rule.remediation.clone() };
        let id = Uuid::now_v7();
        self.output.send(Record::Finding(Box::new(Finding {
            id: id.to_string(),
            rule: rule_ref(rule, verdict),
            action,
            enforcement: refused.map(|method| method.name().to_owned()),
            reason: verdict.reason,
            policy: verdict.by.map(str::to_owned),
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
            remediation,
            attack: rule.attack.clone(),
        })));
        Some(id)
    }

    /// A destination fit to be shown, with its category: a host name can carry a secret too.
    pub fn shown(&self, destination: Destination) -> Destination {
        let judgement = self.judge.current();
        let category = judgement.policy.category(destination.host.as_deref()).name.clone();
        let host = destination.host.map(|host| {
            let shown = self.scanner.without_secrets(&host);
            if shown == host { host.to_ascii_lowercase() } else { shown }
        });
        Destination { host, category: Some(category), ..destination }
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
        category: None,
    }
}

/// A hit as the policy sees it.
fn sighting<'a>(
    flow: &Flow,
    hit: &'a Hit,
    rule: &'a Rule,
    process: &'a Process,
    destination: &'a Destination,
) -> Sighting<'a> {
    let accepted = flow.tuple.is_known().then(|| flow.tuple.is_accepted());
    Sighting {
        rule,
        location: &hit.location,
        encrypted: flow.channel() == ChannelKind::Tls,
        destination: policy::Destination { host: destination.host.as_deref(), ip: destination.ip },
        claimed_host: hit.host.as_deref(),
        direction: accepted.map(|accepted| if accepted { Direction::Inbound } else { Direction::Outbound }),
        process: policy::Process {
            exe: process.exe.as_deref(),
            comm: Some(process.comm.as_str()).filter(|comm| !comm.is_empty()),
            uid: process.uid,
            container: process.container.as_deref(),
            unit: process.unit.as_deref(),
        },
        at: Timestamp::now(),
    }
}

fn rule_ref(rule: &Rule, verdict: Verdict<'_>) -> RuleRef {
    RuleRef { id: rule.id.clone(), name: rule.name.clone(), severity: verdict.severity.to_string() }
}

fn library(source: Source) -> Option<String> {
    match source {
        Source::OpenSsl => Some("openssl".to_owned()),
        Source::GnuTls => Some("gnutls".to_owned()),
        Source::Tcp | Source::Udp => None,
    }
}
