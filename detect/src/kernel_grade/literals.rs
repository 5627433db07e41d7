//! The literals of all rules as one dense automaton and one filter.

use super::{Obstacle, text};
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::{Anchored, MatchKind, StartKind, dfa};
use keymoat_abi::scan::{
    Anchor, BEGINNING_WORDS, Header, NO_ANCHOR, SLOTS, WINDOW_WORDS, beginning_place, window_place,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// States are numbered in a `u16`; so are anchors, from 1 on.
const MAX_STATES: usize = u16::MAX as usize;
const MAX_ANCHORS: usize = u16::MAX as usize;

/// The literals of the rules taken so far, and what each says.
#[derive(Default)]
pub(super) struct Literals {
    anchors: BTreeMap<Vec<u8>, Vec<Anchor>>,
    /// Every beginning of every literal: the automaton's states but for the first.
    beginnings: HashSet<Vec<u8>>,
}

impl Literals {
    /// Is there room for a rule found by these literals? They have [`SHORTEST`](keymoat_abi::scan::SHORTEST) bytes or more.
    pub(super) fn check<'a>(&self, literals: impl Iterator<Item = &'a [u8]> + Clone) -> Result<(), Obstacle> {
        for literal in literals.clone() {
            if self.anchors.get(literal).is_some_and(|anchors| anchors.len() >= SLOTS) {
                return Err(Obstacle::SharedLiteral(text(literal)));
            }
        }
        let states = self.beginnings.len() + literals.clone().map(<[u8]>::len).sum::<usize>();
        let anchors = self.anchors.values().map(Vec::len).sum::<usize>() + literals.count();
        if states >= MAX_STATES || anchors > MAX_ANCHORS { Err(Obstacle::TablesFull) } else { Ok(()) }
    }

    pub(super) fn add(&mut self, literal: &[u8], anchor: Anchor) {
        self.beginnings.extend((1..=literal.len()).filter_map(|len| Some(literal.get(..len)?.to_vec())));
        self.anchors.entry(literal.to_vec()).or_default().push(anchor);
    }

    /// The filter's second table: see `keymoat_abi::scan`.
    pub(super) fn first_bytes(&self) -> Vec<u64> {
        let mut words = vec![0u64; BEGINNING_WORDS];
        for literal in self.anchors.keys() {
            let mut beginning = [0; 4];
            beginning.iter_mut().zip(literal).for_each(|(to, from)| *to = *from);
            set(&mut words, beginning_place(u32::from_le_bytes(beginning)));
        }
        words
    }

    /// The filter's first table.
    pub(super) fn windows(&self) -> Vec<u64> {
        let mut words = vec![0u64; WINDOW_WORDS];
        let mut set = |first: u8, second: u8, third: u8| {
            set(&mut words, window_place(u32::from_le_bytes([first, second, third, 0])));
        };
        for literal in self.anchors.keys() {
            match *literal.as_slice() {
                [first, second, third, fourth, ..] => {
                    set(first, second, third);
                    set(second, third, fourth);
                }
                [first, second, third] => {
                    set(first, second, third);
                    (0..=u8::MAX).for_each(|before| set(before, first, second));
                }
                // Refused before they come here.
                _ => {}
            }
        }
        words
    }
}

fn set(words: &mut [u64], place: u32) {
    if let Some(word) = words.get_mut((place >> 6) as usize) {
        *word |= 1 << (place & 63);
    }
}

/// The literal automaton as it goes into the tables.
pub(super) struct Automaton {
    pub(super) header: Header,
    /// Class by byte.
    pub(super) classes: [u8; 256],
    pub(super) cells: Vec<u16>,
    /// By ending state: its first anchor.
    pub(super) ending: Vec<u16>,
    pub(super) anchors: Vec<Anchor>,
}

impl Literals {
    /// The automaton of all literals. None if there are none.
    pub(super) fn automaton(&self, generation: u32) -> Option<Automaton> {
        let built = dfa::DFA::builder()
            .match_kind(MatchKind::Standard)
            .start_kind(StartKind::Unanchored)
            .prefilter(false)
            .build(self.anchors.keys())
            .ok()
            .filter(|_| !self.anchors.is_empty())?;
        let (classes, samples) = self.classes();
        let states = States::explore(&built, &samples)?;
        let (first, anchors) = self.chained();
        let ending = states.ending.iter().map(|&state| {
            let literals = (0..built.match_len(state)).map(|index| built.match_pattern(state, index));
            let longest = literals.max_by_key(|&literal| built.pattern_len(literal));
            longest.and_then(|literal| first.get(literal.as_usize()).copied()).unwrap_or(NO_ANCHOR)
        });
        Some(Automaton {
            header: Header {
                generation,
                stride: u16::try_from(samples.len()).ok()?,
                two: states.two,
                three: states.three,
                ending: u16::try_from(states.order.len() - states.ending.len()).ok()?,
            },
            classes,
            cells: states.cells(&built, &samples),
            ending: ending.collect(),
            anchors,
        })
    }

    /// A class for each byte that stands in a literal, and one for the rest; a byte of each.
    fn classes(&self) -> ([u8; 256], Vec<u8>) {
        let used: HashSet<u8> = self.anchors.keys().flatten().copied().collect();
        let rest = (0..=u8::MAX).find(|byte| !used.contains(byte));
        let mut samples: Vec<u8> = rest.into_iter().collect();
        let mut classes = [0; 256];
        for (byte, class) in (0..=u8::MAX).zip(&mut classes).filter(|(byte, _)| used.contains(byte)) {
            *class = samples.len() as u8; // at most one per byte
            samples.push(byte);
        }
        (classes, samples)
    }

    /// All anchors, each pointing to the next: those of a literal, then those of the longest literal it ends with. And by
    /// literal, the first.
    fn chained(&self) -> (Vec<u16>, Vec<Anchor>) {
        let mut first = HashMap::new();
        let mut next = NO_ANCHOR + 1;
        for (literal, anchors) in &self.anchors {
            first.insert(literal.as_slice(), next);
            next += anchors.len() as u16; // checked when they were added
        }
        let mut all = vec![Anchor::default()];
        for (literal, anchors) in &self.anchors {
            let shorter = (1..literal.len()).find_map(|from| first.get(literal.get(from..)?)).copied();
            for (number, anchor) in anchors.iter().enumerate() {
                let next = match number + 1 {
                    count if count == anchors.len() => shorter.unwrap_or(NO_ANCHOR),
                    _ => (all.len() + 1) as u16,
                };
                all.push(Anchor { next, ..*anchor });
            }
        }
        let first = self.anchors.keys().map(|literal| first.get(literal.as_slice()).copied());
        (first.map(Option::unwrap_or_default).collect(), all)
    }
}

/// The states of the built automaton in the order in which the tables number them.
struct States {
    order: Vec<StateID>,
    two: u16,
    three: u16,
    ending: Vec<StateID>,
}

impl States {
    /// Breadth first: the shortest way to a state spells the literal's beginning that is under way in it.
    fn explore(built: &dfa::DFA, samples: &[u8]) -> Option<States> {
        let start = built.start_state(Anchored::No).ok()?;
        let mut depth = HashMap::from([(start, 0)]);
        let mut order = vec![start];
        let mut at = 0;
        while let Some(&state) = order.get(at) {
            let below = depth.get(&state).copied().unwrap_or(0) + 1;
            for &byte in samples {
                let next = built.next_state(Anchored::No, state, byte);
                depth.entry(next).or_insert_with(|| {
                    order.push(next);
                    below
                });
            }
            at += 1;
        }
        let ending: Vec<StateID> = order.iter().copied().filter(|&state| built.is_match(state)).collect();
        // Literals have three bytes or more, so the shallow states keep their place.
        order.sort_by_key(|&state| built.is_match(state));
        let shallower =
            |than: u16| order.iter().filter(|state| depth.get(state).is_some_and(|&d| d < than)).count();
        let (two, three) = (u16::try_from(shallower(2)).ok()?, u16::try_from(shallower(3)).ok()?);
        Some(States { order, two, three, ending })
    }

    fn cells(&self, built: &dfa::DFA, samples: &[u8]) -> Vec<u16> {
        // Checked when the literals were added: there are fewer than 2^16 states.
        let numbers: HashMap<StateID, u16> = self.order.iter().copied().zip(0..).collect();
        let next = |state, byte| built.next_state(Anchored::No, state, byte);
        let rows = self.order.iter().flat_map(|&state| samples.iter().map(move |&byte| next(state, byte)));
        rows.map(|state| numbers.get(&state).copied().unwrap_or_default()).collect()
    }
}
