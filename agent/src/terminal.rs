//! Text for a person's terminal. Names of processes, hosts and files come from whoever chose them: printed as
//! they are, they could move the cursor, hide a line or rename the window.

use std::borrow::Cow;
use std::fmt::Write;
use std::io::IsTerminal;

/// Colour only where a person looks on: a terminal, or one behind a pipe (CLICOLOR_FORCE, bixense.com/clicolors), and no
/// word against it (no-color.org).
pub fn wants_color(output: &impl IsTerminal) -> bool {
    let is_set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let forced = std::env::var_os("CLICOLOR_FORCE").is_some_and(|value| !value.is_empty() && value != "0");
    let is_dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !is_set("NO_COLOR") && (forced || output.is_terminal() && !is_dumb)
}

/// One line without anything a terminal would obey, or that would look like what it is not.
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        // Writing to a string cannot fail.
        let _ = match c {
            '\n' => out.write_str("\\n"),
            '\r' => out.write_str("\\r"),
            '\t' => out.write_str("\\t"),
            c if is_unsafe(c) && c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
            c if is_unsafe(c) => write!(out, "\\u{{{:x}}}", u32::from(c)),
            c => out.write_char(c),
        };
    }
    Cow::Owned(out)
}

/// Control characters, and the invisible ones that reorder, hide or end text.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// An argument as in a shell, quoted where it would not be clear where it ends, and safe to show. Masks and redacted
/// forms are left as they are.
pub fn shell_word(argument: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,…*()".contains(c);
    let escaped = escape(argument);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        escaped
    } else {
        Cow::Owned(format!("'{}'", escaped.replace('\'', "'\\''")))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    Plain,
    Bold,
    Dim,
    Red,
    Yellow,
    Green,
    /// White on red: nothing on the screen is more urgent.
    Alarm,
}

/// The text in that style, or as it is where colour is not wanted.
pub fn paint(text: &str, style: Style, color: bool) -> Cow<'_, str> {
    let code = match style {
        _ if !color => return Cow::Borrowed(text),
        Style::Plain => return Cow::Borrowed(text),
        Style::Bold => "1",
        Style::Dim => "2",
        Style::Red => "1;31",
        Style::Yellow => "1;33",
        Style::Green => "32",
        Style::Alarm => "1;37;41",
    };
    Cow::Owned(format!("\x1b[{code}m{text}\x1b[0m"))
}

/// Breaks at spaces so that lines stay within `width`; a longer word stands alone.
pub fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let word = escape(word);
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(&word);
            }
            _ => lines.push(word.into_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_a_terminal_obeys_gets_through() {
        assert_eq!(escape("curl"), "curl");
        assert_eq!(escape("ünï 漢字 …"), "ünï 漢字 …");
        assert_eq!(escape("\x1b]0;owned\x07\r\n\t"), "\\x1b]0;owned\\x07\\r\\n\\t");
        assert_eq!(escape("\u{9b}31m\u{202e}gpj\u{200b}"), "\\u{9b}31m\\u{202e}gpj\\u{200b}");
        for c in (0..=0x10_ffff).filter_map(char::from_u32).filter(|c| c.is_control()) {
            assert!(!escape(&c.to_string()).chars().any(char::is_control), "{c:?}");
        }
    }

    #[test]
    fn words_for_a_shell() {
        assert_eq!(shell_word("--header=a"), "--header=a");
        assert_eq!(shell_word("x-api-key: sk-…(8)"), "'x-api-key: sk-…(8)'");
        assert_eq!(shell_word(""), "''");
        assert_eq!(shell_word("a'b\n"), "'a'\\''b\\n'");
    }

    #[test]
    fn wrapping() {
        assert_eq!(wrap("a bb ccc dddd", 6), ["a bb", "ccc", "dddd"]);
        assert_eq!(wrap("  longer-than-that x ", 5), ["longer-than-that", "x"]);
        assert!(wrap("", 5).is_empty());
    }

    #[test]
    fn colour_is_optional() {
        assert_eq!(paint("x", Style::Red, false), "x");
        assert_eq!(paint("x", Style::Red, true), "\x1b[1;31mx\x1b[0m");
    }
}
