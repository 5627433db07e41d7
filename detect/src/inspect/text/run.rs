//! An open run: its characters are decoded as they come, and what they hold is a text of its own.

use super::reading::{self, Code, Reading, readings};
use super::{Path, Sight, Text, Wrap};
use crate::Detector;
use crate::decode::text::runs::{Event, HEAD};
use crate::decode::text::seams::Seams;
use memchr::memchr2;
use std::ops::Range;
use zeroize::{Zeroize as _, Zeroizing};

/// Characters decoded in one go.
const BLOCK: usize = 4 << 10;

/// Holds nothing of the run but what the texts inside it hold.
#[derive(Debug)]
pub(super) struct Run {
    /// One for each way to read it, two at most.
    lanes: Vec<Lane>,
}

/// One way to read a run.
#[derive(Debug)]
struct Lane {
    layout: Layout,
    /// Characters read so far.
    chars: u64,
    left: Left,
    /// None once the characters that can be read have ended, though the run has not.
    inside: Option<Box<Text>>,
}

/// Where in the text what was decoded stands.
#[derive(Debug)]
struct Layout {
    code: Code,
    /// From the characters that are read to the text; line breaks are between them.
    seams: Seams,
    /// The first character that only the URL-safe alphabet has.
    url_safe: Option<u64>,
}

/// The beginning of a quantum.
#[derive(Clone, Copy, Default)]
struct Left {
    chars: [u8; 3],
    len: usize,
}

impl Run {
    /// Takes what happens to the run that is open, or to one that opens. What it holds is a text of this depth.
    pub(super) fn take(
        open: &mut Option<Box<Run>>,
        detector: &Detector,
        depth: u8,
        event: Event<'_>,
        found: &mut dyn FnMut(Sight<'_>),
    ) {
        match event {
            Event::Whole { at, chars } => whole(detector, depth, at, chars, found),
            Event::Begin { at, chars } => {
                let lanes = readings(chars).map(|reading| {
                    let mut lane = Lane::new(depth, at, reading);
                    let chars = chars.get(reading.from..).unwrap_or_default();
                    lane.more(detector, at + reading.from as u64, chars, found);
                    lane
                });
                *open = Some(Box::new(Run { lanes: lanes.collect() }));
            }
            Event::More { at, chars } => {
                for lane in open.iter_mut().flat_map(|run| &mut run.lanes) {
                    lane.more(detector, at, chars, found);
                }
            }
            Event::End => {
                for lane in open.take().into_iter().flat_map(|run| run.lanes) {
                    lane.finish(detector, found);
                }
            }
        }
    }

    /// See [`Text::flush`].
    pub(super) fn flush(&mut self, detector: &Detector, found: &mut dyn FnMut(Sight<'_>)) {
        for Lane { layout, inside, .. } in self.lanes.iter_mut().filter(|lane| lane.left.len == 0) {
            if let Some(inside) = inside {
                inside.flush(detector, &mut |sight| layout.outward(sight, found));
            }
        }
    }

    /// See [`Text::pending`].
    pub(super) fn pending(&self) -> bool {
        self.lanes
            .iter()
            .any(|lane| lane.left.len == 0 && lane.inside.as_ref().is_some_and(|text| text.pending()))
    }

    /// The first place in the text that sights to come may name.
    pub(super) fn kept_from(&self) -> u64 {
        self.lanes.iter().map(Lane::kept_from).min().unwrap_or(u64::MAX)
    }
}

/// A run that is complete and short. Most are words and numbers, and are passed without allocating.
fn whole(detector: &Detector, depth: u8, at: u64, chars: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
    each_reading(chars, |reading, chars, bytes| {
        let mut layout = Layout::new(at, reading);
        layout.note(0, chars);
        Text::at(depth).only(detector, bytes, &mut |sight| layout.outward(sight, found));
    });
}

/// Could such a run hold a secret?
pub(super) fn may_hold_secret(chars: &[u8]) -> bool {
    let mut may = false;
    each_reading(chars, |_, _, _| may = true);
    may
}

/// The ways to read a run shorter than [`HEAD`] in which it could hold a secret: from where, the characters from there on,
/// and what they hold.
fn each_reading(chars: &[u8], mut take: impl FnMut(Reading, &[u8], &[u8])) {
    for reading in readings(chars) {
        let chars = chars.get(reading.from..).unwrap_or_default();
        let mut buffer = [0; HEAD];
        let bytes = reading.code.decode(reading.code.prefix(chars), &mut buffer);
        if reading::may_hold_secret(bytes) {
            take(reading, chars, bytes);
            buffer.zeroize();
        }
    }
}

impl Lane {
    fn new(depth: u8, at: u64, reading: Reading) -> Lane {
        let inside = Some(Box::new(Text::at(depth)));
        Lane { layout: Layout::new(at, reading), chars: 0, left: Left::default(), inside }
    }

    fn more(&mut self, detector: &Detector, at: u64, chars: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
        if self.inside.is_none() {
            return;
        }
        let readable = self.layout.code.prefix(chars);
        let skipped = at - self.layout.seams.place(self.chars);
        if skipped > 0 {
            self.layout.seams.add(self.chars, 0, skipped as u32);
        }
        self.layout.note(self.chars, readable);
        self.chars += readable.len() as u64;
        self.decode(detector, readable, found);
        if readable.len() < chars.len() {
            self.end(detector, found);
        }
        self.layout.seams.forget_before(self.first_kept_char());
    }

    /// **The one way into a run:** whatever is decoded comes by here, in order. A run that holds no text but something
    /// packed (its first bytes say so) would be unpacked here.
    fn decode(&mut self, detector: &Detector, mut chars: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
        let Lane { layout, left, inside: Some(inside), .. } = self else { return };
        let (quantum, bytes) = layout.code.quantum();
        let room = BLOCK.min(left.len + chars.len()) / quantum * bytes;
        let mut buffer = Zeroizing::new(vec![0; room]);
        while left.len + chars.len() >= quantum {
            let mut filled = 0;
            if left.len > 0 {
                let (first, rest) = chars.split_at_checked(quantum - left.len).unwrap_or((chars, &[]));
                filled = layout
                    .code
                    .decode(left.with(first).get(..quantum).unwrap_or_default(), &mut buffer)
                    .len();
                *left = Left::default();
                chars = rest;
            }
            let most = (buffer.len() - filled) / bytes * quantum;
            let whole = most.min(chars.len() / quantum * quantum);
            let (now, rest) = chars.split_at_checked(whole).unwrap_or((chars, &[]));
            filled += buffer.get_mut(filled..).map_or(0, |free| layout.code.decode(now, free).len());
            chars = rest;
            let decoded = buffer.get(..filled).unwrap_or_default();
            inside.push(detector, decoded, &mut |sight| layout.outward(sight, found));
        }
        let all = left.with(chars);
        *left = Left { chars: [all[0], all[1], all[2]], len: left.len + chars.len() };
    }

    /// No more characters follow. What is left of a quantum may hold a byte or two.
    fn end(&mut self, detector: &Detector, found: &mut dyn FnMut(Sight<'_>)) {
        let Lane { layout, left, inside, .. } = self;
        if let Some(mut inside) = inside.take() {
            let mut buffer = [0; 4];
            let last = layout.code.decode(left.with(&[]).get(..left.len).unwrap_or_default(), &mut buffer);
            inside.push(detector, last, &mut |sight| layout.outward(sight, found));
            inside.finish(detector, &mut |sight| layout.outward(sight, found));
        }
    }

    fn finish(mut self, detector: &Detector, found: &mut dyn FnMut(Sight<'_>)) {
        self.end(detector, found);
    }

    fn kept_from(&self) -> u64 {
        self.inside.as_ref().map_or(u64::MAX, |_| self.layout.seams.place(self.first_kept_char()))
    }

    fn first_kept_char(&self) -> u64 {
        self.inside.as_ref().map_or(self.chars, |text| self.layout.chars(&(text.kept_from()..u64::MAX)).start)
    }
}

impl Left {
    /// These characters and the first of those that follow them.
    fn with(&self, next: &[u8]) -> [u8; 4] {
        let mut all = [0; 4];
        let chars = self.chars.iter().take(self.len).chain(next);
        all.iter_mut().zip(chars).for_each(|(to, &from)| *to = from);
        all
    }
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.len)
    }
}

impl Layout {
    fn new(at: u64, reading: Reading) -> Layout {
        let seams = Seams::starting_at(at + reading.from as u64);
        Layout { code: reading.code, seams, url_safe: None }
    }

    /// These characters follow, the first of them is number `first`.
    fn note(&mut self, first: u64, chars: &[u8]) {
        if self.url_safe.is_none() {
            self.url_safe = memchr2(b'-', b'_', chars).map(|at| first + at as u64);
        }
    }

    /// The characters that hold these decoded bytes.
    fn chars(&self, bytes: &Range<u64>) -> Range<u64> {
        let (chars_each, bytes_each) = self.code.quantum();
        let (chars_each, bytes_each) = (chars_each as u64, bytes_each as u64);
        // Far apart enough from the greatest number: offsets in traffic.
        let start = bytes.start.saturating_mul(chars_each) / bytes_each;
        start..bytes.end.saturating_mul(chars_each).div_ceil(bytes_each)
    }

    /// Hands on what was found inside as what it is in the text.
    fn outward(&self, sight: Sight<'_>, found: &mut dyn FnMut(Sight<'_>)) {
        let chars = self.chars(&sight.span);
        let wrap = match self.code {
            Code::Hex => Wrap::Hex,
            Code::Base64 if self.url_safe.is_some_and(|first| first < chars.end) => Wrap::Base64Url,
            Code::Base64 => Wrap::Base64,
        };
        let path = Path::default().then([wrap]).then(sight.wrapped.iter().copied());
        path.with(|wrapped| found(Sight { span: self.seams.span(chars), wrapped, ..sight }));
    }
}
