//! Which places in a text can start a literal, judged by the first bytes alone.
//!
//! The literals are dealt into eight groups, a bit each. The text is looked at in pairs of bytes, every
//! second place; a pair tells about two places, the one where it stands and the one before. Each look-up
//! yields the groups with a literal that has this pair as its first two bytes (it starts here), or as its
//! second and third (it started one before), and the groups that could go on with this pair after the last.
//! Where a pair, the pair after it and the byte before it agree on a group, the automaton has to look. The
//! look-ups do not depend on each other, and text touches few lines of the table.

/// The shortest literal that can be filtered: with two bytes it could hide between two pairs.
pub(crate) const SHORTEST: usize = 3;

/// Places judged at once, and the bytes that takes.
const PLACES: usize = 8;
const BLOCK: usize = PLACES + 3;
const GROUPS: usize = 8;
/// A pair is told apart by seven bits of each byte: text has no more, and the table fits the nearest caches.
const PAIRS: usize = 1 << 14;

pub(crate) struct Filter {
    pairs: Box<[Pair; PAIRS]>,
    /// By the byte before a pair: groups with a literal that starts with it. The high byte is all ones: a
    /// literal that starts at the pair does not care.
    before: [u16; 256],
}

/// Groups for a literal that starts one before a pair (low byte) and where it stands (high byte).
#[derive(Clone, Copy, Default)]
struct Pair {
    own: u16,
    /// As the pair after such a pair.
    next: u16,
}

impl Filter {
    /// None if one of the literals is too short.
    pub(crate) fn new<'a>(literals: impl Iterator<Item = &'a [u8]> + Clone) -> Option<Filter> {
        let mut pairs: Box<[Pair; PAIRS]> = vec![Pair::default(); PAIRS].try_into().ok()?;
        let mut before = [0xff00; 256];
        let count = literals.clone().count();
        for (index, literal) in literals.enumerate() {
            let &[first, second, third] = literal.first_chunk::<SHORTEST>()?;
            let (fourth, fifth) = (literal.get(3).copied(), literal.get(4).copied());
            // The shortest accept any pair after them: in one group, they do not weaken the others. Sorted
            // as they come, the literals of a group resemble each other, so that it accepts little else.
            let group = if fourth.is_none() { 0 } else { 1 + index * (GROUPS - 1) / count };
            let (one_before, here) = (1 << group, 0x100 << group);
            *before.get_mut(usize::from(first))? |= one_before;
            pairs.get_mut(number(second, third))?.own |= one_before;
            pairs.get_mut(number(first, second))?.own |= here;
            for (first, second, bit) in [(fourth, fifth, one_before), (Some(third), fourth, here)] {
                for pair in matching(first, second) {
                    pairs.get_mut(pair)?.next |= bit;
                }
            }
        }
        Some(Filter { pairs, before })
    }

    /// The first place from `at` on where a literal can start; or, if there is none, the place from which on
    /// there are too few bytes to tell.
    #[inline]
    pub(crate) fn next(&self, bytes: &[u8], at: usize) -> Result<usize, usize> {
        let mut place = at;
        while let Some(block) = bytes.get(place..).and_then(<[u8]>::first_chunk::<BLOCK>) {
            let places = self.judge(block);
            if places != 0 {
                return Ok(place + first(places));
            }
            place += PLACES;
        }
        // The rest is shorter than a block: look at the last block again, without the places before.
        let Some(last) = bytes.last_chunk::<BLOCK>() else { return Err(place) };
        let start = bytes.len() - BLOCK;
        let seen = place - start;
        if seen >= PLACES {
            return Err(place);
        }
        match self.judge(last) >> (8 * seen) {
            0 => Err(start + PLACES),
            places => Ok(place + first(places)),
        }
    }

    /// Byte `n` of the result is not zero if a literal can start at place `n`.
    #[inline]
    fn judge(&self, block: &[u8; BLOCK]) -> u64 {
        let [b0, _, b2, _, b4, _, b6, _, _, b9, b10] = *block;
        let [_, middle @ .., _, _] = *block;
        let before = |byte| self.before.get(usize::from(byte)).copied().unwrap_or_default();
        let pair = |number| self.pairs.get(number).copied().unwrap_or_default();
        // `number` for four pairs in one go.
        let middle = u64::from_le_bytes(middle);
        let numbers = (middle & 0x007f_007f_007f_007f) | (middle >> 1 & 0x3f80_3f80_3f80_3f80);
        let nth = |n: u32| pair((numbers >> (16 * n)) as usize & (PAIRS - 1));
        let pairs = [nth(0), nth(1), nth(2), nth(3), pair(number(b9, b10))];
        u64::from(pairs[0].own & pairs[1].next & before(b0))
            | u64::from(pairs[1].own & pairs[2].next & before(b2)) << 16
            | u64::from(pairs[2].own & pairs[3].next & before(b4)) << 32
            | u64::from(pairs[3].own & pairs[4].next & before(b6)) << 48
    }
}

fn first(places: u64) -> usize {
    places.trailing_zeros() as usize / 8
}

/// Where a pair stands in the table.
#[inline]
fn number(first: u8, second: u8) -> usize {
    let pair = usize::from(u16::from_le_bytes([first, second]));
    (pair & 0x7f) | (pair >> 1 & 0x3f80)
}

/// The pairs with these bytes; none is any.
fn matching(first: Option<u8>, second: Option<u8>) -> impl Iterator<Item = usize> {
    let bytes = |byte: Option<u8>| byte.map_or(0..=u8::MAX, |byte| byte..=byte);
    bytes(first).flat_map(move |first| bytes(second).map(move |second| number(first, second)))
}
