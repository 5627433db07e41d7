//! What one flow carries from write to write. Lives in the kernel, in a map; readable by whoever may read maps.

use super::tables::{DEAD, HIT, Header, NO_ANCHOR, Tables};

/// Most bytes [`Flow::feed`] takes at once.
pub const CHUNK: usize = 256;
/// Longest way back from the end of a literal to the start of its key, so that everything that is looked at again is still
/// there: the filter leaves up to twelve bytes for the next chunk, and six before the key decide whether it may start.
pub const MAX_BACK: usize = RING - CHUNK - 12 - super::boundary::LOOK_BEHIND;
/// Matches in the making that a flow can hold. Of text that opens more at once (the flow says so) some are not followed.
pub const SLOTS: usize = 8;

/// Bytes kept. A power of two.
const RING: usize = 512;
const WORDS: usize = RING / 8;
/// Room behind the ring, so that a chunk can be written from any place in it, as the verifier sees it.
const SLACK: usize = CHUNK / 8;

/// A match in the making.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Slot {
    pub token: u16,
    /// [`DEAD`]: the slot is free.
    pub row: u16,
}

/// The state of one flow in one direction.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Flow {
    /// Position of the next byte to look at.
    pub(super) at: u64,
    /// Bytes given so far.
    pub(super) end: u64,
    /// No literal that starts before this position is still to be found.
    pub(super) floor: u64,
    /// Whose numbers these are: [`super::Header::generation`]; 0 = nobody's.
    pub(super) generation: u32,
    /// Matches in the making for which there was no slot.
    pub(super) crowded: u32,
    /// State of the literal automaton.
    pub(super) state: u16,
    /// The anchor to consider next, or [`NO_ANCHOR`].
    pub(super) anchor: u16,
    /// How many of its ways back were tried.
    pub(super) tried: u16,
    /// The row of the match that is read again from its start, or [`DEAD`].
    pub(super) row: u16,
    /// How many of its bytes were read again.
    pub(super) read: u16,
    /// Slots in use.
    pub(super) open: u8,
    /// Of those, matches not told yet.
    pub(super) hits: u8,
    reserved: [u8; 4],
    pub(super) slots: [Slot; SLOTS],
    /// The last bytes, position `p` in byte `p % 512`, then slack.
    pub(super) recent: [u64; WORDS + SLACK],
}

const _: () = assert!(core::mem::size_of::<Flow>() == 848);
// A word read may be of eight bytes that are not all there yet, but never of two rounds.
const _: () = assert!(MAX_BACK >= 64 + 16 && CHUNK.is_multiple_of(8) && CHUNK + MAX_BACK < RING);

// SAFETY: `Flow` is `repr(C)`, made of integers only, without padding, and every bit pattern is valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Flow {}

impl Flow {
    /// All zero: what a kernel map gives to begin with.
    pub const NEW: Self = Self {
        at: 0,
        end: 0,
        floor: 0,
        generation: 0,
        crowded: 0,
        state: 0,
        anchor: NO_ANCHOR,
        tried: 0,
        row: DEAD,
        read: 0,
        open: 0,
        hits: 0,
        reserved: [0; 4],
        slots: [Slot { token: 0, row: DEAD }; SLOTS],
        recent: [0; WORDS + SLACK],
    };

    /// Begins anew: after bytes that were not seen, and with other tables. Nothing before is joined with what follows.
    #[inline]
    pub fn restart(&mut self, generation: u32) {
        (self.at, self.end, self.floor) = (0, 0, 0);
        self.generation = generation;
        (self.state, self.anchor, self.tried) = (0, NO_ANCHOR, 0);
        (self.row, self.read) = (DEAD, 0);
        (self.open, self.hits) = (0, 0);
        for slot in &mut self.slots {
            *slot = Slot { token: 0, row: DEAD };
        }
    }

    /// Does what the flow remembers belong to these tables?
    #[inline]
    pub fn belongs_to(&self, generation: u32) -> bool {
        self.generation == generation
    }

    /// How many of the bytes since the last restart were looked at.
    #[inline]
    pub fn looked_at(&self) -> u64 {
        self.at
    }

    /// Bytes given since the last restart.
    #[inline]
    pub fn given(&self) -> u64 {
        self.end
    }

    /// Matches in the making that could not be followed since [`Flow::NEW`]. Not 0: a key may have been missed.
    #[inline]
    pub fn crowded(&self) -> u32 {
        self.crowded
    }

    /// Room for the next bytes: as many as lie between the end and the next multiple of [`CHUNK`].
    #[inline]
    pub fn room(&self) -> usize {
        CHUNK - (self.end as usize & (CHUNK - 1))
    }

    /// Where in [`Flow::bytes`] the next bytes belong. Below 512, and [`CHUNK`] more bytes fit behind it.
    #[inline]
    pub fn next_place(&self) -> usize {
        self.end as usize & (RING - 1)
    }

    /// The memory behind [`Flow::next_place`], for a kernel helper to write to.
    #[inline]
    pub fn bytes(&mut self) -> *mut u8 {
        self.recent.as_mut_ptr().cast()
    }

    /// `len` bytes were written at [`Flow::next_place`]; at most [`Flow::room`].
    #[inline]
    pub fn written(&mut self, len: usize) {
        self.end = self.end.wrapping_add(len as u64);
    }

    /// Takes the first [`Flow::room`] bytes at most, and says how many. Only when [`super::step`] wants bytes.
    pub fn feed(&mut self, bytes: &[u8]) -> usize {
        let len = bytes.len().min(self.room());
        let mut rest = bytes.get(..len).unwrap_or_default();
        while let Some((&byte, after)) = rest.split_first() {
            let word = self.recent.get_mut((self.end >> 3) as usize & (WORDS - 1));
            let shift = 8 * (self.end & 7);
            let Some(word) = word else { break };
            match rest.split_first_chunk::<8>() {
                Some((chunk, after)) if shift == 0 => {
                    *word = u64::from_ne_bytes(*chunk);
                    self.end = self.end.wrapping_add(8);
                    rest = after;
                }
                _ => {
                    let old = u64::from_le(*word) & !(0xff << shift);
                    *word = (old | u64::from(byte) << shift).to_le();
                    self.end = self.end.wrapping_add(1);
                    rest = after;
                }
            }
        }
        len
    }

    /// The eight bytes around a position, the lowest first.
    #[inline]
    pub(super) fn word(&self, position: u64) -> u64 {
        u64::from_le(self.recent.get((position >> 3) as usize & (WORDS - 1)).copied().unwrap_or(0))
    }

    #[inline]
    pub(super) fn byte(&self, position: u64) -> u8 {
        (self.word(position) >> (8 * (position & 7))) as u8
    }

    /// Follows a match in the making that is at `row`.
    #[inline]
    pub(super) fn open(&mut self, token: u16, row: u16) {
        if row == DEAD {
            return;
        }
        let new = Slot { token, row };
        // From here on, two matches of one token in one row have the same fate.
        if self.slots.contains(&new) {
            return;
        }
        match self.slots.iter_mut().find(|slot| slot.row == DEAD) {
            Some(slot) => {
                *slot = new;
                self.open = self.open.wrapping_add(1);
                self.hits = self.hits.wrapping_add(u8::from(row == HIT));
            }
            None => self.crowded = self.crowded.saturating_add(1),
        }
    }

    /// Is a match in the making, or three bytes or more of a literal?
    #[inline]
    pub(super) fn is_midway(&self, header: &Header) -> bool {
        self.open > 0 || self.state >= header.three
    }

    /// The rule whose key is complete if no byte follows: to be asked for each slot after the last byte of a write, since the
    /// write that completes a key is the one to refuse. A key that goes on in the next write will be told again.
    #[inline]
    pub fn complete(&self, tables: &impl Tables, slot: usize) -> Option<u16> {
        let slot = self.slots.get(slot & (SLOTS - 1))?;
        if slot.row == DEAD {
            return None;
        }
        let token = tables.token(slot.token);
        (slot.row >= token.complete).then_some(token.rule)
    }
}

/// Shows sizes, not bytes.
impl core::fmt::Debug for Flow {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Flow")
            .field("at", &self.at)
            .field("end", &self.end)
            .field("open", &self.open)
            .field("crowded", &self.crowded)
            .finish_non_exhaustive()
    }
}
