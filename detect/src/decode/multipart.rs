//! multipart bodies (RFC 2046, 5.1; forms: RFC 7578) taken apart as they pass, without copying what is in the parts.
//!
//! Nothing is left out but delimiters: what stands around the parts, or is no multipart at all, comes as
//! [`Segment::Plain`]. The crates there are (`multer`, `multipart`) pull from an async or blocking reader; here bytes are
//! pushed, so the delimiter is searched for in this file.

use super::{Part, content_type};
use httparse::Header;
use memchr::memmem::Finder;
use zeroize::Zeroizing;

/// Longest boundary the RFC allows.
const MAX_BOUNDARY: usize = 70;
/// White space that may follow a delimiter.
const MAX_PADDING: usize = 64;
/// Longest header of a part that is waited for.
const MAX_HEAD: usize = 8 * 1024;
const MAX_HEADERS: usize = 16;

/// Some bytes of a multipart body.
#[derive(Clone, Copy, Debug)]
pub enum Segment<'a> {
    /// The header lines of a part, whole, before anything of its body.
    Head(Head<'a>),
    /// Bytes of the part's body. The last piece of each is [`Part::Last`] or [`Part::Whole`], and may be empty.
    Body { name: Option<&'a [u8]>, part: Part, bytes: &'a [u8] },
    /// What belongs to no part.
    Plain(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// `name` of the Content-Disposition: the form's field.
    pub name: Option<&'a [u8]>,
    /// `Content-Type`, as it stands there.
    pub content_type: Option<&'a [u8]>,
    /// The header lines, with the blank line that ends them. File names are in here.
    pub bytes: &'a [u8],
}

pub struct Multipart {
    /// Finds `\n--boundary`.
    delimiter: Finder<'static>,
    state: State,
    /// Either what may be a delimiter, or a head that is not whole yet.
    held: Zeroizing<Vec<u8>>,
    /// The first byte of `held` was made up: a body may begin with a delimiter, as if behind a line break.
    made_up: bool,
    /// Name of the part under way.
    name: Option<Vec<u8>>,
    /// Something of its body was handed out.
    begun: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first part.
    Preamble,
    Head,
    Body,
    /// Behind the last part.
    Epilogue,
}

/// What held bytes are that may be a delimiter.
enum Verdict {
    Unclear,
    NextPart,
    LastPart,
    Text,
}

impl Multipart {
    /// None: the Content-Type is not multipart, or has no boundary one could look for.
    pub fn announced(content_type: &[u8]) -> Option<Self> {
        if !content_type::is(content_type, "multipart/") {
            return None;
        }
        let boundary = content_type::parameter(content_type, "boundary")?;
        let usable = (1..=MAX_BOUNDARY).contains(&boundary.len()) && !boundary.contains(&b'\n');
        if !usable || boundary.contains(&b'\r') {
            return None;
        }
        Some(Self {
            delimiter: Finder::new(&[b"\n--", &*boundary].concat()).into_owned(),
            state: State::Preamble,
            held: Zeroizing::new(vec![b'\n']),
            made_up: true,
            name: None,
            begun: false,
        })
    }

    /// Takes the next bytes of the body.
    pub fn push(&mut self, bytes: &[u8], out: &mut dyn FnMut(Segment<'_>)) {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Epilogue => {
                    out(Segment::Plain(rest));
                    rest.len()
                }
                State::Head => self.head(rest, out),
                State::Preamble | State::Body if self.held.is_empty() => self.text(rest, out),
                State::Preamble | State::Body => self.suspect(rest, out),
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// The body is over: hands out what is held back.
    pub fn finish(&mut self, out: &mut dyn FnMut(Segment<'_>)) {
        self.release(0, out);
        if matches!(self.state, State::Body) {
            self.emit(Part::Last, &[], out);
        }
        self.state = State::Epilogue;
    }

    /// Bytes held back.
    pub fn buffered(&self) -> usize {
        self.held.capacity()
    }

    /// Takes text up to where a delimiter is, or may begin.
    fn text(&mut self, bytes: &[u8], out: &mut dyn FnMut(Segment<'_>)) -> usize {
        let length = self.delimiter.needle().len();
        let end = match self.delimiter.find(bytes) {
            Some(at) => at,
            None => {
                let near_end = bytes.len().saturating_sub(length);
                let tail = bytes.get(near_end..).unwrap_or_default();
                match tail.iter().rposition(|&b| b == b'\n') {
                    Some(at) if self.delimiter.needle().starts_with(tail.get(at..).unwrap_or_default()) => {
                        near_end + at
                    }
                    _ => bytes.len(),
                }
            }
        };
        // The line break before a delimiter belongs to it. One at the end may be its first half.
        let before = bytes.get(..end).unwrap_or(bytes);
        let end = if before.ends_with(b"\r") { end - 1 } else { end };
        let (text, rest) = bytes.split_at_checked(end).unwrap_or((bytes, &[]));
        if !text.is_empty() {
            self.emit(Part::More, text, out);
        }
        // The rest, at most a delimiter, is looked at byte by byte.
        if let Some(&first) = rest.first() {
            self.held.push(first);
            return end + 1;
        }
        end
    }

    /// Takes one byte more of what may be a delimiter.
    fn suspect(&mut self, bytes: &[u8], out: &mut dyn FnMut(Segment<'_>)) -> usize {
        let Some(&byte) = bytes.first() else { return 0 };
        self.held.push(byte);
        match self.verdict() {
            Verdict::Unclear => {}
            Verdict::Text => {
                // Only its last byte can begin a delimiter: there are no line breaks inside one.
                let keep = usize::from(byte == b'\r' || byte == b'\n');
                self.release(keep, out);
            }
            Verdict::NextPart => {
                self.end_part(out);
                self.state = State::Head;
            }
            Verdict::LastPart => {
                self.end_part(out);
                self.state = State::Epilogue;
            }
        }
        1
    }

    fn verdict(&self) -> Verdict {
        let held = self.held.strip_prefix(b"\r").unwrap_or(&self.held);
        let needle = self.delimiter.needle();
        let Some(behind) = held.strip_prefix(needle) else {
            return if needle.starts_with(held) { Verdict::Unclear } else { Verdict::Text };
        };
        match behind {
            b"" | b"-" => Verdict::Unclear,
            b"--" => Verdict::LastPart,
            [padding @ .., b'\n'] if is_padding(padding) => Verdict::NextPart,
            padding if is_padding(padding) && padding.len() <= MAX_PADDING => Verdict::Unclear,
            _ => Verdict::Text,
        }
    }

    fn end_part(&mut self, out: &mut dyn FnMut(Segment<'_>)) {
        self.held.clear();
        self.made_up = false;
        if matches!(self.state, State::Body) {
            self.emit(Part::Last, &[], out);
        }
        self.name = None;
    }

    /// Takes header lines up to the blank line that ends them.
    fn head(&mut self, bytes: &[u8], out: &mut dyn FnMut(Segment<'_>)) -> usize {
        let room = MAX_HEAD.saturating_sub(self.held.len());
        self.held.reserve_exact(room);
        for (at, &byte) in bytes.iter().enumerate() {
            self.held.push(byte);
            let whole = byte == b'\n' && is_whole_head(&self.held);
            if whole || self.held.len() == MAX_HEAD {
                let held = std::mem::take(&mut self.held);
                self.state = State::Body;
                self.begun = false;
                if whole {
                    self.take_head(&held, out);
                } else {
                    self.emit(Part::More, &held, out);
                }
                return at + 1;
            }
        }
        bytes.len()
    }

    fn take_head(&mut self, bytes: &[u8], out: &mut dyn FnMut(Segment<'_>)) {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let headers = match httparse::parse_headers(bytes, &mut headers) {
            Ok(httparse::Status::Complete((_, headers))) => headers,
            _ => &[],
        };
        let field = |name: &str| -> Option<&[u8]> {
            headers.iter().find(|Header { name: is, .. }| is.eq_ignore_ascii_case(name)).map(|h| h.value)
        };
        let name = field("content-disposition").and_then(|value| content_type::parameter(value, "name"));
        out(Segment::Head(Head { name: name.as_deref(), content_type: field("content-type"), bytes }));
        self.name = name.map(|name| name.into_owned());
        // A part may be empty: then its delimiter follows the blank line at once, whose line break it shares.
        self.held.push(b'\n');
        self.made_up = true;
    }

    /// Hands out what is held but for the last `keep` bytes.
    fn release(&mut self, keep: usize, out: &mut dyn FnMut(Segment<'_>)) {
        let mut held = std::mem::take(&mut self.held);
        let end = held.len().saturating_sub(keep);
        let start = usize::from(std::mem::take(&mut self.made_up));
        if let Some(bytes) = held.get(start..end).filter(|bytes| !bytes.is_empty()) {
            if matches!(self.state, State::Head) {
                out(Segment::Plain(bytes));
            } else {
                self.emit(Part::More, bytes, out);
            }
        }
        held.drain(..end);
        self.held = held;
    }

    fn emit(&mut self, part: Part, bytes: &[u8], out: &mut dyn FnMut(Segment<'_>)) {
        if self.state == State::Body {
            let part = if part == Part::Last && !self.begun { Part::Whole } else { part };
            out(Segment::Body { name: self.name.as_deref(), part, bytes });
            self.begun = true;
        } else {
            out(Segment::Plain(bytes));
        }
    }
}

fn is_padding(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| matches!(b, b' ' | b'\t' | b'\r'))
}

fn is_whole_head(lines: &[u8]) -> bool {
    matches!(lines, b"\n" | b"\r\n") || lines.ends_with(b"\n\n") || lines.ends_with(b"\n\r\n")
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Multipart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Multipart")
            .field("state", &self.state)
            .field("held", &self.held.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const FORM: &[u8] = b"preamble\r\n--xyz\r\n\
        Content-Disposition: form-data; name=\"prompt\"\r\n\r\n\
        some\r\ntext\r\n--xyzzy\r\n--xy\r\n\
        --xyz \t\r\n\
        content-disposition: form-data; filename=\"a;b\"; NAME=file\r\nContent-Type: text/csv\r\n\r\n\
        a,b\n\r\n--xyz\r\n\r\n--xyz\n\nunix\n--xyz--\r\nepilogue";

    /// What came out, pieces of the same joined.
    #[derive(Debug, Default, PartialEq)]
    struct Out {
        heads: Vec<(Option<String>, Option<String>, usize)>,
        bodies: Vec<(Option<String>, String)>,
        plain: String,
        ended: usize,
    }

    fn text(bytes: &[u8]) -> String {
        bytes.iter().map(|&b| char::from(b)).collect()
    }

    fn parse(boundary: &str, parts: &[&[u8]]) -> Out {
        let header = format!("multipart/form-data; boundary={boundary}");
        let mut multipart = Multipart::announced(header.as_bytes()).unwrap();
        let mut out = Out::default();
        let mut take = |segment: Segment<'_>| match segment {
            Segment::Head(Head { name, content_type, bytes }) => {
                out.heads.push((name.map(text), content_type.map(text), bytes.len()));
            }
            Segment::Body { name, part, bytes } => {
                if out.bodies.len() == out.ended {
                    out.bodies.push((name.map(text), String::new()));
                }
                let body = out.bodies.last_mut().unwrap();
                assert_eq!(body.0, name.map(text));
                body.1.push_str(&text(bytes));
                out.ended += usize::from(part != Part::More);
            }
            Segment::Plain(bytes) => out.plain.push_str(&text(bytes)),
        };
        for part in parts {
            multipart.push(part, &mut take);
            assert!(multipart.buffered() <= MAX_HEAD);
        }
        multipart.finish(&mut take);
        out
    }

    #[test]
    fn a_form_is_taken_apart() {
        let out = parse("xyz", &[FORM]);
        let some = |text: &str| Some(text.to_owned());
        let heads: Vec<_> = out.heads.iter().map(|(name, kind, _)| (name.clone(), kind.clone())).collect();
        assert_eq!(
            heads,
            [(some("prompt"), None), (some("file"), some("text/csv")), (None, None), (None, None)]
        );
        let bodies = [
            (some("prompt"), "some\r\ntext\r\n--xyzzy\r\n--xy".to_owned()),
            (some("file"), "a,b\n".to_owned()),
            (None, String::new()),
            (None, "unix".to_owned()),
        ];
        assert_eq!(out.bodies, bodies);
        assert_eq!((out.plain.as_str(), out.ended), ("preamble\r\nepilogue", 4));
    }

    #[test]
    fn how_it_is_cut_changes_nothing() {
        let whole = parse("xyz", &[FORM]);
        for size in 1..FORM.len() {
            assert_eq!(parse("xyz", &FORM.chunks(size).collect::<Vec<_>>()), whole, "{size}");
        }
    }

    #[test]
    fn what_is_no_multipart_is_handed_on() {
        for plain in ["just text", "--xy\r\n\r\n", "{\"a\": 1}\r\n--xyz", "\r\n\r\n--xyz-x"] {
            let out = parse("xyz", &[plain.as_bytes()]);
            assert_eq!((out.plain.as_str(), out.bodies.len()), (plain, 0));
        }
        for header in ["text/plain; boundary=a", "multipart/mixed", "multipart/mixed; boundary=\"\"", ""] {
            assert!(Multipart::announced(header.as_bytes()).is_none(), "{header}");
        }
        let long = format!("multipart/mixed; boundary={}", "a".repeat(71));
        assert!(Multipart::announced(long.as_bytes()).is_none());
    }

    #[test]
    fn a_head_without_end_becomes_a_body() {
        let head = [b"--xyz\r\n".to_vec(), vec![b'h'; MAX_HEAD + 100]].concat();
        let out = parse("xyz", &[&head]);
        assert_eq!(out.heads, []);
        assert_eq!(out.bodies, [(None, "h".repeat(MAX_HEAD + 100))]);
    }

    proptest! {
        /// Whatever it is: all but delimiters comes out, the same however it is cut.
        #[test]
        fn nothing_is_left_out(
            tokens in prop::collection::vec(prop::sample::select(
                vec!["\r\n", "\n", "\r", "--b", "--b--", "-", "a", " ", "name: x", "\r\n\r\n", "--b\r\nA:1\r\n\r\n"]), 0..40),
            sizes in prop::collection::vec(1usize..12, 1..5),
        ) {
            let bytes = tokens.concat().into_bytes();
            let whole = parse("b", &[&bytes]);
            let mut rest = bytes.as_slice();
            let mut parts = Vec::new();
            for size in sizes.iter().cycle() {
                if rest.is_empty() { break; }
                let (part, more) = rest.split_at((*size).min(rest.len()));
                parts.push(part);
                rest = more;
            }
            prop_assert_eq!(&parse("b", &parts), &whole);
            let heads: usize = whole.heads.iter().map(|head| head.2).sum();
            let bodies: usize = whole.bodies.iter().map(|body| body.1.len()).sum();
            let seen = heads + bodies + whole.plain.len();
            let delimiters = bytes.windows(3).filter(|window| window == b"--b").count();
            prop_assert!(seen <= bytes.len() && bytes.len() - seen <= delimiters * 12 + 70, "{seen} of {}", bytes.len());
        }

        #[test]
        fn garbage_does_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let out = parse("xyz", &[&bytes]);
            prop_assert_eq!(out.plain, text(&bytes));
        }
    }
}
