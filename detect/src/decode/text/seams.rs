//! Where in the encoded text a place of the decoded text stands.
//!
//! Decoding mostly copies. Only where it does not (an escape, a line break inside a run) do the two texts
//! shift against each other: at a seam. A few seams tell where everything is.

use std::collections::VecDeque;
use std::ops::Range;

/// Most seams kept. Beyond that the oldest is forgotten, and places before it are known less exactly: a secret of
/// the greatest length, every byte of it escaped, is within.
const MOST: usize = 8192;

/// The shifts between a text and its decoded form, oldest first. Empty costs nothing.
#[derive(Debug, Default)]
pub struct Seams {
    /// How far a place before the first seam is behind in the encoded text.
    shift: u64,
    seams: VecDeque<Seam>,
}

#[derive(Clone, Copy, Debug)]
struct Seam {
    decoded: u64,
    encoded: u64,
    /// Bytes in the decoded text, and the bytes they took in the encoded one.
    decoded_len: u32,
    encoded_len: u32,
}

impl Seam {
    fn decoded_end(&self) -> u64 {
        self.decoded + u64::from(self.decoded_len)
    }

    fn encoded_end(&self) -> u64 {
        self.encoded + u64::from(self.encoded_len)
    }
}

impl Seams {
    /// The decoded text begins at this offset of the encoded one.
    pub fn starting_at(encoded: u64) -> Seams {
        Seams { shift: encoded, seams: VecDeque::new() }
    }

    /// From `decoded` on, `decoded_len` bytes stand for `encoded_len` bytes of the encoded text. Ever further on.
    pub fn add(&mut self, decoded: u64, decoded_len: u32, encoded_len: u32) {
        if self.seams.len() == MOST {
            self.forget_first();
        }
        let encoded = self.place(decoded);
        self.seams.push_back(Seam { decoded, encoded, decoded_len, encoded_len });
    }

    /// What a stretch of the decoded text takes up in the encoded one.
    pub fn span(&self, decoded: Range<u64>) -> Range<u64> {
        let start = self.place(decoded.start);
        if decoded.is_empty() {
            return start..start;
        }
        let last = decoded.end - 1;
        let end = match self.seam_at(last) {
            Some(seam) if last < seam.decoded_end() => seam.encoded_end(),
            _ => self.place(last) + 1,
        };
        start..end
    }

    /// Does a byte in this stretch of the decoded text stand for something else than itself?
    pub fn touch(&self, decoded: &Range<u64>) -> bool {
        let before_end = self.seams.partition_point(|seam| seam.decoded < decoded.end);
        let last = before_end.checked_sub(1).and_then(|index| self.seams.get(index));
        last.is_some_and(|seam| seam.decoded_end() > decoded.start)
    }

    /// Nothing before this place of the decoded text will be asked for again.
    pub fn forget_before(&mut self, decoded: u64) {
        while self.seams.front().is_some_and(|seam| seam.decoded_end() <= decoded && seam.decoded < decoded) {
            self.forget_first();
        }
    }

    /// The place in the encoded text where this one begins.
    pub fn place(&self, decoded: u64) -> u64 {
        match self.seam_at(decoded) {
            Some(seam) if decoded < seam.decoded_end() => seam.encoded,
            Some(seam) => seam.encoded_end() + (decoded - seam.decoded_end()),
            None => self.shift.saturating_add(decoded),
        }
    }

    /// The last seam that begins here or before.
    fn seam_at(&self, decoded: u64) -> Option<&Seam> {
        let after = self.seams.partition_point(|seam| seam.decoded <= decoded);
        self.seams.get(after.checked_sub(1)?)
    }

    fn forget_first(&mut self) {
        if let Some(seam) = self.seams.pop_front() {
            self.shift = seam.encoded_end().saturating_sub(seam.decoded_end());
        }
        if self.seams.is_empty() {
            self.seams = VecDeque::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `ab%41c%42` from offset 10 on: `abAcB`.
    fn seams() -> Seams {
        let mut seams = Seams::starting_at(10);
        seams.add(2, 1, 3);
        seams.add(4, 1, 3);
        seams
    }

    #[test]
    fn places_lead_back() {
        let seams = seams();
        let places: Vec<u64> = (0..6).map(|at| seams.place(at)).collect();
        assert_eq!(places, [10, 11, 12, 15, 16, 19]);
        assert_eq!(seams.span(0..2), 10..12);
        assert_eq!(seams.span(1..3), 11..15);
        assert_eq!(seams.span(2..3), 12..15);
        assert_eq!(seams.span(3..5), 15..19);
        assert_eq!(seams.span(3..3), 15..15);
    }

    #[test]
    fn only_a_stretch_with_an_escape_in_it_touches_one() {
        let seams = seams();
        assert!(
            !seams.touch(&(0..2)) && seams.touch(&(0..3)) && !seams.touch(&(3..4)) && seams.touch(&(3..5))
        );
    }

    #[test]
    fn a_line_break_belongs_to_neither_side() {
        let mut seams = Seams::starting_at(0);
        seams.add(4, 0, 2);
        assert_eq!((seams.span(0..4), seams.span(4..8)), (0..4, 6..10));
        assert_eq!(seams.span(2..6), 2..8);
    }

    #[test]
    fn what_is_forgotten_still_shifts_what_follows() {
        let mut seams = seams();
        seams.forget_before(4);
        assert_eq!(seams.span(3..5), 15..19);
        seams.forget_before(5);
        assert_eq!(seams.place(5), 19);
        for at in 0..20_000 {
            seams.add(10 + 2 * at, 1, 3);
        }
        assert_eq!(seams.seams.len(), MOST);
        assert_eq!(seams.place(10 + 2 * 20_000), 24 + 4 * 20_000);
    }
}
