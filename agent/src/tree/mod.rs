//! A process tree of its own (`keymoat run`): a cgroup beneath that of whoever calls, and the command that runs in it.
//!
//! Whatever the command starts is born in its cgroup and stays there, unless it asks somebody else to start it (systemd, a container
//! runtime).

pub mod keeper;
pub mod launch;

use crate::kernel::cgroup::{self, CgroupId};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Inode number of the first cgroup namespace (include/linux/proc_ns.h, `PROC_CGROUP_INIT_INO`): in others, the way from the root is
/// not told.
const FIRST_NAMESPACE: u64 = 0xeffffffb;

#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("cgroup v2 is not mounted; mount it with: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    NoCgroup,
    #[error("this is a container (a cgroup namespace of its own): run keymoat on its host")]
    Container,
    #[error("the cgroup {path} cannot be {what}: {source}; it takes root: sudo keymoat run …", path = path.display())]
    Cgroup { what: &'static str, path: PathBuf, source: io::Error },
    #[error("/proc/self/cgroup cannot be read: {0}")]
    Unknown(io::Error),
    #[error("{program} cannot be started: {source}")]
    Launch { program: String, source: io::Error },
}

/// What the names of such cgroups begin with; the process id of `keymoat run` follows.
const NAME: &str = "keymoat-run-";

/// The cgroup. [`keeper`] removes it.
#[derive(Debug)]
pub struct Tree {
    path: PathBuf,
    id: CgroupId,
}

impl Tree {
    /// Makes an empty one.
    ///
    /// # Errors
    /// When there is no cgroup v2, or no right to make one.
    pub fn make() -> Result<Self, TreeError> {
        let mount = cgroup::v2_mount().ok_or(TreeError::NoCgroup)?;
        if fs::metadata("/proc/self/ns/cgroup").is_ok_and(|namespace| namespace.ino() != FIRST_NAMESPACE) {
            return Err(TreeError::Container);
        }
        let own = fs::read_to_string("/proc/self/cgroup").map_err(TreeError::Unknown)?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or(TreeError::NoCgroup)?;
        let own = mount.join(own);
        sweep(&own);
        let path = own.join(format!("{NAME}{}", std::process::id()));
        fs::create_dir(&path).map_err(failed("made", &path))?;
        let level = path.strip_prefix(&mount).map_or(0, |below| below.components().count());
        let id = fs::metadata(&path).map_err(failed("looked at", &path))?.ino();
        Ok(Self { id: CgroupId { id, level: u32::try_from(level).unwrap_or(u32::MAX) }, path })
    }

    pub fn id(&self) -> CgroupId {
        self.id
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its directory, open.
    ///
    /// # Errors
    /// When it is gone.
    pub fn open(&self) -> io::Result<File> {
        File::open(&self.path)
    }

    /// Takes a process in. What it starts from then on is in, too.
    ///
    /// # Errors
    /// When it is gone, or there is no right to move it.
    pub fn take_in(&self, pid: u32) -> Result<(), TreeError> {
        let path = self.path.join("cgroup.procs");
        fs::write(&path, pid.to_string()).map_err(failed("joined", &path))
    }

    /// Who is in it.
    pub fn processes(&self) -> Vec<u32> {
        let mut found = Vec::new();
        each_below(&self.path, &mut |directory| {
            let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
            found.extend(text.lines().filter_map(|line| line.parse::<u32>().ok()));
        });
        found
    }
}

/// Removes a cgroup, with those that its processes made; one that still has some stays.
fn remove(cgroup: &Path) {
    each_below(cgroup, &mut |directory| drop(fs::remove_dir(directory)));
}

/// Removes what others left because there were processes in it.
fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let owner = name.to_str().and_then(|name| name.strip_prefix(NAME));
        if owner.is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            remove(&entry.path());
        }
    }
}

/// A directory's subdirectories, then itself.
fn each_below(directory: &Path, visit: &mut dyn FnMut(&Path)) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            each_below(&entry.path(), visit);
        }
    }
    visit(directory);
}

fn failed(what: &'static str, path: &Path) -> impl Fn(io::Error) -> TreeError {
    let path = path.to_owned();
    move |source| TreeError::Cgroup { what, path: path.clone(), source }
}
