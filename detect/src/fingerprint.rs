//! The keyed fingerprint: tells two findings of the same secret together, and tells nothing else.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::fmt::Write as _;

/// HMAC-SHA-256 under the fleet key. Without the key a fingerprint cannot be tried against guesses.
#[derive(Clone)]
pub struct Fingerprinter {
    keyed: Hmac<Sha256>,
}

impl Fingerprinter {
    pub fn new(key: &[u8]) -> Fingerprinter {
        #[allow(
            clippy::expect_used,
            reason = "HMAC takes keys of every length; the Result belongs to the trait"
        )]
        let keyed = Hmac::new_from_slice(key).expect("HMAC takes keys of every length");
        Fingerprinter { keyed }
    }

    /// 64 hex digits.
    pub fn fingerprint(&self, secret: &[u8]) -> String {
        let mut mac = self.keyed.clone();
        mac.update(secret);
        let mut hex = String::with_capacity(64);
        for byte in mac.finalize().into_bytes() {
            let _ = write!(hex, "{byte:02x}");
        }
        hex
    }
}

impl std::fmt::Debug for Fingerprinter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fingerprinter")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2.
    #[test]
    fn it_is_hmac_sha_256() {
        let print = Fingerprinter::new(b"Jefe").fingerprint(b"what do ya want for nothing?");
        assert_eq!(print, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn keys_of_every_length_work_and_differ() {
        let prints: Vec<String> =
            [0, 1, 64, 65, 1000].map(|n| Fingerprinter::new(&vec![7; n]).fingerprint(b"x")).into();
        assert!(prints.iter().all(|print| print.len() == 64));
        assert_ne!(prints[1], prints[2]);
    }

    #[test]
    fn debug_shows_no_key_material() {
        assert_eq!(format!("{:?}", Fingerprinter::new(b"secret")), "Fingerprinter");
    }
}
