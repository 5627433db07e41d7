//! Is this record the next part of its stream, the same write once more, or is something missing before it?

use foldhash::quality::RandomState;
use keymoat_abi::{Data, event::flags};
use keymoat_detect::MAX_SECRET_LEN;
use std::hash::{BuildHasher, Hasher};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admit {
    Next,
    /// These very bytes came before.
    Duplicate,
    /// The write began like the last one and goes on differently. The end of what was taken for a duplicate
    /// is given back: a secret may begin there.
    Diverged(Vec<u8>),
    Gap {
        missing: u64,
        /// The kernel said so itself, and counted it.
        announced: bool,
    },
}

#[derive(Debug, Default)]
pub struct Order {
    /// Where the next record should start.
    next: Option<u64>,
    /// The end of a write of which not all is captured: its beginning, and, where a key is behind that, what is around it.
    cut: Option<u64>,
    write: WritePrint,
}

/// Hashes of the last write's records, to know it again.
#[derive(Debug, Default)]
struct WritePrint {
    first: u64,
    more: Vec<u64>,
    /// The current write has been the last one so far.
    repeating: bool,
    /// The last bytes dropped of a write that is not over.
    dropped: Vec<u8>,
}

impl Order {
    /// Does this record begin a stream, although another one was going on?
    pub fn restarts(&self, head: &Data) -> bool {
        head.offset == 0
            && head.chunk == 0
            && head.flags & flags::MAYBE_RETRY == 0
            && self.next.is_some_and(|next| next > 0)
    }

    /// Did a record come?
    pub fn has_begun(&self) -> bool {
        self.next.is_some()
    }

    pub fn admit(&mut self, hasher: &RandomState, head: &Data, payload: &[u8], tls: bool) -> Admit {
        let retry = head.flags & flags::MAYBE_RETRY != 0;
        let expected = self.next.replace(head.offset.wrapping_add(payload.len() as u64));
        if tls {
            let before = self.write.repeating;
            if self.write.repeats(hash(hasher, payload), head.chunk, retry) {
                let over = payload.len() as u64 >= head.total;
                self.write.dropped = if over { Vec::new() } else { tail(payload).to_vec() };
                return Admit::Duplicate;
            }
            let dropped = std::mem::take(&mut self.write.dropped);
            if before && head.chunk > 0 {
                return Admit::Diverged(dropped);
            }
        }
        let cut = self.cut.take();
        if head.flags & flags::TRUNCATED != 0 {
            // All records of the write carry the flag; only behind the last one something is missing.
            self.cut = Some(cut.filter(|_| head.chunk > 0).unwrap_or(head.offset.wrapping_add(head.total)));
        }
        match expected {
            Some(expected) if expected != head.offset => Admit::Gap {
                missing: head.offset.saturating_sub(expected),
                announced: head.chunk == 0 && cut.is_some_and(|cut| (expected..=cut).contains(&head.offset)),
            },
            _ => Admit::Next,
        }
    }
}

impl WritePrint {
    fn repeats(&mut self, hash: u64, chunk: u32, retry: bool) -> bool {
        let known = match chunk {
            0 => Some(&self.first),
            n => self.more.get(n as usize - 1),
        };
        let same = retry && known == Some(&hash);
        self.repeating = same && (chunk == 0 || self.repeating);
        if self.repeating {
            return true;
        }
        if chunk == 0 {
            self.first = hash;
            self.more = Vec::new();
        } else {
            self.more.truncate(chunk as usize - 1);
            self.more.push(hash);
        }
        false
    }
}

/// As much of the end of `bytes` as a secret that goes on behind them can take up.
fn tail(bytes: &[u8]) -> &[u8] {
    bytes.get(bytes.len().saturating_sub(MAX_SECRET_LEN)..).unwrap_or(bytes)
}

fn hash(hasher: &RandomState, bytes: &[u8]) -> u64 {
    let mut hash = hasher.build_hasher();
    hash.write_usize(bytes.len());
    hash.write(bytes);
    hash.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use zerocopy::FromZeros;

    struct Stream {
        order: Order,
        hasher: RandomState,
    }

    impl Stream {
        fn new() -> Self {
            Self { order: Order::default(), hasher: RandomState::default() }
        }

        fn put(&mut self, offset: u64, chunk: u32, flags: u8, total: u64, bytes: &[u8]) -> Admit {
            let head = Data { offset, chunk, flags, total, ..Data::new_zeroed() };
            self.order.admit(&self.hasher, &head, bytes, true)
        }
    }

    #[test]
    fn contiguous_records_are_next_and_others_are_gaps() {
        let mut stream = Stream::new();
        assert_eq!(stream.put(100, 0, 0, 3, b"abc"), Admit::Next);
        assert_eq!(stream.put(103, 0, 0, 3, b"def"), Admit::Next);
        assert_eq!(stream.put(116, 0, 0, 1, b"g"), Admit::Gap { missing: 10, announced: false });
        assert_eq!(stream.put(2, 0, 0, 1, b"h"), Admit::Gap { missing: 0, announced: false });
    }

    #[test]
    fn a_truncated_write_announces_its_gap() {
        let mut stream = Stream::new();
        assert_eq!(stream.put(0, 0, flags::TRUNCATED, 10, b"abc"), Admit::Next);
        assert_eq!(stream.put(3, 1, flags::TRUNCATED, 10, b"def"), Admit::Next);
        assert_eq!(stream.put(10, 0, 0, 1, b"g"), Admit::Gap { missing: 4, announced: true });
    }

    #[test]
    fn a_part_of_what_was_left_out_is_no_surprise() {
        let mut stream = Stream::new();
        let cut = flags::TRUNCATED;
        assert_eq!(stream.put(0, 0, cut, 10, b"abc"), Admit::Next);
        assert_eq!(stream.put(5, 0, cut, 5, b"f"), Admit::Gap { missing: 2, announced: true });
        assert_eq!(stream.put(10, 0, cut, 10, b"k"), Admit::Gap { missing: 4, announced: true });
        assert_eq!(stream.put(11, 0, cut, 9, b"l"), Admit::Next, "just behind what was shown");
        assert_eq!(
            stream.put(21, 0, 0, 1, b"v"),
            Admit::Gap { missing: 9, announced: false },
            "behind the write"
        );
    }

    #[test]
    fn a_retry_is_dropped_and_the_same_text_again_is_not() {
        let mut stream = Stream::new();
        assert_eq!(stream.put(0, 0, 0, 3, b"abc"), Admit::Next);
        assert_eq!(stream.put(3, 0, flags::MAYBE_RETRY, 3, b"abc"), Admit::Duplicate);
        assert_eq!(stream.put(6, 0, flags::MAYBE_RETRY, 3, b"abd"), Admit::Next);
        assert_eq!(stream.put(9, 0, 0, 3, b"abd"), Admit::Next);
    }

    #[test]
    fn a_retry_of_many_records_is_dropped_as_one() {
        let mut stream = Stream::new();
        let retry = flags::MAYBE_RETRY;
        for round in 0..3u64 {
            let (flags, expected) = if round == 0 { (0, Admit::Next) } else { (retry, Admit::Duplicate) };
            for (chunk, bytes) in [b"abc", b"def", b"ghi"].into_iter().enumerate() {
                let offset = round * 9 + chunk as u64 * 3;
                assert_eq!(stream.put(offset, chunk as u32, flags, 9, bytes), expected);
            }
        }
        assert_eq!(stream.put(27, 0, retry, 6, b"abc"), Admit::Duplicate);
        assert_eq!(stream.put(30, 1, retry, 6, b"xyz"), Admit::Diverged(b"abc".to_vec()));
        assert_eq!(stream.put(33, 0, 0, 1, b"."), Admit::Next);
    }
}
