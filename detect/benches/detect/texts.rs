//! Text of one kind each: what makes literals likely differs.

use keymoat_detect::{Detector, RuleSet};
use std::sync::{Arc, LazyLock};

pub static DETECTOR: LazyLock<Arc<Detector>> = LazyLock::new(|| {
    let rules = RuleSet::builtin().unwrap_or_else(|error| unreachable!("{error}"));
    Arc::new(Detector::new(Arc::new(rules)).unwrap_or_else(|error| unreachable!("{error}")))
});

/// Bytes of each.
pub const LENGTH: usize = 4 << 20;
pub const KINDS: [&str; 7] = ["http", "json", "prose", "base64", "hex", "binary", "a key every 2 KB"];

pub fn text(kind: &str) -> Vec<u8> {
    match kind {
        "http" => repeat(HTTP),
        "json" => repeat(JSON),
        "prose" => repeat(PROSE),
        "base64" => noise(BASE64),
        "hex" => noise(b"0123456789abcdef"),
        "binary" => noise(&(0..=u8::MAX).collect::<Vec<_>>()),
        _ => repeat(&keys()),
    }
}

/// Values as generators make them.
pub fn values(count: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..count).map(|seed| random(seed, BASE64).take(32).collect())
}

fn repeat(text: &str) -> Vec<u8> {
    text.bytes().cycle().take(LENGTH).collect()
}

fn noise(alphabet: &[u8]) -> Vec<u8> {
    random(11, alphabet).take(LENGTH).collect()
}

fn random(seed: u64, alphabet: &[u8]) -> impl Iterator<Item = u8> {
    let mut state = seed;
    std::iter::repeat_with(move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        alphabet.get((state >> 33) as usize % alphabet.len()).copied().unwrap_or_default()
    })
}

fn keys() -> String {
    let positives = DETECTOR.rules().rules().iter().flat_map(|rule| &rule.positives);
    positives.map(|key| format!("{}key={key}\r\n", PROSE.repeat(6))).collect()
}

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const HTTP: &str = "POST /v1/items/4711?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Accept-Language: en-GB,en;q=0.7\r\nCache-Control: no-cache\r\nContent-Type: application/json\r\n\
    Content-Length: 1024\r\nX-Request-Id: 3f0c9b1e-77aa-4f0e-9a58-d2c1a6b0e4f7\r\nConnection: keep-alive\r\n\r\n";
const JSON: &str = "{\"id\": 90210, \"created_at\": \"2026-11-22T01:28:15Z\", \"status\": \"completed\", \"items\": \
    [{\"sku\": \"BX-1187\", \"quantity\": 3, \"unit_price\": 12.5, \"description\": \"a parcel of grey wool, \
    delivered to the house by the mill before the evening\"}, {\"sku\": \"QF-0042\", \"quantity\": 1, \
    \"unit_price\": 199.0, \"description\": \"one lamp with a shade of paper\"}], \"note\": null, \"paid\": true}";
const PROSE: &str = "The request asked the model to summarise a report about disk usage, and to name the three tasks \
    that should come first. Please keep the answer short: the people who read it have little time, and most of them \
    will only look at the list. Where a number is not certain, say so, and say why it is not. ";
