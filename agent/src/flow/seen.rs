//! What was already found on a flow: one finding per secret and place, repeats are counted.

use std::collections::VecDeque;
use uuid::Uuid;

/// Findings remembered per flow.
pub const MAX_SEEN: usize = 1024;

#[derive(Default)]
pub struct Seen {
    findings: VecDeque<SeenFinding>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenFinding {
    /// Hash of the secret's fingerprint and the place.
    what: u64,
    /// None: the policy says to ignore it.
    pub finding: Option<Uuid>,
    pub repeats: u64,
    reported: u64,
}

impl Seen {
    pub fn contains(&self, what: u64) -> bool {
        self.findings.iter().any(|seen| seen.what == what)
    }

    /// None when `what` is new.
    pub fn find(&mut self, what: u64) -> Option<&mut SeenFinding> {
        self.findings.iter_mut().find(|seen| seen.what == what)
    }

    /// Remembers a new finding; gives back the oldest when there are too many.
    pub fn add(&mut self, what: u64, finding: Option<Uuid>) -> Option<SeenFinding> {
        self.findings.push_back(SeenFinding { what, finding, repeats: 0, reported: 0 });
        if self.findings.len() > MAX_SEEN { self.findings.pop_front() } else { None }
    }

    /// Findings with repeats that were not reported yet; they count as reported now.
    pub fn take_repeats(&mut self) -> impl Iterator<Item = SeenFinding> + '_ {
        self.findings.iter_mut().filter(|seen| seen.is_due()).map(|seen| {
            seen.reported = seen.repeats;
            *seen
        })
    }
}

impl SeenFinding {
    pub fn is_due(&self) -> bool {
        self.repeats > self.reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_counted_and_reported_once() {
        let mut seen = Seen::default();
        assert!(seen.find(1).is_none());
        assert_eq!(seen.add(1, Some(Uuid::nil())), None);
        seen.find(1).unwrap().repeats += 2;
        assert_eq!(seen.take_repeats().map(|s| s.repeats).collect::<Vec<_>>(), [2]);
        assert_eq!(seen.take_repeats().count(), 0);
    }

    #[test]
    fn the_oldest_makes_room() {
        let mut seen = Seen::default();
        let evicted: Vec<_> = (0..=MAX_SEEN as u64).filter_map(|n| seen.add(n, Some(Uuid::nil()))).collect();
        assert_eq!(evicted.iter().map(|s| s.what).collect::<Vec<_>>(), [0]);
        assert!(!seen.contains(0) && seen.contains(1));
    }
}
