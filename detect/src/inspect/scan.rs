//! Pieces of a message to secrets found in them.

use crate::decode::place::{self, Place, Side, Spot};
use crate::decode::{Part, Piece};
use crate::{
    Assessment, Confidence, Detector, Fact, Fingerprinter, Match, Stream, Suppressed, redact_all, redacted,
};
use percent_encoding::percent_decode;
use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

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

/// The detector's memory of a body or stream that goes on.
#[derive(Default)]
pub struct Tail {
    stream: Stream,
    place: Option<Place>,
    pushed: u64,
    /// Bytes up to here were looked at before.
    looked_at: u64,
}

impl Tail {
    pub fn pending(&self) -> bool {
        self.stream.pending()
    }
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

    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// How many matches were no findings so far, by reason.
    pub fn suppressed(&self) -> impl Iterator<Item = (Suppressed, u64)> {
        let totals = self.suppressed.iter().map(|total| total.load(Ordering::Relaxed));
        Suppressed::ALL.into_iter().zip(totals)
    }

    /// Looks into the next piece of a flow.
    pub fn piece(
        &self,
        tail: &mut Option<Box<Tail>>,
        piece: &Piece<'_>,
        host: Option<&Arc<str>>,
        hits: &mut Vec<Hit>,
    ) {
        match piece.part {
            Part::Whole => self.whole(piece, host, hits),
            Part::More => self.push(tail, piece, host, hits),
            Part::Last => {
                self.push(tail, piece, host, hits);
                self.flush(tail, host, hits);
                *tail = None;
            }
        }
    }

    /// Looks into bytes that stand alone.
    pub fn alone(&self, place: Place, bytes: &[u8], hits: &mut Vec<Hit>) {
        self.whole(&Piece::new(place, Part::Whole, bytes), None, hits);
    }

    fn whole(&self, piece: &Piece<'_>, host: Option<&Arc<str>>, hits: &mut Vec<Hit>) {
        let Piece { place, bytes, peeked, .. } = *piece;
        let decoded = match place {
            Place::Head(Side::Request) => self.decoded_target(piece, host, hits),
            _ => Vec::new(),
        };
        self.detector.scan(bytes, &mut |found| {
            let span = span(&found);
            let again = decoded.iter().any(|other| other.start < span.end && span.start < other.end);
            if !again {
                let spot = place::locate(place, bytes, span.start);
                hits.extend(self.hit(&found, spot, place, host, span.end <= peeked));
            }
        });
    }

    /// Looks for secrets behind percent-encoding in a request's target; gives the bytes they take up in the head.
    fn decoded_target(
        &self,
        piece: &Piece<'_>,
        host: Option<&Arc<str>>,
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
            self.detector.scan(&plain, &mut |found| {
                let decoded = span(&found);
                let span = start + encoded(text, decoded.start)..start + encoded(text, decoded.end);
                hits.extend(self.hit(&found, spot, piece.place, host, span.end <= piece.peeked));
                spans.push(span);
            });
        }
        spans
    }

    fn push(
        &self,
        tail: &mut Option<Box<Tail>>,
        piece: &Piece<'_>,
        host: Option<&Arc<str>>,
        hits: &mut Vec<Hit>,
    ) {
        let Piece { place, bytes, peeked, .. } = *piece;
        if bytes.is_empty() {
            return;
        }
        let Tail { stream, place: at, pushed, looked_at } = &mut **tail.get_or_insert_default();
        *at = Some(place);
        if peeked > 0 {
            *looked_at = *pushed + peeked as u64;
        }
        *pushed += bytes.len() as u64;
        let looked_at = *looked_at;
        self.detector.push(stream, bytes, &mut |found| {
            hits.extend(self.stream_hit(&found, place, host, looked_at));
        });
    }

    /// Decides what waits at the end of a body or stream, which may still go on.
    pub fn flush(&self, tail: &mut Option<Box<Tail>>, host: Option<&Arc<str>>, hits: &mut Vec<Hit>) {
        let Some(Tail { stream, place: Some(place), looked_at, .. }) = tail.as_deref_mut() else { return };
        let (place, looked_at) = (*place, *looked_at);
        self.detector.flush(stream, &mut |found| {
            hits.extend(self.stream_hit(&found, place, host, looked_at));
        });
    }

    /// `missing` bytes of a body or stream were not delivered.
    pub fn gap(
        &self,
        tail: &mut Option<Box<Tail>>,
        missing: u64,
        host: Option<&Arc<str>>,
        hits: &mut Vec<Hit>,
    ) {
        self.flush(tail, host, hits);
        if let Some(tail) = tail {
            tail.stream.gap(missing);
        }
    }

    fn stream_hit(
        &self,
        found: &Match<'_>,
        place: Place,
        host: Option<&Arc<str>>,
        looked_at: u64,
    ) -> Option<Hit> {
        let end = found.start + found.secret.len() as u64;
        self.hit(found, place::locate(place, &[], 0), place, host, end <= looked_at)
    }

    /// None if the match is no finding; counted then.
    fn hit(
        &self,
        found: &Match<'_>,
        spot: Spot<'_>,
        place: Place,
        host: Option<&Arc<str>>,
        second_look: bool,
    ) -> Option<Hit> {
        let Assessment { confidence, facts, .. } = match &found.assessment {
            Ok(assessment) => assessment,
            Err(why) => {
                self.count(*why, second_look);
                return None;
            }
        };
        Some(Hit {
            rule: found.rule.id.clone(),
            fingerprint: self.fingerprints.fingerprint(found.secret),
            redacted: redacted(found.rule, found.secret),
            length: found.secret.len(),
            confidence: *confidence,
            facts: facts.clone(),
            location: spot.name(|name| self.shown_name(name)),
            protocol: place.protocol(),
            host: host.cloned(),
            second_look,
        })
    }

    fn count(&self, why: Suppressed, second_look: bool) {
        let place = Suppressed::ALL.iter().position(|&reason| reason == why);
        if let Some(total) = place.and_then(|place| self.suppressed.get(place)).filter(|_| !second_look) {
            total.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A name the sender chose, without any secret it may hold.
    fn shown_name(&self, name: &[u8]) -> String {
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

fn span(found: &Match<'_>) -> Range<usize> {
    let start = found.start as usize;
    start..start + found.secret.len()
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
