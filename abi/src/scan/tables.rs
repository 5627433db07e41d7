//! The rules as data: what each table holds, and how its numbers refer to the others.
//!
//! In the kernel each is an array map, in userspace a vector. An index outside a table reads as zero, so wrong tables give
//! wrong answers, never a wrong access.

/// State of the literal automaton in which nothing is under way.
pub const START: u16 = 0;
/// Row of a token automaton from which no match can be reached. Also: no row at all.
pub const DEAD: u16 = 0;
/// Row of a token automaton in which a match has ended, and its right neighbour is a boundary.
pub const HIT: u16 = 1;

/// Index of no anchor: nothing (more) is to be considered. The table's first place is not used.
pub const NO_ANCHOR: u16 = 0;

/// The cells of both automata come in blocks of this many: a map's values are of one size, and the kernel wants to copy each
/// in one piece.
pub const BLOCK: usize = 1 << 15;
/// Words of a set of bytes that glue.
pub const GLUE_WORDS: usize = 8;

/// Declares the element of a table.
macro_rules! element {
    ($(#[$meta:meta])* pub struct $name:ident { $($(#[$fmeta:meta])* pub $field:ident: $ty:ty,)* } size $size:literal) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        #[repr(C)]
        pub struct $name { $($(#[$fmeta])* pub $field: $ty,)* }
        const _: () = assert!(core::mem::size_of::<$name>() == $size);
        // SAFETY: `repr(C)`, integers only, without padding, and every bit pattern is valid.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $name {}
    };
}

element! {
    /// What is said once of all tables. The states of the literal automaton are numbered by how many bytes of a literal are
    /// under way: none ([`START`]), one, two, more; last those in which a literal ends.
    pub struct Header {
        /// Tells two sets of tables apart; not 0. A flow that began with others begins anew.
        pub generation: u32,
        /// Cells in a row of the literal automaton: one per class of bytes.
        pub stride: u16,
        /// The first state with two bytes under way.
        pub two: u16,
        /// The first state with three or more.
        pub three: u16,
        /// The first state in which a literal ends.
        pub ending: u16,
    }
    size 12
}

element! {
    /// What the end of a literal says: a key of this token may start `least` to `most` bytes before it.
    pub struct Anchor {
        /// Index of the [`Token`].
        pub token: u16,
        /// The token's row at the literal's end; [`DEAD`] if that depends on what stands before the literal, which then has
        /// to be read again.
        pub row: u16,
        /// Index of the set of bytes that glue to the key from the left.
        pub left: u16,
        pub least: u8,
        pub most: u8,
        /// Index of the next anchor of the same literal, then of the next shorter literal that ends with it, or
        /// [`NO_ANCHOR`].
        pub next: u16,
    }
    size 10
}

element! {
    /// A pattern as an automaton. Its rows are numbered by the cell they begin with, counted from `base`; a cell is the
    /// number of the next row.
    pub struct Token {
        /// The cell from which the others are counted.
        pub base: u32,
        /// The row of a key's first byte.
        pub start: u16,
        /// From this row on: a match ends here if no byte follows.
        pub complete: u16,
        /// Index of its classes of bytes.
        pub classes: u16,
        /// The rule whose key this is: its place in the rule set.
        pub rule: u16,
    }
    size 12
}

element! {
    /// Which tables are in one half of the maps, and where that half begins in each. Maps have two, so that rules can be exchanged
    /// while others are in use.
    pub struct Half {
        pub header: Header,
        pub ending: u32,
        pub anchors: u32,
        pub tokens: u32,
        pub classes: u32,
        pub glue: u32,
        /// In blocks, as those of `cells`.
        pub literals: u32,
        pub cells: u32,
    }
    size 40
}

/// Access to the tables.
pub trait Tables {
    fn header(&self) -> Header;
    /// A word of the filter: see [`super::window_place`].
    fn windows(&self, word: u32) -> u64;
    /// A word of the filter's second table: see [`super::beginning_place`].
    fn beginnings(&self, word: u32) -> u64;
    /// The class of a byte. Map 0 is the literal automaton's.
    fn class(&self, map: u16, byte: u8) -> u8;
    /// Cells of the literal automaton: the next state, by `state * stride + class`.
    fn literal(&self, cell: u32) -> u16;
    /// Index of the first anchor of the state `Header::ending + index`.
    fn ending(&self, index: u16) -> u16;
    fn anchor(&self, index: u16) -> Anchor;
    fn token(&self, index: u16) -> Token;
    /// Cells of all token automata: the next row, by `base + row + class`.
    fn cell(&self, cell: u32) -> u16;
    /// A word of a set of bytes that glue: bit `byte & 31` of word `byte >> 5`.
    fn glue(&self, set: u16, word: u8) -> u32;
}
