//! Line and column of an offset in a stream, knowing only its last bytes.

use keymoat_detect::MAX_BYTES_HELD;

/// Fed the same bytes as the detector, before it. Columns count bytes, both count from 1.
pub struct Lines {
    window: Vec<u8>,
    /// Where the window begins.
    base: Mark,
    /// The last place asked for: the next is mostly behind it.
    cursor: Mark,
}

#[derive(Clone, Copy)]
struct Mark {
    offset: u64,
    line: u64,
    line_start: u64,
}

impl Default for Lines {
    fn default() -> Self {
        let start = Mark { offset: 0, line: 1, line_start: 0 };
        Self { window: Vec::new(), base: start, cursor: start }
    }
}

impl Lines {
    pub fn push(&mut self, bytes: &[u8]) {
        // A secret starts at most this far back.
        let dropped = self.window.len().saturating_sub(MAX_BYTES_HELD);
        self.base =
            self.advance(self.nearest(self.base.offset + dropped as u64), self.base.offset + dropped as u64);
        self.window.drain(..dropped);
        self.window.extend_from_slice(bytes);
        if self.cursor.offset < self.base.offset {
            self.cursor = self.base;
        }
    }

    pub fn locate(&mut self, offset: u64) -> (u64, u64) {
        let offset = offset.max(self.base.offset);
        self.cursor = self.advance(self.nearest(offset), offset);
        (self.cursor.line, offset - self.cursor.line_start + 1)
    }

    fn nearest(&self, offset: u64) -> Mark {
        if self.cursor.offset <= offset { self.cursor } else { self.base }
    }

    fn advance(&self, from: Mark, to: u64) -> Mark {
        let index = |offset: u64| usize::try_from(offset - self.base.offset).unwrap_or(usize::MAX);
        let passed = self.window.get(index(from.offset)..index(to)).unwrap_or_default();
        let newlines = passed.iter().filter(|byte| **byte == b'\n').count() as u64;
        let last = passed.iter().rposition(|byte| *byte == b'\n');
        Mark {
            offset: to,
            line: from.line + newlines,
            line_start: last.map_or(from.line_start, |index| from.offset + index as u64 + 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn as_counted_over_the_whole_text(
            text in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'x')], 1..30_000),
            chunk in 500_usize..9000,
            back in 0..MAX_BYTES_HELD,
        ) {
            let mut lines = Lines::default();
            for (n, part) in text.chunks(chunk).enumerate() {
                lines.push(part);
                let end = n * chunk + part.len();
                for offset in [end.saturating_sub(back), end.saturating_sub(back / 2), end.saturating_sub(back)] {
                    let before = &text[..offset];
                    let line = before.iter().filter(|b| **b == b'\n').count() + 1;
                    let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
                    prop_assert_eq!(lines.locate(offset as u64), (line as u64, column as u64));
                }
                prop_assert!(lines.window.len() <= MAX_BYTES_HELD + chunk);
            }
        }
    }
}
