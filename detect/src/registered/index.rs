//! Which forms start with these eight bytes?
//!
//! A bit table answers "none" for nearly every place of the traffic; for the others the sorted keys are searched.

use super::form::Encoded;
use std::ops::Range;
use zeroize::Zeroizing;

/// Bytes by which a form is found: no form is shorter.
pub(super) const ANCHOR: usize = 8;
/// Bits of the table per form, at least: one place in 32 is searched for in vain.
const BITS_PER_FORM: usize = 32;
const FEWEST_BITS: usize = 1 << 12;

#[derive(Default)]
pub(super) struct Index {
    /// The first bytes of the forms, in their order.
    keys: Zeroizing<Vec<u64>>,
    /// A bit is set where the hash of a key falls.
    bits: Zeroizing<Vec<u64>>,
    /// From a hash to its place in the table.
    shift: u32,
}

impl Index {
    /// `forms` are sorted by their bytes.
    pub(super) fn new(forms: &[Encoded]) -> Index {
        if forms.is_empty() {
            return Index::default();
        }
        let mut keys = Zeroizing::new(Vec::with_capacity(forms.len()));
        keys.extend(
            forms.iter().filter_map(|form| form.bytes.first_chunk().copied().map(u64::from_be_bytes)),
        );
        let size = (forms.len() * BITS_PER_FORM).next_power_of_two().max(FEWEST_BITS);
        let bits = Zeroizing::new(vec![0; size / 64]);
        let mut index = Index { keys, bits, shift: 64 - size.ilog2() };
        for place in 0..index.keys.len() {
            let (word, bit) = index.place(index.keys.get(place).copied().unwrap_or_default());
            if let Some(word) = index.bits.get_mut(word) {
                *word |= 1 << bit;
            }
        }
        index
    }

    /// Can a form start with these bytes?
    #[inline]
    pub(super) fn may_start(&self, key: u64) -> bool {
        let (word, bit) = self.place(key);
        self.bits.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    /// The places of the forms that do.
    pub(super) fn starting(&self, key: u64) -> Range<usize> {
        let first = self.keys.partition_point(|&other| other < key);
        let same =
            self.keys.get(first..).unwrap_or_default().iter().take_while(|&&other| other == key).count();
        first..first + same
    }

    #[inline]
    fn place(&self, key: u64) -> (usize, u32) {
        // Fibonacci hashing: the high bits depend on every byte.
        let hash = key.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> self.shift;
        ((hash >> 6) as usize, hash as u32 & 63)
    }
}
