//! gzip (RFC 1952): members one after the other, each a header, DEFLATE data and a trailer.

use super::Decoder;
use super::inflate::{Format, Inflate};
use crate::decode::limit::{Sink, Stopped};

/// CRC and length, neither of which is compared.
const TRAILER: u8 = 8;
const FHCRC: u8 = 0x02;
const FEXTRA: u8 = 0x04;
const FNAME: u8 = 0x08;
const FCOMMENT: u8 = 0x10;
const RESERVED: u8 = 0xe0;

pub struct Gzip {
    phase: Phase,
    /// FLG of the header: the parts that are still to come.
    flags: u8,
    inflate: Option<Inflate>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// So many of the ten bytes every header has are read.
    Header(u8),
    ExtraLength(Option<u8>),
    Extra(u16),
    Name,
    Comment,
    HeaderCheck(u8),
    Data,
    Trailer(u8),
    /// After a member: another one, padding, or nothing.
    Between,
}

impl Default for Gzip {
    fn default() -> Self {
        Self { phase: Phase::Header(0), flags: 0, inflate: None }
    }
}

impl Decoder for Gzip {
    fn push(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<(), Stopped> {
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if self.phase != Phase::Data {
                self.phase = self.framing(byte)?;
                rest = after;
                continue;
            }
            let inflate = self.inflate.get_or_insert_with(|| Inflate::new(Format::Raw));
            let Some(used) = inflate.push(rest, plain)? else { return Ok(()) };
            rest = rest.get(used..).unwrap_or_default();
            inflate.restart();
            self.phase = Phase::Trailer(TRAILER);
        }
        Ok(())
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), Stopped> {
        match self.phase {
            Phase::Between | Phase::Header(0) => Ok(()),
            _ => Err(Stopped::Broken),
        }
    }

    fn buffered(&self) -> usize {
        self.inflate.as_ref().map_or(0, Inflate::buffered)
    }
}

impl Gzip {
    /// Takes a byte that is not compressed data; gives what the next byte is.
    fn framing(&mut self, byte: u8) -> Result<Phase, Stopped> {
        match (self.phase, byte) {
            (Phase::Between, 0) => Ok(Phase::Between),
            (Phase::Header(0) | Phase::Between, 0x1f) => Ok(Phase::Header(1)),
            (Phase::Header(1), 0x8b) => Ok(Phase::Header(2)),
            (Phase::Header(2), 8) => Ok(Phase::Header(3)),
            (Phase::Header(3), flags) if flags & RESERVED == 0 => {
                self.flags = flags;
                Ok(Phase::Header(4))
            }
            (Phase::Header(at @ 4..9), _) => Ok(Phase::Header(at + 1)),
            (Phase::Header(9), _) => Ok(self.next_part()),
            (Phase::ExtraLength(None), low) => Ok(Phase::ExtraLength(Some(low))),
            (Phase::ExtraLength(Some(low)), high) => match u16::from_le_bytes([low, high]) {
                0 => Ok(self.next_part()),
                length => Ok(Phase::Extra(length)),
            },
            (Phase::Extra(1), _) | (Phase::Name | Phase::Comment, 0) | (Phase::HeaderCheck(1), _) => {
                Ok(self.next_part())
            }
            (Phase::Extra(left), _) => Ok(Phase::Extra(left - 1)),
            (Phase::HeaderCheck(left), _) => Ok(Phase::HeaderCheck(left - 1)),
            (Phase::Trailer(1), _) => Ok(Phase::Between),
            (Phase::Trailer(left), _) => Ok(Phase::Trailer(left - 1)),
            (phase @ (Phase::Name | Phase::Comment | Phase::Data), _) => Ok(phase),
            (Phase::Header(_) | Phase::Between, _) => Err(Stopped::Broken),
        }
    }

    /// The next part of the header, in the order the RFC gives them.
    fn next_part(&mut self) -> Phase {
        let parts = [
            (FEXTRA, Phase::ExtraLength(None)),
            (FNAME, Phase::Name),
            (FCOMMENT, Phase::Comment),
            (FHCRC, Phase::HeaderCheck(2)),
        ];
        for (flag, phase) in parts {
            if self.flags & flag != 0 {
                self.flags &= !flag;
                return phase;
            }
        }
        Phase::Data
    }
}
