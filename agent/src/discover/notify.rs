//! The kernel's own word on every program that starts and every file that is mapped as code.
//!
//! One perf event per CPU that counts nothing; what matters are the records that come with it. A record wakes
//! us at once: a `curl` may send its key within milliseconds of mapping a library nobody has seen before.

use super::maps::{Inode, Mapping};
use super::processes::Time;
use crate::tree::Tree;
use perf_event::data::parse::Parser;
use perf_event::data::{Comm, Exit, Fork, Lost, Mmap2, RecordMetadata, Visitor};
use perf_event::events::Software;
use perf_event::{Builder, Clock, Record, SampleFlag, Sampler};
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

const PERF_RECORD_MISC_COMM_EXEC: u16 = 1 << 13;

#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("the kernel refuses exec and mmap notifications (perf_event_open on CPU {cpu}: {error})")]
    Refused { cpu: usize, error: io::Error },
    #[error("the cgroup of the process tree cannot be opened: {0}")]
    Tree(io::Error),
    #[error("the buffer for exec and mmap notifications cannot be mapped: {0}")]
    Ring(io::Error),
    #[error("the list of online CPUs cannot be read: {0}")]
    Cpus(io::Error),
}

#[derive(Debug)]
pub(super) enum Event {
    Mapped(Mapping),
    Exec {
        pid: u32,
    },
    Fork {
        parent: u32,
        child: u32,
    },
    Exit {
        pid: u32,
    },
    /// The ring was full, or a record was not understood.
    Lost {
        records: u64,
    },
}

pub(super) struct Stream {
    rings: Vec<Sampler>,
}

impl Stream {
    pub(super) fn open(ring_bytes: usize, tree: Option<&Tree>) -> Result<Self, NotifyError> {
        let cgroup = tree.map(Tree::open).transpose().map_err(NotifyError::Tree)?;
        let online = std::fs::read_to_string("/sys/devices/system/cpu/online").map_err(NotifyError::Cpus)?;
        let rings = cpu_list(&online)
            .map(|cpu| open_ring(cpu, ring_bytes, cgroup.as_ref()))
            .collect::<Result<Vec<_>, _>>()?;
        match rings.is_empty() {
            false => Ok(Self { rings }),
            true => Err(NotifyError::Cpus(io::Error::other(format!("not understood: {online}")))),
        }
    }

    /// All records there are, oldest first. A process moves between CPUs, so only the time puts its records in
    /// order; and a later call may still bring an older one.
    pub(super) fn drain(&mut self) -> Vec<(Time, Event)> {
        let mut events = Vec::new();
        let mut bytes = Vec::new();
        for ring in &mut self.rings {
            let config = ring.config().clone();
            while let Some(record) = ring.next_record() {
                copy(&record, &mut bytes);
                match Parser::new(&*bytes, config.clone()).parse_record(ToEvent) {
                    Ok((_, None)) => {}
                    Ok((time, Some(event))) => events.push((time, event)),
                    Err(_) => events.push((Time::MAX, Event::Lost { records: 1 })),
                }
            }
        }
        events.sort_by_key(|(time, _)| *time);
        events
    }

    /// Readable when records wait.
    pub(super) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.rings.iter().map(|ring| {
            // SAFETY: the ring owns its descriptor, and the borrow of `self` keeps the ring.
            unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) }
        })
    }
}

fn open_ring(cpu: usize, ring_bytes: usize, cgroup: Option<&File>) -> Result<Sampler, NotifyError> {
    let mut builder = Builder::new(Software::DUMMY);
    match cgroup {
        Some(cgroup) => builder.observe_cgroup(cgroup),
        None => builder.any_pid(),
    };
    let counter = builder
        .one_cpu(cpu)
        .mmap(true)
        .mmap2(true)
        .comm(true)
        .comm_exec(true)
        .task(true)
        .sample(SampleFlag::TIME)
        .sample_id_all(true)
        .clockid(Clock::MONOTONIC)
        // "wakeup_events" counts samples only, and these records are none.
        .wakeup_watermark(1)
        .enabled(true)
        .build()
        .map_err(|error| NotifyError::Refused { cpu, error })?;
    counter.sampled(ring_bytes).map_err(NotifyError::Ring)
}

/// The record in one piece with its header, however it lies in the ring.
fn copy(record: &Record<'_>, bytes: &mut Vec<u8>) {
    const HEADER: usize = 8;
    bytes.clear();
    bytes.extend_from_slice(&record.ty().to_ne_bytes());
    bytes.extend_from_slice(&record.misc().to_ne_bytes());
    // The kernel's own length is 16 bits wide.
    bytes.extend_from_slice(&((record.len() + HEADER) as u16).to_ne_bytes());
    record.data().iter().for_each(|part| bytes.extend_from_slice(part));
}

/// `0-3,5`
fn cpu_list(text: &str) -> impl Iterator<Item = usize> {
    text.trim().split(',').flat_map(|part| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        match (first.parse(), last.parse::<usize>()) {
            (Ok(first), Ok(last)) => first..last.saturating_add(1),
            _ => 0..0,
        }
    })
}

/// The records we asked for, with their time.
struct ToEvent;

type Timed = (Time, Option<Event>);

fn timed(metadata: &RecordMetadata, event: Event) -> Timed {
    (metadata.sample_id().time().unwrap_or(0), Some(event))
}

impl<'a> Visitor<'a> for ToEvent {
    type Output = Timed;

    fn visit_unimplemented(self, _: RecordMetadata) -> Timed {
        (0, None)
    }

    fn visit_unknown(self, _: std::borrow::Cow<'a, [u8]>, _: RecordMetadata) -> Timed {
        (0, None)
    }

    fn visit_mmap2(self, record: Mmap2<'a>, metadata: RecordMetadata) -> Timed {
        let file = (record.maj(), record.min(), record.ino(), record.ino_generation());
        let (Some(major), Some(minor), Some(number), generation) = file else { return (0, None) };
        if number == 0 {
            return (0, None);
        }
        let mapping = Mapping {
            pid: record.pid,
            start: record.addr,
            end: record.addr.saturating_add(record.len),
            inode: Inode { major, minor, number },
            generation,
            path: Path::new(OsStr::from_bytes(&record.filename)).to_owned(),
        };
        timed(&metadata, Event::Mapped(mapping))
    }

    fn visit_comm(self, record: Comm<'a>, metadata: RecordMetadata) -> Timed {
        match metadata.misc() & PERF_RECORD_MISC_COMM_EXEC != 0 {
            true => timed(&metadata, Event::Exec { pid: record.pid }),
            // A thread gave itself a name.
            false => (0, None),
        }
    }

    fn visit_fork(self, record: Fork, metadata: RecordMetadata) -> Timed {
        match record.pid == record.ppid {
            true => (0, None),
            false => timed(&metadata, Event::Fork { parent: record.ppid, child: record.pid }),
        }
    }

    fn visit_exit(self, record: Exit, metadata: RecordMetadata) -> Timed {
        match record.pid == record.tid {
            true => timed(&metadata, Event::Exit { pid: record.pid }),
            false => (0, None),
        }
    }

    fn visit_lost(self, record: Lost, metadata: RecordMetadata) -> Timed {
        timed(&metadata, Event::Lost { records: record.lost })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists() {
        assert_eq!(cpu_list("0-3,5\n").collect::<Vec<_>>(), [0, 1, 2, 3, 5]);
        assert_eq!(cpu_list("0").collect::<Vec<_>>(), [0]);
        assert!(cpu_list("").next().is_none());
        assert!(cpu_list("x-y,").next().is_none());
    }
}
