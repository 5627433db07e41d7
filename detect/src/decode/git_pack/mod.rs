//! What `git push` sends over HTTP (gitprotocol-http(5), gitformat-pack(5)): commands as pkt-lines, then a pack, its
//! objects inflated as they pass.
//!
//! A pack does not say how long an object's compressed data is: its end is found by inflating it, also where the object
//! is too large to be handed out. Crates that read packs (`gix-pack`, `git2`) want a file, or a reader they can pull from.
//!
//! What is no push is handed on as it is ([`Kind::Unknown`]).

mod delta;

use super::content::inflate::{Format, Inflate};
use super::limit::{Budget, Stopped};
use super::{Part, content_type};
use delta::Delta;

const MIME: &str = "application/x-git-receive-pack-request";
/// Most that is handed out of one object.
pub const MAX_OBJECT: u64 = 16 * 1024 * 1024;
/// Hex digits of a SHA-1, and of a SHA-256.
const SHA1_DIGITS: usize = 40;
const SHA256_DIGITS: usize = 64;

/// What handed out bytes are part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A pkt-line: a command with the name of a ref, a push option, a line of a certificate.
    Line,
    Commit,
    Tree,
    Blob,
    Tag,
    /// New text of an object that is otherwise made of another one.
    Delta,
    /// No push, or what comes behind damage.
    Unknown,
}

impl Kind {
    /// As a location shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Commit => "commit",
            Self::Tree => "tree",
            Self::Blob => "blob",
            Self::Tag => "tag",
            Self::Delta => "delta",
            Self::Unknown => "unknown",
        }
    }

    /// Type of an object in a pack, and whether a base is named behind it.
    fn of_object(number: u8) -> Option<(Self, Base)> {
        match number {
            1 => Some((Self::Commit, Base::None)),
            2 => Some((Self::Tree, Base::None)),
            3 => Some((Self::Blob, Base::None)),
            4 => Some((Self::Tag, Base::None)),
            6 => Some((Self::Delta, Base::Offset)),
            7 => Some((Self::Delta, Base::Name)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    None,
    Offset,
    Name,
}

pub struct GitPush {
    state: State,
    /// Hex digits of an object's name, counted in the first command.
    digits: Option<usize>,
    /// Objects of the pack that are still to come.
    objects: u32,
    inflate: Option<Inflate>,
    object: Object,
    budget: Budget,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The length of a pkt-line, or the first bytes of a pack.
    Length {
        held: [u8; 4],
        len: usize,
    },
    Line {
        left: usize,
        at: usize,
    },
    /// Version and number of objects.
    PackHeader {
        held: [u8; 8],
        len: usize,
    },
    /// Type and size of an object. None: its first byte is still to come.
    Object(Option<(Kind, Base)>),
    BaseOffset(Kind),
    BaseName(Kind, usize),
    Data(Kind),
    /// The pack's own checksum.
    Trailer(usize),
    Unknown,
}

/// The object under way.
#[derive(Clone, Copy, Debug, Default)]
struct Object {
    size: u64,
    delta: Delta,
}

impl State {
    const START: Self = Self::Length { held: [0; 4], len: 0 };
}

type Out<'a> = &'a mut dyn FnMut(Kind, Part, &[u8]);

impl GitPush {
    /// None: the Content-Type is not a push's.
    pub fn announced(content_type: &[u8]) -> Option<Self> {
        content_type::is(content_type, MIME).then_some(Self {
            state: State::START,
            digits: None,
            objects: 0,
            inflate: None,
            object: Object::default(),
            budget: Budget::default(),
        })
    }

    /// Takes the next bytes of the body. `Broken`: from here on nothing is understood. `Limit`: an object is too large
    /// to be handed out whole; or so much comes out of so little that nothing more of the pack is.
    pub fn push(&mut self, bytes: &[u8], out: Out<'_>) -> Result<(), Stopped> {
        self.budget.take(bytes.len());
        let mut rest = bytes;
        let mut result = Ok(());
        while let Some((&byte, after)) = rest.split_first() {
            match self.state {
                State::Line { left, at } => rest = self.line(rest, left, at, out),
                State::Data(kind) => match self.data(rest, kind, &mut result, out) {
                    Ok(after) => rest = after,
                    Err(stopped) => {
                        self.state = State::Unknown;
                        result = result.and(Err(stopped));
                    }
                },
                State::Unknown => {
                    out(Kind::Unknown, Part::More, rest);
                    return result;
                }
                _ => {
                    rest = after;
                    result = result.and(self.framing(byte, out));
                }
            }
        }
        result
    }

    /// The body is over.
    pub fn finish(&mut self, out: Out<'_>) -> Result<(), Stopped> {
        match std::mem::replace(&mut self.state, State::Unknown) {
            State::Length { held, len } => {
                if let Some(held) = held.get(..len).filter(|held| !held.is_empty()) {
                    out(Kind::Unknown, Part::Whole, held);
                }
                Ok(())
            }
            State::Line { .. } => {
                out(Kind::Line, Part::Last, &[]);
                Ok(())
            }
            State::Data(kind) => {
                self.end_text(kind, out);
                Err(Stopped::Broken)
            }
            State::Unknown => {
                out(Kind::Unknown, Part::Last, &[]);
                Ok(())
            }
            _ => Err(Stopped::Broken),
        }
    }

    /// Bytes of memory in use, about: some 43 KiB once there was an object.
    pub fn buffered(&self) -> usize {
        self.inflate.as_ref().map_or(0, Inflate::buffered)
    }

    fn line<'a>(&mut self, rest: &'a [u8], left: usize, at: usize, out: Out<'_>) -> &'a [u8] {
        let (text, after) = rest.split_at_checked(left).unwrap_or((rest, &[]));
        if self.digits.is_none() {
            self.digits = text.iter().position(|&b| b == b' ').map(|space| at + space);
        }
        let left = left - text.len();
        let part = match (left, at) {
            (0, 0) => Part::Whole,
            (0, _) => Part::Last,
            _ => Part::More,
        };
        out(Kind::Line, part, text);
        self.state = if left == 0 { State::START } else { State::Line { left, at: at + text.len() } };
        after
    }

    /// Takes a byte that is neither text nor an object's data.
    fn framing(&mut self, byte: u8, out: Out<'_>) -> Result<(), Stopped> {
        let next = match self.state {
            State::Length { held, len } => {
                let (held, len) = with(held, len, byte);
                if len < held.len() {
                    Some(State::Length { held, len })
                } else {
                    let next = after_length(held);
                    if next.is_none() {
                        out(Kind::Unknown, Part::More, &held);
                        self.state = State::Unknown;
                        return Ok(()); // no damage: this is no push
                    }
                    next
                }
            }
            State::PackHeader { held, len } => {
                let (held, len) = with(held, len, byte);
                if len < held.len() { Some(State::PackHeader { held, len }) } else { self.pack(held) }
            }
            State::Object(None) => {
                let object = Kind::of_object(byte >> 4 & 7);
                object.map(|(kind, base)| self.after_size(byte, kind, base))
            }
            State::Object(Some((kind, base))) => Some(self.after_size(byte, kind, base)),
            State::BaseOffset(kind) if byte & 0x80 != 0 => Some(State::BaseOffset(kind)),
            State::BaseOffset(kind) | State::BaseName(kind, 1) => Some(State::Data(kind)),
            State::BaseName(kind, left) => Some(State::BaseName(kind, left - 1)),
            State::Trailer(1) => Some(State::START),
            State::Trailer(left) => Some(State::Trailer(left - 1)),
            state @ (State::Line { .. } | State::Data(_) | State::Unknown) => Some(state),
        };
        self.state = next.unwrap_or(State::Unknown);
        next.map(|_| ()).ok_or(Stopped::Broken)
    }

    /// Takes version and number of objects.
    fn pack(&mut self, held: [u8; 8]) -> Option<State> {
        let [v0, v1, v2, v3, n0, n1, n2, n3] = held;
        self.objects = u32::from_be_bytes([n0, n1, n2, n3]);
        matches!(u32::from_be_bytes([v0, v1, v2, v3]), 2 | 3).then(|| self.next_object())
    }

    fn next_object(&mut self) -> State {
        match self.objects.checked_sub(1) {
            Some(left) => {
                self.objects = left;
                self.object = Object::default();
                State::Object(None)
            }
            None => State::Trailer(self.name_length()),
        }
    }

    fn name_length(&self) -> usize {
        if self.digits == Some(SHA256_DIGITS) { SHA256_DIGITS / 2 } else { SHA1_DIGITS / 2 }
    }

    /// What follows a byte of an object's size.
    fn after_size(&self, byte: u8, kind: Kind, base: Base) -> State {
        match base {
            _ if byte & 0x80 != 0 => State::Object(Some((kind, base))),
            Base::None => State::Data(kind),
            Base::Offset => State::BaseOffset(kind),
            Base::Name => State::BaseName(kind, self.name_length()),
        }
    }

    /// Inflates an object's data; gives what follows it. `result` learns of an object that is too large.
    fn data<'a>(
        &mut self,
        bytes: &'a [u8],
        kind: Kind,
        result: &mut Result<(), Stopped>,
        out: Out<'_>,
    ) -> Result<&'a [u8], Stopped> {
        let inflate = self.inflate.get_or_insert_with(|| Inflate::new(Format::Zlib));
        let (object, budget) = (&mut self.object, &mut self.budget);
        let ended = inflate.push(bytes, &mut |plain| {
            budget.spend(plain.len())?;
            let whole_so_far = object.size <= MAX_OBJECT;
            object.size += plain.len() as u64;
            if object.size > MAX_OBJECT {
                if whole_so_far {
                    *result = result.and(Err(Stopped::Limit));
                }
            } else if kind == Kind::Delta {
                object.delta.push(plain, &mut |part, bytes| out(kind, part, bytes));
            } else {
                out(kind, Part::More, plain);
            }
            Ok(())
        });
        match ended {
            Ok(None) => Ok(&[]),
            Ok(Some(used)) => {
                inflate.restart();
                self.end_text(kind, out);
                self.state = self.next_object();
                Ok(bytes.get(used..).unwrap_or_default())
            }
            Err(stopped) => {
                self.end_text(kind, out);
                Err(stopped)
            }
        }
    }

    fn end_text(&mut self, kind: Kind, out: Out<'_>) {
        if kind == Kind::Delta {
            self.object.delta.end(&mut |part, bytes| out(kind, part, bytes));
        } else {
            out(kind, Part::Last, &[]);
        }
    }
}

/// What the four bytes before a line say.
fn after_length(held: [u8; 4]) -> Option<State> {
    if &held == b"PACK" {
        return Some(State::PackHeader { held: [0; 8], len: 0 });
    }
    if !held.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let length = usize::from_str_radix(std::str::from_utf8(&held).ok()?, 16).ok()?;
    match length.checked_sub(held.len()) {
        // 0 to 3 are marks between lines; a line of 4 is empty.
        None | Some(0) => Some(State::START),
        Some(left) => Some(State::Line { left, at: 0 }),
    }
}

fn with<const N: usize>(mut held: [u8; N], len: usize, byte: u8) -> ([u8; N], usize) {
    if let Some(place) = held.get_mut(len) {
        *place = byte;
    }
    (held, len + 1)
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for GitPush {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitPush")
            .field("objects_left", &self.objects)
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
