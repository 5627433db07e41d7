//! Where a token begins and ends: sets of bytes, and the check that nothing of the token stands to its left.

use keymoat_abi::scan;
pub(crate) use scan::LOOK_BEHIND;

/// A set of byte values.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
    pub(crate) fn of(byte: u8) -> ByteSet {
        let mut set = ByteSet::default();
        set.insert_range(byte, byte);
        set
    }

    pub(crate) fn insert_range(&mut self, first: u8, last: u8) {
        for byte in first..=last {
            if let Some(word) = self.0.get_mut(usize::from(byte >> 6)) {
                *word |= 1 << (byte & 63);
            }
        }
    }

    pub(crate) fn contains(&self, byte: u8) -> bool {
        self.0.get(usize::from(byte >> 6)).is_some_and(|word| word >> (byte & 63) & 1 == 1)
    }

    /// As words of 32 bits: bit `byte & 31` of word `byte >> 5`.
    pub(crate) fn words(&self) -> [u32; 8] {
        let mut words = [0; 8];
        for (pair, &word) in words.chunks_mut(2).zip(&self.0) {
            pair.copy_from_slice(&[word as u32, (word >> 32) as u32]);
        }
        words
    }

    /// How many values are in it.
    pub(crate) fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    pub(crate) fn union(mut self, other: ByteSet) -> ByteSet {
        for (word, more) in self.0.iter_mut().zip(other.0) {
            *word |= more;
        }
        self
    }

    pub(crate) fn intersection(mut self, other: ByteSet) -> ByteSet {
        for (word, mask) in self.0.iter_mut().zip(other.0) {
            *word &= mask;
        }
        self
    }

    /// What glues to a token from the left. Not `=`, `:`, `,` or `%`, even if the token itself may hold them:
    /// before it they separate.
    pub(crate) fn token() -> ByteSet {
        b"_-+/.~".iter().fold(ByteSet::alphanumeric(), |mut set, &byte| {
            set.insert_range(byte, byte);
            set
        })
    }

    pub(crate) fn alphanumeric() -> ByteSet {
        let mut set = ByteSet::default();
        set.insert_range(b'0', b'9');
        set.insert_range(b'A', b'Z');
        set.insert_range(b'a', b'z');
        set
    }
}

impl std::fmt::Debug for ByteSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries((0..=255u8).filter(|&b| self.contains(b)).map(char::from)).finish()
    }
}

/// May a token start here? `before` as in [`keymoat_abi::scan::left_is_free`], which decides the same in the kernel.
pub(crate) fn left_is_free(glue: &ByteSet, before: impl Fn(usize) -> Option<u8>) -> bool {
    scan::left_is_free(|byte| glue.contains(byte), before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free(before: &str) -> bool {
        let bytes = before.as_bytes();
        left_is_free(&ByteSet::alphanumeric(), |n| bytes.len().checked_sub(n).map(|i| bytes[i]))
    }

    #[test]
    fn a_token_starts_after_anything_that_is_not_part_of_it() {
        assert!(free(""));
        assert!(free("key="));
        assert!(free("Bearer "));
        assert!(!free("keyx"));
        assert!(!free("9"));
    }

    #[test]
    fn escapes_that_end_in_a_letter_are_boundaries() {
        assert!(free("keys:\\n"));
        assert!(free("a\\t"));
        assert!(free("token%3D"));
        assert!(free("%20"));
        assert!(free("\\u003d"));
        assert!(!free("\\x"));
        assert!(!free("3D"));
        assert!(!free("u003d"));
    }

    #[test]
    fn the_set_holds_exactly_what_was_put_in() {
        let set = ByteSet::alphanumeric();
        let held = (0..=255u8).filter(|&b| set.contains(b)).count();
        assert_eq!((held, set.len()), (62, 62));
        assert!(!set.contains(b'_') && !set.contains(0) && !set.contains(255));
    }
}
