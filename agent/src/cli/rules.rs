//! `keymoat rules`: what is looked for, what one rule means, and whether a rule file is right.
//!
//! Exit status of `check`: 0 all is well, 1 a rule does not do what its samples say (with `--strict`: or a part of a
//! gitleaks file has no effect), 2 the file cannot be used.

use super::{Exit, complain, config_for_anyone};
use crate::config::rules::{self, RulesError};
use crate::terminal::{escape, wrap};
use clap::{Args, Subcommand};
use comfy_table::{ContentArrangement, Table, presets};
use keymoat_detect::{Detector, KernelRules, Rule, RuleSet, redact_all};
use serde::Serialize;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const WIDTH: usize = 96;
const LABEL: usize = 14;

#[derive(Clone, Debug, Args)]
pub struct RulesArgs {
    #[command(subcommand)]
    verb: Verb,
    /// Take `rules` from here [default: /etc/keymoat/agent.toml, if it exists]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
enum Verb {
    /// Every rule on one line
    List {
        /// One JSON object per rule
        #[arg(long)]
        json: bool,
    },
    /// Everything about one rule
    Show {
        #[arg(value_name = "ID")]
        id: String,
    },
    /// Is a rule file right? Runs its positives and negatives too, and names what of a gitleaks file has no effect
    Check {
        /// A part of a gitleaks file that has no effect is a failure
        #[arg(long)]
        strict: bool,
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
}

pub fn run(args: &RulesArgs) -> Exit {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = answer(args, &mut out).and_then(|exit| Ok(out.flush().map(|()| exit)?));
    done.unwrap_or_else(|error| match error.downcast_ref::<io::Error>() {
        // Whoever read the answer has seen enough.
        Some(io) if io.kind() == ErrorKind::BrokenPipe => Exit::Clean,
        _ => {
            complain(&format!("{error:#}"));
            Exit::Error
        }
    })
}

fn answer(args: &RulesArgs, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let in_use = || anyhow::Ok(rules::load(&config_for_anyone(args.config.as_deref())?)?);
    match &args.verb {
        Verb::List { json: true } => list_json(&in_use()?, out)?,
        Verb::List { json: false } => list(&in_use()?, out)?,
        Verb::Show { id } => show(in_use()?, id, out)?,
        Verb::Check { file, strict } => return check(file, *strict, out),
    }
    Ok(Exit::Clean)
}

fn list(rules: &RuleSet, out: &mut dyn Write) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["ID", "ON", "KERNEL", "SEVERITY", "VENDOR", "NAME", "AT HOME"]);
    let kernel = KernelRules::compile(rules);
    for (rule, grade) in rules.rules().iter().zip(kernel.grades()) {
        let in_kernel = if grade.obstacle().is_none() { "yes" } else { "no" };
        let severity = rule.severity.to_string();
        let home = rule.home.join(" ");
        let cells = [&rule.id, on_or_off(rule), in_kernel, &severity, &rule.vendor, &rule.name, &home]
            .map(|c| escape(c).into_owned());
        table.add_row(cells);
    }
    writeln!(out, "{}", table.trim_fmt())?;
    let on = rules.rules().iter().filter(|rule| rule.on).count();
    let graded = kernel.grades().iter().filter(|grade| grade.obstacle().is_none()).count();
    writeln!(out, "{} rules, {on} of them on, {graded} of kernel grade", rules.rules().len())?;
    let tables = kernel.tables();
    writeln!(
        out,
        "kernel tables: {} KiB; {} tokens, literals of {} states x {} classes",
        tables.size().div_ceil(1024),
        tables.tokens.len(),
        tables.literal_states(),
        tables.header.stride
    )
}

fn on_or_off(rule: &Rule) -> &'static str {
    if rule.on { "on" } else { "off" }
}

/// What other programs may want to know of a rule; samples stay in the file.
#[derive(Serialize)]
struct Entry<'a> {
    id: &'a str,
    name: &'a str,
    vendor: &'a str,
    severity: String,
    on: bool,
    pattern: &'a str,
    prefixes: &'a [String],
    home: &'a [String],
    usual: &'a [String],
    explanation: &'a str,
    remediation: &'a str,
    attack: &'a [String],
    kernel_grade: bool,
    /// Why the kernel cannot decide it.
    #[serde(skip_serializing_if = "Option::is_none")]
    why_not: Option<String>,
    origin: String,
}

fn list_json(rules: &RuleSet, out: &mut dyn Write) -> io::Result<()> {
    let kernel = KernelRules::compile(rules);
    for (rule, grade) in rules.rules().iter().zip(kernel.grades()) {
        let entry = Entry {
            id: &rule.id,
            name: &rule.name,
            vendor: &rule.vendor,
            severity: rule.severity.to_string(),
            on: rule.on,
            pattern: &rule.pattern,
            prefixes: &rule.prefixes,
            home: &rule.home,
            usual: &rule.usual,
            explanation: &rule.explanation,
            remediation: &rule.remediation,
            attack: &rule.attack,
            kernel_grade: grade.obstacle().is_none(),
            why_not: grade.obstacle().map(ToString::to_string),
            origin: rule.origin.to_string(),
        };
        serde_json::to_writer(&mut *out, &entry)?;
        out.write_all(b"\n")?;
    }
    Ok(())
}

fn show(rules: RuleSet, id: &str, out: &mut dyn Write) -> anyhow::Result<()> {
    let rule = rules.get(id).ok_or_else(|| rules.unknown(id))?.clone();
    let decided = decided_in(&rules, id);
    // Also for a rule that is off: its sample is not to be shown whole.
    let mut with_it = rules;
    with_it.enable(&[id])?;
    let detector = Detector::new(Arc::new(with_it))?;
    let sample = rule.positives.first().map(|sample| redact_all(&detector, sample)).unwrap_or_default();
    let (shortest, longest) = rule.length();
    writeln!(out, "{}", escape(&rule.id))?;
    let fields = [
        ("name", rule.name.clone()),
        ("vendor", rule.vendor.clone()),
        ("severity", rule.severity.to_string()),
        ("looked for", if rule.on { "yes".to_owned() } else { "no: see `enable_rules`".to_owned() }),
        ("looks like", sample),
        ("pattern", rule.pattern.clone()),
        ("starts with", rule.prefixes.join("  ")),
        (
            "contains",
            rule.marker
                .iter()
                .flat_map(|m| &m.texts)
                .chain(&rule.contains)
                .cloned()
                .collect::<Vec<_>>()
                .join("  "),
        ),
        ("follows", rule.context.join("  ")),
        (
            "length",
            if shortest == longest { format!("{shortest}") } else { format!("{shortest} to {longest}") },
        ),
        ("validators", rule.validators().collect::<Vec<_>>().join("  ")),
        ("at home", rule.home.join("  ")),
        ("usually in", rule.usual.join("  ")),
        ("why it matters", rule.explanation.clone()),
        ("what to do", rule.remediation.clone()),
        ("ATT&CK", rule.attack.join("  ")),
        ("kernel grade", decided),
        ("defined in", rule.origin.to_string()),
    ];
    for (label, value) in fields.iter().filter(|(_, value)| !value.is_empty()) {
        for (n, line) in wrap(value, WIDTH - LABEL - 4).iter().enumerate() {
            writeln!(out, "  {:<LABEL$}  {line}", if n == 0 { label } else { "" })?;
        }
    }
    Ok(())
}

/// Where a key of this rule can be recognised: it can be refused before it leaves only where the kernel can.
fn decided_in(rules: &RuleSet, id: &str) -> String {
    let kernel = KernelRules::compile(rules);
    let mut grades = rules.rules().iter().zip(kernel.grades());
    match grades.find(|(rule, _)| rule.id == id).and_then(|(_, grade)| grade.obstacle()) {
        Some(obstacle) => format!("no, decided in userspace only: {obstacle}"),
        None => "yes: the same tables decide in the kernel and in userspace".to_owned(),
    }
}

fn check(file: &Path, strict: bool, out: &mut dyn Write) -> anyhow::Result<Exit> {
    let own = match rules::read(file) {
        Err(RulesError::Unreadable { path, source }) => anyhow::bail!("{}: {source}", path.display()),
        other => other?,
    };
    let count = own.rules().len();
    // The built-in rules are right by themselves: whatever fails now is this file's doing.
    let all = beside_the_built_in(file, own)?;
    let failures = all.check()?;
    for failure in &failures {
        writeln!(out, "{}", escape(&failure.to_string()))?;
    }
    let unsupported = all.unsupported();
    for problem in unsupported {
        writeln!(out, "{}", escape(&problem.to_string()))?;
    }
    if !failures.is_empty() {
        return Ok(Exit::Findings);
    }
    let name = file.to_string_lossy();
    let name = escape(&name);
    if unsupported.is_empty() {
        writeln!(out, "{name}: right, rules: {count}")?;
        return Ok(Exit::Clean);
    }
    let unused = unsupported.iter().filter(|problem| problem.is_unused_rule()).count();
    let (of, parts) = (count + unused, unsupported.len());
    writeln!(
        out,
        "{name}: {count} of {of} rules work; named above, without effect here or changed: {parts}"
    )?;
    Ok(if strict { Exit::Findings } else { Exit::Clean })
}

/// The set in which the file's rules will work. A built-in file is checked as it is: its rules are there already.
fn beside_the_built_in(file: &Path, own: RuleSet) -> anyhow::Result<RuleSet> {
    let mut all = RuleSet::builtin()?;
    let twin = own.rules().iter().find_map(|rule| all.get(&rule.id));
    if twin.is_some_and(|twin| Path::new(&twin.origin.file).file_name() == file.file_name()) {
        return Ok(own);
    }
    all.merge(own)?;
    Ok(all)
}

#[cfg(test)]
#[path = "rules_tests.rs"]
mod tests;
