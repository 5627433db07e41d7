//! Bodies as they were before a `Content-Encoding` (RFC 9110, 8.4): compressed bytes in, plain bytes out.
//!
//! A [`Content`] is fed a body as it passes and hands on what it stands for, in small pieces, as soon as it can. It
//! never holds more than the codings' windows, and never makes much out of little ([`limit`](super::limit)).

mod brotli;
mod deflate;
mod gzip;
pub(crate) mod inflate;
mod zstd;

use super::limit::{Budget, Sink, Stopped};
use std::fmt;

/// Codings one body may have, one inside the other.
const MAX_CODINGS: usize = 3;
const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 8];

/// Undoes one coding.
trait Decoder: Send {
    fn push(&mut self, bytes: &[u8], plain: Sink<'_>) -> Result<(), Stopped>;

    /// No more will come. Hands on what is still held; `Broken` if there should have been more.
    fn finish(&mut self, plain: Sink<'_>) -> Result<(), Stopped>;

    /// Bytes of memory in use, about.
    fn buffered(&self) -> usize;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Coding {
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    const ALL: [Self; 4] = [Self::Gzip, Self::Deflate, Self::Brotli, Self::Zstd];

    const fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Brotli => "br",
            Self::Zstd => "zstd",
        }
    }

    fn named(name: &[u8]) -> Option<Self> {
        if name.eq_ignore_ascii_case(b"x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| name.eq_ignore_ascii_case(coding.name().as_bytes()))
    }

    fn decoder(self) -> Box<dyn Decoder> {
        match self {
            Self::Gzip => Box::<gzip::Gzip>::default(),
            Self::Deflate => Box::<deflate::Deflate>::default(),
            Self::Brotli => Box::<brotli::Brotli>::default(),
            Self::Zstd => Box::<zstd::Zstd>::default(),
        }
    }
}

/// Decodes one body after the other that all have the same codings.
pub struct Content {
    /// The outermost, which was applied last, first.
    codings: Vec<Coding>,
    /// Of the body under way; empty before its first byte.
    decoders: Vec<Box<dyn Decoder>>,
    budget: Budget,
    stopped: Option<Stopped>,
}

impl Content {
    /// What a `Content-Encoding` (or `grpc-encoding`) announces. None when there is nothing to decode, or when a
    /// coding is unknown or there are too many.
    pub fn announced(header: &[u8]) -> Option<Self> {
        let mut codings = Vec::new();
        for name in header.split(|&b| b == b',').map(<[u8]>::trim_ascii) {
            if name.is_empty() || name.eq_ignore_ascii_case(b"identity") {
                continue;
            }
            if codings.len() == MAX_CODINGS {
                return None;
            }
            codings.push(Coding::named(name)?);
        }
        codings.reverse();
        Self::new(codings)
    }

    /// What the first bytes of a body that announces nothing show it to be. Four are enough to tell.
    pub fn sniffed(first_bytes: &[u8]) -> Option<Self> {
        let coding = match first_bytes {
            _ if first_bytes.starts_with(&GZIP_MAGIC) => Coding::Gzip,
            _ if first_bytes.starts_with(&zstd::MAGIC) => Coding::Zstd,
            _ => return None,
        };
        Self::new(vec![coding])
    }

    fn new(codings: Vec<Coding>) -> Option<Self> {
        let content = Self { codings, decoders: Vec::new(), budget: Budget::default(), stopped: None };
        (!content.codings.is_empty()).then_some(content)
    }

    /// Names of the codings, the outermost first, as a location shows them.
    pub fn names(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.codings.iter().map(|coding| coding.name())
    }

    /// Takes the next bytes of the body; hands `plain` what they stand for, in pieces of at most
    /// [`MAX_PIECE`](super::limit::MAX_PIECE) bytes. Once stopped it stays so.
    pub fn push(&mut self, bytes: &[u8], plain: &mut dyn FnMut(&[u8])) -> Result<(), Stopped> {
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        if self.decoders.is_empty() {
            self.decoders = self.codings.iter().map(|coding| coding.decoder()).collect();
        }
        self.budget.take(bytes.len());
        let result = through(&mut self.decoders, bytes, &mut self.budget, plain);
        if result == Err(Stopped::Broken) {
            // What lies before the damage is to come out of the inner decoders too; that they end early is no news.
            let _ended_early = self.drain(plain);
        }
        self.settle(result)
    }

    /// The body is over: hands on what is held back.
    pub fn finish(&mut self, plain: &mut dyn FnMut(&[u8])) -> Result<(), Stopped> {
        if let Some(stopped) = self.stopped {
            return Err(stopped);
        }
        let result = self.drain(plain);
        self.settle(result)
    }

    /// Finishes every decoder, also behind one that breaks off.
    fn drain(&mut self, plain: &mut dyn FnMut(&[u8])) -> Result<(), Stopped> {
        let mut result = Ok(());
        let mut rest = self.decoders.as_mut_slice();
        while let Some((decoder, inner)) = rest.split_first_mut() {
            let budget = &mut self.budget;
            result = result.and(decoder.finish(&mut |bytes| {
                budget.give(bytes.len())?;
                through(inner, bytes, budget, plain)
            }));
            rest = inner;
        }
        result
    }

    /// Another body begins. What goes in and comes out still has to be in proportion over all of them.
    pub fn restart(&mut self) {
        self.decoders.clear();
        self.stopped = None;
        self.budget.next_body();
    }

    /// Bytes of memory in use, about: up to 43 KiB for each gzip or deflate, 8 MiB for each br or zstd.
    pub fn buffered(&self) -> usize {
        self.decoders.iter().map(|decoder| decoder.buffered()).sum()
    }

    fn settle(&mut self, result: Result<(), Stopped>) -> Result<(), Stopped> {
        if let Err(stopped) = result {
            self.stopped = Some(stopped);
            self.decoders.clear();
        }
        result
    }
}

/// Shows codings and sizes, not bytes.
impl fmt::Debug for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Content")
            .field("codings", &self.codings)
            .field("buffered", &self.buffered())
            .field("stopped", &self.stopped)
            .finish_non_exhaustive()
    }
}

/// Sends bytes through the decoders, the first one's output into the next.
fn through(
    decoders: &mut [Box<dyn Decoder>],
    bytes: &[u8],
    budget: &mut Budget,
    plain: &mut dyn FnMut(&[u8]),
) -> Result<(), Stopped> {
    let Some((decoder, inner)) = decoders.split_first_mut() else {
        plain(bytes);
        return Ok(());
    };
    decoder.push(bytes, &mut |bytes| {
        budget.give(bytes.len())?;
        through(inner, bytes, budget, plain)
    })
}

#[cfg(test)]
mod tests;
