//! The thread that hears of programs and libraries, and answers for processes that begin TLS.

use super::library::{Libraries, Verdict};
use super::maps::{self, Mapping};
use super::notify::{Event, Stream};
use super::processes::{Processes, Time};
use super::{DiscoverError, Hello, Options, ProcessEvents, Report, Source, unseen, well_known};
use crate::health::{Cause, Counters};
use crate::kernel::{monotonic_ns, priority};
use crate::tree::Tree;
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

/// Nothing but hellos and the order to stop waits this long; notifications wake the thread at once.
const TICK: Duration = Duration::from_millis(100);
/// Between two looks for deleted files and ended processes.
const TIDY: Duration = Duration::from_secs(60);
/// After lost notifications all processes are looked through, at most this often.
const RESCAN: Duration = Duration::from_secs(1);
/// Rounds of notifications before anything else gets its turn.
const MAX_ROUNDS: usize = 16;
/// How soon, and how often, a process that was read too early is read again.
const READ_AGAIN: Duration = Duration::from_micros(200);
const READS: u8 = 50;

pub(super) struct Worker {
    stream: Option<Stream>,
    source: Source,
    epoll: OwnedFd,
    libraries: Libraries,
    processes: Processes,
    process_events: Arc<dyn ProcessEvents + Send + Sync>,
    hellos: Receiver<Hello>,
    report: Report,
    counters: Counters,
    /// The only processes to look at; none: all.
    tree: Option<Arc<Tree>>,
    /// Processes read too early, and how often they will be read again.
    half_read: Vec<(u32, u8)>,
    /// When notifications were lost.
    rescan: bool,
    last_scan: Instant,
    last_tidy: Instant,
}

impl Worker {
    pub(super) fn new(
        libraries: Libraries,
        process_events: Arc<dyn ProcessEvents + Send + Sync>,
        hellos: Receiver<Hello>,
        report: Report,
        counters: Counters,
        options: &Options,
    ) -> Result<Self, DiscoverError> {
        let (stream, source) = match Stream::open(options.ring_bytes, options.tree.as_deref()) {
            Ok(stream) => (Some(stream), Source::Notifications),
            Err(error) => {
                tracing::warn!(%error, "processes are looked through periodically instead");
                (None, Source::PeriodicScan { every: options.scan_every, because: error.to_string() })
            }
        };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(std::io::Error::from)?;
        let descriptors = stream.iter().flat_map(Stream::descriptors).chain([libraries.watch().as_fd()]);
        for descriptor in descriptors {
            let data = epoll::EventData::new_u64(0);
            epoll::add(&epoll, descriptor, data, epoll::EventFlags::IN).map_err(std::io::Error::from)?;
        }
        let now = Instant::now();
        Ok(Self {
            stream,
            source,
            epoll,
            libraries,
            processes: Processes::default(),
            process_events,
            hellos,
            report,
            counters,
            tree: options.tree.clone(),
            half_read: Vec::new(),
            rescan: false,
            last_scan: now,
            last_tidy: now,
        })
    }

    pub(super) fn source(&self) -> &Source {
        &self.source
    }

    pub(super) fn run(mut self, stop: &AtomicBool) {
        if let Err(error) = priority::raise() {
            tracing::warn!(%error, "discovery runs at normal priority: on a busy machine a program's first request may be missed");
        }
        while !stop.load(Ordering::Relaxed) {
            self.wait();
            // A hello that is in hand came after its process mapped its libraries; so catch up in between.
            let hellos: Vec<_> = self.hellos.try_iter().take(1024).collect();
            self.catch_up();
            self.half_read.retain_mut(|(pid, reads)| {
                *reads -= 1;
                *reads > 0 && !self.process_events.exec(*pid)
            });
            hellos.into_iter().for_each(|hello| self.judge(hello));
            self.housekeeping();
        }
    }

    fn wait(&self) {
        let limit = if self.half_read.is_empty() { TICK } else { READ_AGAIN };
        let timeout = rustix::event::Timespec { tv_sec: 0, tv_nsec: limit.subsec_nanos().into() };
        let mut ready =
            [epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) }; 8];
        if let Err(error) = epoll::wait(&self.epoll, &mut ready[..], Some(&timeout))
            && error != rustix::io::Errno::INTR
        {
            // Without readiness there is still the clock.
            std::thread::sleep(TICK);
        }
    }

    /// Acts on all notifications there are.
    pub(super) fn catch_up(&mut self) {
        self.libraries.catch_up();
        for _ in 0..MAX_ROUNDS {
            let events = self.stream.as_mut().map(Stream::drain).unwrap_or_default();
            if events.is_empty() {
                break;
            }
            events.into_iter().for_each(|(time, event)| self.handle(time, event));
        }
    }

    fn handle(&mut self, time: Time, event: Event) {
        match event {
            Event::Mapped(mapping) => self.mapped(&mapping, time),
            Event::Exec { pid } => {
                if self.processes.exec(pid, time) && !self.process_events.exec(pid) {
                    self.half_read.push((pid, READS));
                }
            }
            Event::Fork { parent, child } => {
                if self.processes.fork(parent, child, time) {
                    self.process_events.fork(parent, child);
                }
            }
            Event::Exit { pid } => {
                if self.processes.exit(pid, time, Instant::now()) {
                    self.process_events.exit(pid);
                }
            }
            Event::Lost { records } => {
                self.counters.add(Cause::ProcessEventsLost, records);
                self.rescan = true;
            }
        }
    }

    fn mapped(&mut self, mapping: &Mapping, time: Time) {
        let verdict = self.libraries.mapped(mapping, Instant::now());
        self.processes.mapped(mapping.pid, time, &mapping.path, verdict);
    }

    /// Everything on this machine: where libraries usually are, and whatever any process maps.
    pub(super) fn scan(&mut self) {
        well_known::each(|path, opened| self.libraries.found(path, opened));
        self.scan_processes();
    }

    fn scan_processes(&mut self) {
        let pids = self.tree.as_ref().map_or_else(maps::pids, |tree| tree.processes());
        let lost = std::mem::take(&mut self.rescan);
        for &pid in &pids {
            let time = monotonic_ns();
            // Gone since the list was made: nothing of it is left to see.
            let Ok(mappings) = maps::mappings(pid) else { continue };
            // It may have become another program without a word.
            if lost || self.stream.is_none() && self.processes.get(pid).is_none() {
                self.process_events.exec(pid);
            }
            self.processes.seen(pid, maps::start_time(pid));
            mappings.iter().for_each(|mapping| self.mapped(mapping, time));
        }
        for pid in self.processes.end_all_but(&pids, Instant::now()) {
            self.process_events.exit(pid);
        }
        self.last_scan = Instant::now();
    }

    /// Says so, once per process, when one begins TLS that no probe can see.
    fn judge(&mut self, hello: Hello) {
        let pid = hello.pid;
        let settled = |processes: &Processes| {
            processes.get(pid).is_some_and(|p| p.reported || p.verdict == Verdict::Probed)
        };
        if pid == std::process::id() || settled(&self.processes) {
            return;
        }
        // Notifications may have been lost, or a file overwritten since it was last looked at.
        let time = monotonic_ns();
        let mappings = maps::mappings(pid).unwrap_or_default();
        for mapping in &mappings {
            let verdict = self.libraries.mapped_now(mapping, Instant::now());
            self.processes.mapped(pid, time, &mapping.path, verdict);
        }
        match self.processes.get(pid) {
            _ if settled(&self.processes) => {}
            Some(process) => {
                (self.report)(unseen::describe(hello, process, &mappings, &self.libraries));
                self.processes.reported(pid);
            }
            None => self.counters.add(Cause::ProcessGone, 1),
        }
    }

    fn housekeeping(&mut self) {
        let now = Instant::now();
        let periodic = match self.source {
            Source::PeriodicScan { every, .. } => now.saturating_duration_since(self.last_scan) >= every,
            Source::Notifications => false,
        };
        if periodic || self.rescan && now.saturating_duration_since(self.last_scan) >= RESCAN {
            self.scan_processes();
        }
        if now.saturating_duration_since(self.last_tidy) >= TIDY {
            self.last_tidy = now;
            self.processes.purge(now);
            self.libraries.sweep();
        }
    }
}

/// One look at everything, keeping nothing.
pub(super) fn survey(mut libraries: Libraries) {
    well_known::each(|path, opened| libraries.found(path, opened));
    for pid in maps::pids() {
        for mapping in maps::mappings(pid).unwrap_or_default() {
            libraries.mapped(&mapping, Instant::now());
        }
    }
}
