//! The lines of `keymoat scan --json`.

use super::report::Place;
use crate::record::{Action, Facts, RuleRef, SecretRef};
use keymoat_detect::policy::Reason;
use keymoat_detect::{Confidence, Rule, Severity, Suppressed};
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::{self, Write};

/// Close to the agent's finding, with a place in a file for the process and the connection.
#[derive(Serialize)]
pub struct Line<'a> {
    pub r#type: &'static str,
    pub rule: RuleRef,
    pub action: Action,
    pub secret: SecretRef,
    pub confidence: Confidence,
    /// What raised or lowered the confidence.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub confidence_reasons: &'a [&'static str],
    #[serde(skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
    /// `fleet`: the same secret has this fingerprint on every host; `run`: in this output only.
    pub fingerprint_scope: &'static str,
    pub file: &'a str,
    pub line: u64,
    pub column: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<&'a str>,
    /// The policy's, of the judgement; says nothing about whether it is a secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<&'a str>,
    /// The judgement in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdict: Option<&'a str>,
    pub explanation: &'a str,
    pub remediation: &'a str,
    pub attack: &'a [String],
}

/// What looks like a secret and is none.
#[derive(Serialize)]
pub struct SuppressedLine<'a> {
    r#type: &'static str,
    suppressed_as: &'static str,
    rule: RuleRef,
    secret: SecretRef,
    file: &'a str,
    line: u64,
    column: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    encoding: Option<&'a str>,
}

impl<'a> SuppressedLine<'a> {
    pub fn new(at: &Place<'a>, rule: &Rule, secret: SecretRef, why: Suppressed) -> Self {
        Self {
            r#type: "suppressed",
            suppressed_as: why.name(),
            rule: rule_ref(rule, rule.severity),
            secret,
            file: at.file,
            line: at.line,
            column: at.column,
            encoding: encoding(at),
        }
    }
}

/// The last line, where anything was suppressed.
#[derive(Serialize)]
pub struct Summary<'a> {
    r#type: &'static str,
    findings: u64,
    suppressed: &'a BTreeMap<&'static str, u64>,
}

impl<'a> Summary<'a> {
    pub fn new(findings: u64, suppressed: &'a BTreeMap<&'static str, u64>) -> Self {
        Self { r#type: "summary", findings, suppressed }
    }
}

pub fn write(out: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}

pub fn rule_ref(rule: &Rule, severity: Severity) -> RuleRef {
    RuleRef { id: rule.id.clone(), name: rule.name.clone(), severity: severity.to_string() }
}

/// None: it stands there as it is.
pub fn encoding<'a>(at: &Place<'a>) -> Option<&'a str> {
    Some(at.encoding).filter(|encoding| !encoding.is_empty())
}
