//! Text that looks like keys and is none, and input meant to hurt.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use keymoat_detect::{Detector, RuleSet, Stream};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap());

const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const BASE64_URL: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const HEX: &[u8] = b"0123456789abcdef";
const MIB: usize = 1 << 20;

/// xorshift64*: the same noise in every run.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn text(&mut self, alphabet: &[u8], len: usize) -> String {
        (0..len).map(|_| char::from(alphabet[(self.next() >> 33) as usize % alphabet.len()])).collect()
    }
}

fn findings(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    DETECTOR.scan(text.as_bytes(), &mut |m| found.push(format!("{} at {}", m.rule.id, m.start)));
    found
}

#[test]
fn unbroken_noise_gives_nothing() {
    let mut noise = Noise(1);
    for alphabet in [BASE64, BASE64_URL, HEX] {
        assert_eq!(findings(&noise.text(alphabet, 4 * MIB)), [""; 0]);
    }
}

#[test]
fn noise_in_lines_and_json_gives_nothing() {
    let mut noise = Noise(2);
    let mut text = String::new();
    for length in 0..20_000 {
        let length = 16 + length % 120;
        text += &format!("\"id\": \"{}\",\n", noise.text(BASE64_URL, length));
        text += &format!("data:image/png;base64,{}==\n", noise.text(BASE64, length));
    }
    assert_eq!(findings(&text), [""; 0]);
}

#[test]
fn ids_hashes_and_jwts_give_nothing() {
    let mut noise = Noise(3);
    let mut text = String::new();
    for _ in 0..5_000 {
        let mut hex = |len| noise.text(HEX, len);
        text += &format!("uuid {}-{}-{}-{}-{}\n", hex(8), hex(4), hex(4), hex(4), hex(12));
        text += &format!("commit {}\nETag: \"{}\"\nsha256:{}\n", hex(40), hex(32), hex(64));
        let (payload, signature) = (noise.text(BASE64_URL, 180), noise.text(BASE64_URL, 43));
        text += &format!("Authorization: Bearer eyJhbGciOiJSUzI1NiJ9.eyJ{payload}.{signature}\n");
        text += &format!("\"integrity\": \"sha512-{}==\"\n", noise.text(BASE64, 86));
    }
    assert_eq!(findings(&text), [""; 0]);
}

#[test]
fn words_and_placeholders_give_nothing() {
    let text = "
        ANTHROPIC_API_KEY=sk-ant-api03-...  OPENAI_API_KEY=sk-your-key-here  export KEY=sk-xxxxxxxxxxxxxxxxxxxx
        task-management-for-the-whole-team-in-one-place  risk-assessment  disk-usage-report-2024-01-01
        ghp_your_token_here  xoxb-your-token  AKIA...  AIzaSy...  npm_config_registry  npm_package_version
        pk_live_not_a_secret  phc_public_project_key  hf_hub_download  pat_  as-is  up_to_date
        https://hooks.slack.com/services/T000/B000/XXX  mongodb://user:pass@localhost
        GOOGLE_APPLICATION_CREDENTIALS=/etc/key.json  key-value-store  glpat-<your token>  r8_g8b8a8_unorm
        #include <fw_configuration.h>  re_compile_fastmap  do_syscall_64_fastpath  dose-response
        postgres://user:password@localhost:5432/db  postgresql://app:${DB_PASSWORD}@db/app  mysql://root@127.0.0.1/x
        redis://cache.internal:6379/0  amqp://guest:guest@rabbit  mongodb+srv://<user>:<password>@cluster0.example.net
        PRIVATE_KEY=0x...  OKTA_API_TOKEN=your-token  SNYK_TOKEN=${{ secrets.SNYK_TOKEN }}  API-KEY  polar_at_rest
        sv=2022-11-02&sp=r&sig=...  PrivateKey = <base64>  sdk-0f3c2b1a-aaaa-4bbb-8ccc-1234567890ab  $2b$12$
        -----BEGIN CERTIFICATE-----  -----BEGIN PUBLIC KEY-----  secret_key_base  sk_buff  rk_live";
    assert_eq!(findings(text), [""; 0]);
}

#[test]
fn a_key_in_a_megabyte_on_one_line_is_found_where_it_stands() {
    let mut noise = Noise(4);
    let key = &DETECTOR.rules().get("anthropic-api-key").unwrap().positives[0];
    let before = noise.text(BASE64, MIB - 1) + "\"";
    let text = format!("{before}{key}\"{}", noise.text(BASE64, 1000));
    assert_eq!(findings(&text), [format!("anthropic-api-key at {MIB}")]);
}

/// Every literal of every rule over and over, with and without separators: the work per byte stays bounded.
/// The limit is some thirty times what it takes; quadratic work would pass it by orders of magnitude.
#[test]
fn repeated_prefixes_do_not_add_up() {
    let rules = DETECTOR.rules().rules();
    let markers = rules.iter().filter_map(|rule| rule.marker.as_ref()).flat_map(|marker| &marker.texts);
    let literals = rules.iter().flat_map(|rule| rule.prefixes.iter().chain(&rule.context)).chain(markers);
    let began = Instant::now();
    for literal in literals {
        for separator in ["", " ", "=", "A", "-"] {
            let text = format!("{literal}{separator}").repeat(16_384 / literal.len());
            DETECTOR.scan(text.as_bytes(), &mut |_| {});
            let mut stream = Stream::default();
            for byte in text.as_bytes().chunks(1).take(2048) {
                DETECTOR.push(&mut stream, byte, &mut |_| {});
            }
        }
    }
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}

#[test]
fn bytes_that_are_no_text_are_scanned_like_others() {
    let key = &DETECTOR.rules().get("groq-api-key").unwrap().positives[0];
    let mut bytes = vec![0, 255, 128, b'\n', 0xc3];
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(&[0xff, 0, 0xfe]);
    let mut found = Vec::new();
    DETECTOR.scan(&bytes, &mut |m| found.push(m.start));
    assert_eq!(found, [5]);
    DETECTOR.scan(b"", &mut |_| panic!("nothing is there"));
}
