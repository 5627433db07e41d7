//! By which bytes a literal is known, and a table of all of them.

use std::collections::{BTreeMap, BTreeSet};

/// The shortest literal that can be filtered.
pub(crate) const SHORTEST: usize = 3;
/// Bytes of a window. The last one may be any.
pub(super) const WINDOW: usize = 4;
/// Farthest a window stands behind the beginning of its literal.
pub(crate) const FARTHEST: usize = 8;

const GROUPS: usize = 8;
/// Three bytes are told apart by a hash of so many bits: the table fits the nearest cache.
const BITS: u32 = 13;
const ENTRIES: usize = 1 << BITS;

/// A literal to be found.
#[derive(Clone, Copy)]
pub(crate) struct Literal<'a> {
    pub(crate) bytes: &'a [u8],
    /// It need not be found behind a letter or digit, but where that is the end of an escape.
    pub(crate) bounded: bool,
}

pub(super) type Window = [Option<u8>; WINDOW];

pub(super) struct Windows {
    /// Windows that are the beginnings of bounded literals, and windows of all others.
    pub(super) bounded: BTreeMap<Window, BTreeSet<Stretch>>,
    pub(super) inside: BTreeMap<Window, BTreeSet<Stretch>>,
    /// By the hash of three bytes: in the low byte the groups with a window that begins with them, in the high byte those
    /// with one that ends with them.
    groups: Box<[u16; ENTRIES]>,
    /// By the hash of a window's first three bytes: where its literals are in `stretches`.
    numbers: Box<[u16; ENTRIES]>,
    stretches: Vec<Vec<Stretch>>,
}

/// What a literal has from its window on, eight bytes at most.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stretch {
    bytes: u64,
    mask: u64,
}

impl Windows {
    /// None if one of the literals is too short.
    pub(super) fn new<'a>(literals: impl Iterator<Item = Literal<'a>>) -> Option<Windows> {
        let (mut bounded, mut inside) = (BTreeMap::new(), BTreeMap::new());
        let mut others = BTreeSet::new();
        for literal in literals {
            match literal.bytes {
                [] | [_] | [_, _] => return None,
                bytes if literal.bounded => note(&mut bounded, bytes, 0),
                bytes => drop(others.insert((bytes.len(), bytes))),
            }
        }
        // The short ones first: they have little choice.
        for (len, literal) in others {
            let places = || 0..=len.saturating_sub(WINDOW).min(FARTHEST);
            let known = places().find(|&at| inside.contains_key(&window(literal, at)));
            let rarest = || places().min_by_key(|&at| frequency(&window(literal, at)));
            note(&mut inside, literal, known.or_else(rarest)?);
        }
        let table = || vec![0; ENTRIES].try_into().ok();
        let mut windows =
            Windows { bounded, inside, groups: table()?, numbers: table()?, stretches: vec![Vec::new()] };
        windows.fill();
        Some(windows)
    }

    fn fill(&mut self) {
        let Windows { bounded, inside, groups, numbers, stretches } = self;
        let count = bounded.len().max(1);
        // Sorted as they are, the windows of a group resemble each other, so that it accepts little else.
        let grouped = bounded.iter().enumerate().map(|(index, known)| (index * (GROUPS - 1) / count, known));
        for (group, (&window, found)) in grouped.chain(inside.iter().map(|known| (GROUPS - 1, known))) {
            let [first, second, third, fourth] = window;
            let place = |bytes: [Option<u8>; SHORTEST]| hash(bytes.map(Option::unwrap_or_default), 0);
            let beginning = place([first, second, third]);
            groups.get_mut(beginning).into_iter().for_each(|entry| *entry |= 1 << group);
            for fourth in fourth.map_or(0..=u8::MAX, |fourth| fourth..=fourth) {
                let ending = groups.get_mut(place([second, third, Some(fourth)]));
                ending.into_iter().for_each(|entry| *entry |= 0x100 << group);
            }
            let Some(number) = numbers.get_mut(beginning) else { continue };
            if *number == 0 {
                // There are fewer windows than numbers: they differ in their hashes.
                *number = stretches.len() as u16;
                stretches.push(Vec::new());
            }
            stretches.get_mut(usize::from(*number)).into_iter().for_each(|list| list.extend(found));
        }
    }

    /// Can a window be here?
    #[inline]
    pub(super) fn may_be(&self, window: [u8; WINDOW]) -> bool {
        let [first, second, third, fourth] = window;
        let groups = |hash: usize| self.groups.get(hash).copied().unwrap_or_default();
        groups(hash([first, second, third], fourth)) & groups(hash([second, third, fourth], 0)) >> 8 != 0
    }

    /// Does a literal have these bytes from its window on?
    pub(super) fn has(&self, bytes: [u8; 8]) -> bool {
        let [first, second, third, ..] = bytes;
        let number = self.numbers.get(hash([first, second, third], 0)).copied().unwrap_or_default();
        let bytes = u64::from_le_bytes(bytes);
        let stretches = self.stretches.get(usize::from(number)).map_or(&[][..], Vec::as_slice);
        stretches.iter().any(|stretch| bytes & stretch.mask == stretch.bytes)
    }
}

fn note(windows: &mut BTreeMap<Window, BTreeSet<Stretch>>, literal: &[u8], at: usize) {
    let (mut bytes, mut mask) = ([0; 8], [0; 8]);
    let known = literal.get(at..).unwrap_or_default();
    for ((to, mask), &byte) in bytes.iter_mut().zip(&mut mask).zip(known) {
        (*to, *mask) = (byte, u8::MAX);
    }
    let stretch = Stretch { bytes: u64::from_le_bytes(bytes), mask: u64::from_le_bytes(mask) };
    windows.entry(window(literal, at)).or_default().insert(stretch);
}

/// The window that stands so far behind the beginning of a literal.
fn window(literal: &[u8], at: usize) -> Window {
    std::array::from_fn(|byte| literal.get(at + byte).copied())
}

/// How often such bytes are in traffic, roughly.
fn frequency(window: &Window) -> u32 {
    let each = |byte: &Option<u8>| match byte {
        None | Some(b'a'..=b'z' | b' ') => 16,
        Some(b'A'..=b'Z' | b'0'..=b'9') => 12,
        Some(b'"' | b':' | b'/' | b'-' | b'.' | b',' | b'=' | b'\r' | b'\n') => 8,
        Some(b'+' | b'_') => 4,
        Some(_) => 1,
    };
    window.iter().map(each).product()
}

/// Of three bytes. What follows them is loaded with them, and multiplied out of the result: the multiplier's low
/// byte is zero.
#[inline]
fn hash([first, second, third]: [u8; SHORTEST], next: u8) -> usize {
    let bytes = u32::from_le_bytes([first, second, third, next]);
    (bytes.wrapping_mul(0x9e37_79b1 << 8) >> (u32::BITS - BITS)) as usize
}
