//! One side of one connection, or a stretch of bytes that stands alone: bytes in, secrets and their places out.
//!
//! An [`Inspector`] keeps what must be known between two writes; a [`Scanner`] holds what all of them share. A
//! message's head goes to [`scan`], its body through [`body`] (compression, fields), and both end in [`text`]
//! (encodings, and the engine).

mod bodies;
mod body;
mod json;
mod scan;
pub mod text;

pub use scan::{Hit, Scanner};

use crate::decode::http1::Http1;
use crate::decode::http2::{Http2, looks_like_frames};
use crate::decode::place::{Place, Side};
use crate::decode::{About, Field, Part, Piece, Pieces};
use bodies::Bodies;
use scan::Around;
use std::sync::Arc;

/// What is remembered of the bytes one side of a connection sends. Small until something has to be kept.
#[derive(Default)]
pub struct Inspector {
    http1: Http1,
    /// Once the connection speaks it.
    http2: Option<Box<Http2>>,
    bodies: Bodies,
    /// Name the last request asked for.
    host: Option<Arc<str>>,
    joined: Joined,
}

/// When the first bytes came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Joined {
    #[default]
    NotYet,
    AtTheStart,
    Midway,
}

/// What feeding bytes had to give up on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    pub heads_too_long: u64,
    /// Bodies that decoding would have made too much of.
    pub bodies_too_large: u64,
}

impl Inspector {
    /// Judges the next bytes of the stream. `write_start`: they are the first of what the program wrote in one call.
    pub fn feed(&mut self, scanner: &Scanner, bytes: &[u8], write_start: bool, hits: &mut Vec<Hit>) -> Fed {
        if write_start && self.http2.is_none() && (self.joined == Joined::Midway || self.at_message_start()) {
            self.recognise_frames(bytes);
        }
        if self.joined == Joined::NotYet {
            self.joined = Joined::AtTheStart;
        }
        self.sieve(scanner, hits, |http1, sieve| match sieve.http2.take() {
            Some(mut http2) => {
                http2.feed(bytes, write_start, sieve);
                *sieve.http2 = Some(http2);
            }
            None => http1.feed(bytes, write_start, sieve),
        })
    }

    /// HTTP/2 without a client's preface: a server's side, or a connection older than whoever looks.
    fn recognise_frames(&mut self, bytes: &[u8]) {
        if let Some(sender) = looks_like_frames(bytes) {
            let from_the_start = self.joined == Joined::NotYet;
            let http2 = if from_the_start { Http2::new() } else { Http2::midway(sender) };
            self.http2 = Some(Box::new(http2));
        }
    }

    /// Judges a part of a datagram; one that is [whole](Part::Whole) needs no inspector: [`Scanner::alone`].
    pub fn datagram(&mut self, scanner: &Scanner, bytes: &[u8], part: Part, hits: &mut Vec<Hit>) {
        self.bodies.piece(scanner, &Piece::new(Place::Datagram, part, bytes), Around::default(), hits);
    }

    /// `missing` bytes of the stream were not delivered.
    pub fn gap(&mut self, scanner: &Scanner, missing: u64, hits: &mut Vec<Hit>) -> Fed {
        let around = Around { protocol: Some(self.protocol()), host: self.host.as_ref() };
        self.bodies.gap(scanner, missing, around, hits);
        self.sieve(scanner, hits, |http1, sieve| match sieve.http2.take() {
            Some(mut http2) => {
                http2.gap(missing, sieve);
                *sieve.http2 = Some(http2);
            }
            None => http1.gap(missing, sieve),
        })
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) {
        self.sieve(scanner, hits, |http1, sieve| match sieve.http2.take() {
            Some(mut http2) => {
                http2.peek(sieve);
                *sieve.http2 = Some(http2);
            }
            None => http1.peek(sieve),
        });
        let around = Around { protocol: Some(self.protocol()), host: self.host.as_ref() };
        self.bodies.flush(scanner, around, hits);
    }

    /// Gives up waiting for the end of a message head.
    pub fn give_up(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) -> Fed {
        let fed = self.sieve(scanner, hits, |http1, sieve| match sieve.http2.take() {
            Some(mut http2) => {
                http2.give_up(sieve);
                *sieve.http2 = Some(http2);
            }
            None => http1.give_up(sieve),
        });
        let around = Around { protocol: Some(self.protocol()), host: self.host.as_ref() };
        self.bodies.flush(scanner, around, hits);
        self.bodies = Bodies::default();
        fed
    }

    fn sieve(
        &mut self,
        scanner: &Scanner,
        hits: &mut Vec<Hit>,
        work: impl FnOnce(&mut Http1, &mut Sieve<'_>),
    ) -> Fed {
        let protocol = self.protocol();
        let Self { http1, http2, bodies, host, .. } = self;
        let mut sieve = Sieve { scanner, http2, bodies, host, hits, fed: Fed::default(), protocol };
        work(http1, &mut sieve);
        sieve.fed
    }

    fn protocol(&self) -> &'static str {
        if self.http2.is_some() { HTTP2 } else { HTTP1 }
    }

    /// Does anything wait that [`Self::flush`] could decide?
    pub fn pending(&self) -> bool {
        let http2 = self.http2.as_ref().is_some_and(|http2| http2.pending());
        self.http1.pending() || http2 || self.bodies.pending()
    }

    /// Bytes held back in buffers, and kept by decoders.
    pub fn buffered(&self) -> usize {
        let http2 = self.http2.as_ref().map_or(0, |http2| http2.buffered());
        self.http1.buffered() + http2 + self.bodies.buffered()
    }

    /// Would the next byte be the first of a message?
    pub fn at_message_start(&self) -> bool {
        match &self.http2 {
            Some(http2) => http2.at_start(),
            None => self.http1.at_message_start(),
        }
    }

    /// The stream did not begin with the next byte: whatever it is, a message may start later.
    pub fn joined_midway(&mut self) {
        self.joined = Joined::Midway;
        self.http1.joined_midway();
    }

    /// Forgets where in a message the stream is.
    pub fn lose_sync(&mut self) {
        self.joined = Joined::Midway;
        match &mut self.http2 {
            Some(http2) => http2.lose_sync(),
            None => self.http1.lose_sync(),
        }
    }

    /// What comes next has nothing to do with what came before, and does not begin with a message.
    pub fn start_over(&mut self) {
        *self = Self::default();
        self.lose_sync();
    }
}

const HTTP1: &str = "http/1.1";
const HTTP2: &str = "h2";

/// Takes a message apart into places and looks for secrets in each.
struct Sieve<'a> {
    scanner: &'a Scanner,
    /// Taken out while it works.
    http2: &'a mut Option<Box<Http2>>,
    bodies: &'a mut Bodies,
    host: &'a mut Option<Arc<str>>,
    hits: &'a mut Vec<Hit>,
    fed: Fed,
    protocol: &'static str,
}

impl Pieces for Sieve<'_> {
    fn message(&mut self, about: About<'_>) {
        self.bodies.announce(&about);
        if about.side != Side::Request {
            return;
        }
        let name = about.host;
        let same = self
            .host
            .as_deref()
            .map_or(name.is_none(), |host| name.is_some_and(|name| host.eq_ignore_ascii_case(name)));
        if !same {
            *self.host = name.map(Arc::from);
        }
    }

    fn piece(&mut self, piece: Piece<'_>) {
        if piece.place == Place::H2 {
            // HTTP/1 found the other one's preface, and knows nothing of what follows.
            let mut http2 = self.http2.take().unwrap_or_default();
            self.protocol = HTTP2;
            http2.feed(piece.bytes, false, self);
            *self.http2 = Some(http2);
            return;
        }
        let around = Around { protocol: Some(self.protocol), host: self.host.as_ref() };
        match piece.place {
            Place::Head(_) | Place::Trailer(_) => self.scanner.head(&piece, around, self.hits),
            _ => {
                let limit = self.bodies.piece(self.scanner, &piece, around, self.hits);
                self.fed.bodies_too_large += u64::from(limit);
            }
        }
    }

    fn field(&mut self, field: Field<'_>) {
        let around = Around { protocol: Some(self.protocol), host: self.host.as_ref() };
        self.scanner.field(&field, around, self.hits);
    }

    fn head_too_long(&mut self) {
        self.fed.heads_too_long += 1;
    }
}

#[cfg(test)]
mod tests;
