//! HTTP/2 (RFC 9113) in the bytes one side sends: streams told apart, header fields decoded, bodies uncopied.
//!
//! The other side is not seen, nor, for a connection older than its observer, the beginning. So nothing depends
//! on settings, and what HPACK's table held before is unknown until it is sent again ([`table`]).
//!
//! Nothing is left out but what has a fixed format (settings, windows, priorities, error codes): what cannot be
//! understood is handed on as `stream`, with number 0, which no message has.

mod block;
mod frames;
mod hpack;
mod table;

pub use block::{MAX_BLOCK, MAX_FIELDS};
pub use frames::{Sender, looks_like_frames};

use super::place::Side;
use super::{Part, Piece, Pieces};
use block::{Block, opaque};
use frames::{ACK, END_HEADERS, END_STREAM, Frame, HEADER, PREFACE, Type};
use std::collections::BTreeSet;
use table::Table;

/// Streams open at once that are kept apart; servers rarely allow more. Beyond it the oldest is taken to be over.
pub const MAX_STREAMS: usize = 256;

/// What is remembered of one direction of a connection.
pub struct Http2 {
    state: State,
    /// A frame header that is not whole yet.
    header: [u8; HEADER],
    block: Option<Box<Block>>,
    table: Table,
    /// Streams that have begun and not ended.
    streams: BTreeSet<u32>,
    sender: Sender,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// The connection's first bytes: so many of them are the client's preface.
    Preface(usize),
    /// In a frame's header, behind so many bytes of it.
    Header {
        have: usize,
        first: bool,
    },
    Payload(Payload),
    /// Where frames begin is not known.
    Lost,
}

/// What is still to come of a frame.
#[derive(Clone, Copy, Debug)]
struct Payload {
    frame: Frame,
    /// The padding's length comes next.
    pad_length: bool,
    /// Bytes of fixed format that come before the content.
    fixed: u8,
    /// The last four of them.
    number: u32,
    /// With the padding, as long as its length is not known.
    content: u32,
    padding: u32,
}

impl Payload {
    fn begins(&self) -> bool {
        !self.pad_length && self.fixed == 0
    }
}

impl Default for Http2 {
    fn default() -> Self {
        Self::new()
    }
}

impl Http2 {
    /// For a connection seen from its first byte.
    pub fn new() -> Self {
        Self {
            state: State::Preface(0),
            header: [0; HEADER],
            block: None,
            table: Table::new(),
            streams: BTreeSet::new(),
            sender: Sender::Unknown,
        }
    }

    /// For a connection under way, seen from the beginning of a frame: see [`looks_like_frames`].
    pub fn midway(sender: Sender) -> Self {
        Self {
            state: State::Header { have: 0, first: false },
            table: Table::unknown(),
            sender,
            ..Self::new()
        }
    }

    /// Takes the next bytes. `write_start`: they are the first of what the program wrote in one call.
    pub fn feed(&mut self, bytes: &[u8], write_start: bool, out: &mut impl Pieces) {
        if write_start {
            self.find_again(bytes, out);
        }
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.state {
                State::Preface(have) => self.preface(rest, have, out),
                State::Header { have, first } => self.header(rest, have, first, out),
                State::Payload(payload) if payload.begins() => self.content(rest, payload, out),
                State::Payload(payload) => self.before_content(rest, payload, out),
                State::Lost => {
                    opaque(Part::More, rest, 0, out);
                    rest.len()
                }
            };
            rest = rest.get(used..).unwrap_or_default();
        }
    }

    /// Do frames begin here, after it was not known where?
    fn find_again(&mut self, bytes: &[u8], out: &mut impl Pieces) {
        if !matches!(self.state, State::Lost) {
            return;
        }
        if let Some(sender) = looks_like_frames(bytes) {
            opaque(Part::Last, &[], 0, out);
            if self.sender == Sender::Unknown {
                self.sender = sender;
            }
            self.table.forget();
            self.state = State::Header { have: 0, first: false };
        }
    }

    /// RFC 9113, 3.4. A server begins with a frame.
    fn preface(&mut self, rest: &[u8], have: usize, out: &mut impl Pieces) -> usize {
        let (seen, expected) = PREFACE.split_at_checked(have).unwrap_or_default();
        let same = rest.iter().zip(expected).take_while(|(byte, expected)| byte == expected).count();
        if same == expected.len() {
            self.sender = Sender::Client;
            self.state = State::Header { have: 0, first: true };
        } else if same == rest.len() {
            self.state = State::Preface(have + same);
        } else if have + same == 0 {
            self.sender = Sender::Server;
            self.state = State::Header { have: 0, first: true };
        } else {
            opaque(Part::More, seen, 0, out);
            self.lose_sync();
            return 0;
        }
        same
    }

    fn header(&mut self, rest: &[u8], have: usize, first: bool, out: &mut impl Pieces) -> usize {
        let missing = self.header.get_mut(have..).unwrap_or_default();
        let used = missing.len().min(rest.len());
        missing.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        if have + used < HEADER {
            self.state = State::Header { have: have + used, first };
            return used;
        }
        let frame = Frame::parse(self.header);
        let expected = match &self.block {
            Some(block) => frame.kind == Type::Continuation && frame.stream == block.frames,
            None => !first || (frame.kind == Type::Settings && !frame.has(ACK)),
        };
        if expected && frame.is_valid() {
            self.begin(frame, out);
        } else {
            self.close_block_at_gap(out);
            opaque(Part::More, &self.header, 0, out);
            self.lose_sync();
        }
        used
    }

    fn begin(&mut self, frame: Frame, out: &mut impl Pieces) {
        match frame.kind {
            Type::Data => self.track(frame.stream, out),
            Type::ResetStream if self.streams.contains(&frame.stream) => {
                self.end_stream(frame.stream, &[], out)
            }
            _ => {}
        }
        let payload = Payload {
            frame,
            pad_length: frame.is_padded(),
            fixed: frame.fixed(),
            number: 0,
            content: frame.length.saturating_sub(u32::from(frame.is_padded()) + u32::from(frame.fixed())),
            padding: 0,
        };
        if payload.begins() { self.begin_content(payload, out) } else { self.state = State::Payload(payload) }
    }

    fn before_content(&mut self, rest: &[u8], mut payload: Payload, out: &mut impl Pieces) -> usize {
        let Some(&byte) = rest.first() else { return 0 };
        if payload.pad_length {
            payload.pad_length = false;
            payload.padding = u32::from(byte);
            let Some(content) = payload.content.checked_sub(payload.padding) else {
                opaque(Part::More, &self.header, 0, out);
                self.lose_sync();
                return 0;
            };
            payload.content = content;
        } else {
            payload.number = payload.number << 8 | u32::from(byte);
            payload.fixed = payload.fixed.saturating_sub(1);
        }
        if payload.begins() {
            self.begin_content(payload, out)
        } else {
            self.state = State::Payload(payload)
        }
        1
    }

    fn begin_content(&mut self, payload: Payload, out: &mut impl Pieces) {
        let frame = payload.frame;
        match frame.kind {
            Type::Headers => {
                let follows = self.streams.contains(&frame.stream);
                self.begin_block(Block::new(frame.stream, frame.stream, frame.has(END_STREAM), follows));
            }
            Type::PushPromise => {
                self.sender = Sender::Server;
                let promised = payload.number & 0x7fff_ffff;
                self.begin_block(Block::new(frame.stream, promised, false, false));
            }
            Type::Continuation if self.block.is_none() => {
                // Its beginning was missed.
                self.table.forget();
                self.begin_block(Block::without_beginning(frame.stream));
            }
            Type::Data if payload.content == 0 && frame.has(END_STREAM) => {
                self.end_stream(frame.stream, &[], out);
            }
            _ => {}
        }
        self.proceed(payload, out);
    }

    fn begin_block(&mut self, block: Block) {
        self.block = Some(Box::new(block));
    }

    fn content(&mut self, rest: &[u8], mut payload: Payload, out: &mut impl Pieces) -> usize {
        let in_padding = payload.content == 0;
        let left = if in_padding { &mut payload.padding } else { &mut payload.content };
        let count = usize::try_from(*left).map_or(rest.len(), |left| left.min(rest.len()));
        *left = left.saturating_sub(u32::try_from(count).unwrap_or(u32::MAX));
        let part = if *left == 0 { Part::Last } else { Part::More };
        let bytes = rest.get(..count).unwrap_or(rest);
        let frame = payload.frame;
        match frame.kind {
            _ if in_padding => opaque(part, bytes, 0, out),
            Type::Data if frame.has(END_STREAM) && part == Part::Last => {
                self.end_stream(frame.stream, bytes, out)
            }
            Type::Data => out.piece(self.body(frame.stream, Part::More, bytes)),
            Type::Headers | Type::PushPromise | Type::Continuation => {
                if let Some(block) = &mut self.block {
                    block.feed(bytes, &mut self.table, self.sender, out);
                }
            }
            Type::Ping | Type::GoAway | Type::Other(_) => opaque(part, bytes, 0, out),
            Type::Priority | Type::ResetStream | Type::Settings | Type::WindowUpdate => {}
        }
        self.proceed(payload, out);
        count
    }

    /// Goes on in the frame, or behind it when it is over.
    fn proceed(&mut self, payload: Payload, out: &mut impl Pieces) {
        if payload.content > 0 || payload.padding > 0 {
            self.state = State::Payload(payload);
            return;
        }
        self.state = State::Header { have: 0, first: false };
        let ends_block = matches!(payload.frame.kind, Type::Headers | Type::PushPromise | Type::Continuation)
            && payload.frame.has(END_HEADERS);
        if ends_block {
            self.end_block(out);
        }
    }

    fn end_block(&mut self, out: &mut impl Pieces) {
        let Some(mut block) = self.block.take() else { return };
        block.end(&mut self.table, self.sender, out);
        if let Some(side) = block.side
            && self.sender == Sender::Unknown
        {
            self.sender = Sender::of(side);
        }
        self.track(block.stream, out);
        if block.ends_stream {
            self.end_stream(block.stream, &[], out);
        }
    }

    /// Notes that a stream is open. Where there are too many, the oldest ends here.
    fn track(&mut self, stream: u32, out: &mut impl Pieces) {
        if self.streams.contains(&stream) {
            return;
        }
        if self.streams.len() >= MAX_STREAMS
            && let Some(&oldest) = self.streams.first()
        {
            self.end_stream(oldest, &[], out);
        }
        self.streams.insert(stream);
    }

    /// The last bytes of a stream's body.
    fn end_stream(&mut self, stream: u32, bytes: &[u8], out: &mut impl Pieces) {
        self.streams.remove(&stream);
        out.piece(self.body(stream, Part::Last, bytes));
    }

    fn body<'a>(&self, stream: u32, part: Part, bytes: &'a [u8]) -> Piece<'a> {
        Piece { stream, ..Piece::new(self.sender.body(), part, bytes) }
    }

    /// `missing` bytes were not delivered; 0 if it is not known how many. The caller knows of bodies what to do.
    pub fn gap(&mut self, missing: u64, out: &mut impl Pieces) {
        if let State::Payload(payload) = self.state
            && payload.begins()
            && missing > 0
            && let Ok(missing) = u32::try_from(missing)
            && missing <= payload.content.saturating_add(payload.padding)
        {
            self.skip(payload, missing, out);
            return;
        }
        self.close_block_at_gap(out);
        if let State::Header { have, .. } = self.state {
            let have = self.header.get(..have).unwrap_or_default();
            opaque(Part::Last, have, 0, out);
        }
        self.lose_sync();
    }

    /// Bytes are missing, but none that says where the frame ends.
    fn skip(&mut self, mut payload: Payload, missing: u32, out: &mut impl Pieces) {
        let had_content = payload.content > 0;
        payload.padding -= missing.saturating_sub(payload.content).min(payload.padding);
        payload.content = payload.content.saturating_sub(missing);
        match &mut self.block {
            Some(block) if had_content => block.gap(&mut self.table, self.sender, out),
            _ => {}
        }
        let frame = payload.frame;
        if frame.kind == Type::Data && had_content && payload.content == 0 && frame.has(END_STREAM) {
            self.end_stream(frame.stream, &[], out);
        }
        self.proceed(payload, out);
    }

    fn close_block_at_gap(&mut self, out: &mut impl Pieces) {
        if let Some(mut block) = self.block.take() {
            block.gap(&mut self.table, self.sender, out);
            block.end(&mut self.table, self.sender, out);
        }
    }

    /// Forgets where in a frame the connection is. Frames are found again at the start of a write.
    pub fn lose_sync(&mut self) {
        self.block = None;
        self.table.forget();
        self.state = State::Lost;
    }

    /// Is something held back that [`Self::peek`] would show?
    pub fn pending(&self) -> bool {
        self.block.as_ref().is_some_and(|block| block.pending())
    }

    /// Shows what is held back of a header block, and keeps waiting for the rest. A field of which the beginning was
    /// shown, as it was sent, is shown once more when it is whole.
    pub fn peek(&mut self, out: &mut impl Pieces) {
        if let Some(block) = &mut self.block {
            block.peek(self.sender, out);
        }
    }

    /// Gives back all memory: decodes no more of a header block, and forgets HPACK's table.
    pub fn give_up(&mut self, out: &mut impl Pieces) {
        if let Some(block) = &mut self.block {
            block.too_long(&mut self.table, self.sender, out);
        }
        self.table.forget();
    }

    /// Bytes held back in buffers, and kept in HPACK's table.
    pub fn buffered(&self) -> usize {
        self.table.size() + self.block.as_ref().map_or(0, |block| block.buffered())
    }

    /// Would the next byte be the connection's first?
    pub fn at_start(&self) -> bool {
        matches!(self.state, State::Preface(0))
    }

    /// Whose messages these are, once it is known.
    pub fn side(&self) -> Option<Side> {
        self.sender.side()
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Http2 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { state, block, table, streams, sender, header: _ } = self;
        f.debug_struct("Http2")
            .field("state", state)
            .field("block", block)
            .field("table", table)
            .field("streams", &streams.len())
            .field("sender", sender)
            .finish()
    }
}

#[cfg(test)]
pub(crate) mod tests;
