//! Where in a JSON document (RFC 8259) its next byte stands: `messages[0].content`.
//!
//! Follows the brackets, commas and names of a document that comes in pieces. What is no JSON gives a path that
//! means nothing, and no error.

use memchr::memchr2;

/// Longest name that is kept, in characters, and as many bytes as that may take.
const NAME: usize = 64;
const NAME_BYTES: usize = 4 * NAME;
/// Levels that are shown. Deeper ones are `…`.
const LEVELS: usize = 32;

/// Follows one document. At most 8 KiB of names, at most 1.5 KiB besides.
#[derive(Clone, Default)]
pub struct JsonPath {
    /// The first `open` of them are; the others keep their room for names.
    levels: Vec<Level>,
    open: usize,
    /// Levels that are open beyond [`LEVELS`].
    hidden: u64,
    within: Within,
    /// The byte before was a backslash in a string.
    escaped: bool,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Within {
    #[default]
    Structure,
    Name,
    Text,
}

#[derive(Clone, Default)]
struct Level {
    is_object: bool,
    /// In an object: the next string is a name.
    name_next: bool,
    /// In an object: the name before the value, as it stands there. Empty before the first, and between values.
    name: Vec<u8>,
    /// In an array: how many values are before this one.
    index: u64,
}

impl JsonPath {
    /// Takes the next bytes of the document.
    pub fn advance(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let took = match self.within {
                Within::Structure => self.structure(bytes),
                Within::Name | Within::Text => self.string(bytes),
            };
            bytes = bytes.get(took..).unwrap_or_default();
        }
    }

    /// The value that the next byte is a part of, such as `env.API_KEY`; empty at the top. Names are as the
    /// sender chose them, without control characters.
    pub fn path(&self) -> String {
        let mut path = String::new();
        for level in self.levels.iter().take(self.open) {
            if !level.is_object {
                path.push_str(&format!("[{}]", level.index));
            } else if !level.name_next {
                if !path.is_empty() {
                    path.push('.');
                }
                let name = String::from_utf8_lossy(&level.name);
                path.extend(name.chars().take(NAME).map(|c| if c.is_control() { '?' } else { c }));
            }
        }
        if self.hidden > 0 {
            path.push('…');
        }
        path
    }

    /// Takes bytes up to the next string, and its quote.
    fn structure(&mut self, bytes: &[u8]) -> usize {
        for (at, &byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => {
                    self.within = match self.top() {
                        Some(level) if level.name_next => {
                            level.name.clear();
                            Within::Name
                        }
                        _ => Within::Text,
                    };
                    return at + 1;
                }
                b',' => {
                    if let Some(level) = self.top() {
                        level.name_next = level.is_object;
                        level.index += 1;
                    }
                }
                b':' => {
                    if let Some(level) = self.top() {
                        level.name_next = false;
                    }
                }
                b'{' | b'[' => self.enter(byte == b'{'),
                b'}' | b']' => self.leave(),
                _ => {}
            }
        }
        bytes.len()
    }

    /// Takes bytes up to the end of the string.
    fn string(&mut self, bytes: &[u8]) -> usize {
        if std::mem::take(&mut self.escaped) {
            self.keep(bytes.get(..1).unwrap_or_default());
            return 1;
        }
        let end = memchr2(b'"', b'\\', bytes);
        let text = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or(bytes);
        self.keep(text);
        match bytes.get(text.len()) {
            None => text.len(),
            Some(b'"') => {
                self.within = Within::Structure;
                text.len() + 1
            }
            Some(_) => {
                self.keep(b"\\");
                self.escaped = true;
                text.len() + 1
            }
        }
    }

    fn keep(&mut self, text: &[u8]) {
        if self.within != Within::Name {
            return;
        }
        if let Some(Level { name, .. }) = self.top() {
            let room = NAME_BYTES.saturating_sub(name.len());
            name.extend_from_slice(text.get(..room).unwrap_or(text));
        }
    }

    fn enter(&mut self, is_object: bool) {
        if self.open == LEVELS {
            self.hidden += 1;
            return;
        }
        if self.open == self.levels.len() {
            self.levels.push(Level::default());
        }
        self.open += 1;
        if let Some(level) = self.top() {
            (level.is_object, level.name_next, level.index) = (is_object, is_object, 0);
        }
    }

    fn leave(&mut self) {
        match self.hidden.checked_sub(1) {
            Some(hidden) => self.hidden = hidden,
            None => self.open = self.open.saturating_sub(1),
        }
    }

    /// The innermost level, if it is shown.
    fn top(&mut self) -> Option<&mut Level> {
        let top = self.open.checked_sub(1).filter(|_| self.hidden == 0)?;
        self.levels.get_mut(top)
    }
}

/// Shows sizes, not names.
impl std::fmt::Debug for JsonPath {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JsonPath")
            .field("open", &self.open)
            .field("hidden", &self.hidden)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The path at the place of the `@`.
    fn at(text: &str) -> String {
        let before = &text[..text.find('@').unwrap()];
        let mut whole = JsonPath::default();
        whole.advance(before.as_bytes());
        let mut bytes = JsonPath::default();
        before.as_bytes().chunks(1).for_each(|byte| bytes.advance(byte));
        assert_eq!(bytes.path(), whole.path());
        whole.path()
    }

    #[test]
    fn names_and_indices() {
        assert_eq!(at(r#"{"env": {"HOME": "/root", "OPENAI_API_KEY": "@"#), "env.OPENAI_API_KEY");
        assert_eq!(at(r#"{"messages": [{"role": "user", "content": "a, b: {@"#), "messages[0].content");
        assert_eq!(at(r#"[1, [2, 3], {"a": [[], [4, @"#), "[2].a[1][1]");
        assert_eq!(at(r#"{"a": {"b": 1}, "c": tru@"#), "c");
        assert_eq!(at(r#"{"a": {"b": 1}@"#), "a");
        assert_eq!(at(r#""a string alone @"#), "");
    }

    #[test]
    fn where_no_value_is_the_path_is_what_it_is_in() {
        assert_eq!(at(r#"{"a": {@"#), "a");
        assert_eq!(at(r#"{"a": {"na@"#), "a");
        assert_eq!(at(r#"{"a": {"b": 1, @"#), "a");
        assert_eq!(at("{@"), "");
        assert_eq!(at(r#"{"a": 1} @"#), "");
    }

    #[test]
    fn quotes_in_strings_do_not_end_them() {
        assert_eq!(at(r#"{"a\"b": "x\\", "c": "\"}],@"#), "c");
        assert_eq!(at(r#"{"a\"b": "@"#), r#"a\"b"#);
    }

    #[test]
    fn long_names_are_cut_and_deep_levels_left_out() {
        let long = "é".repeat(100);
        assert_eq!(at(&format!("{{\"{long}\": \"@")), "é".repeat(64));
        assert_eq!(at("{\"a\nb\": \"@"), "a?b");
        let deep = "[".repeat(40);
        assert_eq!(at(&format!("{deep}{{\"hidden\": @")), "[0]".repeat(32) + "…");
        assert_eq!(at(&format!("{deep}{},@", "]".repeat(39))), "[1]");
    }

    #[test]
    fn what_is_no_json_gives_some_path() {
        assert_eq!(at("}]}, : , } \"@"), "");
        assert_eq!(at("{]}{\"a\"::\"b@"), "a");
    }

    proptest! {
        #[test]
        fn anything_cut_anywhere_gives_the_same_path(text in r#"([{}\[\]",:\\ ab0]|"[a-c]{0,3}": ?){0,60}"#, cut in any::<usize>()) {
            let mut whole = JsonPath::default();
            whole.advance(text.as_bytes());
            let (first, second) = text.as_bytes().split_at(cut % (text.len() + 1));
            let mut parts = JsonPath::default();
            parts.advance(first);
            parts.advance(second);
            prop_assert_eq!(parts.path(), whole.path());
        }

        #[test]
        fn bytes_are_no_danger(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut path = JsonPath::default();
            path.advance(&bytes);
            prop_assert!(path.path().chars().count() <= LEVELS * (NAME + 22) + 1);
        }
    }
}
