//! A text that is looked into: for secrets as they stand there, behind escapes, and inside base64 and hexadecimal runs.
//!
//! Every byte goes three ways. The detector sees it as it is. Where there are escapes, a second detector stream
//! sees the text with its escapes undone: the first one's fork, made when an escape comes and dropped when both
//! would find the same again. And in the text without escapes runs are looked for; what is inside a run is a text of
//! its own, one level deeper, down to [`DEEPEST`].
//!
//! One stretch of bytes is reported once: what was found behind escapes counts only if it has one, and wins over
//! what was found as it stands, which wins over what was found inside a run ([`waiting`]).
//!
//! Memory of a text: about 1 KB, at most 4 KiB for each detector stream, 16 KiB for escapes of the piece at hand,
//! and while they may still be asked for, 24 bytes for each escape (at most 8192). An open run adds 2 KB and a text
//! for each way to read it, of which there are two at most; so a text whose runs hold runs has up to seven texts.

mod part;
mod reading;
mod run;
mod waiting;

use crate::decode::text::escape::{Kind, Unescape};
use crate::decode::text::runs::{Event, Runs, all_short};
use crate::decode::text::seams::Seams;
use crate::decode::text::{json, percent};
use crate::rules::{Rule, RuleSet};
use crate::{Assessment, Detector, Form, Match, Stream, Suppressed};
use memchr::memchr2;
use part::Part;
use run::Run;
use std::ops::Range;
use std::sync::Arc;
use waiting::Waiting;
use zeroize::Zeroizing;

/// How many runs may be inside each other: base64 of base64.
const DEEPEST: u8 = 2;

/// Bytes looked at in one go. It bounds the copies without escapes, and what is looked at twice for one escape.
const PIECE: usize = 8 << 10;

/// How a secret was wrapped up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrap {
    Base64,
    Base64Url,
    Hex,
    Percent,
    Json,
}

impl Wrap {
    fn of(form: Form) -> Option<Wrap> {
        match form {
            Form::Raw => None,
            Form::Base64 => Some(Wrap::Base64),
            Form::Base64Url => Some(Wrap::Base64Url),
            Form::Hex => Some(Wrap::Hex),
            Form::Percent => Some(Wrap::Percent),
            Form::Json => Some(Wrap::Json),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Wrap::Base64 => "base64",
            Wrap::Base64Url => "base64url",
            Wrap::Hex => "hex",
            Wrap::Percent => "percent",
            Wrap::Json => "json",
        }
    }
}

/// A secret that was found in a text. Debug shows everything but the secret.
pub struct Sight<'a> {
    pub rule: &'a Rule,
    pub secret: &'a [u8],
    /// Whether it is a finding, see [`Match::assessment`].
    pub assessment: &'a Result<Assessment, Suppressed>,
    /// Where it stands in the text, or what it is wrapped up in.
    pub span: Range<u64>,
    /// What it is wrapped up in, outermost first.
    pub wrapped: &'a [Wrap],
    /// The set the rule is of.
    rules: &'a Arc<RuleSet>,
}

impl std::fmt::Debug for Sight<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sight")
            .field("rule", &self.rule.id)
            .field("span", &self.span)
            .field("len", &self.secret.len())
            .field("wrapped", &self.wrapped)
            .field("assessment", &self.assessment)
            .finish_non_exhaustive()
    }
}

/// [`Sight::wrapped`] in the making.
#[derive(Clone, Copy, Default)]
struct Path {
    wraps: [Option<Wrap>; Path::LONGEST],
}

impl Path {
    /// Two escapes on each level, the runs between, and the form of a registered value.
    const LONGEST: usize = 3 * DEEPEST as usize + 3;

    fn then(mut self, wraps: impl IntoIterator<Item = Wrap>) -> Path {
        let free = self.wraps.iter_mut().filter(|wrap| wrap.is_none());
        free.zip(wraps).for_each(|(slot, wrap)| *slot = Some(wrap));
        self
    }

    fn is_empty(&self) -> bool {
        self.wraps.first().is_none_or(Option::is_none)
    }

    /// Hands out the wraps as one slice.
    fn with<T>(&self, use_it: impl FnOnce(&[Wrap]) -> T) -> T {
        let mut list = [Wrap::Json; Path::LONGEST];
        let wraps = self.wraps.iter().flatten();
        let len = list.iter_mut().zip(wraps).map(|(slot, &wrap)| *slot = wrap).count();
        use_it(list.get(..len).unwrap_or_default())
    }
}

/// Looks for secrets in a text that comes in pieces. However it is cut, the findings are the same.
#[derive(Debug)]
pub struct Text {
    depth: u8,
    /// The text as it stands.
    raw: Stream,
    /// The text without escapes, while that makes a difference.
    fork: Option<Fork>,
    percent: Unescape,
    /// What is left of JSON's escapes when percent-encoding is undone.
    json: Unescape,
    runs: Runs,
    run: Option<Box<Run>>,
    waiting: Waiting,
    /// Copies of a piece without percent-encoding, and without any escapes.
    copies: Copies,
}

#[derive(Debug)]
struct Fork {
    stream: Stream,
    /// The stream's offsets are so much greater than those in the text without escapes.
    ahead: u64,
}

#[derive(Default)]
struct Copies {
    unquoted: Zeroizing<Vec<u8>>,
    plain: Zeroizing<Vec<u8>>,
}

impl std::fmt::Debug for Copies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copies").finish_non_exhaustive()
    }
}

impl Default for Text {
    fn default() -> Text {
        Text::at(0)
    }
}

/// Looks into a text that is complete. Allocates nothing if it is short and has neither escapes nor secrets.
pub fn scan(detector: &Detector, bytes: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
    if !is_clean(detector, bytes) {
        Text::at(0).only(detector, bytes, found);
    }
}

/// Is nothing in it, at the first glance? Most header fields are short and plain, and need no [`Text`].
fn is_clean(detector: &Detector, bytes: &[u8]) -> bool {
    memchr2(percent::MARK, json::MARK, bytes).is_none()
        && all_short(bytes, |chars| !run::may_hold_secret(chars))
        && detector.is_clean(bytes)
}

impl Text {
    /// A text inside so many runs.
    fn at(depth: u8) -> Text {
        Text {
            depth,
            raw: Stream::default(),
            fork: None,
            percent: Unescape::new(Kind::Percent),
            json: Unescape::new(Kind::Json),
            runs: Runs::default(),
            run: None,
            waiting: Waiting::default(),
            copies: Copies::default(),
        }
    }

    /// Goes on with the text. What is found at its very end waits for the next push or for [`Self::flush`].
    pub fn push(&mut self, detector: &Detector, bytes: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
        for piece in bytes.chunks(PIECE) {
            self.piece(detector, piece, Part::More, found);
        }
    }

    /// Decides as if nothing came after what was pushed. More may be pushed: what was reported is not reported again,
    /// what was incomplete can still be completed. Base64 that stops inside a byte waits for more.
    pub fn flush(&mut self, detector: &Detector, found: &mut dyn FnMut(Sight<'_>)) {
        if self.pending() {
            self.piece(detector, &[], Part::Pause, found);
        }
    }

    /// Would [`Self::flush`] find something? May be true in vain; false once it was called, until more is pushed.
    pub fn pending(&self) -> bool {
        self.raw.pending()
            || self.fork.as_ref().is_some_and(|fork| fork.stream.pending())
            || (self.depth < DEEPEST && self.runs.pending())
            || self.run.as_ref().is_some_and(|run| run.pending())
            || !self.waiting.is_empty()
    }

    /// `missing` bytes are not there: nothing before the gap is joined with what comes after it. Flush first, or
    /// what waits is forgotten.
    pub fn gap(&mut self, missing: u64) {
        self.raw.gap(missing);
        let position = self.raw.position;
        self.fork = None;
        for unescape in [&mut self.percent, &mut self.json] {
            unescape.restart(position);
        }
        self.runs.restart(position);
        self.run = None;
        self.waiting = Waiting::default();
    }

    /// The text is at its end.
    pub fn finish(mut self, detector: &Detector, found: &mut dyn FnMut(Sight<'_>)) {
        self.piece(detector, &[], Part::Last, found);
    }

    /// The whole text at once. It must be a new one.
    fn only(mut self, detector: &Detector, bytes: &[u8], found: &mut dyn FnMut(Sight<'_>)) {
        if bytes.len() <= PIECE {
            self.piece(detector, bytes, Part::Whole, found);
        } else {
            self.push(detector, bytes, found);
            self.finish(detector, found);
        }
    }

    /// Offset of the first byte that findings still to come may name.
    fn kept_from(&self) -> u64 {
        let escapes = Escapes { percent: self.percent.seams(), json: self.json.seams() };
        let first = self.raw.earliest().min(escapes.place(self.plain_kept_from()));
        self.waiting.first().map_or(first, |waiting| first.min(waiting))
    }

    /// The same in the text without escapes, of what looks at that.
    fn plain_kept_from(&self) -> u64 {
        let fork = self.fork.as_ref().map_or(u64::MAX, Fork::kept_from);
        let run = self.run.as_ref().map_or(u64::MAX, |run| run.kept_from());
        let runs = if self.depth < DEEPEST { self.runs.kept_from() } else { self.json.position() };
        fork.min(run).min(runs)
    }

    fn piece(&mut self, detector: &Detector, bytes: &[u8], part: Part, found: &mut dyn FnMut(Sight<'_>)) {
        let Text { depth, raw, fork, percent, json, runs, run, waiting, copies } = self;
        let last = matches!(part, Part::Last | Part::Whole);
        let plain_position = json.position();
        let unquoted = percent.undo(bytes, last, &mut copies.unquoted);
        let plain = json.undo(unquoted.bytes, last, &mut copies.plain);
        if fork.is_none() && (unquoted.changed || plain.changed) {
            *fork = Some(Fork { stream: raw.fork(), ahead: raw.position.saturating_sub(plain_position) });
        }
        let escapes = Escapes { percent: percent.seams(), json: json.seams() };
        let rules = detector.shared_rules();

        let forked = fork.is_some();
        part.look(detector, raw, bytes, &mut |Match { rule, start, end, secret, form, assessment }| {
            let (span, assessment) = (start..end, &assessment);
            Path::default().then(Wrap::of(form)).with(|wrapped| {
                waiting.raw(Sight { rule, secret, assessment, span, wrapped, rules }, forked, found);
            });
        });
        if let Some(Fork { stream, ahead }) = fork {
            part.look(detector, stream, plain.bytes, &mut |found_plain| {
                let Match { rule, start, end, secret, form, assessment } = found_plain;
                let assessment = &assessment;
                let (start, end) = (start.saturating_sub(*ahead), end.saturating_sub(*ahead));
                let (span, path) = escapes.trace(start..end);
                if !path.is_empty() {
                    path.then(Wrap::of(form)).with(|wrapped| {
                        waiting.escaped(Sight { rule, secret, assessment, span, wrapped, rules }, found)
                    });
                }
            });
        }
        let decided = match (part, &fork) {
            (Part::More, None) => raw.earliest(),
            (Part::More, Some(fork)) => raw.earliest().min(escapes.place(fork.kept_from())),
            (Part::Pause | Part::Last | Part::Whole, _) => u64::MAX,
        };
        waiting.decided(decided, found);

        if *depth < DEEPEST {
            let mut inside = |sight: Sight<'_>| {
                let (span, path) = escapes.trace(sight.span);
                path.then(sight.wrapped.iter().copied()).with(|wrapped| {
                    waiting.inside(Sight { span, wrapped, ..sight }, decided, found);
                });
            };
            let mut event = |event: Event<'_>| Run::take(run, detector, *depth + 1, event, &mut inside);
            runs.push(plain.bytes, &mut event);
            match part {
                Part::More => {}
                Part::Pause => runs.flush(&mut event),
                Part::Last | Part::Whole => runs.finish(&mut event),
            }
            if let (Part::Pause, Some(run)) = (part, run) {
                run.flush(detector, &mut inside);
            }
        }
        if !last {
            self.forget();
        }
    }

    /// Gives back what nothing to come can need.
    fn forget(&mut self) {
        let same = |fork: &Fork| {
            !self.percent.partial() && !self.json.partial() && fork.stream.goes_on_like(&self.raw)
        };
        if self.fork.as_ref().is_some_and(same) {
            self.fork = None;
        }
        self.waiting.forget_before(self.kept_from());
        let plain = self.plain_kept_from();
        self.percent.forget_before(self.json.seams().place(plain));
        self.json.forget_before(plain);
    }
}

impl Fork {
    /// In the text without escapes: no match to come begins before.
    fn kept_from(&self) -> u64 {
        self.stream.earliest().saturating_sub(self.ahead)
    }
}

/// From the text without escapes back to the text.
struct Escapes<'a> {
    percent: &'a Seams,
    json: &'a Seams,
}

impl Escapes<'_> {
    fn place(&self, plain: u64) -> u64 {
        self.percent.place(self.json.place(plain))
    }

    /// Where a stretch stands, and the escapes it is behind.
    fn trace(&self, plain: Range<u64>) -> (Range<u64>, Path) {
        let unquoted = self.json.span(plain.clone());
        let percent = self.percent.touch(&unquoted).then_some(Wrap::Percent);
        let json = self.json.touch(&plain).then_some(Wrap::Json);
        (self.percent.span(unquoted), Path::default().then(percent).then(json))
    }
}
