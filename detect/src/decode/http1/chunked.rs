//! The framing of a chunked body (RFC 9112, 7.1), line by line. The data between the lines is the caller's.

/// Longest size line or trailer line that is waited for.
pub const MAX_LINE: usize = 8 * 1024;
/// More digits than any chunk has.
const MAX_DIGITS: usize = 15;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    phase: Phase,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Size,
    Data(u64),
    DataEnd,
    Trailer,
}

/// What a line of the framing was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Line {
    /// Nothing in it but framing.
    Plain,
    /// A chunk extension or a trailer field: somebody's text.
    Text,
    /// The body and its trailer are over.
    End,
    /// This is no chunked body.
    Broken,
}

impl Chunks {
    /// Bytes of the current chunk that are still to come; none when a line comes next.
    pub fn data_left(&self) -> Option<u64> {
        match self.phase {
            Phase::Data(left) => Some(left),
            _ => None,
        }
    }

    pub fn took(&mut self, bytes: u64) {
        if let Phase::Data(left) = self.phase {
            self.phase = match left.saturating_sub(bytes) {
                0 => Phase::DataEnd,
                left => Phase::Data(left),
            };
        }
    }

    /// Takes a line, its line break included.
    pub fn line(&mut self, line: &[u8]) -> Line {
        let text = line.trim_ascii_end();
        match self.phase {
            Phase::Size => self.size(text),
            Phase::DataEnd if text.is_empty() => {
                self.phase = Phase::Size;
                Line::Plain
            }
            Phase::Trailer if text.is_empty() => Line::End,
            Phase::Trailer => Line::Text,
            Phase::DataEnd | Phase::Data(_) => Line::Broken,
        }
    }

    fn size(&mut self, text: &[u8]) -> Line {
        let digits = text.iter().take_while(|b| b.is_ascii_hexdigit()).count();
        let (digits, rest) = text.split_at_checked(digits).unwrap_or_default();
        let size = std::str::from_utf8(digits).ok().and_then(|hex| u64::from_str_radix(hex, 16).ok());
        let rest = rest.trim_ascii_start();
        let extension = rest.first() == Some(&b';');
        match size {
            Some(size) if digits.len() <= MAX_DIGITS && (rest.is_empty() || extension) => {
                self.phase = if size == 0 { Phase::Trailer } else { Phase::Data(size) };
                if extension { Line::Text } else { Line::Plain }
            }
            _ => Line::Broken,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_of_two_chunks_ends_after_its_trailer() {
        let mut chunks = Chunks::default();
        assert_eq!(chunks.line(b"5\r\n"), Line::Plain);
        assert_eq!(chunks.data_left(), Some(5));
        chunks.took(3);
        chunks.took(2);
        assert_eq!(chunks.data_left(), None);
        assert_eq!(chunks.line(b"\r\n"), Line::Plain);
        assert_eq!(chunks.line(b"A ;name=value\n"), Line::Text);
        chunks.took(10);
        assert_eq!(chunks.line(b"\r\n"), Line::Plain);
        assert_eq!(chunks.line(b"0\r\n"), Line::Plain);
        assert_eq!(chunks.line(b"X-Sum: 1\r\n"), Line::Text);
        assert_eq!(chunks.line(b"\r\n"), Line::End);
    }

    #[test]
    fn nonsense_is_broken() {
        for line in [&b"\r\n"[..], b"zz\r\n", b"5 5\r\n", b"1234567890abcdef0\r\n", b"-1\r\n"] {
            assert_eq!(Chunks::default().line(line), Line::Broken, "{line:?}");
        }
        let mut chunks = Chunks::default();
        chunks.line(b"1\n");
        chunks.took(1);
        assert_eq!(chunks.line(b"x\n"), Line::Broken);
    }
}
