//! The engine: one pass for all literals, and a rule's own pattern only where its literal stands.
//!
//! Precedence: of two overlapping matches the one that starts first wins; at the same start the one with the
//! longer literal, then the one whose rule comes first. A match is reported once nothing that can still come
//! could win over it, which is what makes the findings independent of how the bytes were cut.
//!
//! Rules of gitleaks are found in another way ([`search`]). Their matches give way to every other match they
//! overlap, so such rules change nothing about what the others find.

mod filter;
mod literals;
mod search;
mod stream;
mod values;
mod window;

pub use stream::Stream;

use crate::error::{Problem, RuleError};
use crate::pattern::automaton::{Progress, Walk};
use crate::pattern::boundary::{ByteSet, LOOK_BEHIND, left_is_free};
use crate::registered::{Form, Registry};
use crate::rules::Rule;
use crate::rules::RuleSet;
use crate::validate::{Assessment, Suppressed, assess};
use aho_corasick::BuildError;
use aho_corasick::automaton::StateID;
use filter::Literal;
use literals::Literals;
use search::Searcher;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use stream::{Candidate, Fate, Rank};
use values::Values;
use window::Window;
use zeroize::Zeroizing;

/// A secret, and where it stands. Debug shows everything but the secret.
pub struct Match<'a> {
    pub rule: &'a Rule,
    /// Where it stands in the stream: its first byte, and the one behind its last.
    pub start: u64,
    pub end: u64,
    pub secret: &'a [u8],
    /// How it is written there. Only registered values are seen through a form; a rule's secret is what stands there.
    pub form: Form,
    /// A finding and how sure it is, or why it is none. Whoever hides secrets hides both; whoever reports findings
    /// counts the others.
    pub assessment: Result<Assessment, Suppressed>,
}

impl std::fmt::Debug for Match<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Match")
            .field("rule", &self.rule.id)
            .field("start", &self.start)
            .field("end", &self.end)
            .field("form", &self.form)
            .field("len", &self.secret.len())
            .field("assessment", &self.assessment)
            .finish_non_exhaustive()
    }
}

/// Finds secrets in bytes. Immutable: share it between threads, one [`Stream`] per flow.
pub struct Detector {
    rules: Arc<RuleSet>,
    literals: Literals,
    /// By the literal's number: the rules it can mean.
    anchors: Vec<Vec<Anchor>>,
    /// Longest way back from the end of a literal to the start of its secret.
    anchored_reach: u64,
    /// None without rules that are searched for.
    searcher: Option<Searcher>,
    /// Longest way back from the end of a literal or keyword to the start of a secret.
    reach: u64,
    values: Option<Values>,
    /// Tells the states of two automata apart.
    id: u32,
}

/// What a literal says about a secret: it starts this many bytes before the literal's end.
#[derive(Clone, Copy)]
struct Anchor {
    rank: Rank,
    least_back: u64,
    most_back: u64,
}

/// Bytes that are searched before the literals in them are looked for.
const BLOCK: usize = 4 << 10;

static NEXT_ID: AtomicU32 = AtomicU32::new(1);

impl Detector {
    pub fn new(rules: Arc<RuleSet>) -> Result<Detector, RuleError> {
        let mut literals: BTreeMap<&[u8], (Vec<Anchor>, bool)> = BTreeMap::new();
        for (index, rule) in rules.rules().iter().enumerate().filter(|(_, rule)| rule.on) {
            let index = u16::try_from(index)
                .map_err(|_| rule.origin.error(Problem::TooManyRules(usize::from(u16::MAX) + 1)))?;
            for (literal, anchor) in anchors(index, rule) {
                let (anchors, bounded) = literals.entry(literal).or_insert((Vec::new(), true));
                anchors.push(anchor);
                *bounded &= is_bounded(rule, literal, anchor);
            }
        }
        let too_large = |error: BuildError| RuleError {
            origin: "rules".to_owned(),
            line: 0,
            column: 0,
            problem: Problem::BadPattern(error.to_string()),
        };
        let all = literals.iter().map(|(&bytes, &(_, bounded))| Literal { bytes, bounded });
        let found_by = Literals::new(all).map_err(too_large)?;
        let searcher = Searcher::new(rules.rules()).map_err(too_large)?;
        let anchors: Vec<Vec<Anchor>> = literals.into_values().map(|(anchors, _)| anchors).collect();
        let anchored_reach = anchors.iter().flatten().map(|anchor| anchor.most_back).max().unwrap_or(0);
        let reach = searcher.as_ref().map_or(0, |searcher| searcher.before).max(anchored_reach);
        let id = NEXT_ID.fetch_add(1, Ordering::Relaxed);
        Ok(Detector { rules, literals: found_by, anchors, anchored_reach, searcher, reach, values: None, id })
    }

    /// The same, and it finds these values, too: as matches of [`RuleSet::registered`], which must be among the rules.
    /// Where one overlaps what a rule describes, both are found.
    pub fn with_values(mut self, registry: Registry) -> Detector {
        self.values = Values::new(&self.rules, registry);
        self
    }

    /// How many registered values were given up in the midst of a flow so far, because more than 256 with the same
    /// beginning were under way in it.
    pub fn values_given_up(&self) -> u64 {
        self.values.as_ref().map_or(0, |values| values.given_up.load(Ordering::Relaxed))
    }

    pub fn rules(&self) -> &RuleSet {
        &self.rules
    }

    pub(crate) fn shared_rules(&self) -> &Arc<RuleSet> {
        &self.rules
    }

    /// Finds every secret in the buffer; its end is the end of the data. What only looks like one is
    /// handed out too, with the reason in its [`assessment`](Match::assessment).
    pub fn scan(&self, bytes: &[u8], found: &mut dyn FnMut(Match<'_>)) {
        if let Some(values) = &self.values {
            values.scan(&self.rules, bytes, found);
        }
        // Nothing is kept for a next push, so on clean text nothing is allocated.
        let mut stream = Stream { detector: self.id, state: self.literals.start(), ..Stream::default() };
        let window = Window::new(0, &[], bytes);
        self.pass(&mut stream, &window, bytes, true, found);
        self.finish(&mut stream, &window, found);
    }

    /// Does [`Self::scan`] find nothing in it?
    pub(crate) fn is_clean(&self, bytes: &[u8]) -> bool {
        let mut clean = true;
        self.scan(bytes, &mut |_| clean = false);
        clean
    }

    /// Goes on with a flow. However its bytes are cut into pushes, the findings are the same; a secret at
    /// the very end of what was pushed waits for the next push or for [`flush`](Detector::flush).
    pub fn push(&self, stream: &mut Stream, bytes: &[u8], found: &mut dyn FnMut(Match<'_>)) {
        if stream.detector != self.id {
            // A new flow, or one whose rules were replaced: candidates of other rules mean nothing here.
            stream.open.clear();
            (stream.searching, stream.trail) = (None, None);
            (stream.detector, stream.state) = (self.id, self.literals.start());
        }
        if let Some(values) = &self.values {
            values.push(&self.rules, stream, bytes, found);
        }
        let base = stream.base();
        let mut tail = std::mem::take(&mut stream.tail);
        let window = Window::new(base, tail.bytes(), bytes);

        self.resume(stream, &window);
        self.pass(stream, &window, bytes, false, found);

        let keep = window.end().saturating_sub(self.kept_from(stream, base));
        tail.keep(keep as usize, bytes);
        stream.tail = tail;
    }

    /// Decides as if nothing came after what was pushed. More may be pushed afterwards: a secret that was
    /// reported is not reported again, one that was incomplete can still be completed.
    pub fn flush(&self, stream: &mut Stream, found: &mut dyn FnMut(Match<'_>)) {
        let waits = stream.searching.as_ref().is_some_and(|searching| searching.waits());
        if stream.detector != self.id || stream.open.is_empty() && !waits {
            return;
        }
        let base = stream.base();
        let tail = std::mem::take(&mut stream.tail);
        let window = Window::new(base, tail.bytes(), &[]);
        self.finish(stream, &window, found);
        stream.tail = tail;
    }

    /// Takes the stream to the window's end; with `last` nothing follows.
    fn pass(
        &self,
        stream: &mut Stream,
        window: &Window<'_>,
        bytes: &[u8],
        last: bool,
        found: &mut dyn FnMut(Match<'_>),
    ) {
        // What waits for searches waits for keywords first: a large buffer is searched while it is walked.
        let block = if self.searcher.is_some() { BLOCK } else { bytes.len().max(1) };
        let mut before = window.end() - bytes.len() as u64;
        for bytes in bytes.chunks(block) {
            self.search(stream, window, before, bytes);
            let last = last && before + bytes.len() as u64 == window.end();
            stream.state = self.literals.walk(stream.state, bytes, last, |end, state| {
                stream.position = before + end as u64;
                self.hit(stream, window, state);
                self.settle(stream, window, found);
            });
            before += bytes.len() as u64;
            stream.position = before;
            self.settle(stream, window, found);
        }
    }

    /// Looks for keywords in the next bytes, and searches where it is time to.
    fn search(&self, stream: &mut Stream, window: &Window<'_>, before: u64, bytes: &[u8]) {
        let Some(searcher) = &self.searcher else { return };
        let searching = stream.searching.get_or_insert_with(|| Box::new(searcher.begin()));
        searcher.walk(searching, before, bytes);
        searcher.search(searching, window, before + bytes.len() as u64, false, &mut stream.open);
    }

    /// Decides everything as if nothing came after the window.
    fn finish(&self, stream: &mut Stream, window: &Window<'_>, found: &mut dyn FnMut(Match<'_>)) {
        if let (Some(searcher), Some(searching)) = (&self.searcher, &mut stream.searching) {
            searcher.search(searching, window, window.end(), true, &mut stream.open);
        }
        let mut open = std::mem::take(&mut stream.open);
        for candidate in &mut open {
            let (Some(end), Some(rule)) = (candidate.end_if_ended(), self.rule(candidate.rank)) else {
                continue;
            };
            if matches!(candidate.fate, Fate::Open { .. }) {
                *candidate = narrowed(rule, Candidate { fate: Fate::Match { end }, ..*candidate }, window);
            }
        }
        open.sort_by_key(Candidate::key);
        for (index, &candidate) in open.iter().enumerate() {
            match candidate.end_if_ended() {
                Some(end) if candidate.from >= stream.settled => {
                    let mut rivals = rivals(&open, index, end);
                    if !rivals.any(|rival| rival.end_if_ended().is_some()) {
                        self.report(stream, candidate, end, window, found);
                    }
                }
                Some(_) => {}
                None => stream.open.push(candidate),
            }
        }
        stream.open.retain(|candidate| candidate.from >= stream.settled);
    }

    /// One or more literals end at the stream's position.
    fn hit(&self, stream: &mut Stream, window: &Window<'_>, state: StateID) {
        for literal in self.literals.ending(state) {
            for anchor in self.anchors.get(literal).into_iter().flatten() {
                for back in anchor.least_back..=anchor.most_back {
                    if let Some(start) = stream.position.checked_sub(back) {
                        self.consider(stream, window, anchor.rank, start);
                    }
                }
            }
        }
    }

    fn consider(&self, stream: &mut Stream, window: &Window<'_>, rank: Rank, start: u64) {
        let Some((rule, shape)) = self.rule(rank).and_then(|rule| Some((rule, rule.shape()?))) else {
            return;
        };
        let before = |distance: usize| window.byte(start.checked_sub(distance as u64)?);
        if start < window.base().max(stream.settled) || !left_is_free(&shape.left, before) {
            return;
        }
        // Cannot fail here: a user's rules were compiled when they were read, the built-in ones by the tests.
        let Ok(automaton) = shape.automaton() else { return };
        let mut walk = automaton.walk();
        let progress = automaton.advance(&mut walk, &shape.right, start, window.bytes_from(start));
        if let Some(fate) = fate(rule, walk, progress, start, window) {
            let candidate = narrowed(rule, Candidate { start, from: start, rank, fate }, window);
            let at = stream.open.partition_point(|other| other.key() < candidate.key());
            // Two literals of one rule (`xoxe-`, `xoxe.xoxb-`) can lead to the same place.
            let same = |other: &Candidate| other.key() == candidate.key() && other.from == candidate.from;
            if !stream.open.get(at).is_some_and(same) {
                stream.open.insert(at, candidate);
            }
        }
    }

    /// Takes the matches in the making on over what was pushed.
    fn resume(&self, stream: &mut Stream, window: &Window<'_>) {
        let from = stream.position;
        let mut moved = false;
        stream.open.retain_mut(|candidate| {
            let Fate::Open { mut walk, .. } = candidate.fate else { return true };
            let rule = self.rule(candidate.rank);
            let Some((rule, shape)) = rule.and_then(|rule| Some((rule, rule.shape()?))) else { return false };
            let Ok(automaton) = shape.automaton() else { return false };
            let progress = automaton.advance(&mut walk, &shape.right, from, window.bytes_from(from));
            match fate(rule, walk, progress, candidate.start, window) {
                Some(fate) => candidate.fate = fate,
                None => return false,
            }
            let start = candidate.start;
            *candidate = narrowed(rule, *candidate, window);
            moved |= candidate.start != start;
            true
        });
        if moved {
            stream.open.sort_by_key(Candidate::key);
        }
    }

    /// Reports every match that nothing still to come can win over.
    fn settle(&self, stream: &mut Stream, window: &Window<'_>, found: &mut dyn FnMut(Match<'_>)) {
        if stream.open.is_empty() {
            return;
        }
        let mut done = 0;
        let searched_from = stream.searching.as_ref().map_or(u64::MAX, |searching| searching.first());
        let mut open = std::mem::take(&mut stream.open);
        for (index, &candidate) in open.iter().enumerate() {
            if candidate.from >= stream.settled {
                let Fate::Match { end } = candidate.fate else { break };
                // A literal still to come may belong to a secret that starts up to `reach` bytes before it.
                if candidate.start + self.reach > stream.position || searched_from <= candidate.start {
                    break;
                }
                match self.stands(&open, index, end, stream.position) {
                    Some(true) => {
                        self.report(stream, candidate, end, window, found);
                    }
                    Some(false) => {}
                    None => break,
                }
            }
            done += 1;
        }
        open.drain(..done);
        stream.open = open;
    }

    /// Does no match win over this one that starts in the midst of it? None if that is still open.
    fn stands(&self, open: &[Candidate], index: usize, end: u64, position: u64) -> Option<bool> {
        if !open.get(index)?.rank.is_searched() {
            return Some(true);
        }
        if rivals(open, index, end).any(|rival| matches!(rival.fate, Fate::Match { .. })) {
            return Some(false);
        }
        let decided = end + self.anchored_reach <= position && rivals(open, index, end).next().is_none();
        decided.then_some(true)
    }

    /// What is no finding hides no other match but those that start where it does: they are the same text.
    fn report(
        &self,
        stream: &mut Stream,
        candidate: Candidate,
        end: u64,
        window: &Window<'_>,
        found: &mut dyn FnMut(Match<'_>),
    ) {
        let Some(rule) = self.rule(candidate.rank) else { return };
        let start = candidate.start;
        let mut report = |secret: &[u8]| {
            let assessment = assess(rule, secret);
            if assessment.is_ok() {
                stream.settled = end;
            } else {
                stream.settled = start + 1;
                // Counted once, however many rules describe parts of it.
                if start < stream.suppressed {
                    return;
                }
                stream.suppressed = end;
            }
            found(Match { rule, start, end, secret, form: Form::Raw, assessment });
        };
        match window.span(start, end) {
            Cow::Borrowed(secret) => report(secret),
            Cow::Owned(copy) => report(&Zeroizing::new(copy)),
        }
    }

    /// Offset of the first byte that a later push may need.
    fn kept_from(&self, stream: &Stream, base: u64) -> u64 {
        let next_hit = (stream.position + 1).saturating_sub(self.reach + LOOK_BEHIND as u64);
        let first_open = stream.open.first().map_or(next_hit, |candidate| candidate.start);
        let searched = self
            .searcher
            .as_ref()
            .map_or(next_hit, |searcher| searcher.kept_from(stream.searching.as_deref(), stream.position));
        next_hit.min(first_open).min(searched).max(base)
    }

    fn rule(&self, rank: Rank) -> Option<&Rule> {
        self.rules.rules().get(usize::from(rank.rule))
    }
}

/// The candidates that overlap a match that was searched for, and win over it. Those before it are decided already.
fn rivals(open: &[Candidate], index: usize, end: u64) -> impl Iterator<Item = &Candidate> {
    let searched = open.get(index).is_some_and(|candidate| candidate.rank.is_searched());
    let later = open.get(index + 1..).filter(|_| searched).unwrap_or_default();
    // What stands between a context and its secret is overlapped too.
    later.iter().filter(move |rival| rival.from < end && !rival.rank.is_searched())
}

/// What the walk's progress means for the candidate; none if it failed.
fn fate(rule: &Rule, walk: Walk, progress: Progress, start: u64, window: &Window<'_>) -> Option<Fate> {
    let holds = |end: &u64| contains_all(rule, start, *end, window);
    match progress {
        Progress::Done(end) => end.filter(holds).map(|end| Fate::Match { end }),
        Progress::Open { if_ended } => Some(Fate::Open { walk, if_ended: if_ended.filter(holds) }),
    }
}

/// A match without what stands between its context and the secret, which is no part of either.
fn narrowed(rule: &Rule, candidate: Candidate, window: &Window<'_>) -> Candidate {
    match candidate.fate {
        Fate::Match { .. } => {
            let Some(shape) = rule.shape() else { return candidate };
            let start = shape.secret_start(candidate.start, window.bytes_from(candidate.start));
            Candidate { start, ..candidate }
        }
        Fate::Open { .. } => candidate,
    }
}

fn contains_all(rule: &Rule, start: u64, end: u64, window: &Window<'_>) -> bool {
    if rule.contains.is_empty() {
        return true;
    }
    let span = window.span(start, end);
    let all = rule.contains.iter().all(|literal| {
        let literal = literal.as_bytes();
        span.windows(literal.len()).any(|part| part == literal)
    });
    if let Cow::Owned(copy) = span {
        drop(Zeroizing::new(copy));
    }
    all
}

/// Is there no secret of the rule where this literal stands behind a letter or digit? See [`left_is_free`].
fn is_bounded(rule: &Rule, literal: &[u8], anchor: Anchor) -> bool {
    let starts_it = anchor.least_back == anchor.most_back && anchor.most_back == literal.len() as u64;
    let alphanumeric = ByteSet::alphanumeric();
    starts_it && rule.shape().is_some_and(|shape| shape.left.intersection(alphanumeric) == alphanumeric)
}

/// The literals by which a rule is found.
fn anchors(index: u16, rule: &Rule) -> impl Iterator<Item = (&[u8], Anchor)> {
    let rank = move |literal: &str| Rank::anchored(index, literal.len());
    let prefixes = rule.prefixes.iter().map(move |prefix| {
        let back = prefix.len() as u64;
        (prefix.as_bytes(), Anchor { rank: rank(prefix), least_back: back, most_back: back })
    });
    let marker = rule.marker.iter().flat_map(move |marker| {
        marker.texts.iter().map(move |text| {
            let back = |at: usize| (at + text.len()) as u64;
            let (least_back, most_back) = (back(marker.least), back(marker.most));
            (text.as_bytes(), Anchor { rank: rank(text), least_back, most_back })
        })
    });
    // Not part of the secret, so it says nothing about how specific the secret is.
    let context = rule
        .context
        .iter()
        .map(move |context| (context.as_bytes(), Anchor { rank: rank(""), least_back: 0, most_back: 0 }));
    prefixes.chain(marker).chain(context)
}
