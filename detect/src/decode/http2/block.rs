//! A header block under way: its fields so far, and the bytes that are no field yet.

use super::frames::Sender;
use super::hpack::{self, Stop};
use super::table::{OVERHEAD, Table};
use crate::decode::http1::host_name;
use crate::decode::place::{Place, Side};
use crate::decode::wiped::Wiped;
use crate::decode::{About, Field, Part, Piece, Pieces};

/// Longest header block that is decoded, as it is sent.
pub const MAX_BLOCK: usize = 64 * 1024;
/// Most its fields may take up when decoded, counted as SETTINGS_MAX_HEADER_LIST_SIZE does (RFC 9113, 6.5.2).
pub const MAX_FIELDS: usize = 256 * 1024;

/// Decoded fields.
#[derive(Debug, Default)]
pub struct Fields {
    /// All names and values, one behind the other.
    text: Wiped,
    lengths: Vec<(Option<usize>, usize)>,
}

impl Fields {
    /// Adds a field; fails when there is no room for it.
    pub fn add(&mut self, name: Option<&[u8]>, value: &[u8]) -> Result<(), Stop> {
        let bytes = name.unwrap_or_default();
        let text = self.text.len() + bytes.len() + value.len();
        if text + (self.lengths.len() + 1) * OVERHEAD > MAX_FIELDS {
            return Err(Stop::TooLong);
        }
        self.text.extend(bytes);
        self.text.extend(value);
        self.lengths.push((name.map(<[u8]>::len), value.len()));
        Ok(())
    }

    pub fn iter(&self) -> impl Iterator<Item = (Option<&[u8]>, &[u8])> {
        let mut rest = self.text.bytes();
        self.lengths.iter().map(move |&(name, value)| {
            let (before, behind) = rest.split_at_checked(name.unwrap_or(0)).unwrap_or_default();
            let (value, behind) = behind.split_at_checked(value).unwrap_or_default();
            rest = behind;
            (name.map(|_| before), value)
        })
    }

    fn buffered(&self) -> usize {
        self.text.capacity() + self.lengths.capacity() * size_of::<(Option<usize>, usize)>()
    }
}

/// What a block's fields say about the message.
#[derive(Default)]
struct Facts<'a> {
    side: Option<Side>,
    authority: Option<&'a [u8]>,
    host: Option<&'a [u8]>,
    content_type: Option<&'a [u8]>,
    content_encoding: Option<&'a [u8]>,
    grpc_encoding: Option<&'a [u8]>,
}

impl<'a> Facts<'a> {
    fn of(fields: &'a Fields) -> Self {
        let mut facts = Self::default();
        for (name, value) in fields.iter() {
            match name.unwrap_or_default() {
                b":authority" => {
                    facts.authority = Some(value);
                    facts.side = Some(Side::Request);
                }
                b":method" | b":path" | b":scheme" => facts.side = Some(Side::Request),
                b":status" => facts.side = Some(Side::Response),
                b"host" => facts.host = Some(value),
                b"content-type" => facts.content_type = Some(value),
                b"content-encoding" => facts.content_encoding = Some(value),
                b"grpc-encoding" => facts.grpc_encoding = Some(value),
                _ => {}
            }
        }
        facts
    }

    fn host(&self) -> Option<&'a str> {
        self.authority.or(self.host).and_then(|host| std::str::from_utf8(host).ok()).and_then(host_name)
    }
}

#[derive(Debug)]
pub struct Block {
    /// Whose fields these are.
    pub stream: u32,
    /// The stream its frames are sent on; a promise is about another one.
    pub frames: u32,
    pub ends_stream: bool,
    /// What follows in the block cannot be decoded.
    raw: bool,
    /// Whose message its fields said it is.
    pub side: Option<Side>,
    /// Fields of a stream that had some before are a trailer, unless they say otherwise.
    follows: bool,
    fields: Fields,
    /// So many fields are handed out.
    shown: usize,
    /// A representation that is not whole yet.
    partial: Wiped,
    /// Bytes of `partial` already handed out by `peek`.
    peeked: usize,
    /// Bytes of the block so far.
    length: usize,
}

impl Block {
    pub fn new(frames: u32, stream: u32, ends_stream: bool, follows: bool) -> Self {
        Self {
            stream,
            frames,
            ends_stream,
            raw: false,
            side: None,
            follows,
            fields: Fields::default(),
            shown: 0,
            partial: Wiped::default(),
            peeked: 0,
            length: 0,
        }
    }

    /// A block of which only a later part is seen.
    pub fn without_beginning(stream: u32) -> Self {
        Self { raw: true, ..Self::new(stream, stream, false, true) }
    }

    /// Takes the next bytes of the block.
    pub fn feed(&mut self, bytes: &[u8], table: &mut Table, sender: Sender, out: &mut impl Pieces) {
        let room = MAX_BLOCK.saturating_sub(self.length);
        let (fits, beyond) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
        self.length += fits.len();
        if self.raw {
            opaque(Part::More, bytes, 0, out);
            return;
        }
        let (taken, stop) = if self.partial.is_empty() {
            let (taken, stop) = hpack::decode(fits, table, &mut self.fields);
            self.partial.extend(fits.get(taken..).unwrap_or_default());
            (taken, stop)
        } else {
            self.partial.extend(fits);
            let (taken, stop) = hpack::decode(self.partial.bytes(), table, &mut self.fields);
            self.partial.drop_front(taken);
            (taken, stop)
        };
        if taken > 0 {
            self.peeked = 0;
        }
        match stop {
            Stop::More if beyond.is_empty() => {}
            Stop::More | Stop::TooLong => self.too_long(table, sender, out),
            Stop::Broken => {
                table.distrust();
                self.cut(sender, out);
            }
        }
        if !beyond.is_empty() {
            opaque(Part::More, beyond, 0, out);
        }
    }

    /// Decodes no more of the block than what is decoded.
    pub fn too_long(&mut self, table: &mut Table, sender: Sender, out: &mut impl Pieces) {
        if !self.raw {
            out.head_too_long();
            table.forget();
            self.cut(sender, out);
        }
    }

    /// Bytes of the block are missing.
    pub fn gap(&mut self, table: &mut Table, sender: Sender, out: &mut impl Pieces) {
        if !self.raw {
            table.forget();
            self.cut(sender, out);
        }
    }

    fn cut(&mut self, sender: Sender, out: &mut impl Pieces) {
        self.hand_out(sender, out);
        let partial = std::mem::take(&mut self.partial);
        if !partial.is_empty() {
            opaque(Part::More, partial.bytes(), self.peeked, out);
        }
        self.fields = Fields::default();
        self.shown = 0;
        self.raw = true;
    }

    /// The block is over.
    pub fn end(&mut self, table: &mut Table, sender: Sender, out: &mut impl Pieces) {
        if !self.raw && !self.partial.is_empty() {
            table.distrust();
            self.cut(sender, out);
        }
        if self.raw {
            opaque(Part::Last, &[], 0, out);
        } else {
            self.hand_out(sender, out);
        }
    }

    /// Hands out the fields that are decoded, what they say about the message first.
    fn hand_out(&mut self, sender: Sender, out: &mut impl Pieces) {
        let facts = Facts::of(&self.fields);
        // A block that names nothing, of nobody known: programs are watched because they send requests.
        let side = facts.side.or(sender.side()).unwrap_or(Side::Request);
        let is_message = facts.side.is_some() || !self.follows;
        if is_message && (self.shown < self.fields.lengths.len() || self.shown == 0) {
            out.message(About {
                stream: self.stream,
                side,
                host: facts.host(),
                content_type: facts.content_type,
                content_encoding: facts.content_encoding,
                grpc_encoding: facts.grpc_encoding,
            });
        }
        for (name, value) in self.fields.iter().skip(self.shown) {
            out.field(Field { stream: self.stream, side, name, value });
        }
        self.side = facts.side;
        self.shown = self.fields.lengths.len();
    }

    /// Is something held back that [`Self::peek`] would show?
    pub fn pending(&self) -> bool {
        self.shown < self.fields.lengths.len() || self.peeked < self.partial.len()
    }

    /// Shows what is held back: fields as fields, a part of one as it is sent.
    pub fn peek(&mut self, sender: Sender, out: &mut impl Pieces) {
        if self.shown < self.fields.lengths.len() {
            self.hand_out(sender, out);
        }
        if self.peeked < self.partial.len() {
            opaque(Part::Whole, self.partial.bytes(), self.peeked, out);
            self.peeked = self.partial.len();
        }
    }

    pub fn buffered(&self) -> usize {
        self.fields.buffered() + self.partial.capacity()
    }
}

/// Bytes of the connection that belong to no message.
pub fn opaque(part: Part, bytes: &[u8], peeked: usize, out: &mut impl Pieces) {
    out.piece(Piece { peeked, ..Piece::new(Place::Stream, part, bytes) });
}
