//! What traffic does to secrets, undone: protocols taken apart into places, encodings into plain bytes.
//!
//! A protocol parser ([`http1`], [`http2`]) takes the bytes one side of a connection sends, in order, and hands out
//! [`Piece`]s: some bytes, and the place in a message they stand in. Nothing is ever left out: what a parser
//! cannot understand it hands on as [`Place::Stream`]. A body decoder ([`content`], [`multipart`], [`grpc`], [`git_pack`])
//! takes the bytes of one body and hands out what they stand for, within [`limit`]s; [`compound`] is those made of others.
//!
//! **Architecture Invariant:** nothing here knows rules or secrets. Bytes go in, bytes with a name come out.

pub mod compound;
pub mod content;
pub mod content_type;
pub mod git_pack;
pub mod grpc;
pub mod http1;
pub mod http2;
pub mod json_path;
pub mod limit;
pub mod multipart;
pub mod place;
pub mod text;
pub mod websocket;
mod wiped;

use place::{Place, Side};

/// Some bytes of a message, and what they are part of.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Which of the messages under way at once; always 0 where there is one at a time.
    pub stream: u32,
    pub place: Place,
    pub part: Part,
    pub bytes: &'a [u8],
    /// So many bytes of this piece were handed out before, while its end was waited for.
    pub peeked: usize,
}

impl<'a> Piece<'a> {
    /// A piece of the only message under way, handed out for the first time.
    pub fn new(place: Place, part: Part, bytes: &'a [u8]) -> Self {
        Self { stream: 0, place, part, bytes, peeked: 0 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// More may follow.
    More,
    /// Follows what came before, and is the end of it.
    Last,
}

/// What a message says about itself, known before its first piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About<'a> {
    pub stream: u32,
    pub side: Side,
    /// The host a request names; none if it names an address.
    pub host: Option<&'a str>,
    /// `Content-Type`, as it stands there.
    pub content_type: Option<&'a [u8]>,
    /// `Content-Encoding`, as it stands there.
    pub content_encoding: Option<&'a [u8]>,
    /// `grpc-encoding`, as it stands there.
    pub grpc_encoding: Option<&'a [u8]>,
}

/// A header field that comes by itself, already decoded (HTTP/2). In HTTP/1 fields are a part of the head's bytes.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    pub stream: u32,
    pub side: Side,
    /// In lower case, `:path` and the like included. None: the decoder has lost track, and any name would be a guess.
    pub name: Option<&'a [u8]>,
    pub value: &'a [u8],
}

/// Takes what a parser finds, in order.
pub trait Pieces {
    fn message(&mut self, about: About<'_>);
    fn piece(&mut self, piece: Piece<'_>);
    fn field(&mut self, field: Field<'_>);
    /// A message head was longer than is waited for; its bytes come as [`Place::Stream`].
    fn head_too_long(&mut self);
}
