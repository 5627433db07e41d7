//! Rules as data for the kernel: tables with which `keymoat_abi::scan` decides, inside the very write, whether a key leaves.
//!
//! Nothing is approximated: a rule's token automaton is read off the automaton that the full engine runs ([`token`]), the
//! boundary on its right and `contains` taken in. So on any bytes, however they are cut into writes, and for rules of kernel
//! grade, with the full engine here meaning a [`Detector`](crate::Detector):
//!
//! - **Nothing leaks.** For every secret that the full engine finds, the matcher tells its rule, with the byte after the
//!   secret at the latest; or, if nothing follows, as complete ([`KernelRules::complete`]).
//! - **Nothing is made up.** Whatever the matcher tells overlaps a match that the full engine finds for that rule alone.
//!   With all rules together it may find less, since of overlapping matches one wins there; here each is told.
//! - **A key may be told sooner, or again.** The first end with a boundary after it counts, the engine takes the longest.
//!
//! What only userspace can find it is told of by [`cues`], which the matcher tells as it tells keys, under a number of their own; and so are the
//! [`places`] of a message.
//!
//! One thing is given up: a flow follows [`SLOTS`] matches in the making at once. Text made to open more leaves some unseen,
//! and the flow says so ([`keymoat_abi::scan::Flow::crowded`]).

mod cues;
mod literals;
mod places;
mod scan;
mod tables;
#[cfg(test)]
mod tests;
mod token;

pub use tables::RuleTables;

use crate::pattern::boundary::ByteSet;
use crate::rules::{Rule, RuleSet};
use keymoat_abi::enforce::CUE;
use keymoat_abi::scan::{Anchor, DEAD, HIT, MAX_BACK, NO_ANCHOR, SHORTEST, SLOTS};
use literals::Literals;
use std::sync::atomic::{AtomicU32, Ordering};
use tables::Builder;
use token::Automaton;

/// The rules that the kernel can decide, compiled.
pub struct KernelRules {
    tables: RuleTables,
    grades: Vec<Grade>,
    cued: bool,
}

/// Who can decide a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Grade {
    /// The kernel, and userspace.
    Kernel,
    /// Userspace only: why.
    UserOnly(Obstacle),
}

impl Grade {
    /// Why the kernel cannot decide it. None if it can.
    pub fn obstacle(&self) -> Option<&Obstacle> {
        match self {
            Grade::Kernel => None,
            Grade::UserOnly(obstacle) => Some(obstacle),
        }
    }
}

/// Why the kernel cannot decide a rule.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Obstacle {
    #[error("it is searched for around keywords, as gitleaks does: write it as a rule of keymoat's own")]
    Searched,
    #[error("its pattern cannot be compiled: {0}")]
    Pattern(String),
    #[error(
        "its automaton has {cells} cells, at most {max} can be numbered: lower the upper bounds of its repeats"
    )]
    TooLarge { cells: usize, max: usize },
    #[error(
        "its literal ends up to {back} bytes behind the start of the key, the kernel keeps {MAX_BACK}: use a literal \
         nearer to the start"
    )]
    FarBack { back: usize },
    #[error("its literal `{0}` is shorter than {SHORTEST} bytes")]
    ShortLiteral(String),
    #[error("{SLOTS} rules before it are found by the literal `{0}`: give it a longer one")]
    SharedLiteral(String),
    #[error("the rules before it fill the kernel's tables")]
    TablesFull,
}

static NEXT_GENERATION: AtomicU32 = AtomicU32::new(1);

impl KernelRules {
    /// Compiles every rule that is on and that the kernel can decide; those it cannot decide get a reason. A rule that is off
    /// is graded by itself, and takes no room. Rules keep their numbers: the place in the set. Builds the automaton of
    /// every rule, which takes a good part of a second for the built-in ones.
    pub fn compile(rules: &RuleSet) -> KernelRules {
        let mut builder = Builder::default();
        let mut literals = Literals::default();
        let mut grade = |(number, rule): (usize, &Rule)| {
            let number = u16::try_from(number).map_err(|_| Obstacle::TablesFull);
            match number.and_then(|number| add(number, rule, &mut builder, &mut literals)) {
                Ok(()) => Grade::Kernel,
                Err(obstacle) => Grade::UserOnly(obstacle),
            }
        };
        let grades: Vec<Grade> = rules.rules().iter().enumerate().map(&mut grade).collect();
        let cued = add_cues(rules, &grades, &mut builder, &mut literals).is_some();
        // Without room for them, all keys count as outside of bodies.
        let _ = places::add(&mut builder, &mut literals);
        let generation = NEXT_GENERATION.fetch_add(1, Ordering::Relaxed).max(1);
        KernelRules { tables: builder.finish(generation, &literals), grades, cued }
    }

    /// Is there a cue for everything that only userspace can find? There is none for rules that are searched for around keywords,
    /// nor for registered values.
    pub fn is_cued(&self) -> bool {
        self.cued
    }

    /// The compiled tables.
    pub fn tables(&self) -> &RuleTables {
        &self.tables
    }

    /// By the rule's place in the set.
    pub fn grades(&self) -> &[Grade] {
        &self.grades
    }
}

/// Adds one rule to the tables, or says why not and leaves them as they were. One that is off is only looked at.
fn add(number: u16, rule: &Rule, builder: &mut Builder, literals: &mut Literals) -> Result<(), Obstacle> {
    let shape = rule.shape().ok_or(Obstacle::Searched)?;
    let found_by: Vec<FoundBy<'_>> = found_by(rule).collect();
    if let Some(far) = found_by.iter().find(|found_by| found_by.most > MAX_BACK) {
        return Err(Obstacle::FarBack { back: far.most });
    }
    if let Some(short) = found_by.iter().find(|found_by| found_by.literal.len() < SHORTEST) {
        return Err(Obstacle::ShortLiteral(text(short.literal)));
    }
    let automaton = Automaton::new(rule, shape)?;
    if !rule.on {
        return Ok(());
    }
    literals.check(found_by.iter().map(|found_by| found_by.literal))?;
    let left = builder.glue(shape.left)?;
    let token = builder.token(number, &automaton)?;
    for FoundBy { literal, least, most, entry } in found_by {
        let row = match entry {
            Entry::Start => automaton.start(),
            // A prefix with which no match starts finds none.
            Entry::AfterLiteral => match automaton.row_after(literal) {
                DEAD => continue,
                row => row,
            },
            Entry::Replay => DEAD,
        };
        // Checked above: both are at most `MAX_BACK`.
        let (least, most) = (least as u8, most as u8);
        literals.add(literal, Anchor { token, row, left, least, most, next: NO_ANCHOR });
    }
    Ok(())
}

/// Adds the cues. None if there are none for some rule, or no room for them.
fn add_cues(rules: &RuleSet, grades: &[Grade], builder: &mut Builder, literals: &mut Literals) -> Option<()> {
    let on = || rules.rules().iter().zip(grades).filter(|(rule, _)| rule.on);
    if on().any(|(rule, _)| rule.shape().is_none()) {
        return None;
    }
    let cues = cues::all(on().map(|(rule, grade)| (rule, grade.obstacle())));
    if cues.iter().any(|cue| cue.len() < SHORTEST) {
        return None;
    }
    add_told(CUE, cues.iter().map(Vec::as_slice), builder, literals).ok()
}

/// Adds literals that are told of as such, under this number. All of them or, when there is no room, none.
fn add_told<'a>(
    number: u16,
    told: impl IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    builder: &mut Builder,
    literals: &mut Literals,
) -> Result<(), Obstacle> {
    let told = told.into_iter();
    literals.check(told.clone())?;
    let left = builder.glue(ByteSet::default())?;
    let token = builder.told(number)?;
    for literal in told {
        literals.add(literal, Anchor { token, row: HIT, left, least: 0, most: 0, next: NO_ANCHOR });
    }
    Ok(())
}

fn text(literal: &[u8]) -> String {
    String::from_utf8_lossy(literal).into_owned()
}

/// A literal by which a rule is found, and how far before the literal's end its key can start.
struct FoundBy<'a> {
    literal: &'a [u8],
    least: usize,
    most: usize,
    entry: Entry,
}

/// Where in the token's automaton a match in the making is when the literal has ended.
#[derive(Clone, Copy)]
enum Entry {
    /// At the start: the key follows.
    Start,
    /// The key starts with the literal.
    AfterLiteral,
    /// That depends on the bytes before the literal.
    Replay,
}

fn found_by(rule: &Rule) -> impl Iterator<Item = FoundBy<'_>> {
    let prefixes = rule.prefixes.iter().map(|text| FoundBy {
        literal: text.as_bytes(),
        least: text.len(),
        most: text.len(),
        entry: Entry::AfterLiteral,
    });
    let marker = rule.marker.iter().flat_map(|marker| {
        marker.texts.iter().map(|text| FoundBy {
            literal: text.as_bytes(),
            least: marker.least + text.len(),
            most: marker.most + text.len(),
            entry: Entry::Replay,
        })
    });
    let context = rule.context.iter().map(|text| FoundBy {
        literal: text.as_bytes(),
        least: 0,
        most: 0,
        entry: Entry::Start,
    });
    prefixes.chain(marker).chain(context)
}
