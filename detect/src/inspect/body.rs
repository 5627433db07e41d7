//! The body of a message, or a stream of no known messages: its compression undone, its texts looked into.

use super::scan::{Around, Hit, Scanner};
use super::texts::{Judge, Texts};
use crate::decode::compound::Compound;
use crate::decode::content::Content;
use crate::decode::limit::Stopped;
use crate::decode::place::Place;
use crate::decode::{About, Part, Piece};

/// What a message's head announces of its body.
#[derive(Debug)]
pub struct Announced {
    content: Option<Content>,
    compound: Option<Compound>,
}

impl Announced {
    /// None when there is nothing about the body that its bytes do not show by themselves.
    pub fn by(about: &About<'_>) -> Option<Self> {
        let content = about.content_encoding.and_then(Content::announced);
        let compound = about.content_type.and_then(|mime| Compound::announced(mime, about.grpc_encoding));
        (content.is_some() || compound.is_some()).then_some(Self { content, compound })
    }
}

/// A body under way.
pub struct Body {
    place: Place,
    content: Option<Content>,
    /// Why compression could not be undone to the end: what follows is looked at as it is.
    stopped: Option<Stopped>,
    texts: Texts,
    /// Bytes so far, and up to where they were looked at before.
    pushed: u64,
    looked_at: u64,
}

impl Body {
    pub fn new(place: Place, announced: Option<Announced>) -> Self {
        let (content, compound) =
            announced.map_or((None, None), |announced| (announced.content, announced.compound));
        Self { place, content, stopped: None, texts: Texts::of(compound), pushed: 0, looked_at: 0 }
    }

    /// What follows is something else, and still may go on where this ends.
    pub fn becomes(&mut self, place: Place) {
        self.place = place;
    }

    /// Judges the next bytes. True when decoding was given up here: it would make too much of them.
    pub fn push(
        &mut self,
        scanner: &Scanner,
        piece: &Piece<'_>,
        around: Around<'_>,
        hits: &mut Vec<Hit>,
    ) -> bool {
        let Piece { bytes, part, peeked, .. } = *piece;
        if self.pushed == 0 && self.content.is_none() && matches!(self.place, Place::Body(_)) {
            self.content = Content::sniffed(bytes);
        }
        if peeked > 0 {
            self.looked_at = self.pushed + peeked as u64;
        }
        self.pushed = self.pushed.saturating_add(bytes.len() as u64);
        let last = part != Part::More;
        let (place, looked_at) = (self.place, self.looked_at);
        let texts = &mut self.texts;
        let mut limit = false;
        match &mut self.content {
            Some(content) if self.stopped.is_none() => {
                let codings: Vec<&'static str> = content.names().collect();
                let mut judge = Judge { scanner, place, codings: &codings, looked_at: 0, around, hits };
                let mut plain = |bytes: &[u8]| {
                    limit |= texts.push(bytes, &mut judge) == Err(Stopped::Limit);
                };
                let pushed = content.push(bytes, &mut plain);
                let ended = if last { content.finish(&mut plain) } else { Ok(()) };
                self.stopped = pushed.and(ended).err();
                if self.stopped.is_some() {
                    // Perhaps it is not what it was said to be, or the rest is another thing.
                    texts.gap(0);
                    limit |= texts.push(bytes, &mut Judge { codings: &[], ..judge }) == Err(Stopped::Limit);
                }
                limit |= self.stopped == Some(Stopped::Limit);
            }
            _ => {
                let mut judge = Judge { scanner, place, codings: &[], looked_at, around, hits };
                limit |= texts.push(bytes, &mut judge) == Err(Stopped::Limit);
            }
        }
        if last {
            limit |= self.with_judge(scanner, around, hits, Texts::finish) == Err(Stopped::Limit);
        }
        limit
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, scanner: &Scanner, around: Around<'_>, hits: &mut Vec<Hit>) {
        self.with_judge(scanner, around, hits, Texts::flush);
    }

    fn with_judge<T>(
        &mut self,
        scanner: &Scanner,
        around: Around<'_>,
        hits: &mut Vec<Hit>,
        work: impl FnOnce(&mut Texts, &mut Judge<'_>) -> T,
    ) -> T {
        let decoded = self.content.as_ref().filter(|_| self.stopped.is_none());
        let codings: Vec<&'static str> = decoded.into_iter().flat_map(Content::names).collect();
        let looked_at = if codings.is_empty() { self.looked_at } else { 0 };
        let mut judge = Judge { scanner, place: self.place, codings: &codings, looked_at, around, hits };
        work(&mut self.texts, &mut judge)
    }

    /// `missing` bytes were not delivered. Nothing compressed can be read behind them.
    pub fn gap(&mut self, scanner: &Scanner, missing: u64, around: Around<'_>, hits: &mut Vec<Hit>) {
        self.flush(scanner, around, hits);
        if self.content.is_some() {
            self.stopped = Some(Stopped::Broken);
        }
        self.pushed = self.pushed.saturating_add(missing);
        self.texts.gap(missing);
    }

    pub fn pending(&self) -> bool {
        self.texts.pending()
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        self.content.as_ref().map_or(0, Content::buffered) + self.texts.buffered()
    }
}
