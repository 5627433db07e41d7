//! Notices when a file with probes in it is rewritten in place or deleted. The kernel executes a probe's
//! remembered instruction whatever the file holds by then, so a rewritten library must lose its probes before
//! the next program maps it.

use super::library::FileId;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Written,
    /// Its writer closed it.
    Closed,
    /// Names of it came or went.
    Links,
}

pub(super) struct Watch {
    inotify: OwnedFd,
    watched: HashMap<i32, FileId>,
}

impl Watch {
    pub(super) fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify, watched: HashMap::new() })
    }

    /// A file that cannot be watched keeps its probes: most libraries are never rewritten in place.
    pub(super) fn add(&mut self, file: &File, id: FileId) {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let flags = WatchFlags::MODIFY | WatchFlags::CLOSE_WRITE | WatchFlags::ATTRIB;
        match inotify::add_watch(&self.inotify, path, flags) {
            Ok(watch) => {
                self.watched.insert(watch, id);
            }
            Err(error) => tracing::warn!(%error, "a probed library cannot be watched for rewriting"),
        }
    }

    pub(super) fn remove(&mut self, id: FileId) {
        self.watched.retain(|watch, watched| {
            if *watched == id {
                // It may have vanished with its file already.
                let _ = inotify::remove_watch(&self.inotify, *watch);
            }
            *watched != id
        });
    }

    /// What happened since the last call.
    pub(super) fn changes(&mut self) -> Vec<(FileId, Change)> {
        let mut buffer = [MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        let mut changes = Vec::new();
        while let Ok(event) = reader.next() {
            let flags = event.events();
            if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
                // Whatever was lost may have been a write.
                let all = self.watched.values();
                changes.extend(all.flat_map(|id| [(*id, Change::Written), (*id, Change::Closed)]));
                continue;
            }
            let Some(id) = self.watched.get(&event.wd()).copied() else { continue };
            let kinds = [
                (ReadFlags::MODIFY, Change::Written),
                (ReadFlags::CLOSE_WRITE, Change::Closed),
                (ReadFlags::ATTRIB, Change::Links),
            ];
            changes.extend(kinds.iter().filter(|(flag, _)| flags.contains(*flag)).map(|(_, c)| (id, *c)));
            if flags.contains(ReadFlags::IGNORED) {
                self.watched.remove(&event.wd());
            }
        }
        changes
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.inotify.as_fd()
    }
}
