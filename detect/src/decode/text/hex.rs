//! Hexadecimal (RFC 4648, section 8), digits of either case.

/// Digits that are decoded together: they give one byte.
pub const QUANTUM: usize = 2;

/// Is it a hexadecimal digit?
#[inline]
pub fn belongs(byte: u8) -> bool {
    (byte.wrapping_sub(b'0') < 10) | ((byte | 0x20).wrapping_sub(b'a') < 6)
}

/// Decodes hexadecimal digits; of an odd number the last is left out. Nothing if `buffer` is too short.
pub fn decode<'b>(digits: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    let Some(buffer) = buffer.get_mut(..digits.len() / QUANTUM) else { return &[] };
    for (byte, pair) in buffer.iter_mut().zip(digits.chunks_exact(QUANTUM)) {
        *byte = pair.iter().fold(0, |byte, &digit| byte << 4 | value(digit));
    }
    buffer
}

/// What a digit stands for.
#[inline]
pub(super) fn value(digit: u8) -> u8 {
    // Letters have bit 6 set, and `a` & 15 is 1.
    (digit & 15).wrapping_add(9 * (digit >> 6))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_of_either_case() {
        let mut buffer = [0; 8];
        assert_eq!(decode(b"00fF7Ac9", &mut buffer), [0x00, 0xff, 0x7a, 0xc9]);
        assert_eq!(decode(b"414", &mut buffer), b"A");
        assert_eq!(decode(b"", &mut buffer), b"");
        assert_eq!(decode(b"4142", &mut [0]), b"");
    }

    #[test]
    fn the_digits_are_those_of_the_standard_library() {
        assert!((0..=u8::MAX).all(|byte| belongs(byte) == byte.is_ascii_hexdigit()));
    }
}
