//! A rule's pattern, its right boundary and `contains` as one automaton whose every row fits a `u16`.

use super::Obstacle;
use crate::pattern::automaton::Automaton as Pattern;
use crate::pattern::boundary::ByteSet;
use crate::pattern::{Classes, Shape};
use crate::rules::Rule;
use keymoat_abi::scan::{DEAD, HIT};
use regex_automata::util::primitives::StateID;
use std::collections::HashMap;

/// Rows are numbered by cell, in a `u16`.
const MAX_CELLS: usize = u16::MAX as usize;
/// The first row's number: the ones before mean [`DEAD`] and [`HIT`].
const FIRST_ROW: usize = 2;

/// The automaton as it goes into the tables.
pub(super) struct Automaton {
    /// Two unused cells, then row by row.
    pub(super) cells: Vec<u16>,
    /// Class by byte.
    pub(super) classes: [u8; 256],
    /// From this row on a match ends if no byte follows.
    pub(super) complete: u16,
    start: u16,
    /// Row after each of the rule's prefixes.
    after: HashMap<Vec<u8>, u16>,
}

impl Automaton {
    pub(super) fn new(rule: &Rule, shape: &Shape) -> Result<Automaton, Obstacle> {
        let pattern = shape.automaton().map_err(|problem| Obstacle::Pattern(problem.to_string()))?;
        let walk = Walk {
            pattern,
            rule,
            right: &shape.right,
            contains: rule.contains.iter().map(String::as_bytes).collect(),
        };
        let mut explored = Explored::new(shape.classes(&rule.contains));

        let start = walk.start();
        // Of a rule found by its prefixes, only what can follow one of them goes into the tables.
        let after: Vec<(&[u8], Next)> = rule
            .prefixes
            .iter()
            .map(|prefix| (prefix.as_bytes(), walk.follow(&start, prefix.as_bytes())))
            .collect();
        if rule.prefixes.is_empty() {
            explored.number(start.clone());
        }
        let after: Vec<(&[u8], Target)> =
            after.into_iter().map(|(prefix, next)| (prefix, explored.target(next))).collect();
        explored.explore(&walk)?;
        explored.finish(&walk, &after)
    }

    /// The row of a key's first byte. [`DEAD`] for a rule that is found by its prefixes.
    pub(super) fn start(&self) -> u16 {
        self.start
    }

    /// The row after one of the rule's prefixes.
    pub(super) fn row_after(&self, prefix: &[u8]) -> u16 {
        self.after.get(prefix).copied().unwrap_or(DEAD)
    }
}

/// How far a match in the making is: in the pattern, and in each text of `contains`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Progress {
    state: StateID,
    /// Bytes of each text that stand here; its whole length once it was there.
    contains: Vec<usize>,
}

/// Where a byte leads.
enum Next {
    Dead,
    Hit,
    Alive(Progress),
}

/// Where a byte leads, by the number of the state.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Target {
    Dead,
    Hit,
    Alive(usize),
}

/// The automaton as it is walked, before it has rows.
struct Walk<'a> {
    pattern: &'a Pattern,
    rule: &'a Rule,
    right: &'a ByteSet,
    contains: Vec<&'a [u8]>,
}

impl Walk<'_> {
    fn start(&self) -> Progress {
        Progress { state: self.pattern.start(), contains: vec![0; self.contains.len()] }
    }

    fn next(&self, from: &Progress, byte: u8) -> Next {
        let Some((state, ended)) = self.pattern.next(from.state, byte) else { return Next::Dead };
        if ended && self.holds_all(from) && !self.right.contains(byte) {
            return Next::Hit;
        }
        let contains =
            self.contains.iter().zip(&from.contains).map(|(text, &had)| grown(text, had, byte)).collect();
        Next::Alive(Progress { state, contains })
    }

    fn follow(&self, from: &Progress, bytes: &[u8]) -> Next {
        let mut at = from.clone();
        for &byte in bytes {
            match self.next(&at, byte) {
                Next::Alive(next) => at = next,
                decided => return decided,
            }
        }
        Next::Alive(at)
    }

    fn is_complete(&self, at: &Progress) -> bool {
        self.holds_all(at) && self.pattern.ends(at.state)
    }

    fn holds_all(&self, at: &Progress) -> bool {
        self.contains.iter().zip(&at.contains).all(|(text, &had)| had == text.len())
    }
}

/// How much of `text` stands at the end once `byte` follows `had` bytes of it.
fn grown(text: &[u8], had: usize, byte: u8) -> usize {
    let Some(so_far) = text.get(..had).filter(|_| had < text.len()) else { return had };
    let seen = [so_far, &[byte]].concat();
    (0..=seen.len()).rev().find(|&len| seen.ends_with(text.get(..len).unwrap_or_default())).unwrap_or(0)
}

/// The states found so far.
struct Explored {
    classes: Classes,
    numbers: HashMap<Progress, usize>,
    states: Vec<Progress>,
    /// By state, then by class.
    targets: Vec<Vec<Target>>,
}

impl Explored {
    fn new(classes: Classes) -> Explored {
        Explored { classes, numbers: HashMap::new(), states: Vec::new(), targets: Vec::new() }
    }

    fn number(&mut self, state: Progress) -> usize {
        let next = self.states.len();
        *self.numbers.entry(state).or_insert_with_key(|state| {
            self.states.push(state.clone());
            next
        })
    }

    fn target(&mut self, next: Next) -> Target {
        match next {
            Next::Dead => Target::Dead,
            Next::Hit => Target::Hit,
            Next::Alive(state) => Target::Alive(self.number(state)),
        }
    }

    /// Finds everything that can be reached.
    fn explore(&mut self, walk: &Walk<'_>) -> Result<(), Obstacle> {
        while let Some(state) = self.states.get(self.targets.len()).cloned() {
            if self.states.len() > MAX_CELLS {
                return Err(Obstacle::TooLarge { cells: self.states.len(), max: MAX_CELLS });
            }
            let samples = self.classes.samples.clone();
            let row = samples.iter().map(|&byte| self.target(walk.next(&state, byte))).collect();
            self.targets.push(row);
        }
        Ok(())
    }

    fn finish(&self, walk: &Walk<'_>, after: &[(&[u8], Target)]) -> Result<Automaton, Obstacle> {
        let (merged, columns) = self.merged_classes();
        let stride = columns.len();
        let len = FIRST_ROW + self.states.len() * stride;
        if len > MAX_CELLS {
            return Err(Obstacle::TooLarge { cells: len, max: MAX_CELLS });
        }
        let (complete, open): (Vec<usize>, Vec<usize>) = (0..self.states.len())
            .partition(|&number| self.states.get(number).is_some_and(|state| walk.is_complete(state)));
        let mut rows = vec![DEAD; self.states.len()];
        for (place, &number) in open.iter().chain(&complete).enumerate() {
            if let Some(row) = rows.get_mut(number) {
                // Below `len`, which fits.
                *row = (FIRST_ROW + place * stride) as u16;
            }
        }
        let row = |target: Target| match target {
            Target::Dead => DEAD,
            Target::Hit => HIT,
            Target::Alive(number) => rows.get(number).copied().unwrap_or(DEAD),
        };
        let mut cells = vec![DEAD; FIRST_ROW];
        for targets in open.iter().chain(&complete).filter_map(|&number| self.targets.get(number)) {
            cells.extend(
                columns.iter().map(|&class| row(targets.get(class).copied().unwrap_or(Target::Dead))),
            );
        }
        Ok(Automaton {
            cells,
            classes: self.classes.of.map(|class| merged.get(usize::from(class)).copied().unwrap_or(0)),
            complete: (FIRST_ROW + open.len() * stride) as u16,
            start: if walk.rule.prefixes.is_empty() { row(Target::Alive(0)) } else { DEAD },
            after: after.iter().map(|&(prefix, target)| (prefix.to_vec(), row(target))).collect(),
        })
    }

    /// Classes that every state treats alike become one: the new class by the old, and an old class for each new one.
    fn merged_classes(&self) -> (Vec<u8>, Vec<usize>) {
        let mut columns = Vec::new();
        let mut new: HashMap<Vec<Target>, u8> = HashMap::new();
        let merged = (0..self.classes.samples.len()).map(|class| {
            let column = self.targets.iter().filter_map(|row| row.get(class).copied()).collect();
            *new.entry(column).or_insert_with(|| {
                columns.push(class);
                (columns.len() - 1) as u8
            })
        });
        let merged = merged.collect();
        (merged, columns)
    }
}
