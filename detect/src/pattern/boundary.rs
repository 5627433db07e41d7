//! Where a token begins and ends: sets of bytes, and the check that nothing of the token stands to its left.

/// A set of byte values.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ByteSet([u64; 4]);

impl ByteSet {
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

/// How many bytes before a token [`left_is_free`] may look at: `\u003d`.
pub(crate) const LOOK_BEHIND: usize = 6;

/// May a token start here? `before(1)` is the byte just before it, `before(2)` the one before that; `None`
/// where nothing is known, which counts as free.
///
/// An escape is a boundary although it ends in a letter or digit: in `"my keys:\nghp_…"` the `n` belongs to
/// the line break, in `token%3Dghp_…` the `D` to the equals sign, and `\u003d` is how some JSON writers put it.
pub(crate) fn left_is_free(glue: &ByteSet, before: impl Fn(usize) -> Option<u8>) -> bool {
    let Some(last) = before(1) else { return true };
    if !glue.contains(last) {
        return true;
    }
    let is = |distance, byte| before(distance) == Some(byte);
    let hex = |distance| before(distance).is_some_and(|b| b.is_ascii_hexdigit());
    let control = matches!(last, b'n' | b'r' | b't' | b'b' | b'f') && is(2, b'\\');
    let percent = hex(1) && hex(2) && is(3, b'%');
    let unicode = (1..=4).all(hex) && is(5, b'u') && is(6, b'\\');
    control || percent || unicode
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
