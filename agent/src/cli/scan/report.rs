//! What a scan says about a secret it found: the rule and a redacted form, never the secret.

use super::judge::{Judge, Judgement};
use super::line::{self, Line, Summary, SuppressedLine};
use crate::config::KeyOrigin;
use crate::record::{Action, SecretRef, facts};
use crate::terminal::{Style, escape, paint, wrap};
use keymoat_detect::text::Sight;
use keymoat_detect::{Assessment, Detector, Rule, Severity, Suppressed, redacted};
use std::collections::BTreeMap;
use std::io::{self, Write};

const WIDTH: usize = 96;

pub struct Place<'a> {
    pub file: &'a str,
    pub line: u64,
    pub column: u64,
    /// What the secret is wrapped up in there, outermost first: `base64 > percent`; empty if in nothing.
    pub encoding: &'a str,
}

/// How to write it all.
#[derive(Clone, Copy)]
pub struct Form {
    pub json: bool,
    pub color: bool,
    pub show_suppressed: bool,
}

pub struct Report<'a, W: Write> {
    detector: &'a Detector,
    out: W,
    form: Form,
    judge: Option<Judge>,
    fingerprint_scope: &'static str,
    findings: u64,
    ignored: u64,
    suppressed: BTreeMap<&'static str, u64>,
}

impl<'a, W: Write> Report<'a, W> {
    pub fn new(detector: &'a Detector, out: W, form: Form, judge: Option<Judge>, key: &KeyOrigin) -> Self {
        let fingerprint_scope = if matches!(key, KeyOrigin::Ephemeral { .. }) { "run" } else { "fleet" };
        let suppressed = BTreeMap::new();
        Self { detector, out, form, judge, fingerprint_scope, findings: 0, ignored: 0, suppressed }
    }

    pub fn findings(&self) -> u64 {
        self.findings
    }

    /// Findings that the policy says to ignore.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    pub fn found(&mut self, at: &Place<'_>, sight: &Sight<'_>, fingerprint: &str) -> io::Result<()> {
        let secret = SecretRef {
            fingerprint: fingerprint.to_owned(),
            redacted: redacted(sight.rule, sight.secret),
            length: sight.secret.len(),
        };
        match sight.assessment {
            Ok(assessment) => self.finding(at, sight.rule, secret, assessment),
            Err(why) => self.suppressed(at, sight.rule, secret, *why),
        }
    }

    /// After everything else: how much looked like a secret and was none.
    pub fn finish(&mut self) -> io::Result<()> {
        if !self.suppressed.is_empty() {
            self.summary()?;
        }
        self.out.flush()
    }

    fn finding(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: SecretRef,
        assessment: &Assessment,
    ) -> io::Result<()> {
        let judgement = self.judge.as_ref().map(|judge| judge.judge(rule));
        if judgement.as_ref().is_some_and(|judgement| judgement.action.is_none()) {
            self.ignored += 1;
            return Ok(());
        }
        self.findings += 1;
        if self.form.json {
            self.json(at, rule, secret, assessment, judgement.as_ref())
        } else {
            self.text(at, rule, &secret.redacted, assessment, judgement.as_ref())
        }
    }

    fn suppressed(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: SecretRef,
        why: Suppressed,
    ) -> io::Result<()> {
        *self.suppressed.entry(why.name()).or_default() += 1;
        if !self.form.show_suppressed {
            return Ok(());
        }
        if self.form.json {
            return line::write(&mut self.out, &SuppressedLine::new(at, rule, secret, why));
        }
        writeln!(
            self.out,
            "{} suppressed ({why}) {} {} [{}]",
            place(at),
            escape(&rule.name),
            escape(&secret.redacted),
            escape(&rule.id),
        )
    }

    fn summary(&mut self) -> io::Result<()> {
        if self.form.json {
            return line::write(&mut self.out, &Summary::new(self.findings, &self.suppressed));
        }
        let total: u64 = self.suppressed.values().sum();
        let by_reason: Vec<String> = self.suppressed.iter().map(|(why, n)| format!("{why} {n}")).collect();
        let hint = if self.form.show_suppressed { "" } else { "; --show-suppressed lists them" };
        writeln!(self.out, "suppressed: {total} ({}){hint}", by_reason.join(", "))
    }

    fn json(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        secret: SecretRef,
        assessment: &Assessment,
        judgement: Option<&Judgement>,
    ) -> io::Result<()> {
        let finding = Line {
            r#type: "finding",
            rule: line::rule_ref(rule, severity(rule, judgement)),
            action: judgement.and_then(|judgement| judgement.action).unwrap_or(Action::Observed),
            secret,
            confidence: assessment.confidence,
            confidence_reasons: &assessment.reasons,
            facts: facts(self.detector, &assessment.facts),
            fingerprint_scope: self.fingerprint_scope,
            file: at.file,
            line: at.line,
            column: at.column,
            encoding: line::encoding(at),
            destination: self.judge.as_ref().map(|judge| judge.host.as_str()),
            category: judgement.map(|judgement| judgement.category.as_str()),
            reason: judgement.map(|judgement| judgement.reason),
            policy: judgement.and_then(|judgement| judgement.entry.as_deref()),
            verdict: judgement.map(|judgement| judgement.told.as_str()),
            explanation: &rule.explanation,
            remediation: &rule.remediation,
            attack: &rule.attack,
        };
        line::write(&mut self.out, &finding)
    }

    fn text(
        &mut self,
        at: &Place<'_>,
        rule: &Rule,
        redacted: &str,
        assessment: &Assessment,
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
            "{} {} {} {} [{}] {} confidence",
            place(at),
            paint(&severity.to_string(), style, self.form.color),
            paint(&escape(&rule.name), Style::Bold, self.form.color),
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
        for text in judgement.map(|judgement| &judgement.told).into_iter().chain([&rule.explanation]) {
            for line in wrap(text, WIDTH) {
                writeln!(self.out, "    {line}")?;
            }
        }
        Ok(())
    }
}

/// `file:line:column:`, and what has to be undone there.
fn place(at: &Place<'_>) -> String {
    let encoding = line::encoding(at).map_or(String::new(), |encoding| format!(" ({encoding})"));
    format!("{}:{}:{}:{encoding}", escape(at.file), at.line, at.column)
}

fn severity(rule: &Rule, judgement: Option<&Judgement>) -> Severity {
    judgement.map_or(rule.severity, |judgement| judgement.severity)
}
