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
    let mut hidden = Vec::new();
    detector.scan(text.as_bytes(), &mut |found| {
        // A span that would split a character (a pattern with bytes above 0x7f) is widened, never shown.
        let start = text.floor_char_boundary(found.start as usize);
        let end = text.ceil_char_boundary(found.end as usize);
        hidden.push((start, end, redacted(found.rule, found.secret)));
    });
    // A registered value may lie around, in or across what a rule describes.
    hidden.sort_by_key(|&(start, end, _)| (start, std::cmp::Reverse(end)));
    let mut clean = String::with_capacity(text.len());
    let mut copied = 0;
    for (start, end, shown) in hidden {
        if start >= copied {
            clean.push_str(text.get(copied..start).unwrap_or_default());
            clean.push_str(&shown);
        }
        copied = copied.max(end);
    }
    clean.push_str(text.get(copied..).unwrap_or_default());
    clean
}
