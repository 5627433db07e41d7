//! age's secret keys are bech32: the last six characters are its checksum over the prefix and what is between.
//!
//! Source: age's specification (age-encryption.org/v1), BIP 173.

use super::{Checksum, split_last};
use bech32::primitives::checksum::{Engine, PackedFe32 as _};
use bech32::{Bech32, Fe32, Hrp};
use zeroize::Zeroizing;

pub(crate) const CHECKSUM: Checksum = Checksum { split, sum };

/// Written in upper case; the sum is over the lower-case text.
const PREFIX: &[u8] = b"AGE-SECRET-KEY-1";
const HUMAN_PART: &str = "age-secret-key-";
const WIDTH: usize = 6;

fn split(secret: &[u8]) -> Option<(&[u8], &[u8])> {
    split_last(secret, WIDTH)
}

fn sum(text: &[u8]) -> Option<Zeroizing<String>> {
    let mut engine = Engine::<Bech32>::new();
    engine.input_hrp(Hrp::parse(HUMAN_PART).ok()?);
    for &byte in text.strip_prefix(PREFIX)? {
        engine.input_fe(Fe32::from_char(char::from(byte)).ok()?);
    }
    engine.input_target_residue();
    let residue = engine.residue();
    let character = |place| Fe32::try_from(residue.unpack(place)).ok().map(Fe32::to_char);
    let sum: Option<String> = (0..WIDTH).rev().map(character).collect();
    sum.map(|sum| Zeroizing::new(sum.to_ascii_uppercase()))
}
