//! `keymoat-collector findings`

use super::StoreArgs;
use crate::model::Finding;
use crate::store::{self, Access, Store, StoreError};
use comfy_table::presets::UTF8_BORDERS_ONLY;
use comfy_table::{ContentArrangement, Table};
use std::io::{self, BufWriter, ErrorKind, Write};

/// Findings read at a time.
const PAGE: usize = 500;
/// Rows of a table when nobody says how many.
const ROWS: usize = 100;

#[derive(Debug, clap::Args)]
pub struct Findings {
    /// One JSON object per line, in the shape of the agent's own lines
    #[arg(long)]
    json: bool,
    /// At most this many; 100 in a table, all as JSON
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    #[command(flatten)]
    store: StoreArgs,
}

impl Findings {
    pub fn run(self) -> anyhow::Result<()> {
        let store = store::open(&self.store.store, Access::Read)?;
        let out = BufWriter::new(io::stdout().lock());
        let result = if self.json { self.lines(&*store, out) } else { self.table(&*store, out) };
        match result {
            // `| head` has seen enough.
            Err(error) if is_broken_pipe(&error) => Ok(()),
            result => result,
        }
    }

    fn lines(&self, store: &dyn Store, mut out: impl Write) -> anyhow::Result<()> {
        for page in pages(store, self.limit.unwrap_or(usize::MAX)) {
            for finding in page? {
                serde_json::to_writer(&mut out, &finding)?;
                out.write_all(b"\n")?;
            }
        }
        Ok(out.flush()?)
    }

    fn table(&self, store: &dyn Store, mut out: impl Write) -> anyhow::Result<()> {
        let mut table = Table::new();
        table.load_preset(UTF8_BORDERS_ONLY).set_content_arrangement(ContentArrangement::Dynamic).set_header(
            [
                "Time (UTC)",
                "Host",
                "Rule",
                "Severity",
                "Action",
                "Secret",
                "Location",
                "Process",
                "Destination",
                "Repeats",
            ],
        );
        for page in pages(store, self.limit.unwrap_or(ROWS)) {
            for finding in page? {
                table.add_row(row(&finding).map(|cell| printable(&cell)));
            }
        }
        if table.is_empty() {
            writeln!(out, "No findings.")?;
        } else {
            writeln!(out, "{table}")?;
        }
        Ok(out.flush()?)
    }
}

/// Findings, newest first, `limit` of them at most.
fn pages(store: &dyn Store, limit: usize) -> impl Iterator<Item = Result<Vec<Finding>, StoreError>> {
    let (mut left, mut before): (usize, Option<String>) = (limit, None);
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let page = store.findings(left.min(PAGE), before.as_deref());
        match &page {
            Ok(findings) => {
                left = if findings.is_empty() { 0 } else { left.saturating_sub(findings.len()) };
                before = findings.last().map(|finding| finding.id.clone());
            }
            Err(_) => left = 0,
        }
        Some(page)
    })
}

fn row(finding: &Finding) -> [String; 10] {
    [
        finding.time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        finding.host.clone(),
        finding.rule.id.clone(),
        finding.rule.severity.to_string(),
        finding.action.to_string(),
        finding.secret.redacted.clone(),
        finding.channel.location.clone(),
        finding.process.short(),
        finding.destination.short(),
        finding.repeats.to_string(),
    ]
}

/// Text from elsewhere, without what would move the cursor, change colours or turn the writing direction.
fn printable(text: &str) -> String {
    let harmless =
        |c: char| !c.is_control() && !matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if harmless(c) { printable.push(c) } else { printable.extend(c.escape_unicode()) }
    }
    printable
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>().map(io::Error::kind);
    let json = error.downcast_ref::<serde_json::Error>().and_then(serde_json::Error::io_error_kind);
    io.or(json) == Some(ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::printable;

    #[test]
    fn a_finding_cannot_steer_the_terminal() {
        assert_eq!(printable("a\x1b[31mb\u{9b}2Jc\u{202e}d\n"), r"a\u{1b}[31mb\u{9b}2Jc\u{202e}d\u{a}");
        assert_eq!(printable("sk-ant-api…(108) ä"), "sk-ant-api…(108) ä");
    }
}
