//! HPACK's tables (RFC 7541, 2.3), and how much of the dynamic one can be known.
//!
//! Whoever joins late has not seen the older entries. New ones are put in front and the oldest drop out, so the
//! entries that were seen are at their right indices all the same, and what lies behind them is unknown. The
//! table's size need not be known for that: an entry kept longer than its sender keeps it is never asked for.
//! Only entries put in unseen make indices wrong; then all are forgotten, and known again as they are sent.

use std::collections::VecDeque;
use zeroize::Zeroizing;

/// What a table holds before any dynamic table size update (RFC 9113, 6.5.2).
const DEFAULT_SIZE: usize = 4096;
/// The largest table that is kept. A larger one is known as far as it fits.
pub const MAX_SIZE: usize = 64 * 1024;
/// What an entry counts beside its text (RFC 7541, 4.1).
pub const OVERHEAD: usize = 32;

/// The dynamic table of one direction.
#[derive(Debug)]
pub struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    size: usize,
    max: usize,
    known: Known,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    All,
    /// What `entries` holds; there may be more behind it.
    Newest,
    /// Nothing, ever again.
    Nothing,
}

pub struct Entry {
    /// Name and value. Wiped on drop.
    text: Zeroizing<Vec<u8>>,
    /// Length of the name, if it is known.
    name: Option<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup<'a> {
    Known {
        name: Option<&'a [u8]>,
        value: &'a [u8],
    },
    Unknown,
    /// There is no such entry, whatever was not seen.
    Invalid,
}

impl Table {
    /// The table at the start of a connection.
    pub fn new() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: DEFAULT_SIZE, known: Known::All }
    }

    /// The table at any later time.
    pub fn unknown() -> Self {
        Self { max: MAX_SIZE, known: Known::Newest, ..Self::new() }
    }

    /// Entries may have been put in that were not seen. From here on they are seen again.
    pub fn forget(&mut self) {
        if self.known != Known::Nothing {
            *self = Self::unknown();
        }
    }

    /// What was put in is not what was read: no index means anything any more.
    pub fn distrust(&mut self) {
        *self = Self { known: Known::Nothing, ..Self::unknown() };
    }

    pub fn get(&self, index: usize) -> Lookup<'_> {
        let Some(index) = index.checked_sub(1) else { return Lookup::Invalid };
        if let Some((name, value)) = STATIC.get(index) {
            return Lookup::Known { name: Some(name.as_bytes()), value: value.as_bytes() };
        }
        match self.entries.get(index - STATIC.len()) {
            Some(entry) => {
                let (name, value) = entry.split();
                Lookup::Known { name, value }
            }
            None if self.known == Known::All => Lookup::Invalid,
            None => Lookup::Unknown,
        }
    }

    pub fn insert(&mut self, entry: Entry) {
        if self.known == Known::Nothing {
            return;
        }
        self.size += entry.size();
        self.entries.push_front(entry);
        self.evict();
    }

    /// A dynamic table size update.
    pub fn resize(&mut self, max: usize) {
        if max > MAX_SIZE && self.known == Known::All {
            self.known = Known::Newest;
        }
        self.max = max.min(MAX_SIZE);
        self.evict();
        if self.max < OVERHEAD && self.known == Known::Newest {
            // Not even an empty entry is left, seen or not.
            self.known = Known::All;
        }
    }

    /// An entry that does not fit at all empties the table (RFC 7541, 4.4).
    fn evict(&mut self) {
        while self.size > self.max {
            let Some(entry) = self.entries.pop_back() else { break };
            self.size -= entry.size();
        }
    }

    pub fn size(&self) -> usize {
        self.size
    }
}

impl Entry {
    pub fn new(name: Option<&[u8]>, value: &[u8]) -> Self {
        let text = Zeroizing::new([name.unwrap_or_default(), value].concat());
        Self { text, name: name.map(<[u8]>::len) }
    }

    fn split(&self) -> (Option<&[u8]>, &[u8]) {
        let (name, value) = self.text.split_at_checked(self.name.unwrap_or(0)).unwrap_or_default();
        (self.name.map(|_| name), value)
    }

    fn size(&self) -> usize {
        self.text.len() + OVERHEAD
    }
}

/// Shows sizes, not bytes.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} bytes", self.text.len())
    }
}

/// RFC 7541, appendix A.
const STATIC: [(&str, &str); 61] = [
    (":authority", ""),
    (":method", "GET"),
    (":method", "POST"),
    (":path", "/"),
    (":path", "/index.html"),
    (":scheme", "http"),
    (":scheme", "https"),
    (":status", "200"),
    (":status", "204"),
    (":status", "206"),
    (":status", "304"),
    (":status", "400"),
    (":status", "404"),
    (":status", "500"),
    ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"),
    ("accept-language", ""),
    ("accept-ranges", ""),
    ("accept", ""),
    ("access-control-allow-origin", ""),
    ("age", ""),
    ("allow", ""),
    ("authorization", ""),
    ("cache-control", ""),
    ("content-disposition", ""),
    ("content-encoding", ""),
    ("content-language", ""),
    ("content-length", ""),
    ("content-location", ""),
    ("content-range", ""),
    ("content-type", ""),
    ("cookie", ""),
    ("date", ""),
    ("etag", ""),
    ("expect", ""),
    ("expires", ""),
    ("from", ""),
    ("host", ""),
    ("if-match", ""),
    ("if-modified-since", ""),
    ("if-none-match", ""),
    ("if-range", ""),
    ("if-unmodified-since", ""),
    ("last-modified", ""),
    ("link", ""),
    ("location", ""),
    ("max-forwards", ""),
    ("proxy-authenticate", ""),
    ("proxy-authorization", ""),
    ("range", ""),
    ("referer", ""),
    ("refresh", ""),
    ("retry-after", ""),
    ("server", ""),
    ("set-cookie", ""),
    ("strict-transport-security", ""),
    ("transfer-encoding", ""),
    ("user-agent", ""),
    ("vary", ""),
    ("via", ""),
    ("www-authenticate", ""),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn known<'a>(name: &'a str, value: &'a str) -> Lookup<'a> {
        Lookup::Known { name: Some(name.as_bytes()), value: value.as_bytes() }
    }

    #[test]
    fn the_static_table_is_the_one_others_have() {
        let indices: Vec<u8> = (1..=61).map(|index| 0x80 | index).collect();
        let theirs = loona_hpack::Decoder::new().decode(&indices).unwrap();
        let ours: Vec<_> =
            STATIC.iter().map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec())).collect();
        assert_eq!(ours, theirs);
    }

    #[test]
    fn a_table_seen_from_the_start_is_known_whole() {
        let mut table = Table::new();
        assert_eq!(table.get(62), Lookup::Invalid);
        table.insert(Entry::new(Some(b"a"), b"1"));
        table.insert(Entry::new(Some(b"b"), b"2"));
        assert_eq!((table.get(62), table.get(63)), (known("b", "2"), known("a", "1")));
        assert_eq!((table.get(64), table.get(0)), (Lookup::Invalid, Lookup::Invalid));
        table.resize(40);
        assert_eq!((table.get(62), table.get(63)), (known("b", "2"), Lookup::Invalid));
        table.insert(Entry::new(Some(b"long"), &[b'x'; 40]));
        assert_eq!((table.get(62), table.size()), (Lookup::Invalid, 0));
    }

    #[test]
    fn of_a_table_joined_late_the_new_entries_are_known() {
        let mut table = Table::unknown();
        assert_eq!(table.get(62), Lookup::Unknown);
        table.insert(Entry::new(Some(b"a"), b"1"));
        table.insert(Entry::new(None, b"2"));
        assert_eq!(table.get(62), Lookup::Known { name: None, value: b"2" });
        assert_eq!((table.get(63), table.get(64)), (known("a", "1"), Lookup::Unknown));
        table.forget();
        assert_eq!(table.get(62), Lookup::Unknown);
        table.resize(0);
        table.resize(4096);
        assert_eq!(table.get(62), Lookup::Invalid);
    }

    #[test]
    fn a_table_too_large_to_keep_is_known_as_far_as_it_is_kept() {
        let mut table = Table::new();
        table.insert(Entry::new(Some(b"a"), b"1"));
        table.resize(1 << 20);
        assert_eq!((table.get(62), table.get(63)), (known("a", "1"), Lookup::Unknown));
        for _ in 0..100 {
            table.insert(Entry::new(Some(b"b"), &[b'x'; 1000]));
            assert!(table.size() <= MAX_SIZE);
        }
        assert_eq!(table.get(62 + 100), Lookup::Unknown);
    }

    #[test]
    fn what_is_not_trusted_stays_so() {
        let mut table = Table::new();
        table.distrust();
        table.insert(Entry::new(Some(b"a"), b"1"));
        table.forget();
        table.resize(0);
        assert_eq!((table.get(62), table.get(2)), (Lookup::Unknown, known(":method", "GET")));
    }
}
