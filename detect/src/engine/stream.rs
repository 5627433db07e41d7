//! What one flow carries from push to push.

use super::search::Searching;
use crate::pattern::automaton::Walk;
use crate::registered::Trail;
use aho_corasick::automaton::StateID;
use zeroize::Zeroize as _;

/// The state of one flow: how far the automaton is, the last bytes, and the matches not decided yet.
///
/// Two empty vectors and a few numbers until the first push; about a hundred bytes on clean text (with rules of
/// gitleaks 1.5 KiB); never more than [`MAX_BYTES_HELD`](crate::MAX_BYTES_HELD) bytes of traffic. What was held is wiped on drop.
#[derive(Default)]
pub struct Stream {
    /// Which detector the automaton state belongs to; 0 is none.
    pub(crate) detector: u32,
    pub(crate) state: StateID,
    /// Bytes pushed or missed so far.
    pub(crate) position: u64,
    /// Everything before this offset is reported or can no longer be.
    pub(crate) settled: u64,
    /// End of the last match that was no finding.
    pub(crate) suppressed: u64,
    /// Matches in the making, by start, then by precedence.
    pub(crate) open: Vec<Candidate>,
    /// The last bytes before `position`.
    pub(crate) tail: Tail,
    /// None until a detector with rules that are searched for saw the first byte.
    pub(super) searching: Option<Box<Searching>>,
    /// None until a detector with registered values saw the first byte.
    pub(super) trail: Option<Box<Trail>>,
}

impl Stream {
    /// Would [`Detector::flush`](crate::Detector::flush) find something? False once it was called, until
    /// more is pushed.
    pub fn pending(&self) -> bool {
        self.open.iter().any(|candidate| candidate.end_if_ended().is_some())
            || self.searching.as_ref().is_some_and(|searching| searching.unseen && searching.waits())
    }

    /// `missing` bytes of the flow were lost: nothing before the gap is joined with what comes after it.
    /// Flush first, or a key that ended exactly at the gap is forgotten with the rest.
    pub fn gap(&mut self, missing: u64) {
        self.position = self.position.saturating_add(missing);
        self.settled = self.position;
        self.detector = 0;
        self.open.clear();
        (self.searching, self.trail) = (None, None);
        self.tail.clear();
    }

    /// A second stream that goes on from here on its own.
    pub(crate) fn fork(&self) -> Stream {
        let mut tail = Tail::default();
        tail.keep(self.tail.bytes().len(), self.tail.bytes());
        let (open, searching, trail) = (self.open.clone(), self.searching.clone(), self.trail.clone());
        Stream { open, tail, searching, trail, ..*self }
    }

    /// Would both find the same in whatever comes next? Certain only while no match is in the making.
    pub(crate) fn goes_on_like(&self, other: &Stream) -> bool {
        let waits = |stream: &Stream| stream.searching.as_ref().is_some_and(|searching| searching.waits());
        let idle =
            |stream: &Stream| stream.open.is_empty() && !waits(stream) && stream.settled <= stream.base();
        let trail = |stream: &Stream| stream.trail.as_ref().map(|trail| trail.state());
        let keywords = |stream: &Stream| stream.searching.as_ref().map(|searching| searching.state());
        (self.detector, self.state) == (other.detector, other.state)
            && keywords(self) == keywords(other)
            && trail(self) == trail(other)
            && self.tail.bytes() == other.tail.bytes()
            && idle(self)
            && !self.trail.as_ref().is_some_and(|trail| trail.is_under_way())
            && idle(other)
    }

    /// No match to come starts before it.
    pub(crate) fn earliest(&self) -> u64 {
        self.trail.as_ref().map_or(self.base(), |trail| self.base().min(trail.earliest()))
    }

    /// Offset of the first byte kept. No match of a rule to come starts before it.
    pub(crate) fn base(&self) -> u64 {
        self.position - self.tail.bytes().len() as u64
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Stream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Stream")
            .field("position", &self.position)
            .field("held", &self.tail.bytes().len())
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

/// A place where a rule's literal stands and its pattern has not failed yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidate {
    pub(crate) start: u64,
    /// Where its pattern begins to match: the start, or the end of the context before it.
    pub(crate) from: u64,
    /// Lower wins at the same start.
    pub(crate) rank: Rank,
    pub(crate) fate: Fate,
}

/// More specific first (a longer literal of the secret itself), then the order of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Rank {
    pub(crate) vagueness: u16,
    pub(crate) rule: u16,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// More bytes decide.
    Open { walk: Walk, if_ended: Option<u64> },
    /// A match that ends here.
    Match { end: u64 },
}

/// Ranks of matches that were searched for: behind all others.
const SEARCHED: u16 = u16::MAX - 1;
const SEARCHED_GENERIC: u16 = u16::MAX;

impl Rank {
    /// A rule found by a literal; `len` bytes of it belong to the secret.
    pub(super) fn anchored(rule: u16, len: usize) -> Rank {
        Rank { vagueness: (SEARCHED - 1).saturating_sub(u16::try_from(len).unwrap_or(u16::MAX)), rule }
    }

    pub(super) fn searched(rule: u16, generic: bool) -> Rank {
        Rank { vagueness: if generic { SEARCHED_GENERIC } else { SEARCHED }, rule }
    }

    pub(super) fn is_searched(self) -> bool {
        self.vagueness >= SEARCHED
    }
}

impl Candidate {
    pub(crate) fn key(&self) -> (u64, Rank) {
        (self.start, self.rank)
    }

    pub(crate) fn end_if_ended(&self) -> Option<u64> {
        match self.fate {
            Fate::Open { if_ended, .. } => if_ended,
            Fate::Match { end } => Some(end),
        }
    }
}

/// A few bytes of traffic, possibly part of a secret: never left behind in freed memory.
#[derive(Default)]
pub(crate) struct Tail(Vec<u8>);

/// A flow that once held a long secret gives the room back.
const SLACK: usize = 256;
/// Room is taken in steps, so that a flow of small writes settles after a few of them.
const ROUND: usize = 32;

impl Tail {
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(crate) fn clear(&mut self) {
        self.0.zeroize();
        self.0 = Vec::new();
    }

    /// Keeps the last `len` bytes of what was held followed by `fresh`.
    pub(crate) fn keep(&mut self, len: usize, fresh: &[u8]) {
        let from_old = len.saturating_sub(fresh.len());
        let drop = self.0.len().saturating_sub(from_old);
        let fresh = fresh.get(fresh.len().saturating_sub(len)..).unwrap_or(fresh);
        if len > self.0.capacity() || self.0.capacity() > len + SLACK {
            // Not `reserve`: it would free the old bytes without wiping them.
            let mut bytes = Vec::with_capacity(len.next_multiple_of(ROUND));
            bytes.extend_from_slice(self.0.get(drop..).unwrap_or_default());
            bytes.extend_from_slice(fresh);
            *self = Tail(bytes);
        } else {
            self.0.drain(..drop);
            self.0.extend_from_slice(fresh);
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}
