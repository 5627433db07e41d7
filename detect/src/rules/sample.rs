//! Fake keys, put together from pieces: no complete key stands in a rule file, where other scanners would
//! find it.

use crate::error::Problem;
use crate::validate::{self, Validator};
use data_encoding::BASE64URL_NOPAD;

/// One piece of a sample.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(
    untagged,
    expecting = "expected a piece: \"text\", { repeat = \"A\", n = 93 }, { fill = \"base62\", n = 36 }, \
                 { checksum = \"crc32-base62\" } or { base64url = \"text\" }"
)]
pub(crate) enum Piece {
    Text(String),
    Repeat(Repeat),
    Fill(Fill),
    Checksum(Sum),
    Encoded(Encoded),
}

#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Repeat {
    repeat: String,
    n: u16,
}

/// What the validator of this name computes over all pieces before it.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sum {
    checksum: String,
}

/// A text in base64url.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Encoded {
    base64url: String,
}

/// Characters in no particular order, the same ones every time.
#[derive(Clone, Debug, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Fill {
    fill: Alphabet,
    n: u16,
    #[serde(default)]
    seed: u16,
}

#[derive(Clone, Copy, Debug, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
enum Alphabet {
    Digits,
    Hex,
    HexUpper,
    Lower,
    Upper,
    Alpha,
    Base32,
    Base32Upper,
    Base36,
    Base36Upper,
    Base62,
    Base64,
    Base64Url,
    Bech32Upper,
}

impl Alphabet {
    fn characters(self) -> &'static [u8] {
        match self {
            Alphabet::Digits => b"0123456789",
            Alphabet::Hex => b"0123456789abcdef",
            Alphabet::HexUpper => b"0123456789ABCDEF",
            Alphabet::Lower => b"abcdefghijklmnopqrstuvwxyz",
            Alphabet::Upper => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
            Alphabet::Alpha => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Alphabet::Base32 => b"abcdefghijklmnopqrstuvwxyz234567",
            Alphabet::Base32Upper => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
            Alphabet::Base36 => b"abcdefghijklmnopqrstuvwxyz0123456789",
            Alphabet::Base36Upper => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
            Alphabet::Base62 => b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
            Alphabet::Base64 => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/",
            Alphabet::Base64Url => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
            Alphabet::Bech32Upper => b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
        }
    }
}

pub(crate) fn assemble(pieces: &[Piece]) -> Result<String, Problem> {
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Text(part) => text.push_str(part),
            Piece::Repeat(Repeat { repeat, n }) => text.push_str(&repeat.repeat(usize::from(*n))),
            Piece::Fill(fill) => text.extend(characters(fill)),
            Piece::Checksum(Sum { checksum }) => {
                let sum = Validator::named(checksum).and_then(|validator| validator.seal(&text));
                let problem = || Problem::NoChecksum { name: checksum.clone(), known: validate::names(true) };
                text.push_str(&sum.ok_or_else(problem)?);
            }
            Piece::Encoded(Encoded { base64url }) => {
                text.push_str(&BASE64URL_NOPAD.encode(base64url.as_bytes()));
            }
        }
    }
    Ok(text)
}

fn characters(fill: &Fill) -> impl Iterator<Item = char> {
    let alphabet = fill.fill.characters();
    // splitmix64: short, and different seeds give unrelated texts.
    let mut state = u64::from(fill.seed) << 32 | u64::from(fill.n);
    (0..fill.n).map(move |_| {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        let pick = mixed % alphabet.len() as u64;
        alphabet.get(pick as usize).map_or('0', |&byte| char::from(byte))
    })
}
