//! The texts of a body: one, or those of the elements of a body made of others.

use super::HTTP1;
use super::json::{Fields, Json};
use super::scan::{Around, Hit, Scanner};
use super::text::{Sight, Text};
use crate::decode::Part;
use crate::decode::compound::{Compound, Element};
use crate::decode::limit::Stopped;
use crate::decode::place::{self, Place};
use crate::location::SEPARATOR;

/// Where texts stand, and who takes what is found in them.
pub struct Judge<'a> {
    pub scanner: &'a Scanner,
    pub place: Place,
    pub codings: &'a [&'static str],
    /// Bytes up to here were looked at before.
    pub looked_at: u64,
    pub around: Around<'a>,
    pub hits: &'a mut Vec<Hit>,
}

/// All of a body's text, once it is decompressed.
#[derive(Default)]
pub struct Texts {
    compound: Option<Compound>,
    current: Current,
}

/// The text under way.
#[derive(Default)]
struct Current {
    /// The element it is of; none outside of all.
    element: Option<String>,
    begun: bool,
    plain: Plain,
}

impl Texts {
    pub fn of(compound: Option<Compound>) -> Self {
        Self { compound, current: Current::default() }
    }

    /// Judges the next bytes. An error says that something in them was not decoded to its end.
    pub fn push(&mut self, bytes: &[u8], judge: &mut Judge<'_>) -> Result<(), Stopped> {
        let Self { compound, current } = self;
        match compound {
            Some(compound) => {
                compound.push(bytes, &mut |element, part, bytes| current.take(element, part, bytes, judge))
            }
            None => {
                current.plain.push(bytes, None, judge);
                Ok(())
            }
        }
    }

    /// The body is over.
    pub fn finish(&mut self, judge: &mut Judge<'_>) -> Result<(), Stopped> {
        let Self { compound, current } = self;
        let finished = compound.as_mut().map_or(Ok(()), |compound| {
            compound.finish(&mut |element, part, bytes| current.take(element, part, bytes, judge))
        });
        self.flush(judge);
        finished
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, judge: &mut Judge<'_>) {
        let Current { element, plain, .. } = &mut self.current;
        plain.flush(element.as_deref(), judge);
    }

    /// `missing` bytes were not delivered. To which element those after it belong would be a guess.
    pub fn gap(&mut self, missing: u64) {
        self.compound = None;
        self.current.element = None;
        self.current.plain.gap(missing);
    }

    pub fn pending(&self) -> bool {
        self.current.plain.text.pending()
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        let json = self.current.plain.json.as_ref().map_or(0, Json::buffered);
        self.compound.as_ref().map_or(0, Compound::buffered) + json
    }
}

impl Current {
    fn take(&mut self, element: Element<'_>, part: Part, bytes: &[u8], judge: &mut Judge<'_>) {
        let another = self.element.is_none() != (element == Element::None);
        if !self.begun || another || part == Part::Whole {
            self.end(judge);
            self.element = element.step(|name| judge.scanner.shown_name(name));
            self.begun = true;
        }
        self.plain.push(bytes, self.element.as_deref(), judge);
        if part != Part::More {
            self.end(judge);
        }
    }

    fn end(&mut self, judge: &mut Judge<'_>) {
        self.plain.flush(self.element.as_deref(), judge);
        *self = Self::default();
    }
}

/// A text with nothing around it.
#[derive(Default)]
struct Plain {
    text: Text,
    /// None when it does not begin like JSON.
    json: Option<Json>,
    /// Bytes so far.
    length: u64,
}

impl Plain {
    fn push(&mut self, bytes: &[u8], element: Option<&str>, judge: &mut Judge<'_>) {
        if self.length == 0 {
            self.json = Json::is_begun_by(bytes).then(Json::default);
        }
        self.length = self.length.saturating_add(bytes.len() as u64);
        let Self { text, json, .. } = self;
        let mut fields = json.as_ref().map(|json| json.fields(bytes));
        text.push(judge.scanner.detector(), bytes, &mut |sight| judge.take(&sight, element, fields.as_mut()));
        if let Some(json) = json {
            json.advance(bytes, text.pending());
        }
    }

    fn flush(&mut self, element: Option<&str>, judge: &mut Judge<'_>) {
        let Self { text, json, .. } = self;
        let mut fields = json.as_ref().map(|json| json.fields(&[]));
        text.flush(judge.scanner.detector(), &mut |sight| judge.take(&sight, element, fields.as_mut()));
    }

    fn gap(&mut self, missing: u64) {
        self.text.gap(missing);
        self.json = None;
        self.length = self.length.saturating_add(missing);
    }
}

impl Judge<'_> {
    fn take(&mut self, sight: &Sight<'_>, element: Option<&str>, fields: Option<&mut Fields<'_>>) {
        let mut location = self.scanner.name(place::locate(self.place, &[], 0));
        for coding in self.codings {
            step(&mut location, coding);
        }
        if let Some(element) = element {
            step(&mut location, element);
        }
        let field = fields.map(|fields| fields.of(sight.span.start)).filter(|field| !field.is_empty());
        if let Some(field) = field {
            step(&mut location, &format!("json:{}", self.scanner.shown_name(field.as_bytes())));
        }
        // Over HTTP/1, bytes of no known message may be anything.
        let protocol = match self.around.protocol {
            Some(HTTP1) => self.place.protocol(),
            other => other,
        };
        let around = Around { protocol, ..self.around };
        self.hits.extend(self.scanner.hit(sight, location, around, sight.span.end <= self.looked_at));
    }
}

fn step(location: &mut String, name: &str) {
    location.push_str(SEPARATOR);
    location.push_str(name);
}
