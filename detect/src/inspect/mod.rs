//! One side of one connection, or a stretch of bytes that stands alone: bytes in, secrets and their places out.
//!
//! An [`Inspector`] keeps what must be known between two writes; a [`Scanner`] holds what all of them share.

mod scan;
pub mod text;

pub use scan::{Hit, Scanner};

use crate::decode::http1::Http1;
use crate::decode::place::{Place, Side};
use crate::decode::{About, Field, Part, Piece, Pieces};
use scan::Tail;
use std::sync::Arc;

/// What is remembered of the bytes one side of a connection sends. Small until something has to be kept.
#[derive(Default)]
pub struct Inspector {
    http: Http1,
    tail: Option<Box<Tail>>,
    /// Name the last request asked for.
    host: Option<Arc<str>>,
}

/// What feeding bytes had to give up on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    pub heads_too_long: u64,
}

impl Inspector {
    /// Judges the next bytes of the stream. `write_start`: they are the first of what the program wrote in one call.
    pub fn feed(&mut self, scanner: &Scanner, bytes: &[u8], write_start: bool, hits: &mut Vec<Hit>) -> Fed {
        self.with_sieve(scanner, hits, |http, sieve| http.feed(bytes, write_start, sieve))
    }

    /// Judges a part of a datagram; one that is [whole](Part::Whole) needs no inspector: [`Scanner::alone`].
    pub fn datagram(&mut self, scanner: &Scanner, bytes: &[u8], part: Part, hits: &mut Vec<Hit>) {
        scanner.piece(&mut self.tail, &Piece::new(Place::Datagram, part, bytes), None, hits);
    }

    /// `missing` bytes of the stream were not delivered.
    pub fn gap(&mut self, scanner: &Scanner, missing: u64, hits: &mut Vec<Hit>) -> Fed {
        scanner.gap(&mut self.tail, missing, self.host.as_ref(), hits);
        self.with_sieve(scanner, hits, |http, sieve| http.gap(missing, sieve))
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) {
        self.with_sieve(scanner, hits, |http, sieve| http.peek(sieve));
        scanner.flush(&mut self.tail, self.host.as_ref(), hits);
    }

    /// Gives up waiting for the end of a message head.
    pub fn give_up(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) -> Fed {
        self.with_sieve(scanner, hits, |http, sieve| http.give_up(sieve))
    }

    fn with_sieve(
        &mut self,
        scanner: &Scanner,
        hits: &mut Vec<Hit>,
        work: impl FnOnce(&mut Http1, &mut Sieve<'_>),
    ) -> Fed {
        let Self { http, tail, host } = self;
        let mut sieve = Sieve { scanner, tail, host, hits, fed: Fed::default() };
        work(http, &mut sieve);
        sieve.fed
    }

    /// Does anything wait that [`Self::flush`] could decide?
    pub fn pending(&self) -> bool {
        self.http.pending() || self.tail.as_ref().is_some_and(|tail| tail.pending())
    }

    /// Bytes held back in buffers.
    pub fn buffered(&self) -> usize {
        self.http.buffered()
    }

    /// Would the next byte be the first of a message?
    pub fn at_message_start(&self) -> bool {
        self.http.at_message_start()
    }

    /// The stream did not begin with the next byte: whatever it is, a message may start later.
    pub fn joined_midway(&mut self) {
        self.http.joined_midway();
    }

    /// Forgets where in a message the stream is.
    pub fn lose_sync(&mut self) {
        self.http.lose_sync();
    }

    /// What comes next has nothing to do with what came before, and does not begin with a message.
    pub fn start_over(&mut self) {
        self.lose_sync();
        self.tail = None;
        self.host = None;
    }
}

/// Takes a message apart into places and looks for secrets in each.
struct Sieve<'a> {
    scanner: &'a Scanner,
    tail: &'a mut Option<Box<Tail>>,
    host: &'a mut Option<Arc<str>>,
    hits: &'a mut Vec<Hit>,
    fed: Fed,
}

impl Pieces for Sieve<'_> {
    fn message(&mut self, about: About<'_>) {
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
        self.scanner.piece(self.tail, &piece, self.host.as_ref(), self.hits);
    }

    fn field(&mut self, _: Field<'_>) {}

    fn head_too_long(&mut self) {
        self.fed.heads_too_long += 1;
    }
}
