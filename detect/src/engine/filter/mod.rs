//! Which places in a text can be part of a literal, judged by a few bytes at a time.
//!
//! A literal is known by four bytes of it, its window: the first four, or, where it may stand behind anything, the
//! rarest four near its beginning. A kernel judges 64 places at once, roughly; what it leaves, a tenth of the places
//! of ordinary text, is looked up in a table of windows; what that leaves is for the automaton. Neither step has
//! branches that depend on the text, which is what makes them fast.
//!
//! Most literals begin a secret that counts only where a token begins, so places inside a word need no look.

#[cfg(target_arch = "x86_64")]
mod avx2;
mod nibbles;
mod windows;

pub(crate) use windows::{FARTHEST, Literal, SHORTEST};
use windows::{WINDOW, Windows};

/// Places a kernel judges at once, a bit each, and the bytes it looks at around them.
const LANES: usize = 64;
const BEFORE: usize = 8;
const AFTER: usize = 8;
const BLOCK: usize = BEFORE + LANES + AFTER;
/// Words of places judged in one go.
const WORDS: usize = 4;
/// A letter or digit behind this is the end of an escape, and a token may begin there.
const BACKSLASH: u8 = b'\\';

pub(crate) struct Filter {
    windows: Windows,
    kernel: Kernel,
}

enum Kernel {
    #[cfg(target_arch = "x86_64")]
    Avx2(Box<avx2::Tables>),
    /// The table of windows alone.
    Portable,
}

/// Places in a text that the kernel leaves, as distances from the first place it judged.
pub(crate) struct Places {
    list: [u8; LANES * WORDS + SPARE],
    len: usize,
}

/// Noted for each word at least, whether there are as many or not.
const SPARE: usize = 4;

impl Filter {
    /// None if one of the literals is too short.
    pub(crate) fn new<'a>(literals: impl Iterator<Item = Literal<'a>>) -> Option<Filter> {
        let windows = Windows::new(literals)?;
        let kernel = Kernel::new(&windows);
        Some(Filter { windows, kernel })
    }

    #[cfg(test)]
    pub(crate) fn portable(self) -> Filter {
        Filter { kernel: Kernel::Portable, ..self }
    }

    /// Behind the last place where a literal's window can be as far as these bytes show it. It is known of a literal
    /// that begins before [`Self::settled`]; one behind may have its window in what follows.
    pub(crate) fn end(bytes: &[u8]) -> usize {
        (bytes.len() + 1).saturating_sub(SHORTEST)
    }

    pub(crate) fn settled(bytes: &[u8]) -> usize {
        (bytes.len() + 1).saturating_sub(FARTHEST + WINDOW)
    }

    /// Notes the places from `at` on that the automaton may have to look at; returns up to where.
    #[inline]
    pub(crate) fn judge(&self, bytes: &[u8], at: usize, places: &mut Places) -> usize {
        let mut words = [0; WORDS];
        let whole = at.checked_sub(BEFORE).and_then(|from| bytes.get(from..)).unwrap_or_default();
        let count = (whole.len().saturating_sub(BEFORE + AFTER) / LANES).min(WORDS);
        if count == 0 {
            let edge = edge(bytes, at);
            self.masks(&edge, words.get_mut(..1).unwrap_or_default());
            let left = Self::end(bytes).saturating_sub(at);
            let judged = if left < LANES { (1 << left) - 1 } else { u64::MAX };
            words.iter_mut().for_each(|word| *word &= judged);
        } else {
            self.masks(whole, words.get_mut(..count).unwrap_or_default());
        }
        places.note(&words);
        at + LANES * count.max(1)
    }

    /// Can a literal's window stand at this place? The literal begins up to [`FARTHEST`] bytes before.
    #[inline]
    pub(crate) fn confirm(&self, bytes: &[u8], place: usize) -> bool {
        let bytes = bytes.get(place..).unwrap_or_default();
        let may_be = bytes.first_chunk().is_none_or(|window| self.windows.may_be(*window));
        // Close to the end it is not known what follows.
        may_be && bytes.first_chunk().is_none_or(|bytes| self.windows.has(*bytes))
    }

    /// Judges the places behind the first [`BEFORE`] bytes, as many as there are words for.
    #[inline]
    fn masks(&self, bytes: &[u8], words: &mut [u64]) {
        match &self.kernel {
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2(tables) => tables.masks(bytes, words),
            Kernel::Portable => portable(&self.windows, bytes, words),
        }
    }
}

impl Kernel {
    fn new(windows: &Windows) -> Kernel {
        #[cfg(target_arch = "x86_64")]
        if let Some(tables) = avx2::Tables::new(windows) {
            return Kernel::Avx2(Box::new(tables));
        }
        Kernel::Portable
    }
}

/// One block with the first or last bytes of a text in it. What stands before the text is not known, so that a token
/// may begin in its first bytes.
fn edge(bytes: &[u8], at: usize) -> [u8; BLOCK] {
    let mut block = [BACKSLASH; BLOCK];
    let from = at.saturating_sub(BEFORE);
    let known = block.get_mut(BEFORE - (at - from)..).unwrap_or_default();
    let bytes = bytes.get(from..).unwrap_or_default();
    known.iter_mut().zip(bytes).for_each(|(to, &byte)| *to = byte);
    block
}

fn portable(windows: &Windows, bytes: &[u8], words: &mut [u64]) {
    let places = bytes.get(BEFORE..).unwrap_or_default().windows(WINDOW);
    let mut hits = places.map(|window| window.first_chunk().is_some_and(|&window| windows.may_be(window)));
    for word in words {
        *word = (0..LANES).fold(0, |word, lane| word | u64::from(hits.next() == Some(true)) << lane);
    }
}

impl Places {
    pub(crate) fn new() -> Places {
        Places { list: [0; _], len: 0 }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = usize> {
        self.list.iter().take(self.len).map(|&place| usize::from(place))
    }

    /// Bits become numbers. A few are noted for each word in any case: how many there are is as good as random, and
    /// a branch on it would be mispredicted for each.
    #[inline]
    fn note(&mut self, words: &[u64; WORDS]) {
        self.len = 0;
        for (&word, first) in words.iter().zip((0u8..).step_by(LANES)) {
            let mut bits = word;
            let mut next = || {
                let place = first.wrapping_add(bits.trailing_zeros() as u8);
                bits &= bits.wrapping_sub(1);
                place
            };
            let count = word.count_ones() as usize;
            let free = self.list.get_mut(self.len..).unwrap_or_default();
            if let Some((few, more)) = free.split_first_chunk_mut::<SPARE>() {
                few.iter_mut().for_each(|slot| *slot = next());
                more.iter_mut().take(count.saturating_sub(SPARE)).for_each(|slot| *slot = next());
            }
            self.len += count;
        }
    }
}
