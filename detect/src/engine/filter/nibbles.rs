//! Windows dealt into buckets, and each bucket described by the halves of its bytes: what a kernel can look up for
//! many places at once. A bucket accepts every mixture of its windows' halves, so alike ones belong together.

use super::windows::{WINDOW, Window};

/// A bit each.
const BUCKETS: usize = 8;

/// The buckets that have a window with this half of a byte at this distance from its beginning.
#[derive(Clone, Copy, Default)]
pub(super) struct Nibbles {
    pub(super) low: [u8; 16],
    pub(super) high: [u8; 16],
}

/// By the distance.
pub(super) type Table = [Nibbles; WINDOW];

#[derive(Clone, Copy, Default)]
struct Bucket {
    low: [u16; WINDOW],
    high: [u16; WINDOW],
}

/// Twice [`BUCKETS`].
pub(super) fn deal<'a>(windows: impl Iterator<Item = &'a Window>) -> [Table; 2] {
    let mut buckets = [Bucket::default(); 2 * BUCKETS];
    for window in windows {
        let cost = |bucket: &&mut Bucket| bucket.with(window).accepts() - bucket.accepts();
        if let Some(cheapest) = buckets.iter_mut().min_by_key(cost) {
            *cheapest = cheapest.with(window);
        }
    }
    let mut tables = [Table::default(); 2];
    for (table, buckets) in tables.iter_mut().zip(buckets.chunks(BUCKETS)) {
        for (bit, bucket) in buckets.iter().enumerate() {
            for ((nibbles, &low), &high) in table.iter_mut().zip(&bucket.low).zip(&bucket.high) {
                mark(&mut nibbles.low, low, 1 << bit);
                mark(&mut nibbles.high, high, 1 << bit);
            }
        }
    }
    tables
}

fn mark(nibbles: &mut [u8; 16], set: u16, bit: u8) {
    for (half, buckets) in nibbles.iter_mut().enumerate() {
        *buckets |= if set >> half & 1 == 1 { bit } else { 0 };
    }
}

impl Bucket {
    fn with(mut self, window: &Window) -> Bucket {
        for ((low, high), byte) in self.low.iter_mut().zip(&mut self.high).zip(window) {
            *low |= byte.map_or(u16::MAX, |byte| 1 << (byte & 15));
            *high |= byte.map_or(u16::MAX, |byte| 1 << (byte >> 4));
        }
        self
    }

    /// How much of ordinary text, in parts of no particular size.
    fn accepts(&self) -> u64 {
        // By the high half of a byte: control characters, punctuation, digits, capitals, small letters, the rest.
        const FREQUENT: [u64; 16] = [1, 1, 12, 10, 10, 10, 16, 16, 1, 1, 1, 1, 1, 1, 1, 1];
        let each = |(low, high): (&u16, &u16)| {
            let rows = FREQUENT.iter().enumerate().filter(|(half, _)| high >> half & 1 == 1);
            u64::from(low.count_ones()) * rows.map(|(_, often)| often).sum::<u64>()
        };
        self.low.iter().zip(&self.high).map(each).product()
    }
}
