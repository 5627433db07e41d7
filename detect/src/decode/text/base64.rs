//! Base64 (RFC 4648, sections 4 and 5), the standard and the URL-safe alphabet alike.
//!
//! What is decoded was found in traffic, so nothing is refused: both alphabets may be mixed, padding may be
//! missing, and bits that a strict encoder leaves at zero may be set.

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use memchr::memchr2;
use zeroize::Zeroizing;

/// Characters that are decoded together, and the bytes they give.
pub const QUANTUM: usize = 4;
pub const BYTES: usize = 3;

const ENGINE: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireNone),
);

/// Is it a character of one of the two alphabets? Padding is none.
#[inline]
pub fn belongs(byte: u8) -> bool {
    // Comparisons only, no table: over a block of bytes the compiler makes vectors of it.
    let letter = (byte | 0x20).wrapping_sub(b'a') < 26;
    let slash_or_digit = byte.wrapping_sub(b'/') < 11;
    letter | slash_or_digit | (byte == b'+') | is_url_safe(byte)
}

/// Is it one of the two characters that only the URL-safe alphabet has?
#[inline]
pub fn is_url_safe(byte: u8) -> bool {
    (byte == b'-') | (byte == b'_')
}

/// The bytes of one quantum. Characters outside the alphabets count as zeros.
#[inline]
pub fn quantum(chars: [u8; QUANTUM]) -> [u8; BYTES] {
    let value = |char| VALUES.get(usize::from(char)).copied().unwrap_or_default();
    let all = chars.iter().fold(0, |all, &char| all << 6 | u32::from(value(char)));
    let [_, bytes @ ..] = all.to_be_bytes();
    bytes
}

#[allow(clippy::indexing_slicing, reason = "at compile time")]
const VALUES: [u8; 256] = {
    let mut values = [0; 256];
    let mut char = 0u8;
    while char < 128 {
        values[char as usize] = value(char);
        char += 1;
    }
    values
};

/// What a character stands for; 0 for any that is none.
const fn value(char: u8) -> u8 {
    match char {
        upper @ b'A'..=b'Z' => upper - b'A',
        lower @ b'a'..=b'z' => lower - b'a' + 26,
        digit @ b'0'..=b'9' => digit - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => 0,
    }
}

/// Decodes characters of either alphabet. A last quantum that is incomplete gives the bytes it has whole. Nothing
/// if `buffer` is too short (3 bytes for 4 characters) or there are other characters.
pub fn decode<'b>(chars: &[u8], buffer: &'b mut [u8]) -> &'b [u8] {
    // A single character is less than a byte.
    let whole = if chars.len() % QUANTUM == 1 { chars.len() - 1 } else { chars.len() };
    let chars = chars.get(..whole).unwrap_or_default();
    let len = match memchr2(b'-', b'_', chars) {
        None => ENGINE.decode_slice(chars, buffer).ok(),
        Some(_) => decode_url_safe(chars, buffer),
    };
    len.and_then(|len| buffer.get(..len)).unwrap_or_default()
}

/// Block by block, since the characters have to be brought into the standard alphabet.
fn decode_url_safe(chars: &[u8], buffer: &mut [u8]) -> Option<usize> {
    let mut block = Zeroizing::new([0; 256]);
    let mut len = 0;
    for chars in chars.chunks(block.len()) {
        let block = block.get_mut(..chars.len())?;
        for (to, &from) in block.iter_mut().zip(chars) {
            let plus = if from == b'-' { b'+' } else { from };
            *to = if plus == b'_' { b'/' } else { plus };
        }
        len += ENGINE.decode_slice(block, buffer.get_mut(len..)?).ok()?;
    }
    Some(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Vec<u8> {
        let mut buffer = [0; 64];
        decode(text.as_bytes(), &mut buffer).to_vec()
    }

    #[test]
    fn both_alphabets_padded_or_not() {
        // RFC 4648, section 10, without padding.
        for (text, plain) in [
            ("", ""),
            ("Zg", "f"),
            ("Zm8", "fo"),
            ("Zm9v", "foo"),
            ("Zm9vYg", "foob"),
            ("Zm9vYmFy", "foobar"),
        ] {
            assert_eq!(decoded(text), plain.as_bytes());
        }
        assert_eq!(decoded("-_-_"), decoded("+/+/"));
        assert_eq!(decoded("+_-/"), [0xfb, 0xff, 0xbf]);
        let long = "-_aZ09+/".repeat(100);
        let mut buffer = [0; 600];
        let whole = decode(long.as_bytes(), &mut buffer);
        let quanta = long.as_bytes().chunks(4).flat_map(|chars| quantum(chars.try_into().unwrap()));
        assert_eq!(whole, quanta.collect::<Vec<u8>>());
    }

    #[test]
    fn what_a_strict_decoder_refuses_is_decoded() {
        assert_eq!(decoded("Zh"), b"f", "bits that should be zero");
        assert_eq!(decoded("Zm9vY"), b"foo", "a character too many");
        let mut short = [0; 2];
        assert_eq!(decode(b"Zm9v", &mut short), b"");
    }

    #[test]
    fn the_alphabet_has_66_characters() {
        let all: Vec<u8> = (0..=u8::MAX).filter(|&byte| belongs(byte)).collect();
        assert_eq!(all, b"+-/0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz");
    }
}
