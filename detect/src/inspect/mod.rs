//! One side of one connection, or a stretch of bytes that stands alone: bytes in, secrets and their places out.
//!
//! An [`Inspector`] keeps what must be known between two writes; a [`Scanner`] holds what all of them share. A connection
//! begins with HTTP/1, which may make way for another protocol ([`successor`]). A message's head goes to [`scan`], its
//! body through [`body`] (compression) and [`texts`] (elements, fields), and both end in [`text`] (encodings, and the
//! engine).

mod bodies;
mod body;
mod json;
mod scan;
mod successor;
pub mod text;
mod texts;

pub use scan::{Hit, Scanner};

use crate::decode::http1::Http1;
use crate::decode::limit::Stopped;
use crate::decode::place::{Place, Side};
use crate::decode::{About, Field, Part, Piece, Pieces};
use bodies::Bodies;
use scan::Around;
use std::sync::Arc;
use successor::Successor;

/// What is remembered of the bytes one side of a connection sends. Small until something has to be kept.
#[derive(Default)]
pub struct Inspector {
    http1: Http1,
    /// Once the connection speaks something else.
    successor: Option<Successor>,
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
    /// Bodies, and messages, that decoding would have made too much of.
    pub bodies_too_large: u64,
}

impl Inspector {
    /// Judges the next bytes of the stream. `write_start`: they are the first of what the program wrote in one call.
    pub fn feed(&mut self, scanner: &Scanner, bytes: &[u8], write_start: bool, hits: &mut Vec<Hit>) -> Fed {
        if write_start && self.successor.is_none() {
            self.successor = match self.joined {
                Joined::Midway => Successor::midway(bytes),
                Joined::NotYet if self.at_message_start() => Successor::of_server(bytes),
                Joined::AtTheStart if self.at_message_start() => Successor::midway(bytes),
                _ => None,
            };
        }
        if self.joined == Joined::NotYet {
            self.joined = Joined::AtTheStart;
        }
        self.sieve(scanner, hits, |http1, sieve| {
            let fed = sieve.with_successor(|successor, sieve| successor.feed(bytes, write_start, sieve));
            if fed.is_none() {
                http1.feed(bytes, write_start, sieve);
            }
        })
    }

    /// Judges a part of a datagram; one that is [whole](Part::Whole) needs no inspector: [`Scanner::alone`].
    pub fn datagram(&mut self, scanner: &Scanner, bytes: &[u8], part: Part, hits: &mut Vec<Hit>) {
        self.bodies.piece(scanner, &Piece::new(Place::Datagram, part, bytes), Around::default(), hits);
    }

    /// `missing` bytes of the stream were not delivered.
    pub fn gap(&mut self, scanner: &Scanner, missing: u64, hits: &mut Vec<Hit>) -> Fed {
        let around = Around { protocol: Some(self.protocol()), host: self.host.as_ref() };
        self.bodies.gap(scanner, missing, around, hits);
        self.sieve(scanner, hits, |http1, sieve| {
            if sieve.with_successor(|successor, sieve| successor.gap(missing, sieve)).is_none() {
                http1.gap(missing, sieve);
            }
        })
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) {
        self.sieve(scanner, hits, |http1, sieve| {
            let peek = |successor: &mut Successor, sieve: &mut Sieve<'_>| {
                successor.peek(sieve);
                Ok(())
            };
            if sieve.with_successor(peek).is_none() {
                http1.peek(sieve);
            }
        });
        let around = Around { protocol: Some(self.protocol()), host: self.host.as_ref() };
        self.bodies.flush(scanner, around, hits);
    }

    /// Gives up waiting for the end of a message head.
    pub fn give_up(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) -> Fed {
        let fed = self.sieve(scanner, hits, |http1, sieve| {
            let give_up = |successor: &mut Successor, sieve: &mut Sieve<'_>| {
                successor.give_up(sieve);
                Ok(())
            };
            if sieve.with_successor(give_up).is_none() {
                http1.give_up(sieve);
            }
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
        let Self { http1, successor, bodies, host, .. } = self;
        let mut sieve = Sieve { scanner, successor, bodies, host, hits, fed: Fed::default(), protocol };
        work(http1, &mut sieve);
        sieve.fed
    }

    fn protocol(&self) -> &'static str {
        self.successor.as_ref().map_or(HTTP1, Successor::protocol)
    }

    /// Does anything wait that [`Self::flush`] could decide?
    pub fn pending(&self) -> bool {
        let successor = self.successor.as_ref().is_some_and(Successor::pending);
        self.http1.pending() || successor || self.bodies.pending()
    }

    /// Bytes held back in buffers, and kept by decoders.
    pub fn buffered(&self) -> usize {
        let successor = self.successor.as_ref().map_or(0, Successor::buffered);
        self.http1.buffered() + successor + self.bodies.buffered()
    }

    /// Would the next byte be the first of a message?
    pub fn at_message_start(&self) -> bool {
        self.successor.as_ref().map_or_else(|| self.http1.at_message_start(), Successor::at_start)
    }

    /// Would the next byte be the first of an HTTP/1 message?
    pub fn at_http1_start(&self) -> bool {
        self.successor.is_none() && self.http1.at_message_start()
    }

    /// The stream did not begin with the next byte: whatever it is, a message may start later.
    pub fn joined_midway(&mut self) {
        self.joined = Joined::Midway;
        self.http1.joined_midway();
    }

    /// Forgets where in a message the stream is.
    pub fn lose_sync(&mut self) {
        self.joined = Joined::Midway;
        match &mut self.successor {
            Some(successor) => successor.lose_sync(),
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

/// Takes a message apart into places and looks for secrets in each.
struct Sieve<'a> {
    scanner: &'a Scanner,
    /// Taken out while it works.
    successor: &'a mut Option<Successor>,
    bodies: &'a mut Bodies,
    host: &'a mut Option<Arc<str>>,
    hits: &'a mut Vec<Hit>,
    fed: Fed,
    protocol: &'static str,
}

impl Sieve<'_> {
    /// Lets HTTP/1's successor work; none if there is none.
    fn with_successor(
        &mut self,
        work: impl FnOnce(&mut Successor, &mut Self) -> Result<(), Stopped>,
    ) -> Option<()> {
        let mut successor = self.successor.take()?;
        self.protocol = successor.protocol();
        if work(&mut successor, self) == Err(Stopped::Limit) {
            self.fed.bodies_too_large += 1;
        }
        *self.successor = Some(successor);
        Some(())
    }
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
        // Bytes in which HTTP/1 found another protocol's beginning: it knows nothing of what follows.
        if let Some(successor) = Successor::at(piece.place) {
            self.successor.get_or_insert(successor);
            self.with_successor(|successor, sieve| successor.feed(piece.bytes, false, sieve));
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
