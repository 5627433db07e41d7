//! How the running agent fares, in a file that `keymoat doctor` reads: a host has one agent, and a person with a
//! question has a shell there.

use crate::discover::LibraryReport;
use crate::record::UnseenTls;
use serde::Serialize;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Unseen processes kept for `doctor`; every one of them was also reported when it was found.
const MAX_UNSEEN: usize = 256;

/// Everything in it was redacted before it got here.
#[derive(Debug, Serialize)]
pub struct Status {
    pub pid: u32,
    pub version: &'static str,
    pub started: jiff::Timestamp,
    pub hooks: Vec<String>,
    /// Records that came from the kernel: pieces of plaintext, beginnings and ends of connections, refusals.
    pub records: u64,
    /// Totals of what was not delivered, by cause.
    pub counters: BTreeMap<String, u64>,
    pub libraries: Vec<LibraryReport>,
    pub unseen_tls: Vec<UnseenTls>,
}

/// The latest processes whose TLS cannot be seen. Cloning shares it.
#[derive(Clone, Debug, Default)]
pub struct Unseen(Arc<Mutex<Vec<UnseenTls>>>);

impl Unseen {
    pub fn add(&self, unseen: UnseenTls) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if list.len() == MAX_UNSEEN {
            list.remove(0);
        }
        list.push(unseen);
    }

    pub fn list(&self) -> Vec<UnseenTls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// The status file; gone when this is dropped, if it is this agent's.
pub struct StatusFile {
    path: PathBuf,
    last: Vec<u8>,
}

impl StatusFile {
    /// Makes the file's directory. Call it before privileges are dropped.
    ///
    /// # Errors
    /// When the directory cannot be made.
    pub fn create(path: &Path) -> std::io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        Ok(Self { path: path.to_owned(), last: Vec::new() })
    }

    /// Replaces the file's contents if they changed; readers see the old or the new, nothing between.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&mut self, status: &Status) -> std::io::Result<()> {
        let text = serde_json::to_vec(status)?;
        if text == self.last {
            return Ok(());
        }
        let fresh = self.path.with_extension("new");
        // Command lines are in it: for root's eyes.
        let mut file =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
        file.write_all(&text)?;
        std::fs::rename(&fresh, &self.path)?;
        self.last = text;
        Ok(())
    }
}

impl Drop for StatusFile {
    fn drop(&mut self) {
        // Another agent may have written there since, or this one may never have got that far.
        if !self.last.is_empty() && std::fs::read(&self.path).is_ok_and(|text| text == self.last) {
            // Nothing to be done about a file that cannot be removed; `doctor` checks the pid in it.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// The status a running agent wrote, as JSON; `None` when there is none or its agent is gone.
pub fn read(path: &Path) -> Option<serde_json::Value> {
    let status: serde_json::Value = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    let pid = status.get("pid")?.as_u64()?;
    let comm = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (comm.trim() == "keymoat").then_some(status)
}
