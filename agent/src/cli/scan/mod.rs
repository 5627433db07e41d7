//! `keymoat scan`: secrets in files and streams, of any size, without privileges.
//!
//! Exit status: 1 when anything was found (even if some file could not be read), else 2 when anything could not
//! be read, else 0. A file that fails is named on standard error and does not stop the others. What the policy ignores
//! does not count as found.

mod inputs;
mod judge;
mod line;
mod lines;
mod report;

use super::{Exit, complain, config_for_anyone};
use crate::config::{Config, FleetKey, fleet_key, policy, rules};
use crate::privileges;
use anyhow::Context;
use clap::Args;
use inputs::Input;
use judge::Judge;
use keymoat_detect::text::{Sight, Text};
use keymoat_detect::{Detector, Fingerprinter, RuleSet, location};
use lines::Lines;
use report::{Form, Place, Report};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How much is read at once.
const CHUNK: usize = 64 * 1024;

#[derive(Clone, Debug, Args)]
pub struct ScanArgs {
    /// Files and directories (searched completely, symbolic links not followed); `-` or nothing: standard input
    #[arg(value_name = "FILE|-")]
    pub files: Vec<PathBuf>,
    /// One JSON object per finding
    #[arg(long)]
    pub json: bool,
    /// List what looks like a secret and is none, too: placeholders and the like
    #[arg(long)]
    pub show_suppressed: bool,
    /// Judge as if the content were sent to this host
    #[arg(long, value_name = "HOST")]
    pub destination: Option<String>,
    /// … in this place of a message, e.g. `header:authorization` or `body > json:prompt` [default: part of a file]
    #[arg(long, value_name = "PLACE", requires = "destination", value_parser = place)]
    pub location: Option<String>,
    /// … by this policy [default: the configuration's]
    #[arg(long, value_name = "FILE", requires = "destination")]
    pub policy: Option<PathBuf>,
    /// Look for this rule too, although it is off; repeatable
    #[arg(long, value_name = "ID")]
    pub enable: Vec<String>,
    /// Do not look for this rule; repeatable
    #[arg(long, value_name = "ID")]
    pub disable: Vec<String>,
    /// Take `rules`, `policy`, `registered_values_file` and `fleet_key_file` from here [default: /etc/keymoat/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

fn place(text: &str) -> Result<String, &'static str> {
    if location::is_location(text) {
        return Ok(text.to_owned());
    }
    Err(
        "start with a place such as `header:<name>`, `query:<name>`, `path`, `body`, `message` or `stream`, and separate steps by ` > `",
    )
}

/// Scans and reports on standard output.
pub fn run(args: &ScanArgs) -> Exit {
    let color = crate::terminal::wants_color(&io::stdout()) && !args.json;
    let out = io::BufWriter::new(io::stdout().lock());
    scan(args, &mut io::stdin().lock(), out, color).unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        Exit::Error
    })
}

fn scan(args: &ScanArgs, stdin: &mut dyn Read, out: impl Write, color: bool) -> anyhow::Result<Exit> {
    privileges::no_core_dumps().context("secrets in memory could reach a core file")?;
    let config = config_for_anyone(args.config.as_deref())?;
    let mut rules = rules::load(&config)?;
    rules.enable(&args.enable).context("--enable")?;
    rules.disable(&args.disable).context("--disable")?;
    let rules = Arc::new(rules);
    let judge = judge(args, &config, &rules)?;
    let detector = rules::detector(&config, rules)?;
    let key = fingerprint_key(&config)?;
    let form = Form { json: args.json, color, show_suppressed: args.show_suppressed };
    let mut scan = Scan {
        detector: &detector,
        fingerprinter: Fingerprinter::new(key.bytes()),
        report: Report::new(&detector, out, form, judge, &key.origin),
        chunk: vec![0; CHUNK],
        failed: 0,
    };
    match scan.all(&args.files, stdin) {
        // Whoever read the findings has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.context("cannot write the findings")?,
    }
    if scan.report.ignored() > 0 {
        complain(&format!("{} findings not shown: the policy says to ignore them", scan.report.ignored()));
    }
    Ok(match (scan.report.findings(), scan.failed) {
        (0, 0) => Exit::Clean,
        (0, _) => Exit::Error,
        _ => Exit::Findings,
    })
}

/// Only a destination asks for a judgement.
fn judge(args: &ScanArgs, config: &Config, rules: &RuleSet) -> anyhow::Result<Option<Judge>> {
    let Some(host) = args.destination.clone() else { return Ok(None) };
    let file = args.policy.as_deref().or(config.policy.as_deref());
    let policy = policy::load(file, rules)?;
    Ok(Some(Judge { host, location: args.location.clone(), policy, now: jiff::Timestamp::now() }))
}

/// The fleet's key where this user may read it; else one for this run.
fn fingerprint_key(config: &Config) -> Result<FleetKey, fleet_key::FleetKeyError> {
    match &config.fleet_key_file {
        Some(path) => FleetKey::read(path),
        None => FleetKey::read(Path::new(fleet_key::DEFAULT_PATH)),
    }
    .or_else(|error| FleetKey::ephemeral(error.to_string()))
}

struct Scan<'a, W: Write> {
    detector: &'a Detector,
    fingerprinter: Fingerprinter,
    report: Report<'a, W>,
    chunk: Vec<u8>,
    failed: usize,
}

impl<W: Write> Scan<'_, W> {
    /// Errors only when the findings cannot be written.
    fn all(&mut self, files: &[PathBuf], stdin: &mut dyn Read) -> io::Result<()> {
        let only_stdin = [PathBuf::from("-")];
        let files = if files.is_empty() { &only_stdin } else { files };
        inputs::each(files, &mut |input| match input {
            Ok(Input::Stdin) => self.one("-", stdin),
            Ok(Input::File(path, mut file)) => self.one(&path.to_string_lossy(), &mut file),
            Err(error) => {
                self.fail(&error.to_string());
                Ok(())
            }
        })?;
        self.report.finish()
    }

    fn one(&mut self, name: &str, source: &mut dyn Read) -> io::Result<()> {
        let (mut text, mut lines) = (Text::default(), Lines::default());
        let Self { detector, fingerprinter, report, chunk, .. } = self;
        let mut written = Ok(());
        let mut found = |lines: &mut Lines, sight: Sight<'_>| {
            if written.is_ok() {
                let (line, column) = lines.locate(sight.span.start);
                let place = Place { file: name, line, column, encoding: &encoding(&sight) };
                written = report.found(&place, &sight, &fingerprinter.fingerprint(sight.secret));
            }
        };
        let read = loop {
            let bytes = match source.read(chunk) {
                Ok(0) => break Ok(()),
                Ok(n) => chunk.get(..n).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => break Err(error),
            };
            lines.push(bytes);
            text.push(detector, bytes, &mut |sight| found(&mut lines, sight));
        };
        text.finish(detector, &mut |sight| found(&mut lines, sight));
        if let Err(error) = read {
            self.fail(&format!("{name}: {error}"));
        }
        written
    }

    fn fail(&mut self, message: &str) {
        self.failed += 1;
        complain(message);
    }
}

/// What a secret is wrapped up in: `base64 > json`.
fn encoding(sight: &Sight<'_>) -> String {
    let names: Vec<&str> = sight.wrapped.iter().map(|wrap| wrap.name()).collect();
    names.join(location::SEPARATOR)
}

#[cfg(test)]
mod tests;
