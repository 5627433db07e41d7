//! The compiled tables, as they are written into the kernel's maps; in userspace they are read where they are.

use super::Obstacle;
use super::literals::Literals;
use super::token::Automaton;
use crate::pattern::boundary::ByteSet;
use keymoat_abi::scan::{Anchor, GLUE_WORDS, Header, Tables, Token};
use std::collections::HashMap;

/// Cells of all token automata: 16 MiB.
const MAX_CELLS: usize = 8 << 20;

/// One field per table. See `keymoat_abi::scan` for what they mean.
#[derive(Clone, Debug, Default)]
pub struct RuleTables {
    pub header: Header,
    pub windows: Vec<u64>,
    pub beginnings: Vec<u64>,
    pub classes: Vec<[u8; 256]>,
    pub literals: Vec<u16>,
    pub ending: Vec<u16>,
    pub anchors: Vec<Anchor>,
    pub tokens: Vec<Token>,
    pub cells: Vec<u16>,
    pub glue: Vec<[u32; GLUE_WORDS]>,
}

impl RuleTables {
    /// States of the literal automaton.
    pub fn literal_states(&self) -> usize {
        self.literals.len().checked_div(self.header.stride.into()).unwrap_or(0)
    }

    /// Bytes of all tables together.
    pub fn size(&self) -> usize {
        size_of_val(&self.header)
            + size_of_val(self.windows.as_slice())
            + size_of_val(self.beginnings.as_slice())
            + size_of_val(self.classes.as_slice())
            + size_of_val(self.literals.as_slice())
            + size_of_val(self.ending.as_slice())
            + size_of_val(self.anchors.as_slice())
            + size_of_val(self.tokens.as_slice())
            + size_of_val(self.cells.as_slice())
            + size_of_val(self.glue.as_slice())
    }
}

fn read<T: Copy + Default>(table: &[T], index: impl TryInto<usize>) -> T {
    index.try_into().ok().and_then(|index| table.get(index)).copied().unwrap_or_default()
}

impl Tables for RuleTables {
    #[inline]
    fn header(&self) -> Header {
        self.header
    }
    #[inline]
    fn windows(&self, word: u32) -> u64 {
        read(&self.windows, word)
    }
    #[inline]
    fn beginnings(&self, word: u32) -> u64 {
        read(&self.beginnings, word)
    }
    #[inline]
    fn class(&self, map: u16, byte: u8) -> u8 {
        self.classes.get(usize::from(map)).map_or(0, |classes| read(classes, byte))
    }
    #[inline]
    fn literal(&self, cell: u32) -> u16 {
        read(&self.literals, cell)
    }
    #[inline]
    fn ending(&self, index: u16) -> u16 {
        read(&self.ending, index)
    }
    #[inline]
    fn anchor(&self, index: u16) -> Anchor {
        read(&self.anchors, index)
    }
    #[inline]
    fn token(&self, index: u16) -> Token {
        read(&self.tokens, index)
    }
    #[inline]
    fn cell(&self, cell: u32) -> u16 {
        read(&self.cells, cell)
    }
    #[inline]
    fn glue(&self, set: u16, word: u8) -> u32 {
        self.glue.get(usize::from(set)).map_or(0, |words| read(words, word))
    }
}

/// The tables while rules are added. What two rules have in common is stored once.
pub(super) struct Builder {
    classes: Pool<[u8; 256]>,
    glue: Pool<[u32; GLUE_WORDS]>,
    tokens: Vec<Token>,
    cells: Vec<u16>,
    /// Where in `cells` an automaton's cells begin.
    bases: HashMap<Vec<u16>, u32>,
}

impl Default for Builder {
    fn default() -> Self {
        // Map 0 is the literal automaton's, which comes last.
        let classes = Pool { items: vec![[0; 256]], numbers: HashMap::new() };
        Builder {
            classes,
            glue: Pool::default(),
            tokens: Vec::new(),
            cells: Vec::new(),
            bases: HashMap::new(),
        }
    }
}

impl Builder {
    /// The number of a set of bytes that glue.
    pub(super) fn glue(&mut self, set: ByteSet) -> Result<u16, Obstacle> {
        self.glue.number(set.words())
    }

    /// The number of the token of a rule.
    pub(super) fn token(&mut self, rule: u16, automaton: &Automaton) -> Result<u16, Obstacle> {
        let number = u16::try_from(self.tokens.len()).map_err(|_| Obstacle::TablesFull)?;
        if self.cells.len() + automaton.cells.len() > MAX_CELLS {
            return Err(Obstacle::TablesFull);
        }
        let classes = self.classes.number(automaton.classes)?;
        let base = *self.bases.entry(automaton.cells.clone()).or_insert_with(|| {
            let base = self.cells.len() as u32; // at most `MAX_CELLS`
            self.cells.extend_from_slice(&automaton.cells);
            base
        });
        self.tokens.push(Token {
            base,
            start: automaton.start(),
            complete: automaton.complete,
            classes,
            rule,
        });
        Ok(number)
    }

    /// The number of a token that says nothing but that a literal told of under `rule` has ended.
    pub(super) fn told(&mut self, rule: u16) -> Result<u16, Obstacle> {
        let number = u16::try_from(self.tokens.len()).map_err(|_| Obstacle::TablesFull)?;
        self.tokens.push(Token { rule, ..Token::default() });
        Ok(number)
    }

    pub(super) fn finish(self, generation: u32, literals: &Literals) -> RuleTables {
        let mut tables = RuleTables {
            header: Header { generation, ..Header::default() },
            windows: literals.windows(),
            beginnings: literals.first_bytes(),
            classes: self.classes.items,
            tokens: self.tokens,
            cells: self.cells,
            glue: self.glue.items,
            ..RuleTables::default()
        };
        // Without literals the filter lets nothing pass, and no other table is looked at.
        if let Some(automaton) = literals.automaton(generation) {
            tables.header = automaton.header;
            tables.literals = automaton.cells;
            tables.ending = automaton.ending;
            tables.anchors = automaton.anchors;
            if let Some(first) = tables.classes.first_mut() {
                *first = automaton.classes;
            }
        }
        tables
    }
}

/// Things numbered in the order in which they first came.
struct Pool<T> {
    items: Vec<T>,
    numbers: HashMap<T, u16>,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool { items: Vec::new(), numbers: HashMap::new() }
    }
}

impl<T: Copy + Eq + std::hash::Hash> Pool<T> {
    fn number(&mut self, item: T) -> Result<u16, Obstacle> {
        if let Some(&number) = self.numbers.get(&item) {
            return Ok(number);
        }
        let number = u16::try_from(self.items.len()).map_err(|_| Obstacle::TablesFull)?;
        self.items.push(item);
        self.numbers.insert(item, number);
        Ok(number)
    }
}
