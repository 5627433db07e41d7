//! HPACK (RFC 7541): the representations of a header block, read one by one as their bytes come.
//!
//! A library's decoder wants the whole block, fails at an index it does not know, cannot say where it failed, and
//! leaves fields behind in freed memory. Here the table may be known in part only ([`Table`]), and what was read
//! before an error counts. The Huffman code is a library's.

use super::block::Fields;
use super::table::{Entry, Lookup, Table};
use crate::decode::place::Side;
use octets::Octets;
use std::ops::Deref;
use zeroize::Zeroizing;

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// At the end of the bytes, or in a representation that is not whole.
    More,
    /// The fields take up more room than is kept.
    TooLong,
    /// This is not HPACK, or not of this table.
    Broken,
}

/// Reads all whole representations; gives the bytes they took, and why it is no more.
pub fn decode(bytes: &[u8], table: &mut Table, fields: &mut Fields) -> (usize, Stop) {
    let mut rest = bytes;
    loop {
        let mut reader = Reader(rest);
        if let Err(stop) = reader.representation(table, fields) {
            return (bytes.len() - rest.len(), stop);
        }
        rest = reader.0;
    }
}

/// Whose header block begins with this byte, if the first field says so: pseudo-header fields come first.
pub fn side_of_first(byte: u8) -> Option<Side> {
    let index = match byte {
        0x80.. => byte & 0x7f,
        0x40..0x80 => byte & 0x3f,
        0x20..0x40 => 0,
        ..0x20 => byte & 0x0f,
    };
    match index {
        1..=7 => Some(Side::Request),
        8..=14 => Some(Side::Response),
        _ => None,
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// RFC 7541, 6.
    fn representation(&mut self, table: &mut Table, fields: &mut Fields) -> Result<(), Stop> {
        match *self.0.first().ok_or(Stop::More)? {
            0x80.. => {
                let index = self.integer(7)?;
                match table.get(index) {
                    Lookup::Known { name, value } => fields.add(name, value),
                    Lookup::Unknown => Ok(()),
                    Lookup::Invalid => Err(Stop::Broken),
                }
            }
            0x40..0x80 => {
                let index = self.integer(6)?;
                self.literal(index, true, table, fields)
            }
            0x20..0x40 => {
                table.resize(self.integer(5)?);
                Ok(())
            }
            ..0x20 => {
                let index = self.integer(4)?;
                self.literal(index, false, table, fields)
            }
        }
    }

    fn literal(
        &mut self,
        index: usize,
        insert: bool,
        table: &mut Table,
        fields: &mut Fields,
    ) -> Result<(), Stop> {
        let raw_name = if index == 0 { Some(self.string()?) } else { None };
        let value = self.string()?.plain()?;
        let own_name = raw_name.map(|name| name.plain()).transpose()?;
        let name = match (&own_name, table.get(index)) {
            (Some(name), _) => Some(&**name),
            (None, Lookup::Known { name, .. }) => name,
            (None, Lookup::Unknown) => None,
            (None, Lookup::Invalid) => return Err(Stop::Broken),
        };
        fields.add(name, &value)?;
        if insert {
            let entry = Entry::new(name, &value);
            table.insert(entry);
        }
        Ok(())
    }

    /// RFC 7541, 5.1. No number in HTTP/2 needs more than four bytes behind the first.
    fn integer(&mut self, bits: u32) -> Result<usize, Stop> {
        let mask = (1usize << bits) - 1;
        let mut value = usize::from(self.byte()?) & mask;
        if value < mask {
            return Ok(value);
        }
        for shift in [0, 7, 14, 21] {
            let byte = usize::from(self.byte()?);
            value += (byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Stop::Broken)
    }

    /// RFC 7541, 5.2.
    fn string(&mut self) -> Result<Text<'a>, Stop> {
        let huffman = *self.0.first().ok_or(Stop::More)? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Stop::More)?;
        self.0 = rest;
        Ok(if huffman { Text::Huffman(bytes) } else { Text::Plain(bytes) })
    }

    fn byte(&mut self) -> Result<u8, Stop> {
        let (&byte, rest) = self.0.split_first().ok_or(Stop::More)?;
        self.0 = rest;
        Ok(byte)
    }
}

enum Text<'a> {
    Plain(&'a [u8]),
    Huffman(&'a [u8]),
}

impl<'a> Text<'a> {
    fn plain(&self) -> Result<Plain<'a>, Stop> {
        match *self {
            Self::Plain(bytes) => Ok(Plain::Here(bytes)),
            Self::Huffman(bytes) => {
                let decoded = Octets::with_slice(bytes).get_huffman_decoded();
                decoded.map(|text| Plain::Decoded(Zeroizing::new(text))).map_err(|_| Stop::Broken)
            }
        }
    }
}

enum Plain<'a> {
    Here(&'a [u8]),
    Decoded(Zeroizing<Vec<u8>>),
}

impl Deref for Plain<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Here(bytes) => bytes,
            Self::Decoded(bytes) => bytes,
        }
    }
}
