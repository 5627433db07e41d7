//! WebSocket frames (RFC 6455) in the bytes one side sends after the handshake, taken apart into messages: unmasked,
//! put together, and inflated where they are compressed (permessage-deflate, RFC 7692).
//!
//! `tungstenite` is an endpoint: it owns both directions, answers pings, waits for whole messages and stops at the first
//! odd byte. Watching one side needs less and must go on longer, so the frames are read here.
//!
//! Whether compression was agreed on is not known from one side; a frame's RSV1 bit says it. Nothing is left out:
//! what is no WebSocket is handed on as `stream`.

mod frame;

use super::content::inflate::{Format, Inflate};
use super::limit::{Budget, Stopped};
use super::place::{Place, Side};
use super::{Part, Piece, Pieces};
use frame::{Frame, Kind, MAX_HEADER, Parsed};
use zeroize::Zeroizing;

/// Bytes unmasked at a time.
const BLOCK: usize = 4096;
/// What a sender takes off the end of a compressed message (RFC 7692, 7.2.1).
const TAIL: [u8; 4] = [0, 0, 0xff, 0xff];

pub struct WebSocket {
    side: Side,
    state: State,
    /// A header that is not whole yet.
    header: Vec<u8>,
    /// The payload of a control frame that is not whole yet.
    control: Zeroizing<Vec<u8>>,
    message: Option<Message>,
    /// Of the last compressed message; the next one may refer back to it.
    inflate: Option<Inflate>,
    budget: Budget,
    /// Bytes were lost: frames may start with any write.
    resync: bool,
}

#[derive(Clone, Copy, Debug)]
enum State {
    Header,
    /// `left` of the frame's bytes are still to come.
    Payload {
        frame: Frame,
        left: u64,
    },
    Raw,
}

/// A message under way.
#[derive(Clone, Copy, Debug)]
struct Message {
    compressed: bool,
    /// Something of it was handed out.
    begun: bool,
    /// The rest of it cannot be decoded.
    lost: bool,
}

impl WebSocket {
    /// `side`: which half of the connection this is. The client's frames are masked, the server's are not.
    pub fn new(side: Side) -> Self {
        Self {
            side,
            state: State::Header,
            header: Vec::new(),
            control: Zeroizing::default(),
            message: None,
            inflate: None,
            budget: Budget::default(),
            resync: false,
        }
    }

    /// Is what was written in one call most likely WebSocket frames, and nothing else? For connections whose
    /// handshake was not seen.
    pub fn likely(side: Side, write: &[u8]) -> bool {
        frame::are_frames(side, write)
    }

    /// Takes the next bytes. `write_start`: they are the first of what the program wrote in one call. An error says that
    /// a compressed message was not decoded to its end; what follows still is, as far as it does not refer back.
    pub fn feed(&mut self, bytes: &[u8], write_start: bool, out: &mut impl Pieces) -> Result<(), Stopped> {
        if write_start && matches!(self.state, State::Raw) && self.resync && Self::likely(self.side, bytes) {
            out.piece(Piece::new(Place::Stream, Part::Last, &[]));
            self.state = State::Header;
        }
        let mut rest = bytes;
        let mut result = Ok(());
        while !rest.is_empty() {
            let used = match self.state {
                State::Header => self.header(rest, &mut result, out),
                State::Payload { frame, left } => {
                    let count = usize::try_from(left).map_or(rest.len(), |left| left.min(rest.len()));
                    let left = left.saturating_sub(count as u64);
                    self.state = State::Payload { frame, left };
                    let bytes = rest.get(..count).unwrap_or(rest);
                    result = result.and(self.payload(&frame, bytes, left, out));
                    count
                }
                State::Raw => {
                    out.piece(Piece::new(Place::Stream, Part::More, rest));
                    rest.len()
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        result
    }

    /// `missing` bytes were not delivered.
    pub fn gap(&mut self, missing: u64, out: &mut impl Pieces) -> Result<(), Stopped> {
        match self.state {
            State::Payload { frame, left } if missing <= left => {
                self.state = State::Payload { frame, left: left - missing };
                if !self.control.is_empty() {
                    let control = std::mem::take(&mut self.control);
                    out.piece(Piece::new(Place::Message(self.side), Part::Whole, &control));
                }
                if let Some(message) = self.message.as_mut().filter(|_| frame.kind != Kind::Control) {
                    message.lost |= message.compressed;
                    message.begun = true;
                }
                if missing == left { self.end_frame(&frame, out) } else { Ok(()) }
            }
            _ => {
                let header = std::mem::take(&mut self.header);
                self.give_up(&header, out);
                self.resync = true;
                Ok(())
            }
        }
    }

    /// The stream did not begin with the next byte.
    pub fn joined_midway(&mut self) {
        self.state = State::Raw;
        self.resync = true;
    }

    /// Would the next byte be the first of a frame that is no message's continuation?
    pub fn at_start(&self) -> bool {
        matches!(self.state, State::Header) && self.header.is_empty() && self.message.is_none()
    }

    /// Forgets where in a message the stream is.
    pub fn lose_sync(&mut self) {
        *self = Self::new(self.side);
        self.joined_midway();
    }

    /// Is this no WebSocket, or its thread lost?
    pub fn is_raw(&self) -> bool {
        matches!(self.state, State::Raw)
    }

    /// Bytes of memory in use, about: some 43 KiB once a compressed message was seen.
    pub fn buffered(&self) -> usize {
        let inflate = self.inflate.as_ref().map_or(0, Inflate::buffered);
        inflate + self.header.capacity() + self.control.capacity()
    }

    fn header(&mut self, rest: &[u8], result: &mut Result<(), Stopped>, out: &mut impl Pieces) -> usize {
        let before = self.header.len();
        self.header.extend(rest.iter().take(MAX_HEADER - before.min(MAX_HEADER)));
        let header = std::mem::take(&mut self.header);
        match frame::parse(self.side, &header) {
            Parsed::Part => {
                self.header = header;
                rest.len()
            }
            Parsed::Frame(frame, size) if self.fits(&frame) => {
                self.state = State::Payload { frame, left: frame.length };
                if frame.kind == Kind::Data {
                    self.begin_message(&frame);
                }
                if frame.length == 0 {
                    *result = result.and(self.end_frame(&frame, out));
                }
                size.saturating_sub(before)
            }
            Parsed::Frame(..) | Parsed::Invalid => {
                let held = header.get(..before).unwrap_or_default();
                self.give_up(held, out);
                0
            }
        }
    }

    /// A message goes on until it ends (5.4).
    fn fits(&self, frame: &Frame) -> bool {
        match frame.kind {
            Kind::Control => true,
            Kind::Data => self.message.is_none(),
            Kind::Continuation => self.message.is_some(),
        }
    }

    fn begin_message(&mut self, frame: &Frame) {
        self.message = Some(Message { compressed: frame.compressed, begun: false, lost: false });
        self.budget.next_body();
        if frame.compressed {
            // A message that broke off is not to be gone on with.
            self.inflate.get_or_insert_with(|| Inflate::new(Format::Raw)).restart();
        }
    }

    /// Takes payload of the frame under way, of which `left` bytes follow these.
    fn payload(
        &mut self,
        frame: &Frame,
        bytes: &[u8],
        left: u64,
        out: &mut impl Pieces,
    ) -> Result<(), Stopped> {
        let mut result = Ok(());
        if self.side == Side::Response {
            result = self.plain(frame, bytes, left, out);
        } else {
            let mut mask = frame.mask;
            let at = frame.length - left - bytes.len() as u64;
            mask.rotate_left((at % 4) as usize);
            let mut block = Zeroizing::new([0; BLOCK]);
            let mut left = left + bytes.len() as u64;
            for masked in bytes.chunks(BLOCK) {
                for (to, from) in block.chunks_mut(4).zip(masked.chunks(4)) {
                    for ((to, from), key) in to.iter_mut().zip(from).zip(mask) {
                        *to = from ^ key;
                    }
                }
                left -= masked.len() as u64;
                let plain = block.get(..masked.len()).unwrap_or_default();
                result = result.and(self.plain(frame, plain, left, out));
            }
        }
        if left == 0 { result.and(self.end_frame(frame, out)) } else { result }
    }

    fn plain(
        &mut self,
        frame: &Frame,
        bytes: &[u8],
        left: u64,
        out: &mut impl Pieces,
    ) -> Result<(), Stopped> {
        if frame.kind == Kind::Control {
            self.control.reserve_exact(usize::try_from(frame.length).unwrap_or_default());
            self.control.extend_from_slice(bytes);
            return Ok(());
        }
        match self.message {
            Some(message) if message.compressed => self.inflate(bytes, out),
            _ => {
                self.emit(bytes, frame.last && left == 0, out);
                Ok(())
            }
        }
    }

    fn end_frame(&mut self, frame: &Frame, out: &mut impl Pieces) -> Result<(), Stopped> {
        self.state = State::Header;
        if frame.kind == Kind::Control {
            let control = std::mem::take(&mut self.control);
            if !control.is_empty() {
                out.piece(Piece::new(Place::Message(self.side), Part::Whole, &control));
            }
            return Ok(());
        }
        if !frame.last {
            return Ok(());
        }
        let mut result = Ok(());
        if let Some(message) = self.message.filter(|message| message.compressed) {
            result = if message.lost { Err(Stopped::Broken) } else { self.inflate(&TAIL, out) };
        }
        // The message may have ended with an empty frame.
        if self.message.is_some_and(|message| message.begun) {
            self.emit(&[], true, out);
        }
        self.message = None;
        result
    }

    fn inflate(&mut self, bytes: &[u8], out: &mut impl Pieces) -> Result<(), Stopped> {
        let (Some(inflate), Some(message)) = (&mut self.inflate, &mut self.message) else { return Ok(()) };
        if message.lost {
            return Ok(());
        }
        let (budget, side) = (&mut self.budget, self.side);
        budget.take(bytes.len());
        let mut plain = |bytes: &[u8]| {
            budget.give(bytes.len())?;
            out.piece(Piece::new(Place::Message(side), Part::More, bytes));
            message.begun = true;
            Ok(())
        };
        let mut rest = bytes;
        loop {
            match inflate.push(rest, &mut plain) {
                Ok(None) => return Ok(()),
                // A final block does not end the message (7.2.3.4).
                Ok(Some(used)) => {
                    inflate.restart();
                    rest = rest.get(used..).unwrap_or_default();
                }
                Err(stopped) => {
                    message.lost = true;
                    return Err(stopped);
                }
            }
        }
    }

    fn emit(&mut self, bytes: &[u8], end: bool, out: &mut impl Pieces) {
        let Some(message) = &mut self.message else { return };
        let part = match (end, message.begun) {
            (true, false) => Part::Whole,
            (true, true) => Part::Last,
            (false, _) => Part::More,
        };
        message.begun = !end;
        out.piece(Piece::new(Place::Message(self.side), part, bytes));
    }

    /// From here on nothing is understood.
    fn give_up(&mut self, held: &[u8], out: &mut impl Pieces) {
        if self.message.is_some_and(|message| message.begun) {
            self.emit(&[], true, out);
        }
        self.message = None;
        self.control.clear();
        self.state = State::Raw;
        if !held.is_empty() {
            out.piece(Piece::new(Place::Stream, Part::More, held));
        }
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for WebSocket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WebSocket")
            .field("side", &self.side)
            .field("state", &self.state)
            .field("buffered", &self.buffered())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
