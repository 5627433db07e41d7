//! What a test program is to write, call by call. The same format feeds the Rust and the C programs:
//! for each call a line with its length, then that many bytes.

use crate::env;
use crate::key::FakeKey;
use std::path::PathBuf;

/// The writes of one program run.
#[derive(Clone, Debug, Default)]
pub struct Script {
    writes: Vec<Vec<u8>>,
}

impl Script {
    /// One write.
    pub fn of(bytes: impl Into<Vec<u8>>) -> Self {
        Self::default().then(bytes)
    }

    #[must_use]
    pub fn then(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.writes.push(bytes.into());
        self
    }

    /// One key per offset, each split there over two writes. Every offset within a key is covered.
    pub fn splits(make: impl Fn() -> FakeKey) -> (Self, Vec<FakeKey>) {
        let mut script = Self::default();
        let mut keys = Vec::new();
        let length = make().reveal().len();
        for offset in 1..length {
            let key = make();
            let (head, tail) = key.reveal().split_at(offset);
            script = script.then(format!("token {head}")).then(format!("{tail}\n"));
            keys.push(key);
        }
        (script, keys)
    }

    pub fn bytes(&self) -> Vec<u8> {
        self.writes.concat()
    }

    /// Writes the script to a file and returns its path.
    pub fn save(&self) -> PathBuf {
        let mut text = Vec::new();
        for write in &self.writes {
            text.extend(format!("{}\n", write.len()).into_bytes());
            text.extend(write);
        }
        env::temp_file("script", &text)
    }

    /// Reads what [`Self::save`] wrote.
    pub fn parse(mut text: &[u8]) -> Option<Self> {
        let mut script = Self::default();
        while !text.is_empty() {
            let line = text.iter().position(|byte| *byte == b'\n')?;
            let length: usize = std::str::from_utf8(text.get(..line)?).ok()?.parse().ok()?;
            let start = line + 1;
            script.writes.push(text.get(start..start + length)?.to_vec());
            text = text.get(start + length..)?;
        }
        Some(script)
    }

    pub fn writes(&self) -> &[Vec<u8>] {
        &self.writes
    }
}

/// An HTTP request: the key in a header when there is one, and a body.
pub fn request(key: Option<&FakeKey>, body: &[u8]) -> Vec<u8> {
    let header = key.map(|key| format!("x-api-key: {}\r\n", key.reveal())).unwrap_or_default();
    let length = body.len();
    let head =
        format!("POST /v1/messages HTTP/1.1\r\nhost: {HOST}\r\n{header}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

pub use crate::pki::HOST;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_saved_is_read_back() {
        let script = Script::of("a\n12\n").then("").then([0_u8, 255, b'\n'].as_slice());
        let text = std::fs::read(script.save()).unwrap();
        assert_eq!(Script::parse(&text).unwrap().writes(), script.writes());
        assert!(Script::parse(&text[..text.len() - 1]).is_none());
    }

    #[test]
    fn splits_cover_every_offset() {
        let (script, keys) = Script::splits(FakeKey::anthropic);
        assert_eq!(keys.len(), keys[0].reveal().len() - 1);
        let text = String::from_utf8(script.bytes()).unwrap();
        assert!(keys.iter().all(|key| text.contains(key.reveal())));
        let heads: Vec<_> =
            script.writes().iter().step_by(2).map(|head| head.len() - "token ".len()).collect();
        assert_eq!(heads, (1..=keys.len()).collect::<Vec<_>>());
    }
}
