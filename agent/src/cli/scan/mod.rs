//! `keymoat scan`: secrets in files and streams, of any size, without privileges.
//!
//! Exit status: 1 when anything was found (even if some file could not be read), else 2 when anything could not
//! be read, else 0. A file that fails is named on standard error and does not stop the others.

mod inputs;
mod lines;
mod report;

use super::{Exit, complain, config_for_anyone};
use crate::config::{Config, FleetKey, fleet_key, rules};
use crate::privileges;
use anyhow::Context;
use clap::Args;
use inputs::Input;
use keymoat_detect::{Detector, Fingerprinter, Stream};
use lines::Lines;
use report::{Judge, Place, Report};
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
    /// Take `rules` and `fleet_key_file` from here [default: /etc/keymoat/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    let detector = Detector::new(Arc::new(rules::load(&config.rules)?))?;
    let key = fingerprint_key(&config)?;
    let judge = Judge::new(args.destination.as_deref());
    let mut scan = Scan {
        detector: &detector,
        fingerprinter: Fingerprinter::new(key.bytes()),
        report: Report::new(&detector, out, args, color, judge, &key.origin),
        chunk: vec![0; CHUNK],
        failed: 0,
    };
    match scan.all(&args.files, stdin) {
        // Whoever read the findings has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.context("cannot write the findings")?,
    }
    Ok(match (scan.report.findings(), scan.failed) {
        (0, 0) => Exit::Clean,
        (0, _) => Exit::Error,
        _ => Exit::Findings,
    })
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
        let (mut stream, mut lines) = (Stream::default(), Lines::default());
        let Self { detector, fingerprinter, report, chunk, .. } = self;
        let mut written = Ok(());
        let mut found = |lines: &mut Lines, m: keymoat_detect::Match<'_>| {
            if written.is_ok() {
                let (line, column) = lines.locate(m.start);
                let place = Place { file: name, line, column };
                written = report.matched(&place, &m, &fingerprinter.fingerprint(m.secret));
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
            detector.push(&mut stream, bytes, &mut |m| found(&mut lines, m));
        };
        detector.flush(&mut stream, &mut |m| found(&mut lines, m));
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

#[cfg(test)]
mod tests;
