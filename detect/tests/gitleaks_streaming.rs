//! Rules of gitleaks over streams: however the bytes are cut, the findings are the same.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

mod streams;

use keymoat_detect::{Detector, RuleSet, Stream};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};
use streams::*;

/// Bounded and not, with context on both sides, with every kind of allowlist; words that overlap each other.
const RULES: &str = r##"
[[rules]]
id = "bounded"
regex = '''(?i)[\w.-]{0,20}?(?:zap|token)[ \t\w.-]{0,10}[\s'"]{0,3}(?:=|:)[\x60'"\s=]{0,3}([a-z0-9]{8,12})(?:[\x60'"\s;]|\\[nrt]|$)'''
entropy = 1.5
keywords = ["zap", "token"]

[[rules]]
id = "endless"
regex = '''-----BEGIN (\w+)-----([\s\S]*?)-----END'''
secretGroup = 2
keywords = ["-----begin"]

[[rules]]
id = "generic"
regex = '''(?m)^key=(.+)$'''
keywords = ["ey"]
[[rules.allowlists]]
regexTarget = "line"
regexes = ['''# allowed$''']
[[rules.allowlists]]
regexTarget = "match"
condition = "AND"
regexes = ['''key=a''']
stopwords = ["Fake"]

[[rules]]
id = "word"
regex = '''\bzap_\w{4,}\b'''

[[allowlists]]
stopwords = ["example"]
"##;

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    let mut rules = RuleSet::builtin().unwrap();
    rules.merge(RuleSet::from_toml("gitleaks.toml", RULES).unwrap()).unwrap();
    Detector::new(Arc::new(rules)).unwrap()
});

static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| {
    let rules = DETECTOR.rules().rules().iter();
    rules.flat_map(|rule| rule.positives.iter().take(1).cloned()).collect()
});

fn ids(text: &str) -> Vec<String> {
    scan(&DETECTOR, text.as_bytes()).into_iter().map(|(id, _, _)| id).collect()
}

#[test]
fn the_rules_find_what_they_should() {
    assert_eq!(
        scan(&DETECTOR, b"my new_token = 'a1b2c3d4e5' ok")[0],
        ("bounded".to_owned(), 16, b"a1b2c3d4e5".to_vec())
    );
    assert!(ids("my new_token = 'aaaaaaaaaa' ok").is_empty(), "no entropy");
    assert_eq!(ids("say zap_abcd."), ["word"]);
    assert!(ids("say xzap_abcd.").is_empty() && ids("say zap_example.").is_empty());
    assert_eq!(ids("-----BEGIN X-----\nabc\n-----END"), ["endless"]);
    assert!(ids("-----BEGIN X-----\nabc\n----END").is_empty());
    assert_eq!(ids("a\nkey=b Fake\n"), ["generic"]);
    for allowed in ["key=a Fake", "a\nkey=b # allowed\n", "key=an example", " key=b"] {
        assert!(ids(allowed).is_empty(), "{allowed}");
    }
    assert_eq!(ids("key=b\n# allowed"), ["generic"], "the next line allows nothing");
}

#[test]
fn a_cut_anywhere_changes_nothing() {
    let text = b"key=first\nmy ZAP_token = 'a1b2c3d4e5' ok zap_word\n-----BEGIN X-----\nabc\n-----END\nkey=last # allowed";
    let whole = scan(&DETECTOR, text);
    assert_eq!(whole.len(), 4, "{whole:?}");
    for cut in 0..=text.len() {
        let (first, second) = text.split_at(cut);
        assert_eq!(in_chunks(&DETECTOR, [first, second]), whole, "cut at {cut}");
    }
    for size in 1..9 {
        assert_eq!(in_chunks(&DETECTOR, text.chunks(size)), whole, "in pieces of {size}");
    }
}

/// Ends of regions, groups of keywords and blocks, and text that comes and goes far from any of them.
#[test]
fn long_texts_in_any_pieces_give_the_same() {
    let mut text = Vec::new();
    for round in 0..40_usize {
        text.extend(b"key=value\nthey say. ".repeat(round * 7 % 45));
        text.extend(format!("zap: {round:03}a1b2c3 ; ").bytes());
        text.extend(b"x".repeat(round * 311 % 3000));
        text.extend(b"\n-----BEGIN X-----\n");
        text.extend(b"0123456\n".repeat(round * 53 % 700));
        text.extend(b"-----END\nkey=seen # allowed\n");
    }
    let whole = scan(&DETECTOR, &text);
    assert!(whole.len() > 80, "{}", whole.len());
    for size in [1, 7, 64, 1000, 4096, 10_000] {
        assert_eq!(in_chunks(&DETECTOR, text.chunks(size)), whole, "in pieces of {size}");
    }
}

#[test]
fn what_is_too_far_from_its_keyword_is_not_found() {
    let key = |len: usize| format!("-----BEGIN X-----{}-----END", "x".repeat(len));
    assert_eq!(ids(&key(4000)), ["endless"]);
    assert!(ids(&key(5000)).is_empty());
}

#[test]
fn a_stream_holds_little_until_a_keyword_comes() {
    let mut stream = Stream::default();
    for chunk in "GET / HTTP/1.1\r\nAccept: */*\r\n".repeat(1000).as_bytes().chunks(11) {
        DETECTOR.push(&mut stream, chunk, &mut |_| {});
        assert!(held(&stream) <= 1600 && !stream.pending(), "{stream:?}");
    }
    DETECTOR.push(&mut stream, b"token", &mut |_| {});
    assert!(stream.pending());
    DETECTOR.flush(&mut stream, &mut |_| {});
    assert!(!stream.pending());
}

#[test]
fn nothing_is_joined_across_a_gap() {
    let (mut all, mut stream) = (Vec::new(), Stream::default());
    DETECTOR.push(&mut stream, b"say zap_", &mut record(&mut all));
    stream.gap(100);
    DETECTOR.push(&mut stream, b"abcd zap_efgh", &mut record(&mut all));
    DETECTOR.flush(&mut stream, &mut record(&mut all));
    assert_eq!(all, [("word".to_owned(), 113, b"zap_efgh".to_vec())]);
}

#[test]
fn what_was_reported_at_a_flush_is_not_reported_again() {
    let (mut all, mut stream) = (Vec::new(), Stream::default());
    for chunk in ["say zap_abcd", " and zap: a1b2", "c3d4e5 ", "zap_efgh "] {
        DETECTOR.push(&mut stream, chunk.as_bytes(), &mut record(&mut all));
        DETECTOR.flush(&mut stream, &mut record(&mut all));
        DETECTOR.flush(&mut stream, &mut |_| panic!("reported again"));
    }
    let ids: Vec<&str> = all.iter().map(|(id, _, _)| id.as_str()).collect();
    assert_eq!(ids, ["word", "bounded", "word"], "{all:?}");
}

#[test]
fn redaction_leaves_no_secret_of_theirs() {
    let clean = keymoat_detect::redact_all(&DETECTOR, "zap: a1b2c3d4e5 and zap_secret");
    assert_eq!(clean, "zap: …(10) and …(10)");
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec![
            "zap", "ZAP_", "token", " = '", ": ", "a1b2c3d4e5", "' ", ";", "\nkey=", "key=a", "Fake", " # allowed\n", "example",
            "-----BEGIN X-----", "-----END", "\n", "\\n",
        ]).prop_map(|s| s.as_bytes().to_vec()),
        1 => (0..KEYS.len()).prop_map(|i| KEYS[i].clone().into_bytes()),
        1 => ((0..KEYS.len()), 0..60usize).prop_map(|(i, n)| KEYS[i].bytes().take(n).collect()),
        1 => "[a-z0-9]{0,14}".prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..10),
        // Beyond what one search reaches.
        1 => (0..6000usize).prop_map(|n| b"xy ".repeat(n / 3)),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..24).prop_map(|pieces| pieces.concat())
}

/// Findings of keymoat's own rules.
fn of_ours(found: Vec<(String, u64, Vec<u8>)>) -> Vec<(String, u64, Vec<u8>)> {
    let theirs = ["bounded", "endless", "generic", "word"];
    found.into_iter().filter(|(id, _, _)| !theirs.contains(&id.as_str())).collect()
}

fn by_ours_alone(text: &[u8]) -> Vec<(String, u64, Vec<u8>)> {
    static OURS: LazyLock<Detector> =
        LazyLock::new(|| Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap());
    let mut ours = Vec::new();
    OURS.scan(text, &mut record(&mut ours));
    ours
}

/// Their match ends between the context of ours and its secret.
#[test]
fn a_match_of_theirs_does_not_hide_one_of_ours_by_its_context() {
    let secret = ["TiV+SHISvMaUTTubOL7Y", "xhhMvWzcygcBAvSyl32oWu25"].concat();
    let text = ["\nkey=Private-", "Lines: 1\n", &secret, "\n"].concat();
    let ours = by_ours_alone(text.as_bytes());
    assert_eq!(ours.len(), 1);
    assert_eq!(of_ours(scan(&DETECTOR, text.as_bytes())), ours);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_cutting_gives_the_same_findings(text in text(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        prop_assert_eq!(in_chunks(&DETECTOR, cut(&text, &cuts)), scan(&DETECTOR, &text));
    }

    #[test]
    fn findings_do_not_overlap_and_stand_where_they_say(text in text()) {
        let mut found = Vec::new();
        DETECTOR.scan(&text, &mut findings(&mut found));
        assert_apart(&found, &text);
    }

    #[test]
    fn what_our_own_rules_find_stays_the_same(text in text()) {
        prop_assert_eq!(of_ours(scan(&DETECTOR, &text)), by_ours_alone(&text));
    }

    #[test]
    fn flushing_at_any_time_reports_no_byte_twice(text in text(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        assert_apart(&flushed(&DETECTOR, cut(&text, &cuts)), &text);
    }
}
