//! Everything an agent said so far, and a signal when there is more.

use crate::record::{Finding, Health, Line, Loss, Ready, Record};
use std::collections::BTreeMap;
use std::process::ExitStatus;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

#[derive(Debug, Default)]
pub(super) struct Log {
    said: Mutex<Said>,
    more: Condvar,
}

#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) lines: Vec<Line>,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Vec<u8>,
    pub(super) bad_lines: Vec<String>,
    pub(super) ended: Option<ExitStatus>,
}

impl Said {
    pub(super) fn records(&self) -> impl Iterator<Item = &Record> {
        self.lines.iter().map(|line| &line.record)
    }

    pub(super) fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.records().filter_map(|record| match record {
            Record::Finding(finding) => Some(&**finding),
            _ => None,
        })
    }

    /// How often each fingerprint was found.
    pub(super) fn counts(&self) -> BTreeMap<&str, usize> {
        let mut counts = BTreeMap::new();
        for finding in self.findings() {
            *counts.entry(finding.secret.fingerprint.as_str()).or_default() += 1;
        }
        counts
    }

    pub(super) fn health(&self) -> impl Iterator<Item = &Health> {
        self.records().filter_map(|record| match record {
            Record::Health(health) => Some(health),
            _ => None,
        })
    }

    pub(super) fn ready(&self) -> Option<Ready> {
        self.records().find_map(|record| match record {
            Record::Ready(ready) => Some(ready.clone()),
            _ => None,
        })
    }

    pub(super) fn losses(&self) -> BTreeMap<String, u64> {
        let last = self.records().filter_map(|record| match record {
            Record::Loss(Loss { counters }) => Some(counters.clone()),
            _ => None,
        });
        last.last().unwrap_or_default()
    }

    pub(super) fn repeats(&self, id: &str) -> u64 {
        let of_it = self.records().filter_map(|record| match record {
            Record::Repeat(repeat) if repeat.finding == id => Some(repeat.repeats),
            _ => None,
        });
        of_it.max().unwrap_or_default()
    }

    pub(super) fn last_words(&self) -> String {
        let text = String::from_utf8_lossy(&self.stderr);
        let lines: Vec<&str> = text.lines().collect();
        let from = lines.len().saturating_sub(15);
        format!("\n  its last messages:\n    {}\n", lines[from..].join("\n    "))
    }
}

impl Log {
    pub(super) fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, change: impl FnOnce(&mut Said)) {
        change(&mut self.said());
        self.more.notify_all();
    }

    pub(super) fn wait<T>(
        &self,
        limit: Duration,
        mut look: impl FnMut(&Said) -> Option<T>,
    ) -> Result<T, String> {
        let deadline = Instant::now() + limit;
        let mut said = self.said();
        loop {
            if let Some(found) = look(&said) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(format!("nothing came within {limit:?}"));
            }
            (said, _) = self.more.wait_timeout(said, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}
