//! A rule's pattern: what can be read off the regex without running it, and the automaton that runs it. A
//! [`search`] is the other kind: a regex for which a stretch of text is searched.

pub(crate) mod automaton;
pub(crate) mod boundary;
pub(crate) mod search;

use crate::MAX_SECRET_LEN;
use crate::error::Problem;
use automaton::{Automaton, Progress};
use boundary::ByteSet;
use regex_syntax::hir::literal::Extractor;
use regex_syntax::hir::{Class, Hir, HirKind};
use std::sync::OnceLock;

/// A secret of a handful of bytes is a word.
pub(crate) const MIN_SECRET_LEN: usize = 8;

/// What a match must look like, ready to run.
#[derive(Debug)]
pub(crate) struct Shape {
    pattern: Lazy,
    pub(crate) min_len: usize,
    pub(crate) max_len: usize,
    /// The text every match starts with, as far as it is fixed.
    pub(crate) lead: Vec<u8>,
    /// Every byte that a class of the pattern allows.
    pub(crate) charset: ByteSet,
    /// Bytes that may not stand directly before a match, and directly after it.
    pub(crate) left: ByteSet,
    pub(crate) right: ByteSet,
    /// What a match starts with that is no part of the secret.
    between: Option<Lazy>,
}

/// An automaton that is built when a literal of its rule is seen for the first time: most rules of a catalogue never
/// are, and building all of them takes longer than everything else at start.
#[derive(Debug)]
struct Lazy {
    hir: Hir,
    automaton: OnceLock<Result<Automaton, Problem>>,
}

impl Lazy {
    fn new(hir: Hir) -> Lazy {
        Lazy { hir, automaton: OnceLock::new() }
    }

    fn automaton(&self) -> Result<&Automaton, Problem> {
        self.automaton.get_or_init(|| Automaton::new(&self.hir)).as_ref().map_err(Clone::clone)
    }
}

impl Shape {
    pub(crate) fn new(pattern: &str, left: Option<&str>, right: Option<&str>) -> Result<Shape, Problem> {
        let hir = parse(pattern)?;
        let (min_len, max_len) = lengths(&hir)?;
        let charset = charset(&hir);
        let glue = charset.union(ByteSet::alphanumeric());
        let side = |given: Option<&str>, usual| given.map_or(Ok(usual), set);
        let lead = lead(&hir);
        Ok(Shape {
            min_len,
            max_len,
            lead,
            charset,
            left: side(left, glue.intersection(ByteSet::token()))?,
            right: side(right, glue)?,
            between: None,
            pattern: Lazy::new(hir),
        })
    }

    /// The same secret after something else, whose end this pattern must tell by itself: see [`Self::between`].
    pub(crate) fn after(mut self, between: &str) -> Result<Shape, Problem> {
        let hir = parse(between)?;
        let properties = hir.properties();
        if !properties.look_set().is_empty() {
            return Err(Problem::LookAround);
        }
        let len = properties.maximum_len().ok_or(Problem::Unbounded)?.saturating_add(self.max_len);
        if len > MAX_SECRET_LEN {
            return Err(Problem::TooLong { len, max: MAX_SECRET_LEN });
        }
        self.pattern = Lazy::new(Hir::concat(vec![hir.clone(), self.pattern.hir]));
        self.between = Some(Lazy::new(hir));
        Ok(self)
    }

    /// The automaton of what a match starts with before the secret, if there is such a thing.
    pub(crate) fn between(&self) -> Result<Option<&Automaton>, Problem> {
        self.between.as_ref().map(Lazy::automaton).transpose()
    }

    /// Where the secret of a match that starts at `start` begins; `bytes` are those from there on.
    pub(crate) fn secret_start(&self, start: u64, bytes: impl Iterator<Item = u8>) -> u64 {
        // Cannot fail here, as in `Detector::consider`.
        let Ok(Some(between)) = self.between() else { return start };
        let end = match between.advance(&mut between.walk(), &ByteSet::default(), start, bytes) {
            Progress::Done(end) | Progress::Open { if_ended: end } => end,
        };
        end.unwrap_or(start)
    }

    pub(crate) fn automaton(&self) -> Result<&Automaton, Problem> {
        self.pattern.automaton()
    }
}

/// Bytes that no match tells apart, by class, and one byte of each class.
pub(crate) struct Classes {
    pub(crate) of: [u8; 256],
    pub(crate) samples: Vec<u8>,
}

impl Shape {
    /// Classes of the bytes that the pattern, its right boundary and `contains` treat alike.
    pub(crate) fn classes(&self, contains: &[String]) -> Classes {
        let mut sets = vec![self.right];
        parts(&self.pattern.hir, &mut sets);
        sets.extend(contains.iter().flat_map(|text| text.bytes()).map(ByteSet::of));
        let mut known: Vec<Vec<bool>> = Vec::new();
        let mut classes = Classes { of: [0; 256], samples: Vec::new() };
        for (byte, class) in (0..=u8::MAX).zip(&mut classes.of) {
            let member: Vec<bool> = sets.iter().map(|set| set.contains(byte)).collect();
            let number = known.iter().position(|other| *other == member).unwrap_or_else(|| {
                known.push(member);
                classes.samples.push(byte);
                known.len() - 1
            });
            // At most one class per byte.
            *class = number as u8;
        }
        classes
    }
}

/// Every set of bytes the pattern names: its classes, and each byte of its literals.
fn parts(hir: &Hir, sets: &mut Vec<ByteSet>) {
    match hir.kind() {
        HirKind::Class(class) => sets.push(class_set(class)),
        HirKind::Literal(literal) => sets.extend(literal.0.iter().map(|&byte| ByteSet::of(byte))),
        HirKind::Repetition(repetition) => parts(&repetition.sub, sets),
        HirKind::Capture(capture) => parts(&capture.sub, sets),
        HirKind::Concat(list) | HirKind::Alternation(list) => list.iter().for_each(|part| parts(part, sets)),
        HirKind::Empty | HirKind::Look(_) => {}
    }
}

fn parse(pattern: &str) -> Result<Hir, Problem> {
    regex_syntax::ParserBuilder::new()
        .unicode(false)
        .utf8(false)
        .build()
        .parse(pattern)
        .map_err(|error| Problem::BadPattern(reason(&error)))
}

/// The parser's message draws the pattern over several lines; its reason alone fits one.
fn reason(error: &regex_syntax::Error) -> String {
    match error {
        regex_syntax::Error::Parse(error) => {
            format!("{} (at character {} of the pattern)", error.kind(), error.span().start.column)
        }
        regex_syntax::Error::Translate(error) => {
            format!("{} (at character {} of the pattern)", error.kind(), error.span().start.column)
        }
        other => other.to_string(),
    }
}

fn lengths(hir: &Hir) -> Result<(usize, usize), Problem> {
    let properties = hir.properties();
    if !properties.look_set().is_empty() {
        return Err(Problem::LookAround);
    }
    let min_len = properties.minimum_len().unwrap_or(0);
    let max_len = properties.maximum_len().ok_or(Problem::Unbounded)?;
    if min_len < MIN_SECRET_LEN {
        return Err(Problem::TooShort(min_len));
    }
    if max_len > MAX_SECRET_LEN {
        return Err(Problem::TooLong { len: max_len, max: MAX_SECRET_LEN });
    }
    Ok((min_len, max_len))
}

/// Every byte that a class of the pattern allows; literals do not count.
fn charset(hir: &Hir) -> ByteSet {
    match hir.kind() {
        HirKind::Class(class) => class_set(class),
        HirKind::Repetition(repetition) => charset(&repetition.sub),
        HirKind::Capture(capture) => charset(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(charset).fold(ByteSet::default(), ByteSet::union)
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Look(_) => ByteSet::default(),
    }
}

fn class_set(class: &Class) -> ByteSet {
    let mut set = ByteSet::default();
    match class {
        Class::Bytes(class) => class.iter().for_each(|range| set.insert_range(range.start(), range.end())),
        // Only ASCII can be in here: the parser runs without Unicode.
        Class::Unicode(class) => class.iter().for_each(|range| {
            let byte = |c: char| u8::try_from(u32::from(c)).unwrap_or(u8::MAX);
            set.insert_range(byte(range.start()), byte(range.end()));
        }),
    }
    set
}

/// A boundary as the rule file gives it: a class such as `[A-Za-z0-9]`, or `none`.
fn set(text: &str) -> Result<ByteSet, Problem> {
    if text == "none" {
        return Ok(ByteSet::default());
    }
    let bad = || Problem::BadSet(text.to_owned());
    let hir = parse(text).map_err(|_| bad())?;
    match hir.kind() {
        HirKind::Class(class) => Ok(class_set(class)),
        HirKind::Literal(literal) => match *literal.0 {
            [byte] => Ok(ByteSet::of(byte)),
            _ => Err(bad()),
        },
        _ => Err(bad()),
    }
}

/// The longest text that every match starts with.
fn lead(hir: &Hir) -> Vec<u8> {
    Extractor::new().extract(hir).longest_common_prefix().map(<[u8]>::to_vec).unwrap_or_default()
}

/// A way the pattern can start that none of the prefixes covers, if there is one.
pub(crate) fn uncovered_start(pattern: &str, prefixes: &[String]) -> Option<String> {
    let starts = Extractor::new().extract(&parse(pattern).ok()?);
    let covered = |start: &[u8]| {
        prefixes.iter().map(String::as_bytes).any(|p| start.starts_with(p) || p.starts_with(start))
    };
    let foreign = starts.literals()?.iter().find(|literal| !covered(literal.as_bytes()))?;
    Some(String::from_utf8_lossy(foreign.as_bytes()).into_owned())
}

/// Literals inside a secret, one of which is there, and the offsets at which it may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marker {
    pub texts: Vec<String>,
    pub least: usize,
    pub most: usize,
}

/// Steps between a marker's least and most offset. Each costs a look at the byte before it, per hit.
pub(crate) const MARKER_STEPS: usize = 64;

pub(crate) fn check_marker(shape: &Shape, marker: &Marker) -> Result<(), Problem> {
    let fits = marker.least <= marker.most
        && marker.most - marker.least <= MARKER_STEPS
        && marker.texts.iter().all(|text| marker.most + text.len() <= shape.max_len);
    if fits { Ok(()) } else { Err(Problem::BadMarker { len: shape.max_len, max: MARKER_STEPS }) }
}
