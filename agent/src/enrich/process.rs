//! The processes of this host, remembered for as long as a finding may still ask for them.
//!
//! Exec, fork and exit notifications feed the table; who is not in it is read from /proc when asked for.

use super::bounded::{Bounded, Limits};
use super::snapshot::{self, Identity, Image};
use crate::health::{Cause, Counters};
use crate::record::{Ancestor, Process};
use keymoat_detect::Detector;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant};

const LIMITS: Limits = Limits { entries: 32_768, bytes: 16 * 1024 * 1024, grace: Duration::from_secs(10) };
const MAX_ANCESTORS: usize = 16;

/// Fed by one thread, asked by another.
pub struct ProcessTable {
    detector: RwLock<Arc<Detector>>,
    counters: Counters,
    known: Mutex<Bounded<Known>>,
}

#[derive(Clone, Debug, Default)]
struct Known {
    ppid: u32,
    /// None: gone before it could be read.
    comm: Option<String>,
    /// None: forked and not read since, so `comm` and `image` are what its parent's were.
    started: Option<u64>,
    /// None: gone before it could be read, or forked by a process that is not known either.
    image: Option<Arc<Image>>,
}

impl Known {
    /// Its arguments were in place when it was read.
    fn is_whole(&self) -> bool {
        self.image.as_ref().is_some_and(|image| !image.cmdline.is_empty())
    }
}

impl ProcessTable {
    pub fn new(detector: Arc<Detector>, counters: Counters) -> Self {
        Self { detector: RwLock::new(detector), counters, known: Mutex::new(Bounded::new(LIMITS)) }
    }

    /// Secrets of these rules are masked from now on.
    pub fn exchange(&self, detector: Arc<Detector>) {
        *self.detector.write().unwrap_or_else(PoisonError::into_inner) = detector;
    }

    /// Reads every process there is, so that one that ends right after the agent started is explained too.
    pub fn seed(&self) {
        let running = procfs::process::all_processes().into_iter().flatten().flatten();
        for pid in running.filter_map(|process| u32::try_from(process.pid()).ok()) {
            if let Some(known) = self.read(pid) {
                self.store(pid, known);
            }
        }
    }

    /// The process runs a new program. False when its arguments are not in place yet.
    pub fn exec(&self, pid: u32) -> bool {
        // Gone already: what its parent was is no longer what it is, but who its parent was still holds.
        let gone = || Known { ppid: self.get(pid).map_or(0, |known| known.ppid), ..Known::default() };
        let known = self.read(pid).unwrap_or_else(gone);
        let complete = known.image.as_ref().is_none_or(|image| !image.cmdline.is_empty());
        self.store(pid, known);
        complete
    }

    /// A new process, still running its parent's program. Reads nothing: most forks are followed by an exec.
    pub fn fork(&self, parent: u32, child: u32) {
        if parent != child {
            let known = self.get(parent).unwrap_or_default();
            self.store(child, Known { ppid: parent, started: None, ..known });
        }
    }

    /// The process ended; it is remembered for a grace period.
    pub fn exit(&self, pid: u32) {
        self.lock().exit(pid, Instant::now());
    }

    /// Who this is, and who started it. `comm` is the name the kernel gave with the bytes: the thread that wrote.
    pub fn facts(&self, pid: u32, comm: &str) -> Process {
        let known = self.current(pid, comm);
        let image = known.image.clone().unwrap_or_default();
        if image.exe.is_none() && image.cmdline.is_empty() {
            self.counters.add(Cause::ProcessGone, 1);
        }
        Process {
            pid,
            comm: if comm.is_empty() { known.comm.clone().unwrap_or_default() } else { comm.to_owned() },
            exe: image.exe.clone(),
            cmdline: image.cmdline.clone(),
            uid: known.started.and_then(|_| snapshot::current_uid(pid)).or(image.uid),
            container: image.placement.container.clone(),
            unit: image.placement.unit.clone(),
            ancestors: self.ancestors(pid, &known),
        }
    }

    /// What is known of the process that has this id now, or had it last.
    fn current(&self, pid: u32, comm: &str) -> Known {
        let known = self.get(pid);
        match (known, Identity::read(pid)) {
            (Some(known), Some(now)) if known.is(&now) && known.is_whole() => known,
            // Not read yet or too early, under another name than when it was read, or not the process that was
            // remembered.
            (known, Some(_)) => match self.read(pid) {
                Some(read) => {
                    self.store(pid, read.clone());
                    read
                }
                None => known.unwrap_or_default(),
            },
            // A child that never was read and has another name than its parent: an exec nobody told of yet.
            (Some(known), None) if known.started.is_none() && !known.is_called(comm) => {
                Known { ppid: known.ppid, ..Known::default() }
            }
            (known, None) => known.unwrap_or_default(),
        }
    }

    fn read(&self, pid: u32) -> Option<Known> {
        let detector = Arc::clone(&self.detector.read().unwrap_or_else(PoisonError::into_inner));
        let (identity, image) = snapshot::read(pid, &detector)?;
        Some(Known {
            ppid: identity.ppid,
            comm: Some(identity.comm),
            started: Some(identity.started),
            image: Some(Arc::new(image)),
        })
    }

    /// Parent first. A parent that exited is named from the table; when nobody remembers it, the chain goes on
    /// with whoever adopted the child.
    fn ancestors(&self, pid: u32, known: &Known) -> Vec<Ancestor> {
        let mut ancestors = Vec::new();
        let (mut child, mut started, mut parent) = (pid, known.started, known.ppid);
        while parent != 0 && ancestors.len() < MAX_ANCESTORS {
            let remembered = self.ancestor(parent, started);
            let adopted = || {
                let now = Identity::read(child).filter(|now| now.ppid != parent)?;
                self.ancestor(now.ppid, started)
            };
            let Some(found) = remembered.or_else(adopted) else { break };
            ancestors.push(Ancestor { pid: found.pid, comm: found.comm });
            (child, started, parent) = (found.pid, found.started.or(started), found.ppid);
        }
        ancestors
    }

    /// A process of this id that is no younger than its child.
    fn ancestor(&self, pid: u32, child_started: Option<u64>) -> Option<Found> {
        let is_older = |found: &Found| match (found.started, child_started) {
            (Some(own), Some(child)) => own <= child,
            _ => true,
        };
        let now = Identity::read(pid).map(|now| Found {
            pid,
            comm: now.comm,
            started: Some(now.started),
            ppid: now.ppid,
        });
        now.filter(is_older).or_else(|| {
            let known = self.get(pid)?;
            Some(Found { pid, comm: known.comm?, started: known.started, ppid: known.ppid }).filter(is_older)
        })
    }

    fn get(&self, pid: u32) -> Option<Known> {
        self.lock().get(pid).cloned()
    }

    fn store(&self, pid: u32, known: Known) {
        let bytes = size_of::<Known>() + known.image.as_ref().map_or(0, |image| image.bytes());
        self.lock().insert(pid, known, bytes, Instant::now());
    }

    /// A panic elsewhere while the lock was held does not make the table unusable.
    fn lock(&self) -> MutexGuard<'_, Bounded<Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One step up the family.
struct Found {
    pid: u32,
    comm: String,
    started: Option<u64>,
    ppid: u32,
}

impl Known {
    fn is(&self, now: &Identity) -> bool {
        self.started == Some(now.started) && self.is_called(&now.comm)
    }

    fn is_called(&self, comm: &str) -> bool {
        self.comm.as_deref() == Some(comm)
    }
}

impl crate::discover::ProcessEvents for ProcessTable {
    fn exec(&self, pid: u32) -> bool {
        Self::exec(self, pid)
    }

    fn fork(&self, parent: u32, child: u32) {
        Self::fork(self, parent, child);
    }

    fn exit(&self, pid: u32) {
        Self::exit(self, pid);
    }
}

#[cfg(test)]
#[path = "process_tests.rs"]
mod tests;
