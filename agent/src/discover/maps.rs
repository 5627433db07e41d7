//! Which files processes map as code, and opening exactly those.
//!
//! A path in another process's map says little: the process may live in another mount namespace, and the file may have been
//! replaced or deleted since. So a file is opened through the process, and counts only when it is the inode
//! that is mapped.

use rustix::fs::{FileType, Mode, OFlags, Stat, major, minor};
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The kernel's name of a mapped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Inode {
    pub major: u32,
    pub minor: u32,
    pub number: u64,
}

/// A file mapped as code by a process.
#[derive(Clone, Debug)]
pub(super) struct Mapping {
    pub pid: u32,
    pub start: u64,
    pub end: u64,
    pub inode: Inode,
    /// Tells two uses of one inode number apart; only notifications carry it.
    pub generation: Option<u64>,
    pub path: PathBuf,
}

/// An opened file and what it was when opened.
pub(super) struct Opened {
    pub file: File,
    pub stat: Stat,
}

#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("the process is gone")]
    ProcessGone,
    #[error("the mapped file can no longer be reached: {0}")]
    Unreachable(io::Error),
}

/// All processes there are.
pub(super) fn pids() -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// False also when it ended and its parent was not told yet: then it has neither program nor memory.
fn runs(pid: u32) -> bool {
    std::fs::read_link(format!("/proc/{pid}/exe")).is_ok()
}

/// The files `pid` maps as code, each once.
pub(super) fn mappings(pid: u32) -> io::Result<Vec<Mapping>> {
    let text = std::fs::read(format!("/proc/{pid}/maps"))?;
    let mut found: Vec<Mapping> = Vec::new();
    for mapping in text.split(|byte| *byte == b'\n').filter_map(|line| parse_line(pid, line)) {
        if !found.iter().any(|known| known.inode == mapping.inode) {
            found.push(mapping);
        }
    }
    Ok(found)
}

/// `7f…000-7f…000 r-xp 0001f000 fe:00 10018871    /usr/lib/libssl.so.3`; none when it is no file mapped as code.
fn parse_line(pid: u32, line: &[u8]) -> Option<Mapping> {
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let permissions = text()?;
    let _offset = text()?;
    let (major, minor) = text()?.split_once(':')?;
    let number = text()?.parse().ok().filter(|number| *number != 0)?;
    if permissions.as_bytes().get(2) != Some(&b'x') {
        return None;
    }
    let path = fields.next().unwrap_or_default().trim_ascii_start();
    let hex = |text| u64::from_str_radix(text, 16).ok();
    Some(Mapping {
        pid,
        start: hex(start)?,
        end: hex(end)?,
        inode: Inode { major: hex(major)? as u32, minor: hex(minor)? as u32, number },
        generation: None,
        path: Path::new(std::ffi::OsStr::from_bytes(path)).to_owned(),
    })
}

impl Mapping {
    /// Opens the mapped file, whatever its path means by now.
    pub(super) fn open(&self) -> Result<Opened, OpenError> {
        let by_path = self.through_root();
        if let Some(opened) = &by_path
            && opened.inode() == self.inode
        {
            return by_path.ok_or(OpenError::ProcessGone);
        }
        // Filesystems with many devices under one superblock (overlayfs, btrfs) name another device here than
        // to fstat. The mapping itself leads to the file, also when it is deleted.
        match open(&self.through_mapping()) {
            Ok(opened) => Ok(opened),
            Err(error) => match by_path.or_else(|| self.through_own_root()) {
                Some(opened) if opened.stat.st_ino == self.inode.number => Ok(opened),
                _ if !runs(self.pid) => Err(OpenError::ProcessGone),
                _ => Err(OpenError::Unreachable(error)),
            },
        }
    }

    fn through_root(&self) -> Option<Opened> {
        let path = self.absolute()?;
        open_in_root(&format!("/proc/{}/root", self.pid), path).ok()
    }

    fn through_mapping(&self) -> PathBuf {
        format!("/proc/{}/map_files/{:x}-{:x}", self.pid, self.start, self.end).into()
    }

    /// A process that is gone shared our own file system, as a rule.
    fn through_own_root(&self) -> Option<Opened> {
        open(self.absolute()?).ok().filter(|opened| opened.inode() == self.inode)
    }

    /// The path, when it is one: not `//anon`, `//toolong` or `[vdso]`.
    fn absolute(&self) -> Option<&Path> {
        let bytes = self.path.as_os_str().as_bytes();
        (bytes.starts_with(b"/") && !bytes.starts_with(b"//")).then_some(&*self.path)
    }
}

impl Opened {
    /// As the kernel names it in maps and notifications, where device numbers agree.
    pub(super) fn inode(&self) -> Inode {
        let device = self.stat.st_dev;
        Inode { major: major(device), minor: minor(device), number: self.stat.st_ino }
    }
}

/// Opens `path` as a process with this root directory would. No symbolic link leads out of the root.
pub(super) fn open_in_root(root: &str, path: &Path) -> io::Result<Opened> {
    let root = rustix::fs::open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let relative = path.strip_prefix("/").unwrap_or(path);
    let handle = rustix::fs::openat2(
        root,
        relative,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        rustix::fs::ResolveFlags::IN_ROOT,
    )?;
    reopen(&handle)
}

pub(super) fn open(path: &Path) -> io::Result<Opened> {
    reopen(&rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?)
}

/// For reading, once it is known to be a regular file: opening a device or a pipe can have effects, or wait.
fn reopen(handle: &rustix::fd::OwnedFd) -> io::Result<Opened> {
    use std::os::fd::AsRawFd;
    let stat = rustix::fs::fstat(handle)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other("not a regular file"));
    }
    let file = File::open(format!("/proc/self/fd/{}", handle.as_raw_fd()))?;
    Ok(Opened { file, stat })
}

/// When `pid` started, in clock ticks since boot: with the pid it names a process for good.
pub(super) fn start_time(pid: u32) -> Option<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything, also spaces and parentheses.
    let (_, after_name) = text.rsplit_once(')')?;
    after_name.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};

    #[test]
    fn lines_of_code_and_others() {
        let line =
            b"7fd48bde9000-7fd48be46000 r-xp 0001f000 00:27 10018871    /tmp/a b/libssl.so.3 (deleted)";
        let mapping = parse_line(7, line).unwrap();
        assert_eq!(mapping.inode, Inode { major: 0, minor: 0x27, number: 10018871 });
        assert_eq!((mapping.start, mapping.end), (0x7fd4_8bde_9000, 0x7fd4_8be4_6000));
        assert_eq!(mapping.path, Path::new("/tmp/a b/libssl.so.3 (deleted)"));
        assert!(parse_line(7, b"7fd48bde9000-7fd48be46000 r--p 0001f000 00:27 10018871  /x").is_none());
        assert!(parse_line(7, b"7fd48bde9000-7fd48be46000 r-xp 00000000 00:00 0  [vdso]").is_none());
        for rubbish in ["", " ", "-", "a-b c", "zz-1 r-xp 0 0:0 1 /x", "1-2 \u{e9} 0 0:0 1"] {
            assert!(parse_line(7, rubbish.as_bytes()).is_none(), "{rubbish}");
        }
    }

    #[test]
    fn our_own_program_is_mapped_and_opens() {
        let own = std::fs::canonicalize("/proc/self/exe").unwrap();
        let mapping =
            mappings(std::process::id()).unwrap().into_iter().find(|mapping| mapping.path == own).unwrap();
        let opened = mapping.open().unwrap();
        assert_eq!(opened.stat.st_ino, mapping.inode.number);
    }

    #[test]
    fn a_deleted_file_opens_and_another_of_its_name_does_not_count() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("sleeper");
        std::fs::copy("/bin/sleep", &program).unwrap();
        let mut child = std::process::Command::new(&program).arg("60").spawn().unwrap();
        let inode = rustix::fs::stat(&program).unwrap().st_ino;
        std::fs::remove_file(&program).unwrap();
        std::fs::write(&program, "another").unwrap();
        // The child is born before its program is mapped.
        let mapping = loop {
            let mapped =
                mappings(child.id()).unwrap().into_iter().find(|mapping| mapping.inode.number == inode);
            if let Some(mapping) = mapped {
                break mapping;
            }
        };
        let opened = mapping.open().unwrap();
        assert_eq!(opened.stat.st_ino, inode);
        child.kill().unwrap();
        let ended = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT;
        waitid(WaitId::Pid(Pid::from_child(&child)), ended).unwrap();
        assert!(matches!(mapping.open(), Err(OpenError::ProcessGone)), "ended, its parent not told yet");
        child.wait().unwrap();
        assert!(matches!(mapping.open(), Err(OpenError::ProcessGone)));
    }

    #[test]
    fn start_times() {
        assert!(start_time(std::process::id()).is_some());
        assert!(start_time(u32::MAX).is_none());
    }
}
