//! DEFLATE (RFC 1951), alone or inside zlib (RFC 1950), as gzip, WebSocket and git each frame it.
//!
//! This is `miniz_oxide`'s core, not `flate2`: it decodes into a window that is ours, so what is decoded is handed
//! out from there without a copy and wiped afterwards, and a stream can start over with the window of the one before.
//! `zlib-rs` was measured 1.5 times as fast (400 against 260 MB/s of output); it has much unsafe code, miniz_oxide none.
//!
//! Checksums are not compared. The bytes left the host whether or not they add up.

use crate::decode::limit::{MAX_PIECE, Sink, Stopped};
use miniz_oxide::inflate::TINFLStatus;
use miniz_oxide::inflate::core::{DecompressorOxide, decompress, inflate_flags as flags};
use zeroize::Zeroizing;

/// How far back DEFLATE refers.
const WINDOW: usize = 32 * 1024;
const _: () = assert!(WINDOW <= MAX_PIECE);

pub struct Inflate {
    state: Box<DecompressorOxide>,
    /// The last bytes decoded, in a ring.
    window: Zeroizing<Box<[u8]>>,
    at: usize,
    flags: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw,
    Zlib,
}

impl Inflate {
    pub fn new(format: Format) -> Self {
        let format = match format {
            Format::Raw => 0,
            Format::Zlib => flags::TINFL_FLAG_PARSE_ZLIB_HEADER | flags::TINFL_FLAG_IGNORE_ADLER32,
        };
        Self {
            state: Box::default(),
            window: Zeroizing::new(vec![0; WINDOW].into_boxed_slice()),
            at: 0,
            flags: format | flags::TINFL_FLAG_HAS_MORE_INPUT,
        }
    }

    /// Decodes all of `bytes`, or up to the end of the stream: then gives the number of bytes that belong to it.
    pub fn push(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<Option<usize>, Stopped> {
        let mut used = 0;
        loop {
            let rest = bytes.get(used..).unwrap_or_default();
            let (status, taken, given) =
                decompress(&mut self.state, rest, &mut self.window, self.at, self.flags);
            used += taken;
            if given > 0 {
                plain(self.window.get(self.at..self.at + given).unwrap_or_default())?;
                self.at = (self.at + given) % WINDOW;
            }
            match status {
                TINFLStatus::HasMoreOutput => {}
                TINFLStatus::NeedsMoreInput => return Ok(None),
                TINFLStatus::Done => return Ok(Some(used)),
                _ => return Err(Stopped::Broken),
            }
        }
    }

    /// Another stream begins. It may refer back to this one.
    pub fn restart(&mut self) {
        self.state.init();
    }

    pub const fn buffered(&self) -> usize {
        WINDOW + size_of::<DecompressorOxide>()
    }
}
