//! `cargo xtask threat-model`: writes what test runs found into the tables of docs/threat-model.md, one column per kernel.
//!
//! The runs are this host's last (`cargo xtask test`) and the last in a machine of each kernel (`cargo xtask vm`).

use crate::shell::{self, say};
use anyhow::{Context as _, Result, bail};
use serde_json::Value;
use std::{collections::BTreeMap, fmt::Write as _, fs, path::PathBuf};

#[derive(clap::Args)]
pub struct Args {}

const DOCUMENT: &str = "docs/threat-model.md";
const BEGIN: &str = "<!-- what runs found: cargo xtask threat-model -->\n";
const END: &str = "<!-- end -->\n";
const RESULTS: &str = "threat-model";

/// `6.12`, in the order of numbers.
type Kernel = Vec<u32>;

pub fn run(_: &Args) -> Result<()> {
    let runs = runs()?;
    if runs.is_empty() {
        bail!("no run has left results; run: cargo xtask test -- --test blocking ways_out");
    }
    let path = shell::root().join(DOCUMENT);
    let text = fs::read_to_string(&path).context(DOCUMENT)?;
    let (before, rest) = text.split_once(BEGIN).with_context(|| format!("{DOCUMENT} has no {BEGIN}"))?;
    let (_, after) = rest.split_once(END).with_context(|| format!("{DOCUMENT} has no {END}"))?;
    fs::write(&path, [before, BEGIN, &tables(&runs)?, END, after].concat())?;
    say(format!("{DOCUMENT}: {} kernels", runs.len()));
    Ok(())
}

/// The rows that each kernel's run left.
fn runs() -> Result<BTreeMap<Kernel, Vec<Value>>> {
    let mut runs = BTreeMap::new();
    for file in folders().iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten()) {
        let text = fs::read_to_string(file.path())?;
        let mut run: Value =
            serde_json::from_str(&text).with_context(|| file.path().display().to_string())?;
        let kernel = run.pointer("/kernel").and_then(Value::as_str).context("a run without a kernel")?;
        let kernel = kernel.split('.').map(str::parse).collect::<Result<Kernel, _>>()?;
        let Some(Value::Array(rows)) = run.pointer_mut("/rows").map(Value::take) else {
            bail!("a run without rows: {}", file.path().display());
        };
        runs.insert(kernel, rows);
    }
    Ok(runs)
}

/// Of this host, and of each machine: it leaves them beside the programs that it was given.
fn folders() -> Vec<PathBuf> {
    let machines = fs::read_dir(shell::target().join("vm/runs")).into_iter().flatten().flatten();
    let programs = machines.map(|machine| machine.path().join("bin"));
    [shell::binaries()].into_iter().chain(programs).map(|folder| folder.join(RESULTS)).collect()
}

/// A table for each section.
fn tables(runs: &BTreeMap<Kernel, Vec<Value>>) -> Result<String> {
    let (_, rows) = runs.last_key_value().context("no runs")?;
    let kernels: Vec<_> =
        runs.keys().map(|it| it.iter().map(u32::to_string).collect::<Vec<_>>().join(".")).collect();
    let mut text = String::new();
    let mut section = "";
    for row in rows {
        if word(row, "section")? != section {
            section = word(row, "section")?;
            // Writing to a string does not fail.
            let _ = write!(text, "\n| {section} | {} | why, and what to do |\n", kernels.join(" | "));
            let _ = writeln!(text, "|---|{}---|", "---|".repeat(kernels.len()));
        }
        let what = word(row, "what")?;
        let cells = runs.values().map(|rows| cell(rows, what)).collect::<Result<Vec<_>>>()?;
        let _ = writeln!(text, "| {what} | {} | {} |", cells.join(" | "), note(runs, what));
    }
    text.push('\n');
    Ok(text)
}

/// A run that is older than the row did not try it.
fn cell<'a>(rows: &'a [Value], what: &str) -> Result<&'a str> {
    let row = rows.iter().find(|row| word(row, "what").is_ok_and(|it| it == what));
    row.map_or(Ok("not tried"), |row| word(row, "outcome"))
}

/// Why it is not refused, on whichever kernel it is not.
fn note<'a>(runs: &'a BTreeMap<Kernel, Vec<Value>>, what: &str) -> &'a str {
    let rows = runs.values().flatten().filter(|row| word(row, "what").is_ok_and(|it| it == what));
    rows.filter_map(|row| word(row, "note").ok()).find(|note| !note.is_empty()).unwrap_or_default()
}

fn word<'a>(row: &'a Value, name: &str) -> Result<&'a str> {
    row.get(name).and_then(Value::as_str).with_context(|| format!("a row without {name}"))
}
