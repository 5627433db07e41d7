//! `deflate`: zlib by the RFC (9110, 8.4.1.2), raw DEFLATE by some senders.

use super::Decoder;
use super::inflate::{Format, Inflate};
use crate::decode::limit::{Sink, Stopped};

#[derive(Default)]
pub struct Deflate {
    /// The first byte, while the second is waited for: both tell zlib from raw.
    first: Option<u8>,
    inflate: Option<Inflate>,
    ended: bool,
}

impl Decoder for Deflate {
    fn push(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<(), Stopped> {
        if self.inflate.is_some() {
            return self.inflate(bytes, plain);
        }
        let (first, rest) = match (self.first, bytes) {
            (Some(first), rest) => (first, rest),
            (None, [first, rest @ ..]) => (*first, rest),
            (None, []) => return Ok(()),
        };
        self.first = Some(first);
        let Some(&second) = rest.first() else { return Ok(()) };
        let format = if is_zlib(first, second) { Format::Zlib } else { Format::Raw };
        self.inflate = Some(Inflate::new(format));
        self.inflate(&[first], plain)?;
        self.inflate(rest, plain)
    }

    fn finish(&mut self, _: Sink<'_>) -> Result<(), Stopped> {
        if self.ended || self.first.is_none() { Ok(()) } else { Err(Stopped::Broken) }
    }

    fn buffered(&self) -> usize {
        self.inflate.as_ref().map_or(0, Inflate::buffered)
    }
}

impl Deflate {
    fn inflate(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<(), Stopped> {
        let Some(inflate) = &mut self.inflate else { return Ok(()) };
        let used = if self.ended { Some(0) } else { inflate.push(bytes, plain)? };
        match used {
            None => Ok(()),
            Some(used) => {
                self.ended = true;
                if used == bytes.len() { Ok(()) } else { Err(Stopped::Broken) }
            }
        }
    }
}

/// RFC 1950, 2.2: method 8, window of at most 32 KiB, no preset dictionary, and a check of these two bytes.
fn is_zlib(cmf: u8, flg: u8) -> bool {
    let check = u16::from_be_bytes([cmf, flg]).is_multiple_of(31);
    cmf & 0x0f == 8 && cmf >> 4 <= 7 && flg & 0x20 == 0 && check
}

#[cfg(test)]
mod tests {
    use super::is_zlib;

    #[test]
    fn zlib_is_known_by_its_first_two_bytes() {
        for (cmf, flg) in [(0x78, 0x01), (0x78, 0x5e), (0x78, 0x9c), (0x78, 0xda), (0x08, 0x1d)] {
            assert!(is_zlib(cmf, flg), "{cmf:02x} {flg:02x}");
        }
        for (cmf, flg) in [(0x78, 0x02), (0x4b, 0x4c), (0x88, 0x1c), (0x78, 0xbb)] {
            assert!(!is_zlib(cmf, flg), "{cmf:02x} {flg:02x}");
        }
    }
}
