//! A growing buffer for bytes that may be secret: nothing it held is left behind in freed memory.

use zeroize::Zeroize as _;

#[derive(Default)]
pub struct Wiped(Vec<u8>);

impl Wiped {
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn capacity(&self) -> usize {
        self.0.capacity()
    }

    pub fn extend(&mut self, more: &[u8]) {
        let len = self.0.len() + more.len();
        if len > self.0.capacity() {
            // Not `reserve`: it would free the old bytes without wiping them.
            let mut bytes = Vec::with_capacity(len.max(self.0.capacity() * 2));
            bytes.extend_from_slice(&self.0);
            *self = Self(bytes);
        }
        self.0.extend_from_slice(more);
    }

    /// Forgets the first `count` bytes.
    pub fn drop_front(&mut self, count: usize) {
        let count = count.min(self.0.len());
        let left = self.0.len() - count;
        self.0.copy_within(count.., 0);
        self.0.get_mut(left..).unwrap_or_default().zeroize();
        self.0.truncate(left);
    }
}

impl Drop for Wiped {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Wiped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_go_in_behind_and_out_in_front() {
        let mut buffer = Wiped::default();
        for part in [&b"ab"[..], b"", b"cdefghijkl"] {
            buffer.extend(part);
        }
        assert_eq!(buffer.bytes(), b"abcdefghijkl");
        buffer.drop_front(3);
        assert_eq!(buffer.bytes(), b"defghijkl");
        buffer.drop_front(100);
        assert!(buffer.is_empty());
    }
}
