//! Go's regex syntax in the words of `regex-syntax`. The two agree on nearly everything; where Rust gives a
//! meaning to what Go takes literally, or another one, it is rewritten.
//!
//! Go's syntax is at <https://pkg.go.dev/regexp/syntax>. Left as they are, since nothing that finds keys depends
//! on them: Go folds case over all of Unicode and counts characters, here both is done in bytes.

use std::iter::Peekable;
use std::str::Chars;

/// Go's `\s`: without the vertical tab that Rust's has.
const SPACE: &str = r"[\t\n\f\r ]";
const NO_SPACE: &str = r"[^\t\n\f\r ]";

/// The same pattern for `regex-syntax`. What is wrong in both is left for its parser to find.
pub(super) fn from_go(pattern: &str) -> String {
    let mut out = String::with_capacity(pattern.len() + 16);
    let mut rest = pattern.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '\\' if rest.peek() == Some(&'Q') => {
                rest.next();
                quoted(&mut rest, &mut out);
            }
            '\\' => escape(&mut rest, &mut out),
            '[' => class(&mut rest, &mut out),
            // `${NAME}` is a text to Go, and a repeat without a number to Rust.
            '{' if !is_repeat(rest.clone()) => out.push_str(r"\{"),
            _ => out.push(c),
        }
    }
    out
}

/// `\Q…\E`: everything between is literal; the end may be missing.
fn quoted(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    while let Some(c) = rest.next() {
        if c == '\\' && rest.peek() == Some(&'E') {
            rest.next();
            return;
        }
        literal(c, out);
    }
}

/// What follows a backslash. Escaped punctuation is itself: `\<` is no word boundary to Go.
fn escape(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    match rest.next() {
        Some('s') => out.push_str(SPACE),
        Some('S') => out.push_str(NO_SPACE),
        Some(c) if c.is_ascii_punctuation() => literal(c, out),
        // `\p{Greek}`, `\x{7f}`: these braces belong to the escape.
        Some(c @ ('p' | 'P' | 'x')) => {
            out.extend(['\\', c]);
            if let Some(brace) = rest.next_if_eq(&'{') {
                out.push(brace);
                while let Some(c) = rest.next_if(|c| *c != '}') {
                    out.push(c);
                }
                out.extend(rest.next());
            }
        }
        Some(c) => out.extend(['\\', c]),
        None => out.push('\\'),
    }
}

/// The class after its `[`. In Rust's classes `[`, `&&`, `--` and `~~` are operators.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    out.push('[');
    out.extend(rest.next_if_eq(&'^'));
    // Literal in the first place.
    if let Some(c) = rest.next_if(|c| matches!(c, ']' | '-')) {
        literal(c, out);
    }
    while let Some(c) = rest.next() {
        match c {
            ']' => return out.push(']'),
            '\\' => escape(rest, out),
            '[' if rest.peek() == Some(&':') => named(rest, out),
            '-' => {
                out.push('-');
                if let Some(end) = rest.next_if_eq(&'-') {
                    literal(end, out);
                }
            }
            _ => literal(c, out),
        }
    }
}

/// `[:alpha:]`, if it is one: a `[` without the end of a name is a literal.
fn named(rest: &mut Peekable<Chars<'_>>, out: &mut String) {
    let name: String = rest.clone().skip(1).take_while(|c| c.is_ascii_lowercase() || *c == '^').collect();
    let mut after = rest.clone().skip(1 + name.chars().count());
    if !name.is_empty() && after.next() == Some(':') && after.next() == Some(']') {
        out.push_str("[:");
        out.push_str(&name);
        out.push_str(":]");
        rest.nth(name.chars().count() + 2);
    } else {
        out.push_str(r"\[");
    }
}

fn literal(c: char, out: &mut String) {
    if regex_syntax::is_meta_character(c) {
        out.push('\\');
    }
    out.push(c);
}

/// Does `{` start a repeat: `2}`, `2,}`, `2,5}`?
fn is_repeat(mut rest: Peekable<Chars<'_>>) -> bool {
    let mut digits = || {
        let mut count = 0;
        while rest.next_if(char::is_ascii_digit).is_some() {
            count += 1;
        }
        (count, rest.next())
    };
    match digits() {
        (1.., Some('}')) => true,
        (1.., Some(',')) => matches!(digits(), (_, Some('}'))),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex_automata::meta::Regex;

    fn matches(go: &str, text: &str) -> bool {
        Regex::new(&from_go(go)).unwrap_or_else(|error| panic!("{go}: {error}")).is_match(text)
    }

    #[test]
    fn braces_that_are_no_repeat_are_literal() {
        assert!(matches(r"^\${[A-Z]+}$", "${NAME}") && !matches(r"^\${[A-Z]+}$", "$NAME"));
        assert!(matches(r"^%[+]?{,3}$", "%{,3}"));
        assert!(matches("^a{2}b{1,}c{1,2}$", "aabcc") && !matches("^a{2}$", "a{2}"));
        assert!(matches("{", "{") && matches("x{1,", "x{1,") && matches("x{}", "x{}"));
    }

    #[test]
    fn classes_know_no_operators() {
        assert!(matches("^[a&&b]+$", "a&b") && matches("^[~~]$", "~") && matches("^[+--]+$", "+,-"));
        assert!(matches("^[[a]+$", "[a") && matches("^[]a]+$", "]a") && !matches("^[^]a]$", "]"));
        assert!(
            matches("^[[:alpha:]_]+$", "ab_") && matches("^[[:^alpha:]]+$", "12") && matches("^[[:x]$", ":")
        );
        assert!(matches(r"^[--/]+$", "-./") && matches(r"^[\w.-]+$", "a.-") && matches("^[=|-]$", "-"));
    }

    #[test]
    fn escapes_mean_what_they_mean_to_go() {
        assert!(matches(r"\<a\>", "<a>") && !matches(r"\<a\>", "a"));
        assert!(matches(r"\Qa.b[\E+", "a.b[[") && !matches(r"\Qa.b\E", "axb") && matches(r"\Qa.", "a."));
        assert!(matches(r"^\s$", " ") && !matches(r"^\s$", "\u{b}") && matches(r"^\S$", "\u{b}"));
        assert!(matches(r"^[\s\S]+$", "a \n") && matches(r"^[^\s]$", "a") && !matches(r"^[^\s]$", " "));
        assert!(matches(r"^[\x60'\x22\s=]+$", "`' =\"") && matches(r"\/\_\%\-", "/_%-"));
        assert!(matches(r"^\x{41}\pL\p{Greek}[\p{Greek}]$", "AbΑΒ"));
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        for wrong in ["(", "[a", r"a\", "*", "(?<=a)b", r"\1", "a{3,2}"] {
            assert!(Regex::new(&from_go(wrong)).is_err(), "{wrong}");
        }
    }
}
