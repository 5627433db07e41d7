//! Escapes inside JSON strings (RFC 8259, section 7).

use super::escape::Read;
use super::hex;

/// Where an escape may start.
pub const MARK: u8 = b'\\';

/// `\uXXXX`.
const UNICODE: usize = 6;

/// What stands at the beginning of `text`, which starts with [`MARK`].
pub fn read(text: &[u8]) -> Read {
    let Some(&letter) = text.get(1) else { return Read::Partial };
    let byte = match letter {
        b'u' => return unicode(text),
        b'"' | b'\\' | b'/' => letter,
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'b' => 8,
        b'f' => 12,
        _ => return Read::Not,
    };
    Read::escape(2, &[byte])
}

/// A code unit of UTF-16, or two that make a surrogate pair. Half a pair becomes U+FFFD.
fn unicode(text: &[u8]) -> Read {
    let first = match unit(text) {
        Ok(unit) => unit,
        Err(read) => return read,
    };
    let mut character = [0; 4];
    if !(0xd800..0xdc00).contains(&first) {
        let plain = char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
        return Read::escape(UNICODE, plain.encode_utf8(&mut character).as_bytes());
    }
    let (len, pair) = match unit(text.get(UNICODE..).unwrap_or_default()) {
        Ok(second @ 0xdc00..0xe000) => (2 * UNICODE, 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)),
        Err(Read::Partial) => return Read::Partial,
        Ok(_) | Err(_) => (UNICODE, u32::from(char::REPLACEMENT_CHARACTER)),
    };
    let character_of_pair = char::from_u32(pair).unwrap_or(char::REPLACEMENT_CHARACTER);
    Read::escape(len, character_of_pair.encode_utf8(&mut character).as_bytes())
}

/// The number after `\u`; or that there is none, or not yet.
fn unit(text: &[u8]) -> Result<u32, Read> {
    let mut unit = 0;
    for at in 0..UNICODE {
        let Some(&byte) = text.get(at) else { return Err(Read::Partial) };
        match at {
            0 if byte == MARK => {}
            1 if byte == b'u' => {}
            2.. if hex::belongs(byte) => unit = unit << 4 | u32::from(hex::value(byte)),
            _ => return Err(Read::Not),
        }
    }
    Ok(unit)
}
