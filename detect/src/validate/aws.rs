//! An AWS access key id holds the number of its account.
//!
//! Source: the 16 characters after `AKIA` and its like are base32. Its first bit tells the newer ids from those before
//! 2019, whose number is elsewhere; the next 40 are the account (WithSecure Labs, "A bitwise analysis of AWS access key
//! identifiers").

use super::{Fact, Outcome, Secret};
use data_encoding::BASE32_NOPAD;

/// Account numbers have twelve digits.
const ACCOUNTS: u64 = 1_000_000_000_000;
const PREFIX: usize = 4;

pub(super) fn check(secret: &Secret<'_>, facts: &mut Vec<Fact>) -> Outcome {
    if let Some(account) = account(secret.whole) {
        facts.push(Fact::new("aws-account", &format!("{account:012}")));
    }
    Outcome::Silent
}

fn account(id: &[u8]) -> Option<u64> {
    let bytes = BASE32_NOPAD.decode(id.get(PREFIX..)?).ok()?;
    let number = u64::from_be_bytes(*bytes.first_chunk::<8>()?);
    let is_newer = number >> 63 == 1;
    let account = (number << 1) >> 24;
    (is_newer && account < ACCOUNTS).then_some(account)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the article, in two parts.
    #[test]
    fn the_account_is_read_off_a_newer_id() {
        assert_eq!(
            account(b"ASIAY34FZ".iter().chain(b"KBOKMUTVV7A").copied().collect::<Vec<_>>().as_slice()),
            Some(609_629_065_308)
        );
    }

    #[test]
    fn older_and_broken_ids_tell_nothing() {
        for id in ["AKIAIOSFODNN7EXAMPLE", "AKIA", "", "AKIA1111111111111111", "AKIAQ7777777777777777777"] {
            assert_eq!(account(id.as_bytes()), None, "{id}");
        }
        assert_eq!(account(b"AKIA7777777777777777"), None, "there is no such account");
    }
}
