//! What a scan says about a secret it found: the rule and a redacted form, never the secret.

use super::judge::{Judge, Judgement};
use crate::config::KeyOrigin;
use crate::record::{Action, RuleRef, SecretRef};
use crate::terminal::{Style, escape, paint, wrap};
use keymoat_detect::policy::Reason;
use keymoat_detect::{Rule, Severity, redacted};
use serde::Serialize;
use std::io::{self, Write};

const WIDTH: usize = 96;

pub struct Place<'a> {
    pub file: &'a str,
    pub line: u64,
    pub column: u64,
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
    category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    policy: Option<&'a str>,
    /// The judgement in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'a str>,
    explanation: &'a str,
    remediation: &'a str,
    attack: &'a [String],
}

pub struct Report<W: Write> {
    out: W,
    json: bool,
    color: bool,
    judge: Option<Judge>,
    fingerprint_scope: &'static str,
    findings: u64,
    ignored: u64,
}

impl<W: Write> Report<W> {
    pub fn new(out: W, json: bool, color: bool, judge: Option<Judge>, key: &KeyOrigin) -> Self {
        let fingerprint_scope = if matches!(key, KeyOrigin::Ephemeral { .. }) { "run" } else { "fleet" };
        Self { out, json, color, judge, fingerprint_scope, findings: 0, ignored: 0 }
    }

    pub fn findings(&self) -> u64 {
        self.findings
    }

    /// Findings that the policy says to ignore.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    pub fn finding(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: &[u8],
        fingerprint: &str,
    ) -> io::Result<()> {
        let judgement = self.judge.as_ref().map(|judge| judge.judge(rule));
        if judgement.as_ref().is_some_and(|judgement| judgement.action.is_none()) {
            self.ignored += 1;
            return Ok(());
        }
        self.findings += 1;
        let redacted = redacted(rule, secret);
        if self.json {
            let secret = SecretRef { fingerprint: fingerprint.to_owned(), redacted, length: secret.len() };
            self.json(at, rule, secret, judgement.as_ref())
        } else {
            self.text(at, rule, &redacted, judgement.as_ref())
        }
    }

    pub fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    fn json(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: SecretRef,
        judgement: Option<&Judgement>,
    ) -> io::Result<()> {
        let line = Line {
            r#type: "finding",
            rule: RuleRef {
                id: rule.id.clone(),
                name: rule.name.clone(),
                severity: severity(rule, judgement).to_string(),
            },
            action: judgement.and_then(|judgement| judgement.action).unwrap_or(Action::Observed),
            secret,
            fingerprint_scope: self.fingerprint_scope,
            file: at.file,
            line: at.line,
            column: at.column,
            destination: self.judge.as_ref().map(|judge| judge.host.as_str()),
            category: judgement.map(|judgement| judgement.category.as_str()),
            reason: judgement.map(|judgement| judgement.reason),
            policy: judgement.and_then(|judgement| judgement.entry.as_deref()),
            verdict: judgement.map(|judgement| judgement.told.as_str()),
            explanation: &rule.explanation,
            remediation: &rule.remediation,
            attack: &rule.attack,
        };
        serde_json::to_writer(&mut self.out, &line)?;
        self.out.write_all(b"\n")
    }

    fn text(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        redacted: &str,
        judgement: Option<&Judgement>,
    ) -> io::Result<()> {
        let severity = severity(rule, judgement);
        let style = match severity {
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
            paint(&severity.to_string(), style, self.color),
            paint(&escape(&rule.name), Style::Bold, self.color),
            escape(redacted),
            escape(&rule.id),
        )?;
        for text in judgement.map(|judgement| &judgement.told).into_iter().chain([&rule.explanation]) {
            for line in wrap(text, WIDTH) {
                writeln!(self.out, "    {line}")?;
            }
        }
        Ok(())
    }
}

fn severity(rule: &Rule, judgement: Option<&Judgement>) -> Severity {
    judgement.map_or(rule.severity, |judgement| judgement.severity)
}
