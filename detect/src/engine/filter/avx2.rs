//! The kernel for processors with AVX2. The only unsafe code of the crate: instructions that not every processor has,
//! and loads from arrays that are as long as what is loaded.

use super::nibbles::{Nibbles, Table, deal};
use super::windows::{WINDOW, Windows};
use super::{BACKSLASH, BEFORE, BLOCK, LANES};
use std::arch::x86_64::*;

/// Exists only on processors that have AVX2.
pub(super) struct Tables {
    bounded: [Table; 2],
    inside: [Table; 2],
}

impl Tables {
    /// None if this processor has not what it takes.
    pub(super) fn new(windows: &Windows) -> Option<Tables> {
        let able = is_x86_feature_detected!("avx2");
        able.then(|| Tables { bounded: deal(windows.bounded.keys()), inside: deal(windows.inside.keys()) })
    }

    /// See [`Filter::masks`](super::Filter::masks).
    #[inline]
    pub(super) fn masks(&self, bytes: &[u8], words: &mut [u64]) {
        // SAFETY: `new` made sure that the processor has AVX2.
        unsafe { self.masks_avx2(bytes, words) }
    }

    #[target_feature(enable = "avx2")]
    fn masks_avx2(&self, bytes: &[u8], words: &mut [u64]) {
        for (at, word) in (0..).step_by(LANES).zip(words) {
            let block = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>);
            *word = block.map_or(0, |block| self.mask(block));
        }
    }

    #[target_feature(enable = "avx2")]
    fn mask(&self, block: &[u8; BLOCK]) -> u64 {
        let mut bounded = [Lanes::all(u8::MAX); 2];
        let mut inside = bounded;
        for at in 0..WINDOW {
            let bytes = Halves::of(Lanes::load(block, BEFORE + at));
            for (groups, tables) in [(&mut bounded, &self.bounded), (&mut inside, &self.inside)] {
                for (groups, table) in groups.iter_mut().zip(tables) {
                    let Some(nibbles) = table.get(at) else { continue };
                    *groups = groups.and(bytes.look_up(nibbles));
                }
            }
        }
        let [bounded, more_bounded] = bounded;
        let [inside, more_inside] = inside;
        let bounded = bounded.or(more_bounded).and(token_starts(block));
        !bounded.or(inside).or(more_inside).is(0).bits()
    }
}

/// Letters and digits. A bit stands for a high half, so they are exactly the bytes whose halves have one in common.
const ALPHANUMERIC: Nibbles = Nibbles {
    low: [0xa8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf8, 0xf0, 0x50, 0x50, 0x50, 0x50, 0x50],
    high: [1, 2, 4, 8, 16, 32, 64, 128, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// All ones where no letter or digit stands before, or one that may be the end of an escape: `\n`, `%3D`, `\u003d`.
#[target_feature(enable = "avx2")]
fn token_starts(block: &[u8; BLOCK]) -> Lanes {
    let before = |distance| Lanes::load(block, BEFORE - distance);
    let free = Halves::of(before(1)).look_up(&ALPHANUMERIC).is(0);
    free.or(before(2).is(BACKSLASH)).or(before(3).is(b'%')).or(before(6).is(BACKSLASH))
}

/// As many bytes as there are places in a block. In two parts, side by side, for which each table is loaded once.
#[derive(Clone, Copy)]
struct Lanes([__m256i; 2]);

impl Lanes {
    #[target_feature(enable = "avx2")]
    fn all(byte: u8) -> Lanes {
        Lanes([_mm256_set1_epi8(byte as i8); 2])
    }

    /// Those from `at` on.
    #[target_feature(enable = "avx2")]
    fn load(block: &[u8; BLOCK], at: usize) -> Lanes {
        let part = |at: usize| {
            let bytes: &[u8; 32] = block.get(at..).and_then(<[u8]>::first_chunk).unwrap_or(&[0; 32]);
            // SAFETY: the array has the 32 bytes that are loaded; the load needs no alignment.
            unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
        };
        Lanes([part(at), part(at + 32)])
    }

    #[target_feature(enable = "avx2")]
    fn and(self, other: Lanes) -> Lanes {
        let (Lanes([low, high]), Lanes([other_low, other_high])) = (self, other);
        Lanes([_mm256_and_si256(low, other_low), _mm256_and_si256(high, other_high)])
    }

    #[target_feature(enable = "avx2")]
    fn or(self, other: Lanes) -> Lanes {
        let (Lanes([low, high]), Lanes([other_low, other_high])) = (self, other);
        Lanes([_mm256_or_si256(low, other_low), _mm256_or_si256(high, other_high)])
    }

    /// All ones where this byte is.
    #[target_feature(enable = "avx2")]
    fn is(self, byte: u8) -> Lanes {
        let Lanes([low, high]) = self;
        let byte = _mm256_set1_epi8(byte as i8);
        Lanes([_mm256_cmpeq_epi8(low, byte), _mm256_cmpeq_epi8(high, byte)])
    }

    /// The highest bit of each byte.
    #[target_feature(enable = "avx2")]
    fn bits(self) -> u64 {
        let Lanes([low, high]) = self;
        let bits = |part| u64::from(_mm256_movemask_epi8(part) as u32);
        bits(low) | bits(high) << 32
    }
}

/// The two halves of each byte.
struct Halves {
    low: Lanes,
    high: Lanes,
}

impl Halves {
    #[target_feature(enable = "avx2")]
    fn of(bytes: Lanes) -> Halves {
        let Lanes([first, second]) = bytes;
        let shifted = Lanes([_mm256_srli_epi16::<4>(first), _mm256_srli_epi16::<4>(second)]);
        Halves { low: bytes.and(Lanes::all(15)), high: shifted.and(Lanes::all(15)) }
    }

    /// What the tables have in common for both halves.
    #[target_feature(enable = "avx2")]
    fn look_up(&self, nibbles: &Nibbles) -> Lanes {
        let look_up = |table: &[u8; 16], Lanes([first, second])| {
            // SAFETY: the array has the 16 bytes that are loaded; the load needs no alignment.
            let table = _mm256_broadcastsi128_si256(unsafe { _mm_loadu_si128(table.as_ptr().cast()) });
            Lanes([_mm256_shuffle_epi8(table, first), _mm256_shuffle_epi8(table, second)])
        };
        look_up(&nibbles.low, self.low).and(look_up(&nibbles.high, self.high))
    }
}
