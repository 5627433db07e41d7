//! What may be shown of a secret: its public prefix and its length.

use crate::engine::Detector;
use crate::rules::Rule;

/// `sk-ant-api…(108)`: the part of the secret that is the same for all such keys, and its length.
pub fn redacted(rule: &Rule, secret: &[u8]) -> String {
    let prefix = secret.get(..rule.public_prefix_len(secret)).unwrap_or_default();
    format!("{}…({})", String::from_utf8_lossy(prefix), secret.len())
}

/// The text with every secret in it replaced by its redacted form.
pub fn redact_all(detector: &Detector, text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut copied = 0;
    detector.scan(text.as_bytes(), &mut |found| {
        let start = found.start as usize;
        // A span that would split a character (a pattern with bytes above 0x7f) is widened, never shown.
        let (start, end) =
            (text.floor_char_boundary(start), text.ceil_char_boundary(start + found.secret.len()));
        clean.push_str(text.get(copied..start).unwrap_or_default());
        clean.push_str(&redacted(found.rule, found.secret));
        copied = end;
    });
    clean.push_str(text.get(copied..).unwrap_or_default());
    clean
}
