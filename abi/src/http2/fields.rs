//! Header fields as HPACK writes them (RFC 7541, 6).

use super::huffman::cell;
use super::{Out, SEPARATOR};

/// What the next byte is: values of `Fields::part`.
mod part {
    /// The first byte of a field.
    pub const FIRST: u8 = 0;
    /// More of a number that did not fit into its first byte, and of which the value is not needed: a place in a table.
    pub const INDEX: u8 = 1;
    pub const LENGTH: u8 = 2;
    pub const LONG_LENGTH: u8 = 3;
    pub const PLAIN: u8 = 4;
    pub const HUFFMAN: u8 = 5;
    /// Nonsense, until the block ends.
    pub const LOST: u8 = 6;
}

/// Most bits a length is shifted by: more than any frame holds.
const MAX_SHIFT: u8 = 21;

/// Where in a block of fields a reader is.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub(super) struct Fields {
    /// Bytes of the string that are still to come.
    left: u32,
    /// Where the next part of a length belongs.
    shift: u8,
    /// See [`part`].
    part: u8,
    /// Strings of the field that are still to come: name and value, value, or none.
    strings: u8,
    huffman: u8,
    /// Where in the tree of codes.
    node: u8,
    reserved: [u8; 7],
}

impl Fields {
    pub const NEW: Self =
        Self { left: 0, shift: 0, part: part::FIRST, strings: 0, huffman: 0, node: 0, reserved: [0; 7] };

    #[inline]
    pub fn push(&mut self, byte: u8, out: &mut Out) {
        match self.part {
            part::FIRST => self.first(byte),
            part::INDEX if byte & 0x80 == 0 => self.next_string(),
            part::LENGTH => self.length(byte, out),
            part::LONG_LENGTH => self.long_length(byte, out),
            part::PLAIN => {
                out.add(byte);
                self.one_less();
            }
            part::HUFFMAN => self.coded(byte, out),
            _ => {}
        }
    }

    /// What kind of field it is (RFC 7541, 6.1 to 6.3).
    #[inline]
    fn first(&mut self, byte: u8) {
        let (bits, literal) = match byte {
            0x80.. => (0x7f, false),
            0x40.. => (0x3f, true),
            0x20.. => (0x1f, false),
            _ => (0x0f, true),
        };
        let index = byte & bits;
        self.strings = match (literal, index) {
            (false, _) => 0,
            (true, 0) => 2,
            (true, _) => 1,
        };
        if index == bits { self.part = part::INDEX } else { self.next_string() }
    }

    #[inline]
    fn next_string(&mut self) {
        self.part = if self.strings == 0 { part::FIRST } else { part::LENGTH };
    }

    /// The first byte of a string (RFC 7541, 5.2).
    #[inline]
    fn length(&mut self, byte: u8, out: &mut Out) {
        self.huffman = byte >> 7;
        self.left = u32::from(byte & 0x7f);
        if self.left == 0x7f {
            (self.part, self.shift) = (part::LONG_LENGTH, 0);
        } else {
            self.begin(out);
        }
    }

    #[inline]
    fn long_length(&mut self, byte: u8, out: &mut Out) {
        if self.shift > MAX_SHIFT {
            self.part = part::LOST;
            return;
        }
        self.left = self.left.wrapping_add(u32::from(byte & 0x7f) << (self.shift & 31));
        self.shift = self.shift.wrapping_add(7);
        if byte & 0x80 == 0 {
            self.begin(out);
        }
    }

    #[inline]
    fn begin(&mut self, out: &mut Out) {
        out.add(SEPARATOR);
        self.node = 0;
        self.strings = self.strings.saturating_sub(1);
        self.part = if self.huffman == 0 { part::PLAIN } else { part::HUFFMAN };
        if self.left == 0 {
            self.next_string();
        }
    }

    #[inline]
    fn coded(&mut self, byte: u8, out: &mut Out) {
        for bits in [byte >> 4, byte & 15] {
            let cell = cell(self.node, bits);
            if cell.is_wrong() {
                self.part = part::LOST;
                return;
            }
            if let Some(symbol) = cell.symbol() {
                out.add(symbol);
            }
            self.node = cell.next();
        }
        self.one_less();
    }

    #[inline]
    fn one_less(&mut self) {
        self.left = self.left.saturating_sub(1);
        if self.left == 0 {
            self.next_string();
        }
    }
}
