//! How much of a text a piece is, and what that means for the detector.

use crate::{Detector, Match, Stream};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// More comes.
    More,
    /// More may come, and what is undecided is to be decided.
    Pause,
    /// Nothing comes after it.
    Last,
}

impl Part {
    /// Looks for secrets in the piece.
    pub(super) fn look(
        self,
        detector: &Detector,
        stream: &mut Stream,
        bytes: &[u8],
        found: &mut dyn FnMut(Match<'_>),
    ) {
        if self == Part::Whole {
            return detector.scan(bytes, found);
        }
        detector.push(stream, bytes, found);
        if self != Part::More {
            detector.flush(stream, found);
        }
    }
}
