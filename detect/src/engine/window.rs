//! The bytes at hand during one push: what the stream kept, then what was pushed, seen as one text.

use std::borrow::Cow;

pub(crate) struct Window<'a> {
    /// Offset in the stream of the first byte kept.
    base: u64,
    kept: &'a [u8],
    fresh: &'a [u8],
}

impl<'a> Window<'a> {
    pub(crate) fn new(base: u64, kept: &'a [u8], fresh: &'a [u8]) -> Window<'a> {
        Window { base, kept, fresh }
    }

    pub(crate) fn base(&self) -> u64 {
        self.base
    }

    pub(crate) fn end(&self) -> u64 {
        self.base + (self.kept.len() + self.fresh.len()) as u64
    }

    pub(crate) fn byte(&self, at: u64) -> Option<u8> {
        let at = usize::try_from(at.checked_sub(self.base)?).ok()?;
        let byte = match at.checked_sub(self.kept.len()) {
            Some(at) => self.fresh.get(at),
            None => self.kept.get(at),
        };
        byte.copied()
    }

    /// The bytes from `start` on, in two parts. A start before the window is the window's start.
    fn parts(&self, start: u64) -> (&'a [u8], &'a [u8]) {
        let skip = usize::try_from(start.saturating_sub(self.base)).unwrap_or(usize::MAX);
        match skip.checked_sub(self.kept.len()) {
            Some(skip) => (&[], self.fresh.get(skip..).unwrap_or_default()),
            None => (self.kept.get(skip..).unwrap_or_default(), self.fresh),
        }
    }

    pub(crate) fn bytes_from(&self, start: u64) -> impl Iterator<Item = u8> + use<'a> {
        let (first, second) = self.parts(start);
        first.iter().chain(second).copied()
    }

    /// One span as one slice; copied only when it lies across both parts. Whoever takes a copy wipes it.
    pub(crate) fn span(&self, start: u64, end: u64) -> Cow<'a, [u8]> {
        let len = usize::try_from(end.saturating_sub(start)).unwrap_or(usize::MAX);
        match self.parts(start) {
            (first, _) if first.len() >= len => Cow::Borrowed(first.get(..len).unwrap_or_default()),
            ([], second) => Cow::Borrowed(second.get(..len).unwrap_or(second)),
            (first, second) => {
                let mut joined = Vec::with_capacity(len);
                joined.extend_from_slice(first);
                joined.extend_from_slice(second.get(..len - first.len()).unwrap_or(second));
                Cow::Owned(joined)
            }
        }
    }
}
