//! What one flow carries from push to push, and the search itself.

use super::index::ANCHOR;
use super::{Exact, Registry};
use zeroize::Zeroize as _;

/// Values under way at once. Many with one beginning (tokens with the same header) can be, each where it starts.
const MAX_OPEN: usize = 256;

/// The state of one flow: the last bytes, and how far the values are that may be under way.
///
/// Some 60 bytes, and 8 more for each value under way, 256 at most. Wiped on drop.
#[derive(Clone, Default)]
pub struct Trail {
    /// Which registry `open` belongs to; 0 is none.
    registry: u32,
    /// Bytes pushed or missed so far.
    position: u64,
    /// Of these, without a gap since.
    seen: u64,
    /// The last eight bytes.
    last: u64,
    open: Vec<Open>,
    /// The entry reported last, and where it ended.
    reported: Option<(u32, u64)>,
}

/// A form whose first bytes were there.
#[derive(Clone, Copy)]
struct Open {
    form: u32,
    matched: u32,
}

/// A form that was there to its end. In the order of reports: whatever the pushes, what ends first comes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Hit {
    end: u64,
    start: u64,
    form: u32,
}

enum Compared {
    Whole,
    /// As far as there are bytes.
    SoFar,
    Different,
}

impl Trail {
    /// Of a flow that was this far when it was first looked at.
    pub(crate) fn at(position: u64) -> Trail {
        let mut trail = Trail::default();
        trail.position = position;
        trail
    }

    /// Is a value under way?
    pub(crate) fn is_under_way(&self) -> bool {
        !self.open.is_empty()
    }

    /// What decides about the bytes to come while no value is under way. Two flows that agree in it find the same.
    pub(crate) fn state(&self) -> (u32, u64, bool) {
        (self.registry, self.last, self.seen >= ANCHOR as u64)
    }

    /// No value to come starts before it.
    pub(crate) fn earliest(&self) -> u64 {
        let longest = self.open.iter().map(|open| u64::from(open.matched)).max().unwrap_or(0);
        self.position.saturating_sub(longest.max(ANCHOR as u64 - 1))
    }

    /// `missing` bytes of the flow were lost: nothing before the gap is joined with what comes after it.
    pub fn gap(&mut self, missing: u64) {
        self.position = self.position.saturating_add(missing);
        self.seen = 0;
        self.open.clear();
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Trail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Trail")
            .field("position", &self.position)
            .field("open", &self.open.len())
            .finish_non_exhaustive()
    }
}

impl Drop for Trail {
    fn drop(&mut self) {
        self.last.zeroize();
    }
}

impl Registry {
    /// Goes on with a flow. However its bytes are cut into pushes, the same is found, each as soon as its last byte is
    /// there. Returns how many values under way were given up, because more than 256 were.
    pub fn push(&self, trail: &mut Trail, bytes: &[u8], found: &mut dyn FnMut(Exact<'_>)) -> u64 {
        if trail.registry != self.id {
            trail.open.clear();
            (trail.registry, trail.reported) = (self.id, None);
        }
        if self.is_empty() {
            trail.position += bytes.len() as u64;
            trail.seen = 0;
            return 0;
        }
        let mut hits = Vec::new();
        self.resume(trail, bytes, &mut hits);
        let given_up = self.search(trail, bytes, &mut hits);
        trail.position += bytes.len() as u64;
        trail.seen += bytes.len() as u64;
        hits.sort_unstable();
        for hit in hits {
            self.report(trail, hit, found);
        }
        given_up
    }

    /// Takes the values under way on over what was pushed.
    fn resume(&self, trail: &mut Trail, bytes: &[u8], hits: &mut Vec<Hit>) {
        let position = trail.position;
        trail.open.retain_mut(|open| {
            let matched = open.matched as usize;
            match self.compare(open.form, matched, bytes) {
                Compared::Whole => hits.push(self.hit(open.form, position - matched as u64)),
                Compared::SoFar => {
                    open.matched += bytes.len() as u32;
                    return true;
                }
                Compared::Different => {}
            }
            false
        });
    }

    /// Looks at every place where eight bytes end.
    fn search(&self, trail: &mut Trail, bytes: &[u8], hits: &mut Vec<Hit>) -> u64 {
        let mut given_up = 0;
        // Bytes of a flow before there are eight of them prove nothing.
        let blind = (ANCHOR - 1).saturating_sub(trail.seen as usize);
        let mut last = trail.last;
        for (place, &byte) in bytes.iter().enumerate() {
            last = last << 8 | u64::from(byte);
            if !self.index.may_start(last) || place < blind {
                continue;
            }
            let rest = bytes.get(place + 1..).unwrap_or_default();
            for form in self.index.starting(last) {
                let form = form as u32;
                let start = trail.position + (place + 1) as u64 - ANCHOR as u64;
                match self.compare(form, ANCHOR, rest) {
                    Compared::Whole => hits.push(self.hit(form, start)),
                    Compared::SoFar if trail.open.len() < MAX_OPEN => {
                        trail.open.push(Open { form, matched: (ANCHOR + rest.len()) as u32 });
                    }
                    Compared::SoFar => given_up += 1,
                    Compared::Different => {}
                }
            }
        }
        trail.last = last;
        given_up
    }

    /// The form from its byte `matched` on against what comes.
    fn compare(&self, form: u32, matched: usize, bytes: &[u8]) -> Compared {
        let form = self.forms.get(form as usize).map_or(&[][..], |form| form.bytes.as_slice());
        let rest = form.get(matched..).unwrap_or_default();
        if bytes.starts_with(rest) {
            Compared::Whole
        } else if rest.starts_with(bytes) {
            Compared::SoFar
        } else {
            Compared::Different
        }
    }

    fn hit(&self, form: u32, start: u64) -> Hit {
        let len = self.forms.get(form as usize).map_or(0, |form| form.bytes.len());
        Hit { end: start + len as u64, start, form }
    }

    /// A value that overlaps itself is reported once.
    fn report(&self, trail: &mut Trail, hit: Hit, found: &mut dyn FnMut(Exact<'_>)) {
        let Hit { end, start, form } = hit;
        let Some(form) = self.forms.get(form as usize) else { return };
        let Some(entry) = self.entries.get(form.entry as usize) else { return };
        if trail.reported.is_some_and(|(other, other_end)| other == form.entry && start < other_end) {
            return;
        }
        trail.reported = Some((form.entry, end));
        found(Exact {
            rule: &self.rule,
            name: &entry.name,
            form: form.form,
            start,
            end,
            secret: &entry.value,
        });
    }
}
