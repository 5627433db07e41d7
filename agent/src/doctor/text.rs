//! The report for people.

use super::{Check, Outcome, Report};
use crate::discover::{FunctionReport, LibraryReport};
use crate::terminal::escape;
use comfy_table::{ContentArrangement, Table, presets};
use std::fmt::Write as _;

/// The whole report as text.
pub fn render(report: &Report) -> String {
    let mut text = format!(
        "keymoat {} on Linux {} ({})\n\n{}\n",
        report.version,
        report.kernel,
        report.architecture,
        checks(&report.checks)
    );
    let layer = match report.socket_layer {
        Some(layer) => layer.hooks().join(" + "),
        None => "none".to_owned(),
    };
    let enforcement = report.enforcement.chosen.as_deref().unwrap_or("none");
    let _ = writeln!(text, "\nSockets:      {layer}");
    let _ = writeln!(text, "Enforcement:  {enforcement} ({})", report.enforcement.reason);
    for method in &report.enforcement.methods {
        let mark = if method.available { '✓' } else { '✗' };
        let why =
            if method.reason.is_empty() { String::new() } else { format!(" ({})", escape(&method.reason)) };
        let _ = writeln!(text, "              {mark} {}: {}{why}", method.name, method.refuses);
    }
    let _ = writeln!(text, "\nTLS libraries\n{}", libraries(&report.libraries));
    match &report.agent {
        None => text.push_str("\nNo agent is running here: start one with `keymoat agent`.\n"),
        Some(status) => agent(&mut text, status),
    }
    text
}

fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

fn checks(checks: &[Check]) -> Table {
    let mut table = table(&["", "check", "found", "what it means"]);
    for check in checks {
        let mark = match check.status {
            Outcome::Ok => "✓",
            Outcome::Degraded => "~",
            Outcome::Missing => "✗",
        };
        table.add_row([mark, check.name, &escape(&check.detail), &check.effect]);
    }
    table
}

fn libraries(libraries: &[LibraryReport]) -> Table {
    let mut table = table(&["file", "function", "probe"]);
    for library in libraries {
        for (index, function) in library.functions.iter().enumerate() {
            let path = if index == 0 { escape(&library.path).into_owned() } else { String::new() };
            table.add_row([path, function.symbol.to_owned(), probe(function)]);
        }
    }
    table
}

fn probe(function: &FunctionReport) -> String {
    match &function.error {
        Some(error) => format!("none: {}", escape(error)),
        None => {
            let placement = &function.placement;
            format!("+{:#x}: {}", placement.offset_in_function, placement.reason)
        }
    }
}

fn agent(text: &mut String, status: &serde_json::Value) {
    let _ = writeln!(text, "\nThe running agent (pid {})", status["pid"]);
    let _ = match status["counters"].as_object() {
        Some(counters) if !counters.is_empty() => {
            let list: Vec<String> = counters.iter().map(|(cause, n)| format!("{cause} {n}")).collect();
            writeln!(text, "Not delivered: {}", list.join(", "))
        }
        _ => writeln!(text, "Not delivered: nothing"),
    };
    let unseen = status["unseen_tls"].as_array().map(Vec::as_slice).unwrap_or_default();
    if unseen.is_empty() {
        text.push_str("TLS we cannot see: none so far\n");
        return;
    }
    text.push_str("TLS we cannot see:\n");
    for found in unseen {
        let field = |path: &str| match found.pointer(path) {
            Some(serde_json::Value::String(text)) => escape(text).into_owned(),
            Some(serde_json::Value::Null) | None => "?".to_owned(),
            Some(other) => other.to_string(),
        };
        let _ = writeln!(
            text,
            "  {} (pid {}) to {}: {}",
            field("/process/comm"),
            field("/process/pid"),
            field("/destination/ip"),
            field("/reason")
        );
    }
}
