//! One process as /proc shows it now.

use super::cmdline;
use super::container::Placement;
use keymoat_detect::Detector;
use procfs::process::Process;
use std::io::Read;

/// What a program was started as. Shared by the processes it forks.
#[derive(Clone, Debug, Default)]
pub struct Image {
    pub exe: Option<String>,
    pub cmdline: Vec<String>,
    pub uid: Option<u32>,
    pub placement: Placement,
}

impl Image {
    /// Roughly what this holds on to, for the table's limit.
    pub fn bytes(&self) -> usize {
        const PER_STRING: usize = 40;
        let optional = |text: &Option<String>| text.as_ref().map_or(0, |t| t.len() + PER_STRING);
        let arguments: usize = self.cmdline.iter().map(|a| a.len() + PER_STRING).sum();
        arguments + optional(&self.exe) + optional(&self.placement.container) + optional(&self.placement.unit)
    }
}

/// What changes hands with every process id.
#[derive(Clone, Debug)]
pub struct Identity {
    pub ppid: u32,
    pub comm: String,
    /// Clock ticks since boot: tells two users of one pid apart.
    pub started: u64,
}

impl Identity {
    /// None: no such process, or it is a zombie that only waits to be collected.
    pub fn read(pid: u32) -> Option<Self> {
        Self::of(&open(pid)?)
    }

    fn of(process: &Process) -> Option<Self> {
        let stat = process.stat().ok()?;
        Some(Self { ppid: u32::try_from(stat.ppid).unwrap_or(0), comm: stat.comm, started: stat.starttime })
    }
}

/// Reads everything there is to know. None: the process is gone.
pub fn read(pid: u32, detector: &Detector) -> Option<(Identity, Image)> {
    let process = open(pid)?;
    let identity = Identity::of(&process)?;
    let image = Image {
        exe: process.exe().ok().map(|path| path.to_string_lossy().into_owned()),
        cmdline: process
            .open_relative("cmdline")
            .ok()
            .and_then(|file| cmdline::read(detector, file).ok())
            .unwrap_or_default(),
        uid: uid(&process),
        placement: text(&process, "cgroup").map(|t| Placement::parse(&t)).unwrap_or_default(),
    };
    Some((identity, image))
}

/// The effective user now; a daemon changes it after it started.
pub fn current_uid(pid: u32) -> Option<u32> {
    uid(&open(pid)?)
}

fn open(pid: u32) -> Option<Process> {
    Process::new(i32::try_from(pid).ok()?).ok()
}

/// `Uid:` real, effective, saved, file system. The owner of /proc/PID is no substitute: it is root for every
/// process that is not dumpable.
fn uid(process: &Process) -> Option<u32> {
    let status = text(process, "status")?;
    let ids = status.lines().find_map(|line| line.strip_prefix("Uid:"))?;
    ids.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn text(process: &Process, name: &str) -> Option<String> {
    const LIMIT: u64 = 64 * 1024;
    let mut bytes = Vec::with_capacity(2048);
    process.open_relative(name).ok()?.take(LIMIT).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}
