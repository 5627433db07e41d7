//! TLS record headers (RFC 8446, 5.1): just enough to tell TLS from plaintext.

/// First bytes of a message: a record header and the first byte of the record.
pub const PEEK: usize = 6;
const HEADER: u64 = 5;
const MAX_RECORD: u64 = 16_384 + 2_048;

const CHANGE_CIPHER_SPEC: u8 = 20;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLIENT_HELLO: u8 = 1;

#[derive(Clone, Copy)]
pub struct Record {
    kind: u8,
    first: u8,
    /// Payload bytes.
    pub len: u64,
}

impl Record {
    /// The record that begins with `bytes`, if it can be one.
    #[inline(always)]
    pub fn parse(bytes: [u8; PEEK]) -> Option<Self> {
        let [kind, major, minor, high, low, first] = bytes;
        let len = u64::from(high) << 8 | u64::from(low);
        let plausible = kind >= CHANGE_CIPHER_SPEC
            && kind <= APPLICATION_DATA + 1
            && major == 3
            && minor <= 4
            && len > 0
            && len <= MAX_RECORD;
        if plausible { Some(Self { kind, first, len }) } else { None }
    }

    #[inline(always)]
    pub fn is_client_hello(self) -> bool {
        self.kind == HANDSHAKE && self.first == CLIENT_HELLO
    }

    #[inline(always)]
    pub fn is_handshake(self) -> bool {
        self.kind == HANDSHAKE
    }

    #[inline(always)]
    pub fn is_application_data(self) -> bool {
        self.kind == APPLICATION_DATA
    }

    /// Bytes from this record's start to the next record's.
    #[inline(always)]
    pub fn size(self) -> u64 {
        HEADER + self.len
    }
}
