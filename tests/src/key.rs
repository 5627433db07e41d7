//! Fake keys: the shape is real, the body random, and no file of the repository holds a whole one.

use hmac::{Hmac, Mac};
use sha2::Sha256;
use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// The key fingerprints are made with in tests; the agent gets it through its configuration.
pub const FLEET_KEY: &str = "end-to-end tests: not a secret at all";

/// A key of a well-known shape, used by one test only.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct FakeKey {
    text: String,
    fingerprint: String,
    /// Id of the rule that must find it.
    pub rule: &'static str,
}

impl FakeKey {
    /// An Anthropic API key: always 108 characters.
    pub fn anthropic() -> Self {
        Self::new(&["sk-", "ant-", "api03-", &random(93), "AA"], "anthropic-api-key")
    }

    /// An Anthropic OAuth token: its end shows only when something else follows, or nothing does.
    pub fn anthropic_oauth() -> Self {
        Self::new(&["sk-", "ant-", "oat01-", &random(95)], "anthropic-oauth-access-token")
    }

    /// An OpenAI project key.
    pub fn openai() -> Self {
        Self::new(&["sk-", "proj-", &random(74), "T3Blbk", "FJ", &random(74)], "openai-project-key")
    }

    /// A key that is the concatenation of `parts`, for a rule of the test's own.
    pub fn new(parts: &[&str], rule: &'static str) -> Self {
        let text = parts.concat();
        let fingerprint = fingerprint(&text);
        known().insert(fingerprint.clone());
        Self { text, fingerprint, rule }
    }

    /// The key itself; for sending only.
    pub fn reveal(&self) -> &str {
        &self.text
    }

    /// What a finding of this key must carry.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// Whether some test of this process made the key with this fingerprint.
    pub fn is_known(fingerprint: &str) -> bool {
        known().contains(fingerprint)
    }
}

impl fmt::Debug for FakeKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FakeKey({}, {}…)", self.rule, &self.fingerprint[..12])
    }
}

/// HMAC-SHA-256 under [`FLEET_KEY`], in hex.
fn fingerprint(text: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(FLEET_KEY.as_bytes()).expect("any length is a key");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Fingerprints of every key this process made.
fn known() -> MutexGuard<'static, HashSet<String>> {
    static KNOWN: LazyLock<Mutex<HashSet<String>>> = LazyLock::new(Mutex::default);
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `length` random letters and digits.
pub fn random(length: usize) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789xy";
    let mut bytes = vec![0; length];
    File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes)).expect("random bytes");
    bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte & 63)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_their_shape_and_do_not_show() {
        let key = FakeKey::anthropic();
        assert_eq!(key.reveal().len(), 108);
        assert_ne!(key, FakeKey::anthropic());
        assert!(!format!("{key:?}").contains(key.reveal()));
        assert_eq!(key.fingerprint().len(), 64);
        assert!(FakeKey::is_known(key.fingerprint()));
    }

    /// The value was made with `openssl dgst -sha256 -hmac`.
    #[test]
    fn fingerprints_are_hmac_sha_256() {
        assert_eq!(fingerprint("abc"), "e65f1efbf00badf4b8032342b7be3c4891e162be51399358c05f90074e9b677b");
    }
}
