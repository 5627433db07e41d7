//! The forms in which a value travels, each as the bytes that do not depend on what stands around it.
//!
//! Nesting (base64 of JSON of …) is the decoders' work; these are what is left when nobody knew that there was anything
//! to decode.

use data_encoding::{BASE64_NOPAD, BASE64URL_NOPAD, Encoding, HEXLOWER, HEXUPPER};
use zeroize::Zeroizing;

/// How a registered value was written where it was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Form {
    Raw,
    Base64,
    Base64Url,
    Hex,
    Percent,
    Json,
}

impl Form {
    pub const fn name(self) -> &'static str {
        match self {
            Form::Raw => "raw",
            Form::Base64 => "base64",
            Form::Base64Url => "base64url",
            Form::Hex => "hex",
            Form::Percent => "percent-encoded",
            Form::Json => "json-escaped",
        }
    }
}

/// One form of one entry.
pub(super) struct Encoded {
    /// Place of the entry in the registry.
    pub(super) entry: u32,
    pub(super) form: Form,
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// Every form; some are the same text.
pub(super) fn all(entry: u32, value: &[u8]) -> Vec<Encoded> {
    let mut forms = vec![(Form::Raw, Zeroizing::new(value.to_vec()))];
    for lead in 0..3 {
        forms.push((Form::Base64, base64(&BASE64_NOPAD, lead, value)));
        forms.push((Form::Base64Url, base64(&BASE64URL_NOPAD, lead, value)));
    }
    forms.push((Form::Hex, encoded(&HEXLOWER, value)));
    forms.push((Form::Hex, encoded(&HEXUPPER, value)));
    for digits in [UPPER, LOWER] {
        // Many encoders leave slashes as they are.
        forms.push((Form::Percent, percent(value, b"-._~", digits)));
        forms.push((Form::Percent, percent(value, b"-._~/", digits)));
    }
    for ascii_only in [false, true] {
        for slashes in [false, true] {
            forms.push((Form::Json, json(value, ascii_only, slashes)));
        }
    }
    forms.into_iter().map(|(form, bytes)| Encoded { entry, form, bytes }).collect()
}

const UPPER: &[u8; 16] = b"0123456789ABCDEF";
const LOWER: &[u8; 16] = b"0123456789abcdef";

fn encoded(encoding: &Encoding, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut text = Zeroizing::new(vec![0; encoding.encode_len(value.len())]);
    encoding.encode_mut(value, &mut text);
    text
}

/// The value in base64 behind `lead` other bytes, without the characters that depend on those or on what follows.
fn base64(encoding: &Encoding, lead: usize, value: &[u8]) -> Zeroizing<Vec<u8>> {
    let mut behind = Zeroizing::new(vec![0; lead]);
    behind.reserve_exact(value.len());
    behind.extend_from_slice(value);
    let text = encoded(encoding, &behind);
    // A character is six bits.
    let (first, last) = ((8 * lead).div_ceil(6), 8 * behind.len() / 6);
    Zeroizing::new(text.get(first..last).unwrap_or_default().to_vec())
}

/// All but letters, digits and what is in `kept` as `%41` (RFC 3986, section 2.1).
fn percent(value: &[u8], kept: &[u8], digits: &[u8; 16]) -> Zeroizing<Vec<u8>> {
    // Room for all of it at once: growing would leave copies behind.
    let mut text = Zeroizing::new(Vec::with_capacity(3 * value.len()));
    for &byte in value {
        if byte.is_ascii_alphanumeric() || kept.contains(&byte) {
            text.push(byte);
        } else {
            text.push(b'%');
            text.extend_from_slice(&hex(byte, digits));
        }
    }
    text
}

/// As the inside of a JSON string (RFC 8259, section 7). Some writers escape slashes, some all that is not ASCII.
fn json(value: &[u8], ascii_only: bool, slashes: bool) -> Zeroizing<Vec<u8>> {
    // A byte that is no text stays as it is.
    let mut text = Zeroizing::new(Vec::with_capacity(6 * value.len()));
    for chunk in value.utf8_chunks() {
        for character in chunk.valid().chars() {
            let short = match character {
                '"' | '\\' => Some(character as u8),
                '/' if slashes => Some(b'/'),
                '\n' => Some(b'n'),
                '\r' => Some(b'r'),
                '\t' => Some(b't'),
                _ => None,
            };
            if let Some(short) = short {
                text.extend_from_slice(&[b'\\', short]);
            } else if character < ' ' || (ascii_only && !character.is_ascii()) {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    let [high, low] = unit.to_be_bytes();
                    text.extend_from_slice(b"\\u");
                    text.extend_from_slice(&hex(high, LOWER));
                    text.extend_from_slice(&hex(low, LOWER));
                }
            } else {
                text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            }
        }
        text.extend_from_slice(chunk.invalid());
    }
    text
}

fn hex(byte: u8, digits: &[u8; 16]) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| digits.get(usize::from(digit)).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(bytes: &Zeroizing<Vec<u8>>) -> String {
        String::from_utf8_lossy(bytes).into_owned()
    }

    #[test]
    fn escapes_are_as_the_standards_have_them() {
        let value = "a/b+c\"\\\n\u{1}é😀".as_bytes();
        assert_eq!(text(&percent(value, b"-._~", UPPER)), "a%2Fb%2Bc%22%5C%0A%01%C3%A9%F0%9F%98%80");
        assert_eq!(text(&percent(value, b"-._~/", LOWER)), "a/b%2bc%22%5c%0a%01%c3%a9%f0%9f%98%80");
        assert_eq!(text(&json(value, false, false)), "a/b+c\\\"\\\\\\n\\u0001é😀");
        assert_eq!(text(&json(value, true, true)), "a\\/b+c\\\"\\\\\\n\\u0001\\u00e9\\ud83d\\ude00");
        assert_eq!(&json(b"a\xffb", true, true)[..], b"a\xffb");
    }

    proptest! {
        #[test]
        fn base64_of_anything_around_a_value_holds_one_of_its_three_forms(
            before in prop::collection::vec(any::<u8>(), 0..10),
            value in prop::collection::vec(any::<u8>(), 8..40),
            after in prop::collection::vec(any::<u8>(), 0..10),
        ) {
            let around = BASE64_NOPAD.encode(&[&before[..], &value, &after].concat());
            let form = base64(&BASE64_NOPAD, before.len() % 3, &value);
            prop_assert!(around.contains(&text(&form)));
            prop_assert!(form.len() >= 10);
        }

        /// Room was made once: nothing was moved, and no copy left behind.
        #[test]
        fn no_form_outgrows_its_room(value in prop::collection::vec(any::<u8>(), 0..80)) {
            prop_assert!(percent(&value, b"", UPPER).len() <= 3 * value.len());
            prop_assert!(json(&value, true, true).len() <= 6 * value.len());
        }
    }
}
