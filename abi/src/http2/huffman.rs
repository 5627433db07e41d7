//! HPACK's Huffman code (RFC 7541, 5.2 and Appendix B) as an automaton over half bytes.

/// Bits of each symbol's code, the end of a string last. The code is canonical: in the order of lengths, then of symbols, each
/// code is the one before plus one. So the lengths say it all.
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28,
    28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6,
    6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7,
    8, 13, 19, 13, 14, 6, 15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7,
    15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24,
    23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23,
    23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23, 26, 26, 20, 19, 22, 23, 22, 25, 26,
    26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20,
    21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27,
    27, 27, 26, 30,
];
const SYMBOLS: usize = 257;
const LONGEST: u8 = 30;
/// Inner nodes of the code's tree.
const NODES: usize = 256;

/// One of a node's 16 transitions: bits 0 to 7 are the next node, 8 to 15 the symbol that ends on the way, if there is one.
#[derive(Clone, Copy)]
pub(super) struct Cell(u32);

impl Cell {
    const SYMBOL: u32 = 1 << 16;
    /// No string goes on like this.
    const WRONG: u32 = 1 << 17;

    #[inline]
    pub fn next(self) -> u8 {
        self.0 as u8
    }

    #[inline]
    pub fn symbol(self) -> Option<u8> {
        if self.0 & Self::SYMBOL == 0 { None } else { Some((self.0 >> 8) as u8) }
    }

    #[inline]
    pub fn is_wrong(self) -> bool {
        self.0 & Self::WRONG != 0
    }
}

/// The transition of a node over four bits.
#[inline]
pub(super) fn cell(node: u8, bits: u8) -> Cell {
    let index = usize::from(node) << 4 | usize::from(bits & 15);
    Cell(CELLS.get(index).copied().unwrap_or(Cell::WRONG))
}

static CELLS: [u32; NODES * 16] = cells(&tree());

/// For each node and bit: a node, or [`LEAF`] and the symbol.
type Tree = [[u16; 2]; NODES];
const LEAF: u16 = 1 << 15;

#[allow(
    clippy::indexing_slicing,
    reason = "made by the compiler, which refuses an index that is out of bounds"
)]
const fn tree() -> Tree {
    let mut tree = [[0; 2]; NODES];
    let (mut nodes, mut code, mut length) = (1, 0u32, 1);
    while length <= LONGEST {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] == length {
                let (mut node, mut bit) = (0, length - 1);
                while bit > 0 {
                    let branch = (code >> bit & 1) as usize;
                    if tree[node][branch] == 0 {
                        tree[node][branch] = nodes;
                        nodes += 1;
                    }
                    node = tree[node][branch] as usize;
                    bit -= 1;
                }
                tree[node][(code & 1) as usize] = LEAF | symbol as u16;
                code += 1;
            }
            symbol += 1;
        }
        code <<= 1;
        length += 1;
    }
    tree
}

/// No code is shorter than five bits, so over four bits at most one symbol ends.
#[allow(
    clippy::indexing_slicing,
    reason = "made by the compiler, which refuses an index that is out of bounds"
)]
const fn cells(tree: &Tree) -> [u32; NODES * 16] {
    const END: u16 = LEAF | 256;
    let mut cells = [0; NODES * 16];
    let mut index = 0;
    while index < NODES * 16 {
        let (mut node, mut cell, mut bit) = (index >> 4, 0, 4);
        while bit > 0 {
            bit -= 1;
            let next = tree[node][index >> bit & 1];
            node = if next & LEAF == 0 { next as usize } else { 0 };
            if next == END {
                cell |= Cell::WRONG;
            } else if next & LEAF != 0 {
                cell |= Cell::SYMBOL | ((next & 255) as u32) << 8;
            }
        }
        cells[index] = cell | node as u32;
        index += 1;
    }
    cells
}
