//! Secrets inside encoded text: found at whatever depth and alignment, once, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use keymoat_detect::text::{self, Sight, Text};
use keymoat_detect::{Detector, RuleSet};
use proptest::prelude::*;
use std::ops::Range;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap());

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    start: u64,
    end: u64,
    rule: String,
    secret: Vec<u8>,
    path: String,
    suppressed: bool,
}

fn record(found: &mut Vec<Found>) -> impl FnMut(Sight<'_>) + '_ {
    |sight| {
        let Range { start, end } = sight.span;
        let names: Vec<&str> = sight.wrapped.iter().map(|wrap| wrap.name()).collect();
        let (rule, secret) = (sight.rule.id.clone(), sight.secret.to_vec());
        let (path, suppressed) = (names.join(" > "), sight.assessment.is_err());
        found.push(Found { start, end, rule, secret, path, suppressed });
    }
}

fn sorted(mut found: Vec<Found>) -> Vec<Found> {
    found.sort();
    found
}

fn scan(bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    text::scan(&DETECTOR, bytes, &mut record(&mut found));
    sorted(found)
}

fn in_chunks<'a>(chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Found> {
    let mut found = Vec::new();
    let mut text = Text::default();
    for chunk in chunks {
        text.push(&DETECTOR, chunk, &mut record(&mut found));
    }
    text.finish(&DETECTOR, &mut record(&mut found));
    sorted(found)
}

fn key(rule: &str) -> &'static str {
    &DETECTOR.rules().get(rule).unwrap().positives[0]
}

/// The only finding: its path, and the stretch it stands in. The secret is what was put in.
fn only(text: &str, secret: &str) -> (String, String) {
    let found = scan(text.as_bytes());
    assert_eq!(found, in_chunks(text.as_bytes().chunks(1)), "byte by byte: {text:.60}");
    let [one] = found.as_slice() else { panic!("{} findings in {text:.80}", found.len()) };
    assert_eq!(String::from_utf8_lossy(&one.secret), secret);
    (one.path.clone(), text[one.start as usize..one.end as usize].to_owned())
}

fn path(text: &str, secret: &str) -> String {
    only(text, secret).0
}

fn nothing(text: &str) {
    assert_eq!(scan(text.as_bytes()), [], "{text:.80}");
    assert_eq!(in_chunks(text.as_bytes().chunks(3)), [], "{text:.80}");
}

/// Every byte as `%HH`.
fn percent(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn in_lines(text: &str, width: usize, line_break: &str) -> String {
    let lines: Vec<&str> =
        text.as_bytes().chunks(width).map(|line| std::str::from_utf8(line).unwrap()).collect();
    lines.join(line_break)
}

const RULES: [&str; 3] = ["github-personal-access-token", "anthropic-api-key", "groq-api-key"];

#[test]
fn base64_at_every_alignment_in_every_alphabet() {
    for key in RULES.map(key) {
        for lead in ["", "a:", "ab:", "user: ", "{\"OTHER\": 1, \"API_KEY\": \""] {
            let plain = format!("{lead}{key}\", \"more\": \"\u{2014}\"}}");
            for encoded in [STANDARD.encode(&plain), STANDARD_NO_PAD.encode(&plain)] {
                assert_eq!(path(&encoded, key), "base64");
                let (path, stretch) = only(&format!("{{\"data\": \"{encoded}\"}}"), key);
                assert_eq!(path, "base64");
                // The characters that hold a part of the key, and no others.
                let whole_from = encoded.find(&stretch).unwrap() / 4 * 4;
                let whole_to = (encoded.find(&stretch).unwrap() + stretch.len()).next_multiple_of(4);
                let decoded = STANDARD.decode(&STANDARD.encode(&plain)[whole_from..whole_to]).unwrap();
                assert!(decoded.windows(key.len()).any(|part| part == key.as_bytes()));
                assert!(stretch.len() <= (key.len() * 4).div_ceil(3) + 1);
            }
            // Only the URL-safe alphabet has what `?>~` becomes.
            let url_safe = URL_SAFE_NO_PAD.encode(format!("???>>>~~~{plain}"));
            assert_eq!(path(&url_safe, key), "base64url");
        }
        nothing(&STANDARD.encode(format!("x{key}")));
        nothing(&STANDARD.encode("ghp_0123456789 sk-ant-api03-too-short gsk_no"));
    }
}

#[test]
fn hex_of_either_case() {
    for key in RULES.map(key) {
        assert_eq!(path(&hex(key), key), "hex");
        assert_eq!(
            only(&format!("0x{}", hex(key).to_uppercase()), key),
            ("hex".into(), hex(key).to_uppercase())
        );
        assert_eq!(path(&format!("id={}; ", hex(&format!("key={key};"))), key), "hex");
        nothing(&hex(&format!("x{key}")));
    }
}

#[test]
fn basic_authorization() {
    let key = key("github-personal-access-token");
    for user in ["u", "me", "bot"] {
        let header = format!(
            "Authorization: Basic {}\r\nAccept: */*\r\n\r\n",
            STANDARD.encode(format!("{user}:{key}"))
        );
        assert_eq!(path(&header, key), "base64");
    }
    nothing(&format!("Authorization: Basic {}\r\n", STANDARD.encode("user:correct horse battery staple")));
}

/// A header value may be exactly as long as a line of MIME. What comes next is not its second line.
#[test]
fn a_run_ends_with_its_line_when_something_else_follows() {
    let key = key("github-personal-access-token");
    for width in [60, 64, 72, 76, 80, 96] {
        let lead = width / 4 * 3 - key.len() - 1;
        let value = STANDARD.encode(format!("{}:{key}", "u".repeat(lead)));
        assert_eq!(value.len(), width);
        for next in [
            "Accept: */*\r\n",
            "Access-Control-Allow-Credentials: true\r\n",
            "--boundary\r\n",
            "\r\nbody",
            "",
        ] {
            assert_eq!(path(&format!("X: {value}\r\n{next}"), key), "base64", "{width} {next}");
        }
    }
}

#[test]
fn lines_as_encoders_break_them() {
    let key = key("anthropic-api-key");
    for lead in 0..60 {
        let plain = format!("{}\n{key}\n{}", "n".repeat(lead), "m".repeat(90));
        for (width, line_break) in
            [(76, "\r\n"), (64, "\n"), (76, "\n    "), (76, "\\n"), (76, "\\r\\n"), (76, "%0A")]
        {
            let found = path(&in_lines(&STANDARD.encode(&plain), width, line_break), key);
            assert!(["base64", "json > base64", "percent > base64"].contains(&&*found), "{found}");
        }
        assert_eq!(path(&in_lines(&hex(&plain), 60, "\n"), key), "hex");
    }
    let pem = |line: &str| format!("-----BEGIN X-----\n{line}\n-----END X-----\n");
    assert_eq!(path(&pem(&in_lines(&STANDARD.encode(format!("{key} 12")), 64, "\n")), key), "base64");
}

#[test]
fn one_in_another() {
    let key = key("anthropic-api-key");
    let json =
        format!("{{\"HOME\": \"/root\", \"ANTHROPIC_API_KEY\": \"{key}\", \"PATH\": \"/usr/bin:/bin\"}}");
    let twice = STANDARD.encode(STANDARD.encode(&json));
    assert_eq!(path(&format!("{{\"content\": \"{twice}\"}}"), key), "base64 > base64");
    assert_eq!(path(&hex(&STANDARD.encode(&json)), key), "hex > base64");
    assert_eq!(path(&STANDARD.encode(hex(&json)), key), "base64 > hex");
    assert_eq!(path(&URL_SAFE_NO_PAD.encode(format!("~~~???{}", hex(&json))), key), "base64url > hex");
    let escaped = json.replace('-', "\\u002d");
    assert_eq!(path(&STANDARD.encode(STANDARD.encode(&escaped)), key), "base64 > base64 > json");
    assert_eq!(path(&percent(&STANDARD.encode(percent(key))), key), "percent > base64 > percent");
    // Deeper is not looked.
    nothing(&STANDARD.encode(&twice));
}

#[test]
fn escapes_inside_a_secret() {
    let key = key("anthropic-api-key");
    for (escape, path_of) in
        [("%2D", "percent"), ("%2d", "percent"), ("\\u002d", "json"), ("%5Cu002d", "percent > json")]
    {
        for all in [true, false] {
            let escaped = if all { key.replace('-', escape) } else { key.replacen('-', escape, 1) };
            for (before, after) in
                [("", ""), ("key=", "&x=1"), ("{\"k\": \"", "\"}"), ("a%20", "%20b"), ("\\n", "\\n")]
            {
                let text = format!("{before}{escaped}{after}");
                assert_eq!(only(&text, key), (path_of.to_string(), escaped.clone()), "{text}");
            }
        }
    }
    assert_eq!(only(&format!(" {}!", percent(key)), key), ("percent".into(), percent(key)));
    // A secret that stands there as it is has no escapes, whatever is around it.
    assert_eq!(only(&format!("{{\"k\\u0020\": \"%20{key}\\n\"}}"), key), (String::new(), key.to_owned()));
    nothing(&format!("{}%41{}", &key[..20], "x".repeat(20)));
}

/// As it stands, a key that is cut short by an escape may be one already.
#[test]
fn the_longer_form_wins() {
    let key = key("anthropic-api-key");
    let (first, last) = key.split_at(key.len() - 3);
    let file = "vendor = 'test'\n[[rule]]\nid = 'test-key'\nname = 'n'\nseverity = 'low'\npattern = 'tk_[a-z0-9-]{8,40}'\n\
         prefixes = ['tk_']\nexplanation = 'x'\nremediation = 'x'\npositives = [['x'], ['y']]\nnegatives = [['x'], ['y']]\n";
    let detector = Detector::new(Arc::new(RuleSet::from_toml("test", file).unwrap())).unwrap();
    for text in ["k=tk_abcdefghij%2Dklm%2dnop&", "tk_abcdefghij\\u002dklm\\u002dnop"] {
        for chunk in [1, 2, 5, 100] {
            let mut found = Vec::new();
            let mut flow = Text::default();
            for piece in text.as_bytes().chunks(chunk) {
                flow.push(&detector, piece, &mut record(&mut found));
            }
            flow.finish(&detector, &mut record(&mut found));
            assert_eq!(found.len(), 1, "{text} by {chunk}");
            assert_eq!(found[0].secret, b"tk_abcdefghij-klm-nop");
        }
    }
    assert_eq!(
        scan(format!("{first}%20{last}").as_bytes()).len(),
        scan(format!("{first} ").as_bytes()).len()
    );
}

#[test]
fn a_private_key_in_json_is_the_key_without_its_escapes() {
    let pem = DETECTOR.rules().get("private-key-pem").unwrap().positives[0].replace("\\n", "\n");
    for escaped in
        [pem.replace('\n', "\\n"), pem.replace('\n', "\\n").replace('/', "\\/"), pem.replace('\n', "\\u000a")]
    {
        assert_eq!(only(&format!("{{\"pem\": \"{escaped}\"}}"), &pem), ("json".into(), escaped.clone()));
    }
    assert_eq!(only(&format!("x\n{pem}\n"), &pem), (String::new(), pem.clone()));
    let whole = scan(STANDARD.encode(&pem).as_bytes());
    assert_eq!(whole.iter().map(|found| &*found.rule).collect::<Vec<_>>(), ["private-key-base64"]);
    let within = STANDARD.encode(format!("key\n{pem}"));
    assert_eq!(path(&within, &pem), "base64");
}

/// Rules for tokens that are base64 themselves see them as they stand, and what is in them is not reported again.
#[test]
fn one_stretch_is_reported_once() {
    let plain = "{\n  \"type\": \"service_account\",\n  \"private_key\": \"".to_owned()
        + &DETECTOR.rules().get("private-key-pem").unwrap().positives[0]
        + "\"}";
    let encoded = STANDARD.encode(plain);
    let found = scan(encoded.as_bytes());
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].path, "");
    for chunk in [1, 7, 100] {
        assert_eq!(in_chunks(encoded.as_bytes().chunks(chunk)), found);
    }
}

#[test]
fn glued_to_what_stands_before() {
    let key = key("groq-api-key");
    let encoded = URL_SAFE_NO_PAD.encode(format!("the token is {key} and that is all"));
    for glue in ["x", "v1/", "/api/v1/upload/", "/collect_", "/a/path/of/some/length/before/the/upload/"] {
        let (path, stretch) = only(&format!("GET {glue}{encoded} HTTP/1.1\r\n"), key);
        assert!(path.starts_with("base64") && encoded.contains(&stretch), "{glue}");
    }
}

#[test]
fn all_positives_in_all_forms() {
    for rule in DETECTOR.rules().rules() {
        // Percent-encoding twice over is not undone.
        for sample in rule.positives.iter().filter(|sample| !sample.contains('%')) {
            for (lead, tail) in [("", ""), ("{\"a\": \"", "\"}\n"), ("PATH=/bin\nKEY=", "\nHOME=/root\n")] {
                let plain = format!("{lead}{sample}{tail}");
                let own = scan(plain.as_bytes()).into_iter().map(|f| (f.rule, f.secret)).collect::<Vec<_>>();
                let base64 = STANDARD.encode(&plain);
                for text in
                    [base64.clone(), hex(&plain), percent(&plain), STANDARD.encode(&base64), hex(&base64)]
                {
                    // Some rules are for base64 of their keys' beginnings.
                    let found = scan(text.as_bytes());
                    if found.iter().any(|f| f.path.is_empty() || f.rule == "private-key-base64") {
                        continue;
                    }
                    let found: Vec<_> = found.into_iter().map(|f| (f.rule, f.secret)).collect();
                    assert_eq!(found, own, "{} in {text:.40}", rule.id);
                }
            }
        }
    }
}

fn encoded() -> impl Strategy<Value = String> {
    let plain = prop_oneof![
        4 => (0..KEYS.len()).prop_map(|i| KEYS[i].clone()),
        // Look-alikes: keys cut short.
        2 => ((0..KEYS.len()), 4..40usize).prop_map(|(i, n)| KEYS[i].chars().take(n).collect()),
        2 => "[A-Za-z0-9_+/=-]{0,60}",
        1 => "[ -~\r\n]{0,30}",
        1 => prop::sample::select(vec![" ", "\n", "\"", "{\"k\": \"", ": "]).prop_map(str::to_owned),
    ];
    let plain = prop::collection::vec(plain, 1..5).prop_map(|pieces| pieces.concat());
    let forms = prop::collection::vec((0..9u8, 0..3usize), 0..4);
    (plain, forms).prop_map(|(plain, forms)| {
        forms.into_iter().fold(plain, |text, (form, lead)| {
            let text = "::".get(..lead).unwrap_or("\n").to_owned() + &text;
            match form {
                0 => STANDARD.encode(text),
                1 => URL_SAFE_NO_PAD.encode(text),
                2 => in_lines(&STANDARD.encode(text), 76, "\r\n"),
                3 => hex(&text),
                4 => in_lines(&hex(&text), 60, "\n"),
                5 => percent(&text),
                6 => text.replace('-', "%2d").replace('/', "%2F").replace('\n', "%0A"),
                7 => text
                    .replace('\\', "\\\\")
                    .replace('/', "\\/")
                    .replace('\n', "\\n")
                    .replace('_', "\\u005f"),
                _ => text,
            }
        })
    })
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    let around = prop_oneof![
        3 => encoded().prop_map(String::into_bytes),
        1 => "[A-Za-z0-9/_-]{0,30}".prop_map(String::into_bytes),
        1 => prop::sample::select(vec![" ", "\"", "\r\n", "=", "%", "\\", "\\u00", "%3", ": "]).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..40),
    ];
    prop::collection::vec(around, 0..6).prop_map(|pieces| pieces.concat())
}

/// Cuts `text` where `cuts` say.
fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// What is no finding hides none: the two are told apart. Neighbours inside runs may share the characters in which
/// one ends and the other begins: three of base64, and up to six (`\u0041`) for each of these where that is encoded once more.
fn each_stretch_once(found: &[Found], text: &[u8]) -> bool {
    let mut ends = [0; 2];
    found.iter().all(|found| {
        let end = &mut ends[usize::from(found.suppressed)];
        let inside = found.start < found.end && found.end <= text.len() as u64;
        let encoded_again = found.path.matches(" > ").count() as u32;
        let after = found.start + 3 * 6_u64.pow(encoded_again) >= *end;
        *end = found.end;
        inside && after
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_gives_the_same_findings(text in text(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        prop_assert_eq!(in_chunks(cut(&text, &cuts)), scan(&text), "{}", text.escape_ascii());
    }

    #[test]
    fn a_stretch_is_reported_once_and_lies_in_the_text(text in text()) {
        let found = scan(&text);
        prop_assert!(each_stretch_once(&found, &text), "{}", text.escape_ascii());
        for found in found {
            if found.path.is_empty() {
                prop_assert_eq!(&text[found.start as usize..found.end as usize], &found.secret[..]);
            }
        }
    }

    /// Flushes in the middle (an idle flow) may report earlier, but nothing twice.
    #[test]
    fn flushing_at_any_time_reports_nothing_twice(text in text(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        let mut found = Vec::new();
        let mut flow = Text::default();
        for chunk in cut(&text, &cuts) {
            flow.push(&DETECTOR, chunk, &mut record(&mut found));
            flow.flush(&DETECTOR, &mut record(&mut found));
            prop_assert!(!flow.pending());
            flow.flush(&DETECTOR, &mut |_| panic!("reported again"));
        }
        flow.finish(&DETECTOR, &mut record(&mut found));
        // What a flush had to take for the end of one may turn out to begin another: they overlap, and neither holds the other.
        let mut last = [(None, 0); 2];
        for Found { start, end, suppressed, .. } in sorted(found) {
            let last = &mut last[usize::from(suppressed)];
            prop_assert!(Some(start) > last.0 && end > last.1 && end <= text.len() as u64, "{}", text.escape_ascii());
            *last = (Some(start), end);
        }
    }
}

/// All positives of all rules.
static KEYS: LazyLock<Vec<String>> =
    LazyLock::new(|| DETECTOR.rules().rules().iter().flat_map(|rule| rule.positives.clone()).collect());

/// `…ACCESS_TOKEN` is a name in a template, and no finding; the token that it is read as without the escape is one.
#[test]
fn a_placeholder_behind_an_escape_hides_no_finding() {
    let found = scan(concat!("glrt-", "MF38fyvZMt4hu9ACCESS\\u005fTOKEN").as_bytes());
    let seen: Vec<(&str, bool)> = found.iter().map(|found| (found.path.as_str(), found.suppressed)).collect();
    assert_eq!(seen, [("", false), ("json", true)]);
}

#[test]
fn flushing_decides_what_waits() {
    let key = key("groq-api-key");
    let encoded = STANDARD.encode(format!("the key: {key}"));
    let escaped = key.replace('_', "%5f");
    for text in [key, &encoded, &escaped] {
        let mut found = Vec::new();
        let mut flow = Text::default();
        flow.push(&DETECTOR, text.as_bytes(), &mut record(&mut found));
        assert!(found.is_empty() && flow.pending());
        flow.flush(&DETECTOR, &mut record(&mut found));
        assert!(found.len() == 1 && !flow.pending());
        flow.push(&DETECTOR, b" and more", &mut record(&mut found));
        flow.finish(&DETECTOR, &mut record(&mut found));
        assert_eq!(found.len(), 1);
    }
}

#[test]
fn nothing_is_joined_across_a_gap() {
    let key = key("anthropic-api-key");
    let encoded = STANDARD.encode(key);
    for text in [key, &encoded, &percent(key)] {
        let mut found = Vec::new();
        let mut flow = Text::default();
        let (first, second) = text.split_at(text.len() / 2);
        flow.push(&DETECTOR, first.as_bytes(), &mut record(&mut found));
        flow.gap(1000);
        flow.push(&DETECTOR, second.as_bytes(), &mut record(&mut found));
        flow.push(&DETECTOR, format!(" {text} ").as_bytes(), &mut record(&mut found));
        flow.finish(&DETECTOR, &mut record(&mut found));
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].start, 1000 + text.len() as u64 + 1, "offsets go on counting across the gap");
        assert_eq!(found[0].end, found[0].start + text.len() as u64);
    }
}

/// A hundred megabytes on one line: nothing is kept of them.
#[test]
fn a_run_without_end_takes_bounded_time_and_a_key_in_it_is_found_where_it_stands() {
    let key = key("anthropic-api-key");
    let block = STANDARD.encode("what a long line this is, and what it holds is not much...".repeat(300));
    assert!(!block.contains('='));
    let mut found = Vec::new();
    let mut flow = Text::default();
    let began = Instant::now();
    let blocks = (100 << 20) / block.len();
    for _ in 0..blocks {
        flow.push(&DETECTOR, block.as_bytes(), &mut |_| panic!("nothing is there"));
    }
    let secret = STANDARD.encode(format!(" {key} "));
    flow.push(&DETECTOR, secret.as_bytes(), &mut record(&mut found));
    flow.push(&DETECTOR, block.as_bytes(), &mut record(&mut found));
    flow.finish(&DETECTOR, &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].start, (blocks * block.len()) as u64 + 1);
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}
