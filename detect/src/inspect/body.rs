//! The body of a message, or a stream of no known messages: its compression undone, its text looked into, the place
//! of each secret in it named.

use super::HTTP1;
use super::json::{Fields, Json};
use super::scan::{Around, Hit, Scanner};
use super::text::{Sight, Text};
use crate::decode::content::Content;
use crate::decode::limit::Stopped;
use crate::decode::place::{self, Place};
use crate::decode::{About, Part, Piece};
use crate::location::SEPARATOR;

/// What a message's head announces of its body.
#[derive(Debug)]
pub struct Announced {
    content: Content,
}

impl Announced {
    /// None when there is nothing about the body that its bytes do not show by themselves.
    pub fn by(about: &About<'_>) -> Option<Self> {
        Some(Self { content: Content::announced(about.content_encoding?)? })
    }
}

/// A body under way.
pub struct Body {
    place: Place,
    content: Option<Content>,
    /// Why compression could not be undone to the end: what follows is looked at as it is.
    stopped: Option<Stopped>,
    plain: Plain,
    /// Bytes so far, and up to where they were looked at before.
    pushed: u64,
    looked_at: u64,
}

impl Body {
    pub fn new(place: Place, announced: Option<Announced>) -> Self {
        let content = announced.map(|announced| announced.content);
        Self { place, content, stopped: None, plain: Plain::default(), pushed: 0, looked_at: 0 }
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
        let limit = match &mut self.content {
            Some(content) if self.stopped.is_none() => {
                let codings: Vec<&'static str> = content.names().collect();
                let inside = Inside { place: self.place, codings: &codings, looked_at: 0, around };
                let plain = &mut self.plain;
                let mut judge = |bytes: &[u8]| plain.push(scanner, bytes, &inside, hits);
                let pushed = content.push(bytes, &mut judge);
                let ended = if last { content.finish(&mut judge) } else { Ok(()) };
                self.stopped = pushed.and(ended).err();
                if self.stopped.is_some() {
                    // Perhaps it is not what it was said to be, or the rest is another thing.
                    self.plain.gap(0);
                    let inside = Inside { place: self.place, codings: &[], looked_at: 0, around };
                    self.plain.push(scanner, bytes, &inside, hits);
                }
                self.stopped == Some(Stopped::Limit)
            }
            _ => {
                let inside = Inside { place: self.place, codings: &[], looked_at: self.looked_at, around };
                self.plain.push(scanner, bytes, &inside, hits);
                false
            }
        };
        if last {
            self.flush(scanner, around, hits);
        }
        limit
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, scanner: &Scanner, around: Around<'_>, hits: &mut Vec<Hit>) {
        let decoded = self.content.as_ref().filter(|_| self.stopped.is_none());
        let codings: Vec<&'static str> = decoded.into_iter().flat_map(Content::names).collect();
        let looked_at = if codings.is_empty() { self.looked_at } else { 0 };
        let inside = Inside { place: self.place, codings: &codings, looked_at, around };
        self.plain.flush(scanner, &inside, hits);
    }

    /// `missing` bytes were not delivered. Nothing compressed can be read behind them.
    pub fn gap(&mut self, scanner: &Scanner, missing: u64, around: Around<'_>, hits: &mut Vec<Hit>) {
        self.flush(scanner, around, hits);
        if self.content.is_some() {
            self.stopped = Some(Stopped::Broken);
        }
        self.pushed = self.pushed.saturating_add(missing);
        self.plain.gap(missing);
    }

    pub fn pending(&self) -> bool {
        self.plain.text.pending()
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        let json = self.plain.json.as_ref().map_or(0, Json::buffered);
        self.content.as_ref().map_or(0, Content::buffered) + json
    }
}

/// Where a text stands.
struct Inside<'a> {
    place: Place,
    codings: &'a [&'static str],
    /// Bytes up to here were looked at before.
    looked_at: u64,
    around: Around<'a>,
}

/// The text in a body, with nothing around it.
#[derive(Default)]
struct Plain {
    text: Text,
    /// None when it does not begin like JSON.
    json: Option<Json>,
    /// Bytes so far.
    length: u64,
}

impl Plain {
    fn push(&mut self, scanner: &Scanner, bytes: &[u8], inside: &Inside<'_>, hits: &mut Vec<Hit>) {
        if self.length == 0 {
            self.json = Json::is_begun_by(bytes).then(Json::default);
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
        let Self { text, json, .. } = self;
        let mut fields = json.as_ref().map(|json| json.fields(bytes));
        text.push(scanner.detector(), bytes, &mut |sight| {
            hits.extend(inside.hit(scanner, &sight, fields.as_mut()));
        });
        if let Some(json) = json {
            json.advance(bytes, text.pending());
        }
    }

    fn flush(&mut self, scanner: &Scanner, inside: &Inside<'_>, hits: &mut Vec<Hit>) {
        let Self { text, json, .. } = self;
        let mut fields = json.as_ref().map(|json| json.fields(&[]));
        text.flush(scanner.detector(), &mut |sight| {
            hits.extend(inside.hit(scanner, &sight, fields.as_mut()));
        });
    }

    fn gap(&mut self, missing: u64) {
        self.text.gap(missing);
        self.json = None;
        self.length = self.length.saturating_add(missing);
    }
}

impl Inside<'_> {
    fn hit(&self, scanner: &Scanner, sight: &Sight<'_>, fields: Option<&mut Fields<'_>>) -> Option<Hit> {
        let mut location = scanner.name(place::locate(self.place, &[], 0));
        for coding in self.codings {
            step(&mut location, coding);
        }
        if let Some(field) =
            fields.map(|fields| fields.of(sight.span.start)).filter(|field| !field.is_empty())
        {
            step(&mut location, &format!("json:{}", scanner.shown_name(field.as_bytes())));
        }
        // Over HTTP/1, bytes of no known message may be anything.
        let protocol = match self.around.protocol {
            Some(HTTP1) => self.place.protocol(),
            other => other,
        };
        scanner.hit(sight, location, Around { protocol, ..self.around }, sight.span.end <= self.looked_at)
    }
}

fn step(location: &mut String, name: &str) {
    location.push_str(SEPARATOR);
    location.push_str(name);
}
