//! What a scan says about a secret it found: the rule and a redacted form, never the secret.

use super::ScanArgs;
use crate::config::KeyOrigin;
use crate::policy::{Reason, Sighting, Verdict, judge};
use crate::record::{Action, ChannelKind, Destination, Facts, RuleRef, SecretRef, facts};
use crate::terminal::{Style, escape, paint, wrap};
use keymoat_detect::{Assessment, Confidence, Detector, Match, Rule, Severity, Suppressed, redacted};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

const WIDTH: usize = 96;
/// Where in a message this would be, had it been sent, is not known.
const LOCATION: &str = "file";

pub struct Place<'a> {
    pub file: &'a str,
    pub line: u64,
    pub column: u64,
}

/// The policy's answer for what a file holds, were it sent to that host.
pub struct Judge {
    destination: Option<Destination>,
}

impl Judge {
    pub fn new(host: Option<&str>) -> Self {
        Self {
            destination: host
                .map(|host| Destination { host: Some(host.to_owned()), ..Destination::default() }),
        }
    }

    fn host(&self) -> Option<&str> {
        self.destination.as_ref()?.host.as_deref()
    }

    fn action(&self, rule: &Rule) -> Action {
        self.verdict(rule).map_or(Action::Observed, |verdict| verdict.action)
    }

    /// The best case: encrypted, and to the host itself.
    fn verdict(&self, rule: &Rule) -> Option<Verdict> {
        let destination = self.destination.as_ref()?;
        let channel = ChannelKind::Tls;
        Some(judge(&Sighting { rule, location: LOCATION, channel, destination, http_host: None }))
    }

    fn reason(&self, rule: &Rule) -> Option<String> {
        let host = self.host()?;
        match self.verdict(rule)?.reason {
            Reason::NotHome if rule.home.is_empty() => {
                Some(format!("no host is known to which this key belongs, {host} neither"))
            }
            Reason::NotHome => {
                Some(format!("{host} is not where this key belongs ({})", rule.home.join(", ")))
            }
            Reason::UnusualPlace if rule.usual.is_empty() => {
                Some(format!("{host} is where this key belongs, but not in a file that is sent there"))
            }
            Reason::UnusualPlace => Some(format!(
                "{host} is where this key belongs, but only in {}, not in a file that is sent there",
                rule.usual.join(" or ")
            )),
            Reason::Usual | Reason::InTheClear | Reason::UnknownHost | Reason::HostsDisagree => None,
        }
    }
}

/// What looks like a secret and is none.
#[derive(Serialize)]
struct SuppressedLine<'a> {
    r#type: &'static str,
    reason: &'static str,
    rule: RuleRef,
    secret: SecretRef,
    file: &'a str,
    line: u64,
    column: u64,
}

/// The last line, where anything was suppressed.
#[derive(Serialize)]
struct Summary<'a> {
    r#type: &'static str,
    findings: u64,
    suppressed: &'a BTreeMap<&'static str, u64>,
}

/// Close to the agent's finding, with a place in a file for the process and the connection.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    rule: RuleRef,
    action: Action,
    secret: SecretRef,
    confidence: Confidence,
    /// What raised or lowered it.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    reasons: &'a [&'static str],
    #[serde(skip_serializing_if = "Facts::is_empty")]
    facts: Facts,
    /// `fleet`: the same secret has this fingerprint on every host; `run`: in this output only.
    fingerprint_scope: &'static str,
    file: &'a str,
    line: u64,
    column: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<String>,
    explanation: &'a str,
    remediation: &'a str,
    attack: &'a [String],
}

pub struct Report<'a, W: Write> {
    detector: &'a Detector,
    out: W,
    json: bool,
    color: bool,
    judge: Judge,
    fingerprint_scope: &'static str,
    findings: u64,
    show_suppressed: bool,
    suppressed: BTreeMap<&'static str, u64>,
}

impl<'a, W: Write> Report<'a, W> {
    pub fn new(
        detector: &'a Detector,
        out: W,
        args: &ScanArgs,
        color: bool,
        judge: Judge,
        key: &KeyOrigin,
    ) -> Self {
        let fingerprint_scope = if matches!(key, KeyOrigin::Ephemeral { .. }) { "run" } else { "fleet" };
        Self {
            detector,
            out,
            json: args.json,
            color,
            judge,
            fingerprint_scope,
            findings: 0,
            show_suppressed: args.show_suppressed,
            suppressed: BTreeMap::new(),
        }
    }

    pub fn findings(&self) -> u64 {
        self.findings
    }

    pub fn matched(&mut self, at: &Place<'_>, found: &Match<'_>, fingerprint: &str) -> io::Result<()> {
        let secret = SecretRef {
            fingerprint: fingerprint.to_owned(),
            redacted: redacted(found.rule, found.secret),
            length: found.secret.len(),
        };
        match &found.assessment {
            Ok(assessment) => {
                self.findings += 1;
                if self.json {
                    self.json(at, found.rule, secret, assessment)
                } else {
                    self.text(at, found.rule, &secret.redacted, assessment)
                }
            }
            Err(why) => {
                *self.suppressed.entry(why.name()).or_default() += 1;
                if self.show_suppressed { self.suppressed(at, found.rule, secret, *why) } else { Ok(()) }
            }
        }
    }

    pub fn finish(&mut self) -> io::Result<()> {
        if !self.suppressed.is_empty() {
            self.summary()?;
        }
        self.out.flush()
    }

    fn summary(&mut self) -> io::Result<()> {
        if self.json {
            let (findings, suppressed) = (self.findings, &self.suppressed);
            return line(&mut self.out, &Summary { r#type: "summary", findings, suppressed });
        }
        let total: u64 = self.suppressed.values().sum();
        let by_reason: Vec<String> = self.suppressed.iter().map(|(why, n)| format!("{why} {n}")).collect();
        let hint = if self.show_suppressed { "" } else { "; --show-suppressed lists them" };
        writeln!(self.out, "suppressed: {total} ({}){hint}", by_reason.join(", "))
    }

    fn suppressed(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: SecretRef,
        why: Suppressed,
    ) -> io::Result<()> {
        if self.json {
            let suppressed = SuppressedLine {
                r#type: "suppressed",
                reason: why.name(),
                rule: rule_ref(rule),
                secret,
                file: at.file,
                line: at.line,
                column: at.column,
            };
            return line(&mut self.out, &suppressed);
        }
        writeln!(
            self.out,
            "{}:{}:{}: suppressed ({why}) {} {} [{}]",
            escape(at.file),
            at.line,
            at.column,
            escape(&rule.name),
            escape(&secret.redacted),
            escape(&rule.id),
        )
    }

    fn json(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: SecretRef,
        assessment: &Assessment,
    ) -> io::Result<()> {
        let finding = Line {
            r#type: "finding",
            rule: rule_ref(rule),
            action: self.judge.action(rule),
            secret,
            confidence: assessment.confidence,
            reasons: &assessment.reasons,
            facts: facts(self.detector, &assessment.facts),
            fingerprint_scope: self.fingerprint_scope,
            file: at.file,
            line: at.line,
            column: at.column,
            destination: self.judge.host(),
            verdict: self.judge.reason(rule),
            explanation: &rule.explanation,
            remediation: &rule.remediation,
            attack: &rule.attack,
        };
        line(&mut self.out, &finding)
    }

    fn text(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        redacted: &str,
        assessment: &Assessment,
    ) -> io::Result<()> {
        let style = match rule.severity {
            Severity::Critical | Severity::High => Style::Red,
            Severity::Medium => Style::Yellow,
            Severity::Low | Severity::Info => Style::Bold,
        };
        writeln!(
            self.out,
            "{}:{}:{}: {} {} {} [{}] {} confidence",
            escape(at.file),
            at.line,
            at.column,
            paint(&rule.severity.to_string(), style, self.color),
            paint(&escape(&rule.name), Style::Bold, self.color),
            escape(redacted),
            escape(&rule.id),
            assessment.confidence,
        )?;
        for said in &assessment.reasons {
            writeln!(self.out, "    {said}")?;
        }
        for (name, value) in facts(self.detector, &assessment.facts) {
            writeln!(self.out, "    {name} {}", escape(&value))?;
        }
        for text in self.judge.reason(rule).iter().chain([&rule.explanation]) {
            for line in wrap(text, WIDTH) {
                writeln!(self.out, "    {line}")?;
            }
        }
        Ok(())
    }
}

fn line(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

fn rule_ref(rule: &Rule) -> RuleRef {
    RuleRef { id: rule.id.clone(), name: rule.name.clone(), severity: rule.severity.to_string() }
}
