//! In which field of a JSON text a secret stands, also when it is known to be one only after the text went on.

use crate::decode::json_path::JsonPath;
use zeroize::Zeroizing;

/// Bytes kept of a text that ends in the middle of what may be a secret: more than any rule's secret and its
/// surroundings take, as a rule. What starts before them is named by the field they begin in.
const KEPT: usize = 1024;

/// Follows a JSON text.
#[derive(Default)]
pub struct Json {
    /// At the first byte of `kept`.
    path: JsonPath,
    kept: Zeroizing<Vec<u8>>,
    /// Offset of that byte.
    position: u64,
}

impl Json {
    /// Does a text that begins like this look like JSON?
    pub fn is_begun_by(bytes: &[u8]) -> bool {
        matches!(bytes.trim_ascii_start().first(), Some(b'{' | b'['))
    }

    /// The fields of places in what is kept and the `bytes` that follow.
    pub fn fields<'a>(&'a self, bytes: &'a [u8]) -> Fields<'a> {
        Fields { json: self, bytes, at: None }
    }

    /// Goes on behind `bytes`. `open`: a secret may have begun in them and is not decided yet.
    pub fn advance(&mut self, bytes: &[u8], open: bool) {
        let keep = if open { KEPT } else { 0 };
        let from_kept = (self.kept.len() + bytes.len()).saturating_sub(keep).min(self.kept.len());
        let from_bytes = bytes.len().saturating_sub(keep);
        self.path.advance(self.kept.get(..from_kept).unwrap_or_default());
        self.path.advance(bytes.get(..from_bytes).unwrap_or_default());
        self.position += (from_kept + from_bytes) as u64;
        // Not `drain`, which leaves bytes behind.
        let mut kept = Zeroizing::new(Vec::new());
        if open {
            kept.reserve_exact(KEPT);
            kept.extend_from_slice(self.kept.get(from_kept..).unwrap_or_default());
            kept.extend_from_slice(bytes.get(from_bytes..).unwrap_or_default());
        }
        self.kept = kept;
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        size_of::<JsonPath>() + self.kept.capacity()
    }
}

/// Answers for one stretch of bytes; fastest when asked in order.
pub struct Fields<'a> {
    json: &'a Json,
    bytes: &'a [u8],
    /// How far the last answer led.
    at: Option<(JsonPath, usize)>,
}

impl Fields<'_> {
    /// The field in which the text's byte `offset` stands.
    pub fn of(&mut self, offset: u64) -> String {
        let target = usize::try_from(offset.saturating_sub(self.json.position)).unwrap_or(usize::MAX);
        let (mut path, done) = match self.at.take() {
            Some((path, done)) if done <= target => (path, done),
            _ => (self.json.path.clone(), 0),
        };
        let kept = self.json.kept.as_slice();
        path.advance(kept.get(done.min(kept.len())..target.min(kept.len())).unwrap_or_default());
        let (from, to) = (done.saturating_sub(kept.len()), target.saturating_sub(kept.len()));
        path.advance(self.bytes.get(from..to.min(self.bytes.len())).unwrap_or_default());
        let text = path.path();
        self.at = Some((path, target.min(kept.len() + self.bytes.len())));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &[u8] = br#"{"env": {"A": "first", "B": "second"}, "list": ["third"]}"#;

    fn at(word: &str) -> usize {
        TEXT.windows(word.len()).position(|window| window == word.as_bytes()).unwrap()
    }

    #[test]
    fn fields_are_named_wherever_the_text_is_cut() {
        for cut in 0..=TEXT.len() {
            let mut json = Json::default();
            let (before, after) = TEXT.split_at(cut);
            json.advance(before, true);
            let mut fields = json.fields(after);
            for (word, field) in
                [("first", "env.A"), ("second", "env.B"), ("third", "list[0]"), ("first", "env.A")]
            {
                assert_eq!(fields.of(at(word) as u64), field, "cut at {cut}");
            }
        }
    }

    #[test]
    fn little_is_kept_and_only_when_needed() {
        let mut json = Json::default();
        json.advance(&[b'['; 1], false);
        json.advance(&vec![b' '; 100_000], true);
        assert_eq!(json.kept.len(), KEPT);
        assert_eq!(json.fields(b"").of(100_000), "[0]");
        json.advance(b"1", false);
        assert!(json.kept.is_empty());
    }
}
