//! `zstd`: Zstandard (RFC 8878), with `ruzstd`.
//!
//! ruzstd wants whole blocks, so frames are cut into blocks here. It keeps what a frame may still refer back to: of
//! a frame that goes on, the last window comes out only when the frame ends, breaks, or is finished. Its memory is not
//! wiped; there is no way in. `zstd` would hand out at once, but is 20,000 lines of C in a privileged process.
//!
//! Dictionaries are not supported: they travel by other ways than the body.

use super::Decoder;
use crate::decode::limit::{MAX_PIECE, MAX_WINDOW, Sink, Stopped};
use ruzstd::decoding::{BlockDecodingStrategy, FrameDecoder};
use std::io;
use zeroize::Zeroizing;

pub const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// A frame of somebody's own: to be skipped (3.1.2). The lowest four bits are free.
const SKIPPABLE: [u8; 4] = [0x50, 0x2a, 0x4d, 0x18];
/// Largest block, compressed or not (3.1.1.2.4).
const MAX_BLOCK: usize = 128 * 1024;
const CHECKSUM: usize = 4;
/// A last block, raw, with nothing in it: ends a frame at any block.
const EMPTY_LAST_BLOCK: &[u8] = &[1, 0, 0];

pub struct Zstd {
    frame: FrameDecoder,
    header: FrameHeader,
    phase: Phase,
    /// A frame header or block that is not whole yet.
    held: Zeroizing<Vec<u8>>,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    FrameStart,
    Block,
    /// Bytes that mean nothing: a checksum, a frame of somebody's own.
    Skip(usize),
}

impl Default for Zstd {
    fn default() -> Self {
        Self {
            frame: FrameDecoder::new(),
            header: FrameHeader::default(),
            phase: Phase::FrameStart,
            held: Zeroizing::default(),
        }
    }
}

impl Decoder for Zstd {
    fn push(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<(), Stopped> {
        let mut rest = bytes;
        while !rest.is_empty() {
            let used = match self.phase {
                Phase::Skip(left) => self.skip(left, rest.len()),
                Phase::FrameStart | Phase::Block => self.hold(rest, plain)?,
            };
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(())
    }

    fn finish(&mut self, plain: Sink<'_>) -> Result<(), Stopped> {
        match self.phase {
            Phase::FrameStart if self.held.is_empty() => Ok(()),
            // Only a checksum is missing, or of a frame that is skipped.
            Phase::Skip(_) => Ok(()),
            Phase::FrameStart => Err(Stopped::Broken),
            Phase::Block => Err(self.fail(plain)),
        }
    }

    fn buffered(&self) -> usize {
        self.header.window + self.held.capacity()
    }
}

impl Zstd {
    fn skip(&mut self, left: usize, available: usize) -> usize {
        let used = left.min(available);
        self.phase = if used == left { Phase::FrameStart } else { Phase::Skip(left - used) };
        used
    }

    /// Holds what is needed of the header or block under way, and takes it once it is whole.
    fn hold(&mut self, rest: &[u8], plain: Sink<'_>) -> Result<usize, Stopped> {
        let Some(needed) = self.needed() else { return Err(self.fail(plain)) };
        let missing = needed - self.held.len().min(needed);
        let taken = rest.get(..missing).unwrap_or(rest);
        self.make_room(needed);
        self.held.extend_from_slice(taken);
        // Longer than it seemed before these bytes?
        let Some(needed) = self.needed() else { return Err(self.fail(plain)) };
        if self.held.len() < needed {
            return Ok(taken.len());
        }
        match self.phase {
            Phase::Block => self.take_block(plain)?,
            Phase::FrameStart | Phase::Skip(_) => self.take_header()?,
        }
        self.held.clear();
        Ok(taken.len())
    }

    /// Size of the header or block under way, as far as what is held says. None: it says nonsense.
    fn needed(&self) -> Option<usize> {
        match self.phase {
            Phase::Block => match Block::parse(&self.held) {
                None => Some(Block::HEADER),
                Some(block) if block.reserved || block.size > MAX_BLOCK => None,
                Some(block) => Some(Block::HEADER + block.size),
            },
            Phase::FrameStart | Phase::Skip(_) => match self.held.split_at_checked(4) {
                None => Some(4),
                Some((magic, _)) if is_skippable(magic) => Some(8),
                Some((magic, rest)) if magic == MAGIC => {
                    Some(rest.first().map_or(5, |&descriptor| FrameHeader::size(descriptor)))
                }
                Some(_) => None,
            },
        }
    }

    /// Growing in place would leave a copy behind that nobody wipes.
    fn make_room(&mut self, needed: usize) {
        if self.held.capacity() < needed {
            let mut held = Zeroizing::new(Vec::with_capacity(needed));
            held.extend_from_slice(&self.held);
            self.held = held;
        }
    }

    fn take_header(&mut self) -> Result<(), Stopped> {
        if let Some(length) = skippable_length(&self.held) {
            self.phase = if length == 0 { Phase::FrameStart } else { Phase::Skip(length) };
            return Ok(());
        }
        self.header = FrameHeader::parse(&self.held).ok_or(Stopped::Broken)?;
        if self.header.window > MAX_WINDOW {
            self.header.window = 0;
            return Err(Stopped::Limit);
        }
        if let Some(descriptor) = self.held.get_mut(4) {
            *descriptor &= !FrameHeader::HAS_CHECKSUM; // it is skipped here
        }
        self.frame.reset(self.held.as_slice()).map_err(|_| Stopped::Broken)?;
        self.phase = Phase::Block;
        Ok(())
    }

    fn take_block(&mut self, plain: Sink<'_>) -> Result<(), Stopped> {
        match self.frame.decode_blocks(self.held.as_slice(), BlockDecodingStrategy::UptoBlocks(1)) {
            Ok(last) => {
                if last {
                    self.phase = if self.header.checksum { Phase::Skip(CHECKSUM) } else { Phase::FrameStart };
                }
                self.collect(plain)
            }
            Err(_) => Err(self.fail(plain)),
        }
    }

    /// Hands out what is decoded of a frame that will not go on.
    fn fail(&mut self, plain: Sink<'_>) -> Stopped {
        if matches!(self.phase, Phase::Block) {
            let ended = self.frame.decode_blocks(EMPTY_LAST_BLOCK, BlockDecodingStrategy::UptoBlocks(1));
            if let (Ok(_), Err(stopped)) = (ended, self.collect(plain)) {
                return stopped;
            }
        }
        Stopped::Broken
    }

    fn collect(&mut self, plain: Sink<'_>) -> Result<(), Stopped> {
        let mut output = Output { plain, stopped: None };
        let collected = self.frame.collect_to_writer(&mut output);
        match (output.stopped, collected) {
            (Some(stopped), _) => Err(stopped),
            (None, Err(_)) => Err(Stopped::Broken),
            (None, Ok(_)) => Ok(()),
        }
    }
}

fn is_skippable(magic: &[u8]) -> bool {
    matches!(magic, [low, rest @ ..] if low & 0xf0 == SKIPPABLE[0] && rest == &SKIPPABLE[1..])
}

fn skippable_length(header: &[u8]) -> Option<usize> {
    let (magic, length) = header.split_at_checked(4)?;
    let length = length.try_into().ok().filter(|_| is_skippable(magic))?;
    usize::try_from(u32::from_le_bytes(length)).ok()
}

/// What of a frame header (3.1.1.1) matters here.
#[derive(Clone, Copy, Debug, Default)]
struct FrameHeader {
    window: usize,
    checksum: bool,
}

impl FrameHeader {
    const HAS_CHECKSUM: u8 = 0x04;
    /// No window descriptor: the window is the content.
    const SINGLE_SEGMENT: u8 = 0x20;

    const fn content_size(descriptor: u8) -> usize {
        match descriptor >> 6 {
            0 => (descriptor & Self::SINGLE_SEGMENT != 0) as usize,
            flag => 1 << flag,
        }
    }

    /// Size of the header, magic number included.
    const fn size(descriptor: u8) -> usize {
        let window = (descriptor & Self::SINGLE_SEGMENT == 0) as usize;
        let dictionary = (1 << (descriptor & 3)) >> 1;
        5 + window + dictionary + Self::content_size(descriptor)
    }

    fn parse(header: &[u8]) -> Option<Self> {
        let &descriptor = header.get(4)?;
        let window = if descriptor & Self::SINGLE_SEGMENT == 0 {
            let &window = header.get(5)?;
            let base = 1u64 << (10 + (window >> 3));
            base + base / 8 * u64::from(window & 7)
        } else {
            let length = Self::content_size(descriptor);
            let bytes = header.get(header.len().checked_sub(length)?..)?;
            let value = bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte));
            if length == 2 { value + 256 } else { value }
        };
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        Some(Self { window, checksum: descriptor & Self::HAS_CHECKSUM != 0 })
    }
}

/// A block header (3.1.1.2).
struct Block {
    reserved: bool,
    /// Bytes that follow the header.
    size: usize,
}

impl Block {
    const HEADER: usize = 3;

    fn parse(bytes: &[u8]) -> Option<Self> {
        let &[low, middle, high] = bytes.first_chunk()?;
        let value = u32::from_le_bytes([low, middle, high, 0]);
        let (kind, size) = (value >> 1 & 3, value >> 3);
        Some(Self { reserved: kind == 3, size: if kind == 1 { 1 } else { size as usize } })
    }
}

/// Hands on what ruzstd writes, in pieces.
struct Output<'a> {
    plain: Sink<'a>,
    stopped: Option<Stopped>,
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let piece = bytes.get(..MAX_PIECE).unwrap_or(bytes);
        match (self.plain)(piece) {
            Ok(()) => Ok(piece.len()),
            Err(stopped) => {
                self.stopped = Some(stopped);
                Err(io::ErrorKind::Other.into())
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
