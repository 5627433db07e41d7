//! How much a decoder may hand out for what it is given, and why it stops.
//!
//! Compressed data may stand for a thousand times its size, and for a thousand times that when it is compressed
//! twice. Whoever sends it must not be able to buy our time and memory with it.

/// What is always allowed, however little came in.
const FLOOR: u64 = 1024 * 1024;
/// Bytes handed out for each byte taken. Text rarely shrinks to less than a twentieth.
const RATIO: u64 = 200;
/// Most that is handed out of one body.
pub const MAX_BODY: u64 = 64 * 1024 * 1024;
/// Largest piece that is handed out at once.
pub const MAX_PIECE: usize = 32 * 1024;
/// Most a decoder may keep to refer back to. RFC 8878 (3.1.1.1.2) and RFC 9659 have senders keep below it.
pub const MAX_WINDOW: usize = 8 * 1024 * 1024;

/// Why no more of a body is decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// All that was decoded before the damage was handed out.
    #[error("the encoded data is damaged, incomplete, or not what it is said to be")]
    Broken,
    #[error("the decoded data is larger than a decoder may make it, or needs more memory")]
    Limit,
}

/// Takes what is decoded. An error stops the decoder, which then returns it.
pub(crate) type Sink<'a> = &'a mut dyn FnMut(&[u8]) -> Result<(), Stopped>;

/// Counts what goes in and comes out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Budget {
    taken: u64,
    given: u64,
    /// Given since the last [`Self::next_body`].
    body: u64,
}

impl Budget {
    pub(crate) fn take(&mut self, bytes: usize) {
        self.taken = self.taken.saturating_add(bytes as u64);
    }

    /// Asked before bytes are handed out.
    pub(crate) fn give(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.body = self.body.saturating_add(bytes as u64);
        if self.body > MAX_BODY { Err(Stopped::Limit) } else { self.spend(bytes) }
    }

    /// Asked for bytes that are decoded only to find the end of them: they cost no more than time.
    pub(crate) fn spend(&mut self, bytes: usize) -> Result<(), Stopped> {
        self.given = self.given.saturating_add(bytes as u64);
        let allowed = self.taken.saturating_mul(RATIO).max(FLOOR);
        if self.given > allowed { Err(Stopped::Limit) } else { Ok(()) }
    }

    /// Another body begins on the same connection: what went in and out of both still has to be in proportion.
    pub(crate) fn next_body(&mut self) {
        self.body = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn little_input_buys_a_floor_and_much_a_multiple() {
        let mut budget = Budget::default();
        assert_eq!(budget.give(FLOOR as usize), Ok(()));
        assert_eq!(budget.give(1), Err(Stopped::Limit));
        budget.take(10_000);
        assert_eq!(budget.give(900_000), Ok(()));
        assert_eq!(budget.give(100_000), Err(Stopped::Limit));
    }

    #[test]
    fn a_body_has_an_end_whatever_is_sent() {
        let mut budget = Budget::default();
        budget.take(1 << 30);
        assert_eq!(budget.give(MAX_BODY as usize), Ok(()));
        assert_eq!(budget.give(1), Err(Stopped::Limit));
        budget.next_body();
        assert_eq!(budget.give(1), Ok(()));
    }
}
