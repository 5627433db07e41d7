//! A text with its escapes undone, and where they were.
//!
//! Most text has no escapes. It is handed back as it came, at the cost of looking for one byte.

use super::seams::Seams;
use super::{json, percent};
use memchr::memchr;
use std::ops::Range;
use zeroize::Zeroize as _;

/// The longest escape: a surrogate pair, `\ud83d\ude00`.
const LONGEST: usize = 12;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Percent,
    Json,
}

impl Kind {
    fn mark(self) -> u8 {
        match self {
            Kind::Percent => percent::MARK,
            Kind::Json => json::MARK,
        }
    }

    fn read(self, text: &[u8]) -> Read {
        match self {
            Kind::Percent => percent::read(text),
            Kind::Json => json::read(text),
        }
    }
}

/// What stands where an escape may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// No escape.
    Not,
    /// More bytes decide.
    Partial,
    Escape(Escape),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Escape {
    /// Bytes it takes up in the text.
    len: usize,
    plain: [u8; 4],
    plain_len: usize,
}

impl Read {
    /// `plain` has at most four bytes.
    pub(super) fn escape(len: usize, plain: &[u8]) -> Read {
        let mut bytes = [0; 4];
        bytes.iter_mut().zip(plain).for_each(|(to, &from)| *to = from);
        Read::Escape(Escape { len, plain: bytes, plain_len: plain.len() })
    }
}

impl Escape {
    pub fn plain(&self) -> &[u8] {
        self.plain.get(..self.plain_len).unwrap_or_default()
    }
}

/// Undoes one kind of escapes in a text that comes in pieces.
pub struct Unescape {
    kind: Kind,
    /// The beginning of an escape whose end was not there yet.
    partial: [u8; LONGEST],
    partial_len: usize,
    /// Bytes handed out so far.
    position: u64,
    seams: Seams,
}

/// A piece of text without escapes.
#[derive(Clone, Copy, Debug)]
pub struct Undone<'a> {
    pub bytes: &'a [u8],
    /// There was an escape, or the beginning of one: these are not the bytes that came.
    pub changed: bool,
}

impl Unescape {
    pub fn new(kind: Kind) -> Unescape {
        Unescape { kind, partial: [0; LONGEST], partial_len: 0, position: 0, seams: Seams::default() }
    }

    /// Bytes handed out so far.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Where in the text its plain form stands.
    pub fn seams(&self) -> &Seams {
        &self.seams
    }

    /// See [`Seams::forget_before`].
    pub fn forget_before(&mut self, at: u64) {
        self.seams.forget_before(at);
    }

    /// Is there the beginning of an escape whose end has not come?
    pub fn partial(&self) -> bool {
        self.partial_len > 0
    }

    /// Forgets everything: the next byte stands at `position`, in both texts, and follows nothing.
    pub fn restart(&mut self, position: u64) {
        *self = Unescape::new(self.kind);
        self.position = position;
    }

    /// The next bytes of the text, escapes undone; where there are any, in `plain`. `last`: nothing comes after.
    pub fn undo<'a>(&mut self, bytes: &'a [u8], last: bool, plain: &'a mut Vec<u8>) -> Undone<'a> {
        plain.clear();
        let mut work = Work { plain, last, changed: false };
        let from = if self.partial_len == 0 { Some(0) } else { self.complete(bytes, &mut work) };
        let rest = from.map(|from| self.walk(bytes, from..bytes.len(), &mut work));
        let Work { plain, changed, .. } = work;
        let rest = rest.and_then(|rest| bytes.get(rest)).unwrap_or_default();
        let bytes: &[u8] = if plain.is_empty() {
            rest
        } else {
            plain.extend_from_slice(rest);
            plain
        };
        self.position += bytes.len() as u64;
        Undone { bytes, changed }
    }

    /// Goes on with what was left of the piece before. Returns how many of `bytes` that took; none if all, and
    /// more are needed.
    fn complete(&mut self, bytes: &[u8], work: &mut Work<'_>) -> Option<usize> {
        let mut joined = [0; 2 * LONGEST];
        let before = std::mem::take(&mut self.partial_len);
        let all = self.partial.iter().take(before).chain(bytes);
        let len = joined.iter_mut().zip(all).map(|(to, &from)| *to = from).count();
        let joined = joined.get(..len)?;
        let rest = self.walk(joined, 0..before, work);
        let end = rest.end;
        work.plain.extend_from_slice(joined.get(rest).unwrap_or_default());
        // More than the longest escape is there, so what is still incomplete has used up all of it.
        if self.partial_len > 0 { None } else { end.checked_sub(before) }
    }

    /// Undoes the escapes that start in `range`. Only where there is one is anything copied; what is decided but
    /// not copied is returned.
    fn walk(&mut self, bytes: &[u8], range: Range<usize>, work: &mut Work<'_>) -> Range<usize> {
        let (mut copied, mut at) = (range.start, range.start);
        while let Some(distance) = bytes.get(at..range.end).and_then(|rest| memchr(self.kind.mark(), rest)) {
            at += distance;
            let rest = bytes.get(at..).unwrap_or_default();
            match self.kind.read(rest) {
                Read::Escape(escape) => {
                    work.plain.extend_from_slice(bytes.get(copied..at).unwrap_or_default());
                    let position = self.position + work.plain.len() as u64;
                    self.seams.add(position, escape.plain_len as u32, escape.len as u32);
                    work.plain.extend_from_slice(escape.plain());
                    work.changed = true;
                    at += escape.len;
                    copied = at;
                }
                Read::Partial if !work.last => {
                    work.changed = true;
                    let kept = self.partial.iter_mut().zip(rest).map(|(to, &from)| *to = from);
                    self.partial_len = kept.count();
                    return copied..at;
                }
                Read::Not | Read::Partial => at += 1,
            }
        }
        copied..at.max(range.end)
    }
}

/// One call of [`Unescape::undo`].
struct Work<'a> {
    plain: &'a mut Vec<u8>,
    last: bool,
    changed: bool,
}

impl Drop for Unescape {
    fn drop(&mut self) {
        self.partial.zeroize();
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Unescape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Unescape")
            .field("kind", &self.kind)
            .field("position", &self.position)
            .field("partial", &self.partial_len)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn undone(kind: Kind, pieces: &[&[u8]]) -> (Vec<u8>, Unescape) {
        let mut unescape = Unescape::new(kind);
        let mut plain = Vec::new();
        for piece in pieces {
            plain.extend_from_slice(unescape.undo(piece, false, &mut Vec::new()).bytes);
        }
        plain.extend_from_slice(unescape.undo(b"", true, &mut Vec::new()).bytes);
        assert_eq!(unescape.position(), plain.len() as u64);
        (plain, unescape)
    }

    fn is(kind: Kind, text: &str, plain: &str) {
        for cut in 0..=text.len() {
            let (first, second) = text.as_bytes().split_at(cut);
            let found = undone(kind, &[first, second]).0;
            assert_eq!(String::from_utf8_lossy(&found), plain, "{text} cut at {cut}");
        }
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(undone(kind, &bytes).0, plain.as_bytes(), "{text} byte by byte");
    }

    #[test]
    fn percent_escapes_are_undone_and_nothing_else() {
        is(Kind::Percent, "a%41b%2fc+d", "aAb/c+d");
        is(Kind::Percent, "100%, %zz %4 %%41 %2", "100%, %zz %4 %A %2");
        is(Kind::Percent, "%2541%", "%41%");
    }

    #[test]
    fn json_escapes_are_undone_and_nothing_else() {
        is(Kind::Json, r#"a\/b\n\"\\n\u0041\u00e9"#, "a/b\n\"\\nA\u{e9}");
        is(Kind::Json, r"\ud83d\ude00 \ud83d\ud83d\ude00", "\u{1f600} \u{fffd}\u{1f600}");
        is(Kind::Json, r"\ud83d \ude00 \ud83d\u0041 \ud83d\n", "\u{fffd} \u{fffd} \u{fffd}A \u{fffd}\n");
        is(Kind::Json, r"C:\Users \u12 \x \", r"C:\Users \u12 \x \");
    }

    #[test]
    fn text_without_escapes_is_not_copied() {
        let mut unescape = Unescape::new(Kind::Json);
        let text = b"plain \\x".as_slice();
        let mut copy = Vec::new();
        let undone = unescape.undo(text, false, &mut copy);
        assert!(std::ptr::eq(undone.bytes, text) && !undone.changed);
    }

    #[test]
    fn places_lead_back_across_pieces() {
        let (plain, unescape) = undone(Kind::Percent, &[b"ab%", b"41c%4", b"", b"2d"]);
        assert_eq!(plain, b"abAcBd");
        assert_eq!(unescape.seams().span(1..5), 1..9);
        assert!(unescape.seams().touch(&(4..5)) && !unescape.seams().touch(&(3..4)));
    }

    proptest! {
        #[test]
        fn any_cutting_gives_the_same_text(
            text in r"([ab\\u%0-9dDe]|\\u[dD]8[0-9]d|\\ud[c-f]00|%4[0-9]|\\n|\\/){0,40}",
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let text = text.as_bytes();
            let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
            at.extend([0, text.len()]);
            at.sort_unstable();
            let pieces: Vec<&[u8]> = at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect();
            for kind in [Kind::Percent, Kind::Json] {
                let (whole, places) = undone(kind, &[text]);
                let (cut, cut_places) = undone(kind, &pieces);
                prop_assert_eq!(&cut, &whole);
                for place in 0..=whole.len() as u64 {
                    prop_assert_eq!(cut_places.seams().place(place), places.seams().place(place));
                }
                prop_assert_eq!(places.seams().place(whole.len() as u64), text.len() as u64);
            }
        }
    }
}
