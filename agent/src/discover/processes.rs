//! What each process maps, as far as it matters: whether its TLS can be seen.
//!
//! Each CPU has notifications of its own, so those of one process may be read in another order than they
//! happened. Only their times tell; what is older than the program a process runs now is not about it.

use super::library::Verdict;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// A process is remembered this long after its end, since the word of its last connection may come later.
const GRACE: Duration = Duration::from_secs(10);

/// When something happened, in nanoseconds of the monotonic clock.
pub(super) type Time = u64;

#[derive(Clone, Debug)]
pub(super) struct Process {
    /// The best of the files it maps.
    pub verdict: Verdict,
    mapped_at: Time,
    /// The first file it mapped after exec: the program itself.
    pub program: Option<PathBuf>,
    program_at: Time,
    /// It was reported already.
    pub reported: bool,
    /// Its last exec, or its birth.
    since: Time,
    ended: Option<Instant>,
    /// Known when it was found in /proc.
    start: Option<u64>,
}

impl Process {
    fn new(since: Time) -> Self {
        Self {
            verdict: Verdict::NoTls,
            mapped_at: 0,
            program: None,
            program_at: 0,
            reported: false,
            since,
            ended: None,
            start: None,
        }
    }
}

#[derive(Default)]
pub(super) struct Processes {
    all: HashMap<u32, Process>,
}

/// `exec`, `fork` and `exit` say whether this was news; false when something later is known already.
impl Processes {
    /// Another program from here on.
    pub(super) fn exec(&mut self, pid: u32, time: Time) -> bool {
        let before = self.all.get(&pid);
        if before.is_some_and(|process| process.since > time) {
            return false;
        }
        let mut process = Process::new(time);
        // What it mapped after the exec may have been heard of first.
        if let Some(before) = before {
            if before.mapped_at > time {
                (process.verdict, process.mapped_at) = (before.verdict, before.mapped_at);
            }
            if before.program_at > time {
                (process.program, process.program_at) = (before.program.clone(), before.program_at);
            }
            process.ended = before.ended.filter(|_| before.mapped_at > time);
        }
        self.all.insert(pid, process);
        true
    }

    pub(super) fn fork(&mut self, parent: u32, child: u32, time: Time) -> bool {
        let before = self.all.get(&child);
        if before.is_some_and(|process| process.since > time) {
            return false;
        }
        let mut process = self.all.get(&parent).cloned().unwrap_or_else(|| Process::new(time));
        (process.since, process.mapped_at, process.program_at) = (time, time, time);
        (process.reported, process.ended, process.start) = (false, None, None);
        if let Some(before) = before.filter(|before| before.mapped_at > time) {
            process.verdict = process.verdict.max(before.verdict);
            process.mapped_at = before.mapped_at;
        }
        self.all.insert(child, process);
        true
    }

    pub(super) fn exit(&mut self, pid: u32, time: Time, now: Instant) -> bool {
        let process = self.all.entry(pid).or_insert_with(|| Process::new(0));
        if process.since > time {
            return false;
        }
        process.ended = Some(now);
        true
    }

    pub(super) fn mapped(&mut self, pid: u32, time: Time, path: &Path, verdict: Verdict) {
        let process = self.all.entry(pid).or_insert_with(|| Process::new(0));
        if time < process.since {
            return;
        }
        if verdict >= process.verdict {
            (process.verdict, process.mapped_at) = (verdict, time);
        }
        if process.program.is_none() || time < process.program_at {
            (process.program, process.program_at) = (Some(path.to_owned()), time);
        }
    }

    pub(super) fn get(&self, pid: u32) -> Option<&Process> {
        self.all.get(&pid)
    }

    pub(super) fn reported(&mut self, pid: u32) {
        self.all.entry(pid).or_insert_with(|| Process::new(0)).reported = true;
    }

    /// A process found in /proc with its start time. When the pid now means another one, what was known is void.
    pub(super) fn seen(&mut self, pid: u32, start: Option<u64>) {
        let process = self.all.entry(pid).or_insert_with(|| Process::new(0));
        if process.start.is_some() && process.start != start {
            *process = Process::new(0);
        }
        process.start = start;
    }

    /// Forgets those long gone.
    pub(super) fn purge(&mut self, now: Instant) {
        self.all.retain(|pid, process| match process.ended {
            None => true,
            Some(ended) if now.saturating_duration_since(ended) < GRACE => true,
            // The first thread may end before the others do.
            Some(_) => Path::new(&format!("/proc/{pid}")).exists(),
        });
    }

    /// Marks all that a full look through /proc did not find as ended, and returns them.
    pub(super) fn end_all_but(&mut self, alive: &[u32], now: Instant) -> Vec<u32> {
        let alive: std::collections::HashSet<_> = alive.iter().collect();
        let mut ended = Vec::new();
        for (pid, process) in &mut self.all {
            if process.ended.is_none() && !alive.contains(pid) {
                process.ended = Some(now);
                ended.push(*pid);
            }
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(processes: &Processes, pid: u32) -> Option<Verdict> {
        processes.get(pid).map(|process| process.verdict)
    }

    const SSL: &str = "/lib/libssl.so.3";

    #[test]
    fn children_inherit_and_exec_clears() {
        let mut processes = Processes::default();
        processes.mapped(10, 1, Path::new("/bin/sh"), Verdict::NoTls);
        processes.mapped(10, 2, Path::new(SSL), Verdict::Probed);
        processes.mapped(10, 3, Path::new("/lib/libc.so.6"), Verdict::NoTls);
        processes.reported(10);
        assert!(processes.fork(10, 11, 4));
        assert_eq!(verdict(&processes, 11), Some(Verdict::Probed));
        assert!(!processes.get(11).unwrap().reported);
        assert_eq!(processes.get(11).unwrap().program.as_deref(), Some(Path::new("/bin/sh")));
        assert!(processes.exec(11, 5));
        assert_eq!(verdict(&processes, 11), Some(Verdict::NoTls));
        assert_eq!(verdict(&processes, 10), Some(Verdict::Probed));
    }

    /// fork at 1, exec at 2, the program mapped at 3, its library at 4, exit at 5; then the pid is used again.
    #[test]
    fn the_order_of_reading_does_not_matter() {
        type Step = fn(&mut Processes);
        let steps: [Step; 5] = [
            |p| {
                p.fork(10, 11, 1);
            },
            |p| {
                p.exec(11, 2);
            },
            |p| p.mapped(11, 3, Path::new("/bin/curl"), Verdict::NoTls),
            |p| p.mapped(11, 4, Path::new(SSL), Verdict::Probed),
            |p| {
                p.exit(11, 5, Instant::now());
            },
        ];
        for first in 0..steps.len() {
            for second in 0..steps.len() {
                let mut order: Vec<_> = (0..steps.len()).collect();
                order.swap(0, first);
                order.swap(1, second);
                let mut processes = Processes::default();
                processes.mapped(10, 0, Path::new("/bin/sh"), Verdict::NoTls);
                order.iter().for_each(|step| steps[*step](&mut processes));
                let process = processes.get(11).unwrap();
                assert_eq!(process.verdict, Verdict::Probed, "{order:?}");
                if order.is_sorted() {
                    assert_eq!(process.program.as_deref(), Some(Path::new("/bin/curl")));
                }
                assert!(processes.fork(10, 11, 6));
                assert!(!processes.exec(11, 2) && !processes.exit(11, 5, Instant::now()));
                processes.mapped(11, 4, Path::new(SSL), Verdict::Probed);
                assert_eq!(verdict(&processes, 11), Some(Verdict::NoTls), "{order:?}");
                assert!(processes.get(11).unwrap().ended.is_none());
            }
        }
    }

    #[test]
    fn the_ended_are_remembered_for_a_while() {
        let (mut processes, start) = (Processes::default(), Instant::now());
        let nobody = u32::MAX - 1;
        processes.mapped(nobody, 1, Path::new("/x"), Verdict::Probed);
        processes.exit(nobody, 2, start);
        processes.purge(start + GRACE / 2);
        assert_eq!(verdict(&processes, nobody), Some(Verdict::Probed));
        processes.purge(start + GRACE);
        assert_eq!(verdict(&processes, nobody), None);
    }

    #[test]
    fn a_reused_pid_starts_from_nothing() {
        let mut processes = Processes::default();
        processes.seen(10, Some(1));
        processes.mapped(10, 1, Path::new("/x"), Verdict::Probed);
        processes.seen(10, Some(1));
        assert_eq!(verdict(&processes, 10), Some(Verdict::Probed));
        processes.seen(10, Some(2));
        assert_eq!(verdict(&processes, 10), Some(Verdict::NoTls));
        assert!(processes.end_all_but(&[10], Instant::now()).is_empty());
        assert_eq!(processes.end_all_but(&[], Instant::now()), [10]);
    }
}
