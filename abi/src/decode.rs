//! Ring bytes to events: length first, then the discriminant, then the copy.

use crate::event::{Close, Data, Header, Kind, Link, Refusal, Source};
use core::fmt;
use zerocopy::FromBytes;

/// A checked ring record.
#[derive(Debug)]
pub enum Event<'a> {
    Data { head: Data, source: Source, payload: &'a [u8] },
    Link(Link),
    Close(Close),
    Refusal(Refusal),
}

/// Why a ring record was refused. Counted by the agent, never fatal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the record claims or its kind needs.
    TooShort {
        have: usize,
        need: usize,
    },
    /// The record's size field is smaller than its kind's struct.
    BadSize {
        size: usize,
    },
    UnknownKind(u32),
    UnknownSource(u8),
    /// `Data::len` disagrees with the record's size.
    BadPayload {
        len: usize,
        room: usize,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { have, need } => write!(f, "ring record of {have} bytes, {need} needed"),
            Self::BadSize { size } => write!(f, "ring record with impossible size {size}"),
            Self::UnknownKind(kind) => write!(f, "ring record of unknown kind {kind}"),
            Self::UnknownSource(source) => write!(f, "data record of unknown source {source}"),
            Self::BadPayload { len, room } => {
                write!(f, "data record claims {len} payload bytes where {room} fit")
            }
        }
    }
}

impl core::error::Error for DecodeError {}

/// Decodes one ring record.
///
/// # Errors
/// [`DecodeError`] when the bytes are not a record this version writes.
pub fn decode(bytes: &[u8]) -> Result<Event<'_>, DecodeError> {
    let (header, _) = read::<Header>(bytes)?;
    let size = header.size as usize;
    let record = bytes.get(..size).ok_or(DecodeError::TooShort { have: bytes.len(), need: size })?;
    match Kind::from_u32(header.kind).ok_or(DecodeError::UnknownKind(header.kind))? {
        Kind::Data => decode_data(record),
        Kind::Link => Ok(Event::Link(exact(record)?)),
        Kind::Close => Ok(Event::Close(exact(record)?)),
        Kind::Refusal => Ok(Event::Refusal(exact(record)?)),
    }
}

fn decode_data(record: &[u8]) -> Result<Event<'_>, DecodeError> {
    let (head, payload) = read::<Data>(record).map_err(|_| DecodeError::BadSize { size: record.len() })?;
    let source = Source::from_u8(head.source).ok_or(DecodeError::UnknownSource(head.source))?;
    if payload.len() != head.len as usize {
        return Err(DecodeError::BadPayload { len: head.len as usize, room: payload.len() });
    }
    Ok(Event::Data { head, source, payload })
}

fn exact<T: FromBytes>(record: &[u8]) -> Result<T, DecodeError> {
    T::read_from_bytes(record).map_err(|_| DecodeError::BadSize { size: record.len() })
}

fn read<T: FromBytes>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    T::read_from_prefix(bytes)
        .map_err(|_| DecodeError::TooShort { have: bytes.len(), need: core::mem::size_of::<T>() })
}
