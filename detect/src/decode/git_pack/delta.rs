//! The instructions of a delta object (gitformat-pack(5), "Deltified representation"): text that is new, and
//! stretches of another object that are not in the pack.

use crate::decode::Part;

/// A position in a delta. New text that is written by several instructions in a row comes as one text.
#[derive(Clone, Copy, Debug)]
pub struct Delta {
    state: State,
    /// The text under way was begun, and not ended.
    begun: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// So many sizes (of the old object, of the new one) come before the instructions.
    Size(u8),
    Instruction,
    /// The operands of a copy.
    Operands(u32),
    /// So much new text follows.
    Insert(u8),
    /// No instructions.
    Raw,
}

impl Default for Delta {
    fn default() -> Self {
        Self { state: State::Size(2), begun: false }
    }
}

impl Delta {
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Part, &[u8])) {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Insert(left) => {
                    let count = usize::from(left).min(rest.len());
                    let (text, after) = rest.split_at_checked(count).unwrap_or((rest, &[]));
                    out(Part::More, text);
                    self.begun = true;
                    let left = left.saturating_sub(count as u8);
                    self.state = if left == 0 { State::Instruction } else { State::Insert(left) };
                    rest = after;
                    continue;
                }
                State::Raw => {
                    out(Part::More, rest);
                    self.begun = true;
                    return;
                }
                State::Size(left) if byte & 0x80 == 0 => {
                    self.state = if left <= 1 { State::Instruction } else { State::Size(left - 1) };
                }
                State::Size(_) => {}
                State::Instruction if byte == 0 => self.state = State::Raw,
                State::Instruction if byte & 0x80 == 0 => self.state = State::Insert(byte),
                State::Instruction => {
                    self.end(out);
                    self.state = match (byte & 0x7f).count_ones() {
                        0 => State::Instruction,
                        operands => State::Operands(operands),
                    };
                }
                State::Operands(left) => {
                    self.state = if left <= 1 { State::Instruction } else { State::Operands(left - 1) };
                }
            }
            rest = after;
        }
    }

    /// The text under way is over.
    pub fn end(&mut self, out: &mut dyn FnMut(Part, &[u8])) {
        if std::mem::take(&mut self.begun) {
            out(Part::Last, &[]);
        }
    }
}
