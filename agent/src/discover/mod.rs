//! Finds every file that holds a TLS library and puts probes into it: those mapped now, in any mount
//! namespace, and those mapped later, told by the kernel as it happens.
//!
//! **Architecture Invariant:** one thread owns everything here. The kernel's notifications are opened before
//! the first scan, so nothing can be mapped unseen in between; and a ClientHello is judged only after the
//! notifications that came before it, so no process is called unseen while its probes are being attached.
//!
//! - `maps` reads which files processes map, and opens them;
//! - `notify` is the kernel's stream of exec, mmap, fork and exit;
//! - `library` decides per file and attaches; `overlay` and `watch` keep its answer true;
//! - `processes` remembers which process maps what; `unseen` words the answer for those we cannot see;
//! - `worker` is the thread.

mod library;
mod maps;
mod notify;
mod overlay;
mod processes;
mod unseen;
mod watch;
mod well_known;
mod worker;

#[cfg(test)]
mod tests;

pub use library::{FunctionReport, LibraryReport};
pub use notify::NotifyError;

use crate::health::Counters;
use crate::record::{Destination, UnseenTls};
use crate::tree::Tree;
use library::{Inventory, Libraries};
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::thread::JoinHandle;
use std::time::Duration;
use worker::Worker;

/// Puts kernel programs into files. A probe is per inode: it fires in every process that maps the file.
pub trait Attach: Send {
    /// `cookie`: told to the program each time.
    fn attach(
        &mut self,
        file: &File,
        program: &'static str,
        file_offset: u64,
        cookie: Option<u64>,
    ) -> Result<AttachId, AttachError>;
    fn detach(&mut self, id: AttachId);
}

/// Names one attached probe, as its `Attach` chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct AttachId(pub u64);

#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct AttachError(#[from] pub Box<dyn std::error::Error + Send + Sync>);

/// Told of every process that starts, becomes another program, or ends.
pub trait ProcessEvents {
    /// The process runs another program. False when there will be more to read of it in a moment: the kernel tells
    /// of an exec before the new arguments are in place.
    fn exec(&self, pid: u32) -> bool;
    fn fork(&self, parent: u32, child: u32);
    fn exit(&self, pid: u32);
}

/// A process began a TLS connection.
#[derive(Clone, Debug)]
pub struct Hello {
    pub pid: u32,
    pub comm: String,
    pub destination: Destination,
}

/// What to do with each process whose TLS cannot be seen.
pub type Report = Box<dyn Fn(UnseenTls) + Send>;

#[derive(Clone, Debug)]
pub struct Options {
    /// Files with probes in them at any time.
    pub max_files: usize,
    /// Per CPU, for the kernel's notifications.
    pub ring_bytes: usize,
    /// How often processes are looked through where the kernel refuses notifications.
    pub scan_every: Duration,
    /// Calls are stopped at their probes: each is told how its call can be left.
    pub detours: bool,
    /// The only processes to look at; none: all.
    pub tree: Option<Arc<Tree>>,
}

impl Default for Options {
    fn default() -> Self {
        let scan_every = Duration::from_secs(1);
        Self { max_files: 4096, ring_bytes: 256 * 1024, scan_every, detours: false, tree: None }
    }
}

#[derive(Debug, thiserror::Error)]
pub enum DiscoverError {
    #[error("a resource of the discovery thread: {0}")]
    Setup(#[from] std::io::Error),
}

/// How new programs and libraries are noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The kernel tells at once.
    Notifications,
    /// All processes are looked through again and again: what lives shorter than that is missed.
    PeriodicScan { every: Duration, because: String },
}

/// The running discovery. Dropping it stops the thread; the probes live as long as the thread.
pub struct Discovery {
    inventory: Inventory,
    source: Source,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Discovery {
    /// Attaches to everything there is now, then goes on in a thread of its own. When this returns, whatever is started is seen.
    pub fn start(
        attach: Box<dyn Attach>,
        process_events: Arc<dyn ProcessEvents + Send + Sync>,
        hellos: Receiver<Hello>,
        report: Report,
        counters: Counters,
        options: Options,
    ) -> Result<Self, DiscoverError> {
        let libraries = Libraries::new(attach, counters.clone(), &options)?;
        let inventory = libraries.inventory();
        let mut worker = Worker::new(libraries, process_events, hellos, report, counters, &options)?;
        let source = worker.source().clone();
        worker.scan();
        worker.catch_up();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::Builder::new().name("discover".to_owned()).spawn(move || worker.run(&stopped))?;
        Ok(Self { inventory, source, stop, thread: Some(thread) })
    }

    /// Every file with TLS functions in it, and where its probes are.
    pub fn inventory(&self) -> Vec<LibraryReport> {
        library::reports(&self.inventory)
    }

    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Ends the thread and takes all probes out.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic over there has been printed by its own thread; there is nothing left to undo here.
            let _ = thread.join();
        }
    }
}

impl Drop for Discovery {
    fn drop(&mut self) {
        self.end();
    }
}

/// What would be probed on this machine, without probing it: for `doctor`.
pub fn survey(counters: Counters) -> Result<Vec<LibraryReport>, DiscoverError> {
    let libraries = Libraries::without_attaching(counters)?;
    let inventory = libraries.inventory();
    worker::survey(libraries);
    Ok(library::reports(&inventory))
}

/// Whether this kernel lets us hear of new programs and libraries.
pub fn notifications_available() -> Result<(), NotifyError> {
    notify::Stream::open(4096, None).map(drop)
}
