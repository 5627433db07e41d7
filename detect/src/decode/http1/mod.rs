//! HTTP/1.x in the bytes one side sends: messages taken apart into places, without copying what is whole.
//!
//! Nothing is ever left out: what cannot be understood is handed on as `stream`.

mod chunked;
mod head;

pub use head::host_name;

use super::place::{Place, Side};
use super::{Part, Piece, Pieces};
use chunked::{Chunks, Line, MAX_LINE};
use head::{Framing, Head, Opening, Parsed, Tunnel};

/// Longest message head that is waited for.
pub const MAX_HEAD: usize = 64 * 1024;
/// A first line this short is looked at again with every byte that comes.
const SHORT: usize = 64;

#[derive(Debug)]
pub struct Http1 {
    state: State,
    /// A head, or a line between chunks, that is not whole yet.
    buffer: Vec<u8>,
    /// Bytes of `buffer` already handed out by `peek`.
    peeked: usize,
    /// What bytes are that stand where a message should start and are none.
    otherwise: Place,
    /// There was a message, or bytes are missing: another one may start with any write.
    resync: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Start,
    Length {
        side: Side,
        left: u64,
        begun: bool,
    },
    Chunked {
        side: Side,
        chunks: Chunks,
    },
    /// No end in sight.
    Raw(Place),
}

enum Step<'a> {
    Head(Head<'a>),
    Wait,
    Raw(Place),
    TooLong,
}

impl Default for Http1 {
    fn default() -> Self {
        Self { state: State::Start, buffer: Vec::new(), peeked: 0, otherwise: Place::Stream, resync: false }
    }
}

impl Http1 {
    /// Takes the next bytes. `write_start`: they are the first of what the program wrote in one call.
    pub fn feed(&mut self, bytes: &[u8], write_start: bool, out: &mut impl Pieces) {
        if write_start && self.starts_over(bytes) {
            self.end_body(Place::Stream, out);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Start if self.buffer.is_empty() => self.start(rest, out),
                State::Start => self.resume_head(rest, out),
                State::Length { side, left, begun } => self.length(rest, side, left, begun, out),
                State::Chunked { side, chunks } => self.chunked(rest, side, chunks, out),
                State::Raw(place) => {
                    out.piece(Piece::new(place, Part::More, rest));
                    rest.len()
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Does a message start here although the state says otherwise?
    fn starts_over(&self, bytes: &[u8]) -> bool {
        match self.state {
            State::Raw(Place::H2) => false,
            State::Raw(_) => {
                self.resync && matches!(head::opening(bytes), Opening::Request | Opening::Response)
            }
            // The answer to a HEAD request has a length and no body.
            State::Length { side: Side::Response, begun: false, .. } => {
                head::opening(bytes) == Opening::Response
            }
            _ => false,
        }
    }

    fn start(&mut self, rest: &[u8], out: &mut impl Pieces) -> usize {
        let blank = rest.iter().take_while(|&&b| b == b'\r' || b == b'\n').count();
        if blank > 0 {
            return blank;
        }
        match examine(rest, self.otherwise) {
            Step::Head(head) => {
                self.take_head(&head, rest, 0, out);
                head.len
            }
            Step::Raw(place) => {
                self.state = State::Raw(place);
                0
            }
            Step::Wait if rest.len() < MAX_HEAD => {
                self.buffer.extend_from_slice(rest);
                rest.len()
            }
            Step::Wait | Step::TooLong => {
                out.head_too_long();
                self.resync = true;
                self.state = State::Raw(Place::Stream);
                0
            }
        }
    }

    fn resume_head(&mut self, rest: &[u8], out: &mut impl Pieces) -> usize {
        let before = self.buffer.len();
        let taken = rest.get(..MAX_HEAD - before.min(MAX_HEAD)).unwrap_or(rest);
        self.buffer.extend_from_slice(taken);
        let look = self.buffer.len() <= SHORT || taken.contains(&b'\n');
        let buffer = std::mem::take(&mut self.buffer);
        match if look { examine(&buffer, self.otherwise) } else { Step::Wait } {
            Step::Head(head) => {
                let peeked = std::mem::take(&mut self.peeked);
                self.take_head(&head, &buffer, peeked, out);
                head.len.saturating_sub(before)
            }
            Step::Raw(place) => {
                self.raw(place, &buffer, out);
                taken.len()
            }
            Step::Wait if buffer.len() < MAX_HEAD => {
                self.buffer = buffer;
                taken.len()
            }
            Step::Wait | Step::TooLong => {
                out.head_too_long();
                self.resync = true;
                self.raw(Place::Stream, &buffer, out);
                taken.len()
            }
        }
    }

    fn take_head(&mut self, head: &Head<'_>, bytes: &[u8], peeked: usize, out: &mut impl Pieces) {
        let side = head.side;
        out.message(head.about());
        let bytes = bytes.get(..head.len).unwrap_or(bytes);
        out.piece(Piece { peeked, ..Piece::new(Place::Head(side), Part::Whole, bytes) });
        self.resync = true;
        // Behind a body that is over, more of it is likelier than anything else: a library that took only a
        // part of a write is given the rest once more.
        self.otherwise = match head.framing {
            Framing::Unannounced | Framing::Length(_) | Framing::Chunked => Place::Body(side),
            Framing::Tunnel(Tunnel::WebSocket) => Place::WebSocket(side),
            _ => Place::Stream,
        };
        self.state = match head.framing {
            Framing::Empty | Framing::Tunnel(_) | Framing::Unannounced => State::Start,
            Framing::Length(left) => State::Length { side, left, begun: false },
            Framing::Chunked => State::Chunked { side, chunks: Chunks::default() },
            Framing::UntilClose => State::Raw(Place::Body(side)),
            Framing::Unclear => State::Raw(Place::Stream),
        };
    }

    fn length(&mut self, rest: &[u8], side: Side, left: u64, begun: bool, out: &mut impl Pieces) -> usize {
        let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
        let left = left - count as u64;
        let part = match (left, begun) {
            (0, false) => Part::Whole,
            (0, true) => Part::Last,
            _ => Part::More,
        };
        let bytes = rest.get(..count).unwrap_or(rest);
        out.piece(Piece::new(Place::Body(side), part, bytes));
        self.state = if left == 0 { State::Start } else { State::Length { side, left, begun: true } };
        count
    }

    fn chunked(&mut self, rest: &[u8], side: Side, mut chunks: Chunks, out: &mut impl Pieces) -> usize {
        if let Some(left) = chunks.data_left() {
            let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
            let bytes = rest.get(..count).unwrap_or(rest);
            out.piece(Piece::new(Place::Body(side), Part::More, bytes));
            chunks.took(count as u64);
            self.state = State::Chunked { side, chunks };
            return count;
        }
        match rest.iter().take(MAX_LINE).position(|&b| b == b'\n') {
            Some(at) => {
                let line = rest.get(..=at).unwrap_or(rest);
                self.chunk_line(line, side, chunks, out);
                line.len()
            }
            None => {
                self.buffer.extend_from_slice(rest);
                if self.buffer.len() > MAX_LINE {
                    let buffer = std::mem::take(&mut self.buffer);
                    self.raw(Place::Stream, &buffer, out);
                }
                rest.len()
            }
        }
    }

    fn chunk_line(&mut self, end: &[u8], side: Side, mut chunks: Chunks, out: &mut impl Pieces) {
        let mut buffer = std::mem::take(&mut self.buffer);
        let line = if buffer.is_empty() {
            end
        } else {
            buffer.extend_from_slice(end);
            &buffer
        };
        match chunks.line(line) {
            Line::Plain => self.state = State::Chunked { side, chunks },
            Line::Text => {
                let peeked = self.peeked;
                out.piece(Piece { peeked, ..Piece::new(Place::Trailer(side), Part::Whole, line) });
                self.state = State::Chunked { side, chunks };
            }
            Line::End => self.end_body(Place::Body(side), out),
            Line::Broken => self.raw(Place::Stream, line, out),
        }
        self.peeked = 0;
    }

    fn end_body(&mut self, place: Place, out: &mut impl Pieces) {
        out.piece(Piece::new(place, Part::Last, &[]));
        self.state = State::Start;
    }

    /// From these bytes on nothing is understood.
    fn raw(&mut self, place: Place, bytes: &[u8], out: &mut impl Pieces) {
        let peeked = std::mem::take(&mut self.peeked);
        out.piece(Piece { peeked, ..Piece::new(place, Part::More, bytes) });
        self.state = State::Raw(place);
    }

    /// Is something held back that [`Self::peek`] would show?
    pub fn pending(&self) -> bool {
        self.peeked < self.buffer.len()
    }

    pub fn buffered(&self) -> usize {
        self.buffer.capacity()
    }

    /// Shows what is held back, as what it most likely is, and keeps waiting for the rest.
    pub fn peek(&mut self, out: &mut impl Pieces) {
        if !self.pending() {
            return;
        }
        let place = match self.state {
            State::Start => head::likely(&self.buffer).map_or(self.unfinished(), Place::Head),
            State::Chunked { side, .. } => Place::Trailer(side),
            State::Length { .. } | State::Raw(_) => Place::Stream,
        };
        out.piece(Piece { peeked: self.peeked, ..Piece::new(place, Part::Whole, &self.buffer) });
        self.peeked = self.buffer.len();
    }

    /// What a few bytes most likely are that may still become a head.
    fn unfinished(&self) -> Place {
        // Another protocol is given bytes once and for all.
        if matches!(self.otherwise, Place::WebSocket(_)) { Place::Stream } else { self.otherwise }
    }

    /// Stops waiting for the rest of what is held back.
    pub fn give_up(&mut self, out: &mut impl Pieces) {
        if !self.buffer.is_empty() {
            out.head_too_long();
            self.resync = true;
            let buffer = std::mem::take(&mut self.buffer);
            self.raw(Place::Stream, &buffer, out);
        }
    }

    /// `missing` bytes were not delivered.
    pub fn gap(&mut self, missing: u64, out: &mut impl Pieces) {
        match self.state {
            State::Length { side, left, .. } if missing < left => {
                self.state = State::Length { side, left: left - missing, begun: true };
            }
            State::Length { side, left, .. } if missing == left => self.end_body(Place::Body(side), out),
            State::Raw(_) => self.resync = true,
            _ => {
                self.peek(out);
                self.lose_sync();
            }
        }
    }

    /// The stream did not begin with the next byte: whatever it is, a message may start later.
    pub fn joined_midway(&mut self) {
        self.resync = true;
    }

    /// Forgets where in a message the stream is.
    pub fn lose_sync(&mut self) {
        *self = Self { state: State::Raw(Place::Stream), resync: true, ..Self::default() };
    }

    /// Would the next byte be the first of a message?
    pub fn at_message_start(&self) -> bool {
        matches!(self.state, State::Start) && self.buffer.is_empty()
    }
}

fn examine(bytes: &[u8], otherwise: Place) -> Step<'_> {
    let side = match head::opening(bytes) {
        Opening::Request => Side::Request,
        Opening::Response => Side::Response,
        Opening::Unclear => return Step::Wait,
        Opening::H2 => return Step::Raw(Place::H2),
        Opening::Other => return Step::Raw(otherwise),
    };
    match head::parse(side, bytes) {
        Parsed::Whole(head) if head.len <= MAX_HEAD => Step::Head(head),
        Parsed::Whole(_) => Step::TooLong,
        Parsed::Part => Step::Wait,
        Parsed::Invalid => Step::Raw(Place::Stream),
    }
}

#[cfg(test)]
mod tests;
