//! Finds runs: unbroken stretches of base64 characters, of which hexadecimal digits are some.
//!
//! Words are such stretches too, but short ones. Every run of [`SHORTEST`] characters fills a whole block of eight
//! bytes wherever blocks begin, so one look per block passes ordinary text: it has a space, a quote or another
//! low byte in nearly each.
//!
//! A run may be wrapped into lines (MIME, PEM, `base64`, `xxd -p`). Whether the line after a full one belongs to it
//! is decided when that line is as long, or has ended in a way in which a run ends; `Accept:` after a header of
//! exactly that length does not.

use super::base64::belongs;
use zeroize::Zeroizing;

/// A shorter stretch is a word. 16 characters hold 12 bytes.
pub const SHORTEST: usize = 16;
/// What a run's beginning is judged by; a run that is shorter is handed out whole.
pub const HEAD: usize = 128;

const BLOCK: usize = 8;

/// A run, as it is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A run of one line, shorter than [`HEAD`].
    Whole {
        at: u64,
        chars: &'a [u8],
    },
    /// The first line, or as many characters of it as [`HEAD`].
    Begin {
        at: u64,
        chars: &'a [u8],
    },
    /// Follows; if not directly, then in the next line.
    More {
        at: u64,
        chars: &'a [u8],
    },
    End,
}

/// Looks for runs in a text that comes in pieces.
#[derive(Default)]
pub struct Runs {
    position: u64,
    state: State,
    /// Characters before `position` of which it is not known what they belong to: fewer than [`HEAD`].
    held: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// No run is open. What is held may become one.
    #[default]
    Outside,
    /// In a line of an open run. `width` is the length of the lines before.
    Line { len: usize, width: Option<usize> },
    /// After a full line.
    Break { width: usize, seen: Break },
    /// In the line after a full one. It is held until it is known to belong to the run.
    Next { width: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Break {
    Nothing,
    Return,
    /// The line break, and so many blanks: YAML indents.
    Feed {
        blanks: u8,
    },
}

/// Most blanks before a line that goes on with a run.
const INDENT: u8 = 32;

impl Runs {
    /// Offset of the first byte that events still to come may name.
    pub fn kept_from(&self) -> u64 {
        self.position - self.held.len() as u64
    }

    /// Would [`Self::flush`] give events?
    pub fn pending(&self) -> bool {
        match self.state {
            State::Outside => self.held.len() >= SHORTEST,
            State::Next { .. } => !self.held.is_empty(),
            State::Line { .. } | State::Break { .. } => false,
        }
    }

    /// Forgets everything: the next byte stands at `position` and follows nothing.
    pub fn restart(&mut self, position: u64) {
        *self = Runs { position, ..Runs::default() };
    }

    /// Looks at the next bytes.
    pub fn push(&mut self, bytes: &[u8], event: &mut dyn FnMut(Event<'_>)) {
        let base = self.position;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            self.position = base + at as u64;
            at += match self.state {
                State::Outside if self.held.is_empty() => self.search(rest, event),
                State::Outside => self.extend(rest, event),
                State::Line { len, width } => self.line(rest, len, width, event),
                State::Break { width, seen } => self.line_break(rest, width, seen, event),
                State::Next { width } => self.next_line(rest, width, event),
            };
        }
        self.position = base + bytes.len() as u64;
    }

    /// Decides as if nothing came after what was pushed. More may be pushed.
    pub fn flush(&mut self, event: &mut dyn FnMut(Event<'_>)) {
        if !self.pending() {
            return;
        }
        let (at, len) = (self.kept_from(), self.held.len());
        let (chars, width) = match self.state {
            State::Next { width } => (Event::More { at, chars: &self.held }, Some(width)),
            _ => (Event::Begin { at, chars: &self.held }, None),
        };
        event(chars);
        self.held.clear();
        self.state = State::Line { len, width };
    }

    /// The text is at its end.
    pub fn finish(&mut self, event: &mut dyn FnMut(Event<'_>)) {
        let at = self.kept_from();
        match self.state {
            State::Outside if self.held.len() >= SHORTEST => event(Event::Whole { at, chars: &self.held }),
            State::Outside => {}
            State::Next { .. } => {
                event(Event::More { at, chars: &self.held });
                event(Event::End);
            }
            State::Line { .. } | State::Break { .. } => event(Event::End),
        }
        self.held.clear();
        self.state = State::Outside;
    }

    /// Outside of any run, before a byte that belongs to none. Returns how far it looked.
    fn search(&mut self, bytes: &[u8], event: &mut dyn FnMut(Event<'_>)) -> usize {
        let (start, end) = find(bytes);
        let at = self.position + start as u64;
        let Some(chars) = bytes.get(start..end) else { return bytes.len() };
        if let Some((head, _)) = chars.split_at_checked(HEAD) {
            event(Event::Begin { at, chars: head });
            self.state = State::Line { len: HEAD, width: None };
            return start + HEAD;
        }
        match bytes.get(end) {
            None => self.held.extend_from_slice(chars),
            Some(&after) => self.state = begin(at, chars, after, event),
        }
        end
    }

    /// Goes on with what is held.
    fn extend(&mut self, bytes: &[u8], event: &mut dyn FnMut(Event<'_>)) -> usize {
        let at = self.kept_from();
        let (took, after) = self.hold(bytes, HEAD);
        if self.held.len() == HEAD {
            event(Event::Begin { at, chars: &self.held });
            self.state = State::Line { len: HEAD, width: None };
            self.held.clear();
        } else if let Some(after) = after {
            self.state = begin(at, &self.held, after, event);
            self.held.clear();
        }
        took
    }

    fn line(
        &mut self,
        bytes: &[u8],
        len: usize,
        width: Option<usize>,
        event: &mut dyn FnMut(Event<'_>),
    ) -> usize {
        let took = length(bytes);
        if let Some(chars) = bytes.get(..took).filter(|chars| !chars.is_empty()) {
            event(Event::More { at: self.position, chars });
        }
        let len = len + took;
        self.state = match bytes.get(took) {
            None => State::Line { len, width },
            Some(&after) if is_full(len, after) && width.is_none_or(|width| width == len) => {
                State::Break { width: len, seen: Break::Nothing }
            }
            Some(_) => {
                event(Event::End);
                State::Outside
            }
        };
        took
    }

    /// Takes one byte of a line break, or none.
    fn line_break(
        &mut self,
        bytes: &[u8],
        width: usize,
        seen: Break,
        event: &mut dyn FnMut(Event<'_>),
    ) -> usize {
        let first = bytes.first().copied().unwrap_or_default();
        let seen = match (first, seen) {
            (b'\r', Break::Nothing) => Break::Return,
            (b'\n', Break::Nothing | Break::Return) => Break::Feed { blanks: 0 },
            (b' ' | b'\t', Break::Feed { blanks }) if blanks < INDENT => Break::Feed { blanks: blanks + 1 },
            (_, Break::Feed { .. }) if belongs(first) => {
                self.state = State::Next { width };
                return 0;
            }
            _ => {
                event(Event::End);
                self.state = State::Outside;
                return 0;
            }
        };
        self.state = State::Break { width, seen };
        1
    }

    fn next_line(&mut self, bytes: &[u8], width: usize, event: &mut dyn FnMut(Event<'_>)) -> usize {
        let at = self.kept_from();
        let most = width.min(HEAD);
        let (took, after) = self.hold(bytes, most);
        let len = self.held.len();
        // The dashes before `END CERTIFICATE` and before a MIME boundary are no base64.
        let goes_on = !self.held.starts_with(b"--");
        if len == most && goes_on {
            event(Event::More { at, chars: &self.held });
            self.state = State::Line { len, width: Some(width) };
            self.held.clear();
        } else if len == most {
            // Held on, as the beginning of something else.
            event(Event::End);
            self.state = State::Outside;
            if len == HEAD {
                event(Event::Begin { at, chars: &self.held });
                self.state = State::Line { len, width: None };
                self.held.clear();
            }
        } else if let Some(after) = after {
            if goes_on && matches!(after, b'=' | b'\r' | b'\n' | b'"' | b'\'' | b'<' | b'`' | b')') {
                event(Event::More { at, chars: &self.held });
                event(Event::End);
                self.state = State::Outside;
            } else {
                event(Event::End);
                self.state = begin(at, &self.held, after, event);
            }
            self.held.clear();
        }
        took
    }

    /// Holds the characters that follow, `most` at most in all. Returns how many, and the byte after them.
    fn hold(&mut self, bytes: &[u8], most: usize) -> (usize, Option<u8>) {
        let room = most.saturating_sub(self.held.len());
        let near = bytes.get(..room).unwrap_or(bytes);
        let took = length(near);
        self.held.extend_from_slice(near.get(..took).unwrap_or_default());
        (took, bytes.get(took).copied())
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Runs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runs")
            .field("position", &self.position)
            .field("state", &self.state)
            .field("held", &self.held.len())
            .finish()
    }
}

/// A stretch shorter than [`HEAD`] has ended.
fn begin(at: u64, chars: &[u8], after: u8, event: &mut dyn FnMut(Event<'_>)) -> State {
    if is_full(chars.len(), after) {
        event(Event::Begin { at, chars });
        return State::Break { width: chars.len(), seen: Break::Nothing };
    }
    if chars.len() >= SHORTEST {
        event(Event::Whole { at, chars });
    }
    State::Outside
}

/// May a run go on in the next line, when this line of it has ended? The widths that encoders use; other lines of
/// one length are rather values of their own.
fn is_full(len: usize, after: u8) -> bool {
    matches!(after, b'\r' | b'\n')
        && (matches!(len, 60 | 64 | 72 | 76 | 80) || (len >= 96 && len.is_multiple_of(4)))
}

/// Hands out the runs of a text that comes in one piece, if all of them are of one line and shorter than [`HEAD`], until
/// one is refused. Is none refused, and none of another kind?
pub fn all_short(bytes: &[u8], mut accept: impl FnMut(&[u8]) -> bool) -> bool {
    let mut rest = bytes;
    while !rest.is_empty() {
        let (start, end) = find(rest);
        let (chars, after) = (rest.get(start..end).unwrap_or_default(), rest.get(end..).unwrap_or_default());
        let wrapped = after.first().is_some_and(|&after| is_full(chars.len(), after));
        if chars.len() >= HEAD || wrapped || chars.len() >= SHORTEST && !accept(chars) {
            return false;
        }
        rest = after;
    }
    true
}

/// The first stretch that is long enough, or else the one at the very end, whatever its length.
fn find(bytes: &[u8]) -> (usize, usize) {
    let mut from = 0;
    let mut at = 0;
    while let Some(block) = bytes.get(at..).and_then(<[u8]>::first_chunk::<BLOCK>) {
        if !all_belong(block) || !may_be_long(bytes, at) {
            at += BLOCK;
            continue;
        }
        let start = at - trailing(bytes.get(from..at).unwrap_or_default());
        let end = at + BLOCK + length(bytes.get(at + BLOCK..).unwrap_or_default());
        if end - start >= SHORTEST || end == bytes.len() {
            return (start, end);
        }
        (from, at) = (end, end);
    }
    (bytes.len() - trailing(bytes.get(from..).unwrap_or_default()), bytes.len())
}

/// Can a block of characters be in a run of [`SHORTEST`] or more, or in one that ends with the text? Then there are four
/// more on one side of it, and few words have them.
#[inline]
fn may_be_long(bytes: &[u8], at: usize) -> bool {
    const MORE: usize = (SHORTEST - BLOCK) / 2;
    let all = |part: &[u8]| part.iter().fold(true, |all, &byte| all & belongs(byte));
    let before = at.checked_sub(MORE).and_then(|from| bytes.get(from..at)).is_some_and(all);
    let after = bytes.get(at + BLOCK..).and_then(|rest| rest.get(..MORE)).is_none_or(all);
    before | after
}

#[inline]
fn all_belong(block: &[u8; BLOCK]) -> bool {
    const ONES: u64 = u64::from_le_bytes([1; BLOCK]);
    const HIGH: u64 = ONES << 7;
    // Is a byte below `+`? Borrows only ever make a block look worse than it is behind a byte that is.
    let word = u64::from_le_bytes(*block);
    let low = word.wrapping_sub(ONES * b'+' as u64) & !word & HIGH;
    low | (word & HIGH) == 0 && block.iter().fold(true, |all, &byte| all & belongs(byte))
}

/// How many characters of a run the bytes start with.
fn length(bytes: &[u8]) -> usize {
    const STEP: usize = 32;
    let mut at = 0;
    for block in bytes.chunks_exact(STEP) {
        if !block.iter().fold(true, |all, &byte| all & belongs(byte)) {
            break;
        }
        at += STEP;
    }
    at + bytes.get(at..).unwrap_or_default().iter().take_while(|&&byte| belongs(byte)).count()
}

/// How many characters of a run the bytes end with.
fn trailing(bytes: &[u8]) -> usize {
    bytes.iter().rev().take_while(|&&byte| belongs(byte)).count()
}
