//! What a scan says about a secret it found: the rule and a redacted form, never the secret.

use crate::config::KeyOrigin;
use crate::policy::{Reason, Sighting, Verdict, judge};
use crate::record::{Action, ChannelKind, Destination, RuleRef, SecretRef};
use crate::terminal::{Style, escape, paint, wrap};
use keymoat_detect::{Rule, Severity, redacted};
use serde::Serialize;
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

/// Close to the agent's finding, with a place in a file for the process and the connection.
#[derive(Serialize)]
struct Line<'a> {
    r#type: &'static str,
    rule: RuleRef,
    action: Action,
    secret: SecretRef,
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

pub struct Report<W: Write> {
    out: W,
    json: bool,
    color: bool,
    judge: Judge,
    fingerprint_scope: &'static str,
    findings: u64,
}

impl<W: Write> Report<W> {
    pub fn new(out: W, json: bool, color: bool, judge: Judge, key: &KeyOrigin) -> Self {
        let fingerprint_scope = if matches!(key, KeyOrigin::Ephemeral { .. }) { "run" } else { "fleet" };
        Self { out, json, color, judge, fingerprint_scope, findings: 0 }
    }

    pub fn findings(&self) -> u64 {
        self.findings
    }

    pub fn finding(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: &[u8],
        fingerprint: &str,
    ) -> io::Result<()> {
        self.findings += 1;
        let redacted = redacted(rule, secret);
        if self.json {
            let secret = SecretRef { fingerprint: fingerprint.to_owned(), redacted, length: secret.len() };
            self.json(at, rule, secret)
        } else {
            self.text(at, rule, &redacted)
        }
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn json(&mut self, at: &Place<'_>, rule: &Rule, secret: SecretRef) -> io::Result<()> {
        let line = Line {
            r#type: "finding",
            rule: RuleRef {
                id: rule.id.clone(),
                name: rule.name.clone(),
                severity: rule.severity.to_string(),
            },
            action: self.judge.action(rule),
            secret,
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
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn text(&mut self, at: &Place<'_>, rule: &Rule, redacted: &str) -> io::Result<()> {
        let style = match rule.severity {
            Severity::Critical | Severity::High => Style::Red,
            Severity::Medium => Style::Yellow,
            Severity::Low | Severity::Info => Style::Bold,
        };
        writeln!(
            self.out,
            "{}:{}:{}: {} {} {} [{}]",
            escape(at.file),
            at.line,
            at.column,
            paint(&rule.severity.to_string(), style, self.color),
            paint(&escape(&rule.name), Style::Bold, self.color),
            escape(redacted),
            escape(&rule.id),
        )?;
        for text in self.judge.reason(rule).iter().chain([&rule.explanation]) {
            for line in wrap(text, WIDTH) {
                writeln!(self.out, "    {line}")?;
            }
        }
        Ok(())
    }
}
