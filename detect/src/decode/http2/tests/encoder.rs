//! The other end, for tests: frames, and an HPACK encoder that can be told which representation to use.

use crate::decode::http2::frames::PREFACE;
use crate::decode::http2::table::{Entry, Lookup, Table};
use octets::OctetsMut;

pub const GET: &[(&str, &str)] =
    &[(":method", "GET"), (":scheme", "https"), (":path", "/"), (":authority", "api.test:443")];

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A payload with its padding.
pub fn padded(payload: &[u8], padding: u8) -> Vec<u8> {
    [&[padding], payload, &vec![0; usize::from(padding)]].concat()
}

pub fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])
}

/// The beginning of a client's connection.
pub fn client() -> Vec<u8> {
    [PREFACE, &settings()].concat()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// With incremental indexing.
    Insert,
    Plain,
    Never,
}

/// Keeps the table its decoder has to have.
pub struct Encoder {
    pub table: Table,
    pub how: How,
    pub huffman: bool,
    /// References the table instead of sending text again.
    pub reuse: bool,
}

impl Encoder {
    pub fn new() -> Self {
        Self { table: Table::new(), how: How::Insert, huffman: true, reuse: true }
    }

    pub fn block(&mut self, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut out = Vec::new();
        fields.iter().for_each(|(name, value)| self.field(name, value, &mut out));
        out
    }

    pub fn resize(&mut self, size: usize) -> Vec<u8> {
        self.table.resize(size);
        let mut out = Vec::new();
        integer(size, 5, 0x20, &mut out);
        out
    }

    pub fn field(&mut self, name: &str, value: &str, out: &mut Vec<u8>) {
        let mut index = 0;
        for at in 1..200 {
            match self.table.get(at) {
                Lookup::Known { name: Some(n), value: v } if n == name.as_bytes() => {
                    if v == value.as_bytes() && (self.reuse || at < 62) {
                        return integer(at, 7, 0x80, out);
                    }
                    if self.reuse || at < 62 {
                        index = at;
                    }
                }
                Lookup::Known { .. } => {}
                Lookup::Unknown | Lookup::Invalid => break,
            }
        }
        match self.how {
            How::Insert => integer(index, 6, 0x40, out),
            How::Plain => integer(index, 4, 0, out),
            How::Never => integer(index, 4, 0x10, out),
        }
        if index == 0 {
            self.string(name, out);
        }
        self.string(value, out);
        if self.how == How::Insert {
            self.table.insert(Entry::new(Some(name.as_bytes()), value.as_bytes()));
        }
    }

    pub fn string(&self, text: &str, out: &mut Vec<u8>) {
        if !self.huffman {
            integer(text.len(), 7, 0, out);
            out.extend_from_slice(text.as_bytes());
            return;
        }
        let mut coded = vec![0; text.len() * 4 + 8];
        let mut octets = OctetsMut::with_slice(&mut coded);
        octets.put_huffman_encoded::<false>(text.as_bytes()).unwrap();
        let length = octets.off();
        integer(length, 7, 0x80, out);
        out.extend_from_slice(&coded[..length]);
    }
}

pub fn integer(value: usize, bits: u8, kind: u8, out: &mut Vec<u8>) {
    loona_hpack::encoder::encode_integer_into(value, bits, kind, out).unwrap();
}
