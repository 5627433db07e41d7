//! Pieces of a message to secrets found in them.

use super::text::{self, Sight};
use crate::decode::place::{self, Place, Side, Spot};
use crate::decode::{Field, Part, Piece};
use crate::location::SEPARATOR;
use crate::{Assessment, Confidence, Detector, Fact, Fingerprinter, Suppressed, redact_all, redacted};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use zeroize::Zeroizing;

/// Longest name of a header or parameter that is shown.
const MAX_NAME: usize = 64;

/// A secret that was found. Holds nothing of it but what may be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    pub rule: String,
    pub fingerprint: String,
    pub redacted: String,
    pub length: usize,
    pub confidence: Confidence,
    /// What the secret says about itself.
    pub facts: Vec<Fact>,
    pub location: String,
    pub protocol: Option<&'static str>,
    /// Host the message names.
    pub host: Option<Arc<str>>,
    /// These bytes may have been looked at before: if it was found then, this is no repeat.
    pub second_look: bool,
}

/// What the hits of one piece share.
#[derive(Clone, Copy, Default)]
pub(super) struct Around<'a> {
    pub protocol: Option<&'static str>,
    /// Host the message names.
    pub host: Option<&'a Arc<str>>,
}

pub struct Scanner {
    detector: Arc<Detector>,
    fingerprints: Fingerprinter,
    /// By the reason's place in [`Suppressed::ALL`].
    suppressed: [AtomicU64; Suppressed::ALL.len()],
}

impl Scanner {
    pub fn new(detector: Arc<Detector>, fleet_key: &[u8]) -> Self {
        Self { detector, fingerprints: Fingerprinter::new(fleet_key), suppressed: Default::default() }
    }

    /// One that looks for other things, and counts on.
    pub fn with_detector(&self, detector: Arc<Detector>) -> Self {
        let suppressed =
            self.suppressed.each_ref().map(|total| AtomicU64::new(total.load(Ordering::Relaxed)));
        Self { detector, fingerprints: self.fingerprints.clone(), suppressed }
    }

    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// How many matches were no findings so far, by reason.
    pub fn suppressed(&self) -> impl Iterator<Item = (Suppressed, u64)> {
        let totals = self.suppressed.iter().map(|total| total.load(Ordering::Relaxed));
        Suppressed::ALL.into_iter().zip(totals)
    }

    /// Looks into bytes that stand alone.
    pub fn alone(&self, place: Place, bytes: &[u8], hits: &mut Vec<Hit>) {
        text::scan(&self.detector, bytes, &mut |sight| {
            hits.extend(self.hit(
                &sight,
                self.name(place::locate(place, bytes, 0)),
                Around::default(),
                false,
            ));
        });
    }

    /// Looks into a message's head, or a line of a trailer.
    pub(super) fn head(&self, piece: &Piece<'_>, around: Around<'_>, hits: &mut Vec<Hit>) {
        let Piece { place, bytes, peeked, .. } = *piece;
        let decoded = match place {
            Place::Head(Side::Request) => self.decoded_target(piece, around, hits),
            _ => Vec::new(),
        };
        text::scan(&self.detector, bytes, &mut |sight| {
            let span = span(&sight.span);
            let again = decoded.iter().any(|other| other.start < span.end && span.start < other.end);
            if !again {
                let location = self.name(place::locate(place, bytes, span.start));
                hits.extend(self.hit(&sight, location, around, span.end <= peeked));
            }
        });
    }

    /// Looks into a header field that comes by itself.
    pub(super) fn field(&self, field: &Field<'_>, around: Around<'_>, hits: &mut Vec<Hit>) {
        let Field { side, name, value, .. } = *field;
        if name == Some(b":path") {
            // As the first line of an HTTP/1 head, in which targets are taken apart.
            let line = Zeroizing::new([b" ", value, b" "].concat());
            return self.head(&Piece::new(Place::Head(Side::Request), Part::Whole, &line), around, hits);
        }
        text::scan(&self.detector, value, &mut |sight| {
            let location = self.name(Spot::Header(side, name));
            hits.extend(self.hit(&sight, location, around, false));
        });
    }

    /// Looks for secrets behind percent-encoding in a request's target; gives the bytes they take up in the head.
    fn decoded_target(
        &self,
        piece: &Piece<'_>,
        around: Around<'_>,
        hits: &mut Vec<Hit>,
    ) -> Vec<Range<usize>> {
        let mut spans = Vec::new();
        let in_head = place::target(piece.bytes);
        let target = piece.bytes.get(in_head.clone()).unwrap_or_default();
        if !target.contains(&b'%') {
            return spans;
        }
        let path = std::iter::once((Spot::Path, 0..place::path_end(target)));
        let query = place::parameters(target).flat_map(|parameter| {
            let name = target.get(parameter.name.clone());
            [(Spot::Query(None), parameter.name), (Spot::Query(name), parameter.value)]
        });
        for (spot, part) in path.chain(query) {
            let text = target.get(part.clone()).unwrap_or_default();
            if !text.contains(&b'%') {
                continue;
            }
            let start = in_head.start + part.start;
            let plain: Cow<'_, [u8]> = percent_decode(text).into();
            text::scan(&self.detector, &plain, &mut |sight| {
                let decoded = span(&sight.span);
                let span = start + encoded(text, decoded.start)..start + encoded(text, decoded.end);
                hits.extend(self.hit(&sight, self.name(spot), around, span.end <= piece.peeked));
                spans.push(span);
            });
        }
        spans
    }

    /// None if the sight is no finding; counted then.
    pub(super) fn hit(
        &self,
        sight: &Sight<'_>,
        mut location: String,
        around: Around<'_>,
        second_look: bool,
    ) -> Option<Hit> {
        let Assessment { confidence, facts, .. } = match sight.assessment {
            Ok(assessment) => assessment,
            Err(why) => {
                self.count(*why, second_look);
                return None;
            }
        };
        for wrap in sight.wrapped {
            location.push_str(SEPARATOR);
            location.push_str(wrap.name());
        }
        Some(Hit {
            rule: sight.rule.id.clone(),
            fingerprint: self.fingerprints.fingerprint(sight.secret),
            redacted: redacted(sight.rule, sight.secret),
            length: sight.secret.len(),
            confidence: *confidence,
            facts: facts.clone(),
            location,
            protocol: around.protocol,
            host: around.host.cloned(),
            second_look,
        })
    }

    fn count(&self, why: Suppressed, second_look: bool) {
        let place = Suppressed::ALL.iter().position(|&reason| reason == why);
        if let Some(total) = place.and_then(|place| self.suppressed.get(place)).filter(|_| !second_look) {
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A place's name, with nothing secret in it.
    pub(super) fn name(&self, spot: Spot<'_>) -> String {
        spot.name(|name| self.shown_name(name))
    }

    /// A name the sender chose, without any secret it may hold.
    pub(super) fn shown_name(&self, name: &[u8]) -> String {
        let plain: Cow<'_, [u8]> = percent_decode(name).into();
        let text = self.without_secrets(&String::from_utf8_lossy(&plain));
        let shown =
            text.chars().take(MAX_NAME).map(|c| if c.is_ascii_graphic() || c == '…' { c } else { '?' });
        shown.collect()
    }

    pub fn without_secrets(&self, text: &str) -> String {
        redact_all(&self.detector, text)
    }
}

/// Within a head, whose length is bounded.
fn span(span: &Range<u64>) -> Range<usize> {
    span.start as usize..span.end as usize
}

/// Where in percent-encoded text the decoded text's byte `at` begins.
fn encoded(text: &[u8], at: usize) -> usize {
    let mut position = 0;
    for _ in 0..at {
        let hex = |i: usize| text.get(position + i).is_some_and(u8::is_ascii_hexdigit);
        let escape = text.get(position) == Some(&b'%') && hex(1) && hex(2);
        position += if escape { 3 } else { 1 };
    }
    position
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_in_decoded_text_lead_back() {
        assert_eq!(encoded(b"a%41b%", 0), 0);
        assert_eq!(encoded(b"a%41b%", 1), 1);
        assert_eq!(encoded(b"a%41b%", 2), 4);
        assert_eq!(encoded(b"a%41b%", 4), 6);
        assert_eq!(encoded(b"%4", 2), 2);
    }
}
