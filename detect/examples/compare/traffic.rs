//! Traffic as programs send it: headers, JSON, text and base64 bodies, without a secret. The same bytes every time.

use std::fmt::Write as _;

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const WORDS: [&str; 24] = [
    "the",
    "request",
    "of",
    "task",
    "disk-usage",
    "model",
    "assistant",
    "please",
    "summarise",
    "report",
    "user",
    "following",
    "api",
    "and",
    "result",
    "risk",
    "token",
    "secret",
    "key",
    "deployment",
    "access",
    "bearer",
    "id",
    "session",
];

/// Numbers in no particular order (a linear congruential generator; its upper bits).
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    fn base64(&mut self, length: u64) -> String {
        (0..length)
            .filter_map(|_| BASE64.get(self.below(64) as usize))
            .map(|&byte| char::from(byte))
            .collect()
    }

    fn words(&mut self, count: u64) -> String {
        let mut text = String::new();
        for _ in 0..count {
            text.push_str(WORDS.get(self.below(WORDS.len() as u64) as usize).copied().unwrap_or_default());
            text.push(' ');
        }
        text
    }
}

/// One request: its header fields, and its JSON body.
pub struct Request {
    pub path: String,
    pub fields: Vec<(&'static str, String)>,
    pub body: String,
}

pub fn request(random: &mut Random) -> Request {
    let id = |random: &mut Random| {
        format!("{:08x}-{:04x}-4{:03x}", random.below(1 << 31), random.below(65_536), random.below(4096))
    };
    let (prompt, count) = (random.below(250), random.below(1500));
    let body = format!(
        "{{\"model\": \"large\", \"request\": \"{}\", \"messages\": [{{\"role\": \"user\", \"content\": \"{}\"}}], \
         \"temperature\": 0.{}, \"data\": \"{}\"}}",
        id(random),
        random.words(prompt),
        random.below(10),
        random.base64(count)
    );
    Request {
        path: format!("/v1/items/{}?page={}", random.below(100_000), random.below(50)),
        fields: vec![
            ("user-agent", format!("client/{}.{}", random.below(9), random.below(99))),
            ("accept", "application/json".to_owned()),
            ("accept-encoding", "gzip, deflate, br".to_owned()),
            ("content-type", "application/json".to_owned()),
            ("x-request-id", id(random)),
            ("cookie", format!("session={}", random.base64(43))),
        ],
        body,
    }
}

/// Requests of HTTP/1.1, one after the other, at least `length` bytes.
pub fn http1(length: usize) -> Vec<u8> {
    let mut random = Random::new(7);
    let mut text = String::with_capacity(length + 8192);
    while text.len() < length {
        let Request { path, fields, body } = request(&mut random);
        let _ = write!(text, "POST {path} HTTP/1.1\r\nHost: api.example.com\r\n");
        for (name, value) in fields {
            let _ = write!(text, "{name}: {value}\r\n");
        }
        let _ = write!(text, "content-length: {}\r\n\r\n{body}", body.len());
    }
    text.into_bytes()
}

/// The same requests over one HTTP/2 connection (RFC 9113), as a client with a dynamic table sends them.
pub fn http2(length: usize) -> Vec<u8> {
    const HEADERS: u8 = 1;
    const DATA: u8 = 0;
    const SETTINGS: u8 = 4;
    const END_STREAM: u8 = 1;
    const END_HEADERS: u8 = 4;
    let frame = |kind: u8, flags: u8, stream: u32, payload: &[u8]| {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    };
    let mut random = Random::new(7);
    let mut encoder = loona_hpack::Encoder::new();
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, &[]));
    let mut stream = 1;
    while bytes.len() < length {
        let Request { path, fields, body } = request(&mut random);
        let own =
            [(":method", "POST"), (":scheme", "https"), (":authority", "api.example.com"), (":path", &path)];
        let fields = fields.iter().map(|(name, value)| (*name, value.as_str()));
        let block = encoder
            .encode(own.into_iter().chain(fields).map(|(name, value)| (name.as_bytes(), value.as_bytes())));
        bytes.extend(frame(HEADERS, END_HEADERS, stream, &block));
        bytes.extend(frame(DATA, END_STREAM, stream, body.as_bytes()));
        stream += 2;
    }
    bytes
}
