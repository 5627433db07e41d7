//! Masks secrets that have no recognisable shape but stand where secrets stand: `--password foo`.
//!
//! What is masked, on top of every rule's format (docs/operations.md has the same list for users):
//! - the value of a name that ends in one of `LONG_NAMES` or `SHORT_NAMES`: `NAME=v`, `name: v`, `"name": "v"`,
//!   `?name=v&`, `--name=v`, and `--name v` across arguments or inside a shell command;
//! - the part after the colon of `-u user:pass`, `-U`, `--user`, `--proxy-user`;
//! - the password of `scheme://user:pass@host`, and a long user name without a password (a token);
//! - the flags of `PROGRAM_FLAGS` for the programs named there.
//!
//! Where it is not clear how far a value reaches, more is masked rather than less.

use std::iter;
use std::ops::Range;

pub const MASK: &str = "***";

/// Compared with a name's end after `-`, `_` and `.` are taken out of it.
const LONG_NAMES: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "apikey",
    "accesskey",
    "secretkey",
    "privatekey",
    "accountkey",
    "signingkey",
    "encryptionkey",
    "subscriptionkey",
    "credential",
    "credentials",
    "authorization",
    "cookie",
];
/// Compared with a name's last part: `db-pass`, but not `compass`.
const SHORT_NAMES: &[&str] = &["pass", "pwd", "auth"];
/// Names whose value has spaces in it.
const HEADERS: &[&str] = &["authorization", "cookie"];
/// The word before the secret in an `Authorization` value; it is kept.
const SCHEMES: &[&str] = &["bearer", "basic", "token", "digest", "apikey", "negotiate"];
const USER_FLAGS: &[&str] = &["-u", "-U", "--user", "--proxy-user"];
/// Start of a program's name, and its flag that takes a secret, attached or as the next argument.
const PROGRAM_FLAGS: &[(&str, &str)] =
    &[("mysql", "-p"), ("mariadb", "-p"), ("sshpass", "-p"), ("redis-cli", "-a"), ("ldap", "-w")];
/// A URL's user name this long is a token.
const TOKEN_AS_USER: usize = 20;

/// Masks one command line, argument by argument.
#[derive(Debug, Default)]
pub struct Masker {
    program_flag: Option<&'static str>,
    started: bool,
    next: Next,
}

/// What the argument after a flag is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Ordinary,
    Secret,
    /// `user:pass`
    User,
}

impl Masker {
    pub fn argument(&mut self, argument: &str) -> String {
        if !std::mem::replace(&mut self.started, true) {
            let program = argument.rsplit('/').next().unwrap_or(argument);
            self.program_flag =
                PROGRAM_FLAGS.iter().find(|(name, _)| program.starts_with(name)).map(|(_, flag)| *flag);
            return replace(argument, secrets_in(argument));
        }
        let announced = self.announced_by(argument);
        let expected = std::mem::replace(&mut self.next, announced);
        let is_flag = argument.starts_with("--");
        match expected {
            Next::Secret if !is_flag => {
                self.next = Next::Ordinary;
                replace(argument, iter::once(0..argument.len()).collect())
            }
            Next::User if !is_flag => {
                self.next = Next::Ordinary;
                replace(argument, password_after_colon(argument, 0..argument.len()).into_iter().collect())
            }
            _ => replace(argument, self.attached(argument).into_iter().chain(secrets_in(argument)).collect()),
        }
    }

    fn announced_by(&self, argument: &str) -> Next {
        if USER_FLAGS.contains(&argument) {
            Next::User
        } else if self.program_flag == Some(argument)
            || (argument.starts_with('-') && is_secret_name(argument))
        {
            Next::Secret
        } else {
            Next::Ordinary
        }
    }

    /// `-pSECRET`, `-uuser:pass`
    fn attached(&self, argument: &str) -> Option<Range<usize>> {
        let flag = |flag: &str| argument.starts_with(flag) && argument.len() > flag.len();
        if let Some(own) = self.program_flag.filter(|own| flag(own)) {
            return Some(own.len()..argument.len());
        }
        let user = USER_FLAGS.iter().find(|own| own.len() == 2 && flag(own))?;
        password_after_colon(argument, user.len()..argument.len())
    }
}

fn replace(text: &str, mut spans: Vec<Range<usize>>) -> String {
    spans.sort_by_key(|span| (span.start, span.end));
    let (mut out, mut at) = (String::with_capacity(text.len()), 0);
    for span in spans {
        let start = span.start.max(at);
        let Some(value) = text.get(start..span.end).filter(|v| !v.is_empty() && !is_redacted(v)) else {
            continue;
        };
        out.push_str(text.get(at..start).unwrap_or_default());
        out.push_str(if value.ends_with(MASK) { value } else { MASK });
        at = span.end;
    }
    out.push_str(text.get(at..).unwrap_or_default());
    out
}

/// Already the redacted form of a rule's match, `sk-ant-api…(108)`: it says more than a mask and holds no secret.
fn is_redacted(value: &str) -> bool {
    const LONGEST_PREFIX: usize = 24;
    value.split_once('…').is_some_and(|(prefix, length)| {
        prefix.len() <= LONGEST_PREFIX
            && prefix.bytes().all(|b| b.is_ascii_graphic())
            && length
                .strip_prefix('(')
                .and_then(|l| l.strip_suffix(')'))
                .is_some_and(|l| l.parse::<u32>().is_ok())
    })
}

fn is_secret_name(name: &str) -> bool {
    ends_in(name, LONG_NAMES)
        || name
            .rsplit(['-', '_', '.'])
            .next()
            .is_some_and(|part| SHORT_NAMES.iter().any(|s| part.eq_ignore_ascii_case(s)))
}

fn ends_in(name: &str, words: &[&str]) -> bool {
    let letters =
        || name.bytes().rev().filter(|b| !matches!(b, b'-' | b'_' | b'.')).map(|b| b.to_ascii_lowercase());
    words.iter().any(|word| {
        let mut letters = letters();
        word.bytes().rev().all(|expected| letters.next() == Some(expected))
    })
}

/// Every secret value in a text: an argument, or a shell command in one.
fn secrets_in(text: &str) -> Vec<Range<usize>> {
    let mut cursor = Cursor { text, at: 0, open_quote: None };
    let mut spans = Vec::new();
    while let Some(byte) = cursor.peek() {
        if text.get(cursor.at..).is_some_and(|rest| rest.starts_with("://")) {
            spans.extend(user_info(text, cursor.at + 3));
            cursor.at += 3;
        } else if is_name(byte) {
            let start = cursor.at;
            cursor.skip_while(is_name);
            if let Some(span) = cursor.value_of(start) {
                cursor.at = cursor.at.max(span.end);
                spans.push(span);
            }
        } else {
            cursor.pass(byte);
        }
    }
    spans
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

struct Cursor<'a> {
    text: &'a str,
    at: usize,
    /// The quote around what is being read.
    open_quote: Option<u8>,
}

impl Cursor<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn pass(&mut self, byte: u8) {
        if matches!(byte, b'"' | b'\'') {
            self.open_quote = match self.open_quote {
                Some(open) if open == byte => None,
                None => Some(byte),
                other => other,
            };
        }
        self.at += 1;
    }

    fn skip_while(&mut self, accept: impl Fn(u8) -> bool) -> usize {
        let start = self.at;
        while self.peek().is_some_and(&accept) {
            self.at += 1;
        }
        self.at - start
    }

    /// The value of the name from `start` to here, if that name announces a secret.
    fn value_of(&mut self, start: usize) -> Option<Range<usize>> {
        let name = self.text.get(start..self.at)?;
        let is_user = USER_FLAGS.contains(&name);
        if !is_user && !is_secret_name(name) {
            return None;
        }
        let after_name = self.at;
        let Some(has_separator) = self.skip_separator(name) else {
            self.at = after_name;
            return None;
        };
        let opened = self.opening_quote();
        let value = self.at;
        if is_user {
            self.skip_while(|b| !b.is_ascii_whitespace() && !matches!(b, b'"' | b'\''));
            return password_after_colon(self.text, value..self.at);
        }
        let whole_argument = start == 0 && has_separator && opened.is_none();
        let end = match opened {
            Some(quote) => self.closing_quote(quote),
            None if whole_argument => self.text.len(),
            None => self.value_end(ends_in(name, HEADERS), start),
        };
        Some(self.after_scheme(value)..end)
    }

    /// Passes what stands between a name and its value; none when no value follows.
    fn skip_separator(&mut self, name: &str) -> Option<bool> {
        self.skip_while(|b| b == b'\\');
        self.skip_while(|b| matches!(b, b'"' | b'\''));
        let spaces = self.skip_while(|b| b == b' ');
        let has_separator = self.skip_while(|b| matches!(b, b'=' | b':')) > 0;
        let is_url = self.text.get(..self.at).is_some_and(|t| t.ends_with(':')) && self.peek() == Some(b'/');
        if is_url || (!has_separator && (spaces == 0 || !name.starts_with('-'))) {
            return None;
        }
        self.skip_while(|b| b == b' ');
        Some(has_separator)
    }

    fn opening_quote(&mut self) -> Option<Quote> {
        let escaped = self.skip_while(|b| b == b'\\') > 0;
        let byte = self.peek().filter(|b| matches!(b, b'"' | b'\''))?;
        self.at += 1;
        Some(Quote { byte, escaped })
    }

    fn closing_quote(&self, quote: Quote) -> usize {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        let mut after_backslash = false;
        for (offset, byte) in rest.iter().enumerate() {
            if *byte == quote.byte && after_backslash == quote.escaped {
                return self.at + offset - usize::from(quote.escaped);
            }
            after_backslash = *byte == b'\\' && !after_backslash;
        }
        self.text.len()
    }

    fn value_end(&self, is_header: bool, name_start: usize) -> usize {
        let in_query =
            name_start > 0 && matches!(self.text.as_bytes().get(name_start - 1), Some(b'?' | b'&'));
        let ends = |byte: u8| match byte {
            b'\r' | b'\n' => true,
            b'"' | b'\'' => self.open_quote == Some(byte),
            b'&' | b'#' => in_query,
            other => !is_header && other.is_ascii_whitespace(),
        };
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        rest.iter().position(|b| ends(*b)).map_or(self.text.len(), |n| self.at + n)
    }

    /// Behind `Bearer ` and the like.
    fn after_scheme(&self, value: usize) -> usize {
        let word = self.text.get(value..).and_then(|rest| rest.split_once(' ')).map(|(word, _)| word);
        match word.filter(|w| SCHEMES.iter().any(|s| w.eq_ignore_ascii_case(s))) {
            Some(word) => value + word.len() + 1,
            None => value,
        }
    }
}

#[derive(Clone, Copy)]
struct Quote {
    byte: u8,
    escaped: bool,
}

fn password_after_colon(text: &str, span: Range<usize>) -> Option<Range<usize>> {
    let (user, password) = text.get(span.clone())?.split_once(':')?;
    (!password.starts_with("//")).then_some(span.start + user.len() + 1..span.end)
}

fn user_info(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = text.get(start..)?;
    let authority = rest.split(|c: char| c.is_whitespace() || "/?#\"'<>".contains(c)).next()?;
    let (user_info, _) = authority.rsplit_once('@')?;
    match user_info.split_once(':') {
        Some((user, _)) => Some(start + user.len() + 1..start + user_info.len()),
        None if user_info.len() >= TOKEN_AS_USER => Some(start..start + user_info.len()),
        None => None,
    }
}

#[cfg(test)]
#[path = "mask_tests.rs"]
mod tests;
