//! Bounds both sides keep to: the agent clips what is longer, the collector refuses it. An event that keeps to
//! them encodes to well under [`EVENT`], so that a batch of [`BATCH`] bytes plus one event fits [`MESSAGE`].
//! All are bytes of UTF-8 unless they say otherwise.

/// One encoded message on the wire; larger ones are refused before they are decoded.
pub const MESSAGE: usize = 4 << 20;
/// Encoded events after which an agent closes a batch.
pub const BATCH: usize = 256 << 10;
/// One encoded event.
pub const EVENT: usize = 128 << 10;

/// Names, ids and other short words.
pub const WORD: usize = 256;
/// Host names, paths, locations.
pub const PATH: usize = 4096;
/// Text for people.
pub const TEXT: usize = 4096;
/// The redacted form of a secret.
pub const REDACTED: usize = 96;
/// One argument of a command line.
pub const ARGUMENT: usize = 1024;
/// Arguments of a command line (a count).
pub const ARGUMENTS: usize = 32;
/// Ancestors, technique ids, hooks, loss counters (a count).
pub const ENTRIES: usize = 64;

/// What a clipped text ends with.
const CLIPPED: &str = "…";

/// `text`, or its beginning and `…` when it is longer than `limit`. Cuts between characters.
pub fn clip(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let keep = text.floor_char_boundary(limit.saturating_sub(CLIPPED.len()));
    let mut clipped = text.get(..keep).unwrap_or_default().to_owned();
    clipped.push_str(CLIPPED);
    clipped
}

#[cfg(test)]
mod tests {
    use super::clip;

    #[test]
    fn short_text_is_kept() {
        assert_eq!(clip("abc", 3), "abc");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        assert_eq!(clip("aäöü", 6), "aä…");
        assert_eq!(clip("ääää", 5), "ä…");
        for limit in 3..20 {
            assert!(clip("€€€€€€€€", limit).len() <= limit);
        }
    }
}
