//! A map from process id to what is known of it, bounded in entries and in bytes.
//!
//! To make room, the processes that exited first are forgotten first, then the oldest entries: what is
//! forgotten of a living process can be read from /proc again.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub entries: usize,
    pub bytes: usize,
    /// How long an exited process is remembered.
    pub grace: Duration,
}

pub struct Bounded<V> {
    limits: Limits,
    entries: HashMap<u32, Slot<V>>,
    /// Insertion order of what is in `entries`.
    order: BTreeMap<u64, u32>,
    /// Exits, oldest first; an entry whose number no longer matches belongs to an earlier user of that pid.
    exited: VecDeque<(Instant, u32, u64)>,
    next: u64,
    bytes: usize,
}

struct Slot<V> {
    value: V,
    bytes: usize,
    number: u64,
}

impl<V> Bounded<V> {
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            entries: HashMap::new(),
            order: BTreeMap::new(),
            exited: VecDeque::new(),
            next: 0,
            bytes: 0,
        }
    }

    pub fn get(&self, pid: u32) -> Option<&V> {
        self.entries.get(&pid).map(|slot| &slot.value)
    }

    /// Replaces whatever was known under this pid. `bytes` is what the value holds on to.
    pub fn insert(&mut self, pid: u32, value: V, bytes: usize, now: Instant) {
        self.remove(pid);
        self.next = self.next.wrapping_add(1);
        self.entries.insert(pid, Slot { value, bytes, number: self.next });
        self.order.insert(self.next, pid);
        self.bytes = self.bytes.saturating_add(bytes);
        self.expire(now);
        while self.is_over() && self.evict_one(pid) {}
    }

    /// The process is gone: its entry stays for the grace period.
    pub fn exit(&mut self, pid: u32, now: Instant) {
        if let Some(slot) = self.entries.get(&pid) {
            self.exited.push_back((now, pid, slot.number));
        }
        self.expire(now);
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.entries.len()
    }

    fn is_over(&self) -> bool {
        self.entries.len() > self.limits.entries || self.bytes > self.limits.bytes
    }

    fn expire(&mut self, now: Instant) {
        while let Some((at, pid, number)) = self.exited.front().copied() {
            if now.saturating_duration_since(at) < self.limits.grace {
                return;
            }
            self.exited.pop_front();
            self.remove_numbered(pid, number);
        }
    }

    /// Makes room, but never at the cost of `keep`. False: there is nothing else left to remove.
    fn evict_one(&mut self, keep: u32) -> bool {
        while let Some((_, pid, number)) = self.exited.pop_front() {
            if self.remove_numbered(pid, number) {
                return true;
            }
        }
        let oldest = self.order.values().copied().find(|pid| *pid != keep);
        oldest.is_some_and(|pid| self.remove(pid))
    }

    fn remove_numbered(&mut self, pid: u32, number: u64) -> bool {
        self.entries.get(&pid).is_some_and(|slot| slot.number == number) && self.remove(pid)
    }

    fn remove(&mut self, pid: u32) -> bool {
        let Some(slot) = self.entries.remove(&pid) else { return false };
        self.order.remove(&slot.number);
        self.bytes = self.bytes.saturating_sub(slot.bytes);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);

    fn table(entries: usize, bytes: usize) -> Bounded<&'static str> {
        Bounded::new(Limits { entries, bytes, grace: GRACE })
    }

    #[test]
    fn exited_entries_outlive_their_process_by_the_grace_period() {
        let (mut table, start) = (table(8, 1000), Instant::now());
        table.insert(1, "one", 1, start);
        table.exit(1, start);
        table.exit(99, start);
        table.insert(2, "two", 1, start + GRACE / 2);
        assert_eq!(table.get(1), Some(&"one"));
        table.insert(3, "three", 1, start + GRACE);
        assert_eq!((table.get(1), table.len()), (None, 2));
    }

    #[test]
    fn a_reused_pid_is_not_expired_by_its_predecessor() {
        let (mut table, start) = (table(8, 1000), Instant::now());
        table.insert(1, "first", 1, start);
        table.exit(1, start);
        table.insert(1, "second", 1, start);
        table.exit(42, start + GRACE * 2);
        assert_eq!(table.get(1), Some(&"second"));
    }

    #[test]
    fn the_exited_go_first_then_the_oldest() {
        let (mut table, now) = (table(3, 1000), Instant::now());
        for (pid, name) in [(1, "a"), (2, "b"), (3, "c")] {
            table.insert(pid, name, 1, now);
        }
        table.exit(2, now);
        table.insert(4, "d", 1, now);
        assert_eq!((table.get(2), table.len()), (None, 3));
        table.insert(5, "e", 1, now);
        assert_eq!((table.get(1), table.len()), (None, 3));
    }

    #[test]
    fn bytes_are_bounded_too_and_one_large_entry_is_kept_alone() {
        let (mut table, now) = (table(100, 10), Instant::now());
        for pid in 0..50 {
            table.insert(pid, "x", 4, now);
        }
        assert_eq!(table.len(), 2);
        table.insert(60, "huge", 50, now);
        assert_eq!((table.len(), table.get(60)), (1, Some(&"huge")));
        table.insert(61, "x", 4, now);
        assert_eq!(table.len(), 1);
    }
}
