//! What outlives the agent in `strict` mode. A program stays attached while its link is pinned in the BPF file system, and the
//! maps it works on are found there by the next agent.
//!
//! ```text
//! /sys/fs/bpf/keymoat/maps-LAYOUT/NAME    what one agent leaves to the next
//! /sys/fs/bpf/keymoat/links-EPOCH/N       what one agent attached
//! ```
//!
//! An agent that takes over attaches all of its own programs first; then, in one store to `ACTIVE`, they begin to judge and those of
//! the agent before it stop; then the old links go. Sockets keep the program that judges their messages as long as they
//! live, and it goes on with the same maps.

use super::raw_link;
use crate::kernel::rcu::Expedited;
use aya::maps::MapInfo;
use aya::programs::links::{FdLink, LinkError};
use keymoat_abi::state::LAYOUT;
use rustix::fs::{FlockOperation, flock};
use rustix::mount::{MountFlags, mount};
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

const FILE_SYSTEM: &str = "/sys/fs/bpf";
const ROOT: &str = "/sys/fs/bpf/keymoat";
const LINKS: &str = "links-";
const MAPS: &str = "maps-";
/// Held while an agent in `strict` mode runs.
const LOCK: &str = "/run/keymoat/strict.lock";

/// The maps that programs of two agents share.
const SHARED: &[&str] = &[
    "EVENTS",
    "CONSUMER",
    "LOSS",
    "FLOWS",
    "MARKS",
    "CONTEXTS",
    "CONNECTIONS",
    "GATES",
    "HOSTS",
    "KEYS",
    "TLS_SCANS",
    "REFUSED",
    "PERMITTED",
    "NUMBERS",
    "ACTIVE",
];

#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("{what} {path}: {source}; `strict` needs the BPF file system: mount -t bpf bpf {FILE_SYSTEM}")]
    File { what: &'static str, path: String, source: io::Error },
    #[error("an agent in `strict` mode is running: stop it first")]
    Running,
    #[error(
        "this kernel cannot keep what is attached without an agent (Linux 5.15 or later is needed), so `strict` is not to be had: {0}"
    )]
    Link(#[from] LinkError),
    #[error("a link cannot be pinned: {0}; see whether {FILE_SYSTEM} is mounted and writable")]
    Pin(#[from] aya::pin::PinError),
}

/// One agent's place in the BPF file system. Clones share it.
#[derive(Clone, Debug)]
pub struct Pins {
    epoch: u32,
    next: Arc<AtomicU32>,
    leaving: Arc<AtomicBool>,
    /// What an agent before this one left is in use.
    succeeds: bool,
    _lock: Arc<File>,
}

impl Pins {
    /// Makes room for what this agent attaches. Needs CAP_SYS_ADMIN where the BPF file system is not mounted.
    ///
    /// # Errors
    /// When another agent holds the place, or there is none to be had.
    pub fn open() -> Result<Self, PinError> {
        let lock = lock()?;
        if !is_mounted() {
            mount("bpf", FILE_SYSTEM, "bpf", MountFlags::empty(), None)
                .map_err(|error| failed("cannot mount it at", Path::new(FILE_SYSTEM))(error.into()))?;
        }
        let (root, maps) = (Path::new(ROOT), maps_folder());
        let succeeds = maps.exists();
        let epoch = epochs().max().map_or(1, |last| last.wrapping_add(1));
        for folder in [root, &maps, &links_folder(epoch)] {
            make(folder)?;
        }
        let (next, leaving) = (Arc::default(), Arc::default());
        Ok(Self { epoch, next, leaving, succeeds, _lock: Arc::new(lock) })
    }

    /// Tells this agent's programs from those of others; not 0.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Was there an agent whose state this one goes on with?
    pub fn succeeds(&self) -> bool {
        self.succeeds
    }

    /// Each shared map, and where it is or will be.
    pub fn maps(&self) -> impl Iterator<Item = (&'static str, PathBuf)> {
        let folder = maps_folder();
        SHARED.iter().map(move |name| (*name, folder.join(name)))
    }

    /// Keeps a program attached for as long as the file is there, and names the file.
    pub fn keep(&self, link: FdLink) -> Result<PathBuf, PinError> {
        let path = self.next_path();
        link.pin(&path)?;
        Ok(path)
    }

    /// The same for a link that is nothing but a descriptor.
    pub(super) fn keep_raw(&self, link: &OwnedFd) -> Result<(), PinError> {
        let path = self.next_path();
        raw_link::pin(link, &path).map_err(failed("cannot pin a link to", &path))
    }

    fn next_path(&self) -> PathBuf {
        links_folder(self.epoch).join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// Detaches what [`Self::keep`] kept, unless the agent is about to end.
    pub fn let_go(&self, path: &Path) {
        if !self.leaving.load(Ordering::Relaxed) {
            // Somebody else may have taken it out.
            let _ = fs::remove_file(path);
        }
    }

    /// From now on nothing is detached: the agent ends, and what it attached stays.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Relaxed);
    }

    /// Detaches what agents before this one attached, and removes maps of other layouts.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub fn remove_others(&self) -> Result<(), PinError> {
        for epoch in epochs().filter(|epoch| *epoch != self.epoch) {
            remove(&links_folder(epoch))?;
        }
        for maps in folders(MAPS).map(|(path, _)| path).filter(|path| *path != maps_folder()) {
            remove(&maps)?;
        }
        Ok(())
    }
}

/// Is anything attached that no agent needs to run for?
pub fn in_force() -> bool {
    epochs().next().is_some()
}

/// Takes every trace out of the kernel. False: there was none.
///
/// # Errors
/// When an agent in `strict` mode runs, or a file cannot be removed.
pub fn detach() -> Result<bool, PinError> {
    let _lock = lock()?;
    let there = Path::new(ROOT).exists();
    if there {
        remove(Path::new(ROOT))?;
    }
    Ok(there)
}

/// Entries that a pinned map has. None if there is no such file.
pub(super) fn entries(path: &Path) -> Option<u32> {
    MapInfo::from_pin(path).ok().map(|info| info.max_entries())
}

fn lock() -> Result<File, PinError> {
    let path = Path::new(LOCK);
    let unusable = |error| failed("cannot use", path)(error);
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(unusable)?;
    }
    let file = File::create(path).map_err(unusable)?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| PinError::Running)?;
    Ok(file)
}

fn is_mounted() -> bool {
    const BPF_FS_MAGIC: rustix::fs::FsWord = 0xcafe_4a11;
    rustix::fs::statfs(FILE_SYSTEM).is_ok_and(|found| found.f_type == BPF_FS_MAGIC)
}

fn maps_folder() -> PathBuf {
    Path::new(ROOT).join(format!("{MAPS}{LAYOUT}"))
}

fn links_folder(epoch: u32) -> PathBuf {
    Path::new(ROOT).join(format!("{LINKS}{epoch}"))
}

fn epochs() -> impl Iterator<Item = u32> {
    folders(LINKS).filter_map(|(_, rest)| rest.parse().ok())
}

/// Folders whose names begin so, and how they go on.
fn folders(start: &'static str) -> impl Iterator<Item = (PathBuf, String)> {
    let found = fs::read_dir(ROOT).into_iter().flatten().flatten();
    found.filter_map(move |entry| {
        let rest = entry.file_name().to_str()?.strip_prefix(start)?.to_owned();
        Some((entry.path(), rest))
    })
}

fn make(folder: &Path) -> Result<(), PinError> {
    match fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
            Err(failed("cannot make", folder)(error))
        }
        _ => Ok(()),
    }
}

fn remove(folder: &Path) -> Result<(), PinError> {
    let _quickly = Expedited::begin();
    fs::remove_dir_all(folder).map_err(failed("cannot remove", folder))
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> PinError {
    let path = path.display().to_string();
    move |source| PinError::File { what, path: path.clone(), source }
}
