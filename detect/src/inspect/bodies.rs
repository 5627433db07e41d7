//! The bodies under way on a connection: one over HTTP/1, one a stream over HTTP/2.

use super::body::{Announced, Body};
use super::scan::{Around, Hit, Scanner};
use crate::decode::{About, Part, Piece};

/// Bodies kept apart at once. Beyond it, the one that began first is judged as if it ended here.
const MAX_BODIES: usize = 64;

/// By the number of their stream, the oldest first.
#[derive(Default)]
pub struct Bodies {
    open: Vec<(u32, Box<Body>)>,
    /// What is known of bodies that have not begun.
    announced: Vec<(u32, Announced)>,
}

impl Bodies {
    pub fn announce(&mut self, about: &About<'_>) {
        self.announced.retain(|(stream, _)| *stream != about.stream);
        if let Some(announced) = Announced::by(about) {
            if self.announced.len() >= MAX_BODIES {
                self.announced.remove(0);
            }
            self.announced.push((about.stream, announced));
        }
    }

    /// Judges the next piece of a body. True when decoding it was given up here.
    pub fn piece(
        &mut self,
        scanner: &Scanner,
        piece: &Piece<'_>,
        around: Around<'_>,
        hits: &mut Vec<Hit>,
    ) -> bool {
        let stream = piece.stream;
        let known = self.open.iter().position(|(open, _)| *open == stream);
        if known.is_none() && piece.bytes.is_empty() {
            return false;
        }
        let (_, mut body) = match known {
            Some(index) if piece.part != Part::Whole => self.open.remove(index),
            _ => (stream, Box::new(Body::new(piece.place, self.take_announced(stream)))),
        };
        body.becomes(piece.place);
        let limit = body.push(scanner, piece, around, hits);
        if piece.part == Part::More {
            if self.open.len() >= MAX_BODIES {
                let (_, mut oldest) = self.open.remove(0);
                oldest.flush(scanner, around, hits);
            }
            self.open.push((stream, body));
        }
        limit
    }

    fn take_announced(&mut self, stream: u32) -> Option<Announced> {
        let index = self.announced.iter().position(|(announced, _)| *announced == stream)?;
        Some(self.announced.remove(index).1)
    }

    /// `missing` bytes of some of them were not delivered.
    pub fn gap(&mut self, scanner: &Scanner, missing: u64, around: Around<'_>, hits: &mut Vec<Hit>) {
        self.open.iter_mut().for_each(|(_, body)| body.gap(scanner, missing, around, hits));
    }

    pub fn flush(&mut self, scanner: &Scanner, around: Around<'_>, hits: &mut Vec<Hit>) {
        self.open.iter_mut().for_each(|(_, body)| body.flush(scanner, around, hits));
    }

    pub fn pending(&self) -> bool {
        self.open.iter().any(|(_, body)| body.pending())
    }

    /// Bytes of memory in use, about.
    pub fn buffered(&self) -> usize {
        self.open.iter().map(|(_, body)| body.buffered()).sum()
    }
}
