//! Where in a JSON text (RFC 8259) a byte stands: `env.API_KEY`, `messages[0].content`.
//!
//! The tracker reads structure only and believes everything: of broken JSON it gives some path, never an error.

use std::fmt::Write as _;

/// Levels that are named; what lies deeper is shown as `…`.
const MAX_DEPTH: usize = 32;
/// Bytes of a name that are shown.
const MAX_NAME: usize = 64;

/// Follows a JSON text as it passes.
#[derive(Clone, Debug, Default)]
pub struct JsonPath {
    levels: Vec<Level>,
    /// Levels open beyond [`MAX_DEPTH`].
    deeper: usize,
    state: State,
    /// The name being read, as far as it is kept.
    name: Vec<u8>,
}

#[derive(Clone, Debug)]
enum Level {
    Object {
        name: Vec<u8>,
        /// A name comes next.
        before_name: bool,
    },
    Array {
        index: usize,
    },
}

#[derive(Clone, Copy, Debug, Default)]
enum State {
    #[default]
    Structure,
    Text {
        is_name: bool,
        escaped: bool,
    },
}

impl JsonPath {
    /// Takes the next bytes of the text.
    pub fn advance(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some(&first) = rest.first() {
            let used = match self.state {
                State::Text { is_name, escaped } => self.text(rest, is_name, escaped),
                State::Structure => {
                    let plain = rest.iter().take_while(|byte| !is_structure(**byte)).count();
                    if plain == 0 {
                        self.structure(first);
                    }
                    plain.max(1)
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Takes bytes of a string, up to its end or its next escape.
    fn text(&mut self, bytes: &[u8], is_name: bool, escaped: bool) -> usize {
        if escaped {
            self.state = State::Text { is_name, escaped: false };
            self.keep(is_name, bytes.get(..1));
            return 1;
        }
        let end = memchr::memchr2(b'"', b'\\', bytes);
        self.keep(is_name, bytes.get(..end.unwrap_or(bytes.len())));
        let Some(end) = end else { return bytes.len() };
        self.state = match bytes.get(end) {
            Some(b'\\') => State::Text { is_name, escaped: true },
            _ => State::Structure,
        };
        end + 1
    }

    fn keep(&mut self, is_name: bool, bytes: Option<&[u8]>) {
        if is_name {
            let room = MAX_NAME.saturating_sub(self.name.len());
            let bytes = bytes.unwrap_or_default();
            self.name.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        }
    }

    fn structure(&mut self, byte: u8) {
        match byte {
            b'"' => {
                let is_name = self.deeper == 0
                    && matches!(self.levels.last(), Some(Level::Object { before_name: true, .. }));
                self.name.clear();
                self.state = State::Text { is_name, escaped: false };
            }
            b'{' => self.open(Level::Object { name: Vec::new(), before_name: true }),
            b'[' => self.open(Level::Array { index: 0 }),
            b'}' | b']' => self.close(),
            _ if self.deeper > 0 => {}
            b':' => {
                if let Some(Level::Object { name, before_name }) = self.levels.last_mut() {
                    std::mem::swap(name, &mut self.name);
                    *before_name = false;
                }
            }
            _ => match self.levels.last_mut() {
                Some(Level::Object { name, before_name }) => {
                    name.clear();
                    *before_name = true;
                }
                Some(Level::Array { index }) => *index += 1,
                None => {}
            },
        }
    }

    fn open(&mut self, level: Level) {
        if self.levels.len() < MAX_DEPTH { self.levels.push(level) } else { self.deeper += 1 }
    }

    fn close(&mut self) {
        match self.deeper {
            0 => drop(self.levels.pop()),
            _ => self.deeper -= 1,
        }
    }

    /// Where the next byte stands; empty at the top. Names are as they stand in the text, and may hold anything.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for level in &self.levels {
            match level {
                Level::Array { index } => {
                    let _ = write!(path, "[{index}]");
                }
                Level::Object { name, .. } if name.is_empty() => {}
                Level::Object { name, .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(&String::from_utf8_lossy(name));
                }
            }
        }
        if self.deeper > 0 {
            path.push('…');
        }
        path
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        let names = self.levels.iter().map(|level| match level {
            Level::Object { name, .. } => name.capacity(),
            Level::Array { .. } => 0,
        });
        self.levels.capacity() * size_of::<Level>() + names.sum::<usize>()
    }
}

fn is_structure(byte: u8) -> bool {
    matches!(byte, b'"' | b'{' | b'}' | b'[' | b']' | b':' | b',')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn path(before: &str) -> String {
        let mut path = JsonPath::default();
        path.advance(before.as_bytes());
        path.path()
    }

    #[test]
    fn every_value_has_its_path() {
        assert_eq!(path(r#"{"env": {"PATH": "/usr/bin", "API_KEY": "sec"#), "env.API_KEY");
        assert_eq!(path(r#"{"messages": [{"role": "x"}, {"content": "a "#), "messages[1].content");
        assert_eq!(path(r#"[[1, 2], ["a"#), "[1][0]");
        assert_eq!(path(r#"{"a": {"b": 1}, "#), "");
        assert_eq!(path(r#"{"a": {"b": 1}, "c": 7"#), "c");
        assert_eq!(path(r#"{"a\"b": "c\\", "d": "#), "d");
        assert_eq!(path(r#"{"a": "not: {a} [name], ""#), "a");
        assert_eq!(path("\"alone"), "");
        assert_eq!(path("{\"one\": 1}\n{\"two\": \"x"), "two");
    }

    #[test]
    fn what_is_no_json_has_some_path() {
        for text in ["", "}}}]]]", "{{{{", ":::", "{\"a", "{]", "[}", "\\\"\\"] {
            path(text);
        }
        let deep = "[".repeat(100_000) + "\"key";
        assert!(path(&deep).ends_with("[0]…"));
        let (mut tracker, name) = (JsonPath::default(), "n".repeat(1_000_000));
        tracker.advance(format!("{{\"{name}\": \"x").as_bytes());
        assert_eq!(tracker.path().len(), MAX_NAME);
        assert!(tracker.buffered() < 10_000);
    }

    proptest! {
        #[test]
        fn cutting_changes_nothing(text in r#"[\[\]{}":,\\ab1 ]{0,60}"#, cut in 0usize..60) {
            let mut tracker = JsonPath::default();
            let (first, second) = text.as_bytes().split_at(cut.min(text.len()));
            tracker.advance(first);
            tracker.advance(second);
            prop_assert_eq!(tracker.path(), path(&text));
        }
    }
}
