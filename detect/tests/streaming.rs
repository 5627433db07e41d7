//! However the bytes of a flow are cut into pushes, the findings are those of one scan.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

mod streams;

use keymoat_detect::{Detector, RuleSet, Stream};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};
use streams::*;

/// Every rule there is, those that are off by default too.
static DETECTOR: LazyLock<Detector> = LazyLock::new(|| {
    let mut rules = RuleSet::builtin().unwrap();
    let ids: Vec<String> = rules.rules().iter().map(|rule| rule.id.clone()).collect();
    rules.enable(&ids).unwrap();
    Detector::new(Arc::new(rules)).unwrap()
});

/// All positives of all rules.
static KEYS: LazyLock<Vec<String>> =
    LazyLock::new(|| DETECTOR.rules().rules().iter().flat_map(|rule| rule.positives.clone()).collect());

#[test]
fn a_key_split_at_any_offset_is_found() {
    for key in KEYS.iter() {
        // The escapes are boundaries only together with the bytes before them.
        for before in ["POST /v1 HTTP/1.1\r\nx-key: ", "{\"env\": \"A_KEY\\u003d", "token%3D"] {
            let text = format!("{before}{key}\r\n\r\n{{\"prompt\": \"hello\"}}");
            let whole = scan(&DETECTOR, text.as_bytes());
            assert_eq!(whole.len(), 1, "{key:.12}");
            for at in 0..=text.len() {
                let (first, second) = text.as_bytes().split_at(at);
                assert_eq!(in_chunks(&DETECTOR, [first, second]), whole, "{key:.12} split at {at}");
            }
        }
    }
}

/// A long match in the making holds back shorter ones inside it: it may still win.
#[test]
fn a_match_inside_a_longer_one_waits_for_it() {
    let rule = |id: &str, pattern: &str, prefix: &str| {
        format!(
            "[[rule]]\nid = '{id}'\nname = '{id}'\nseverity = 'low'\npattern = '{pattern}'\nprefixes = ['{prefix}']\n\
             explanation = 'x'\nremediation = 'x'\npositives = [['x'], ['y']]\nnegatives = [['x'], ['y']]\n"
        )
    };
    let file = "vendor = 'test'\n".to_owned()
        + &rule("outer", "out[a-z0-9 ]{300};", "out")
        + &rule("inner", "inn[0-9]{8}", "inn")
        + &rule("other", "oth[0-9]{8}", "oth");
    let detector = Detector::new(Arc::new(RuleSet::from_toml("test", &file).unwrap())).unwrap();
    let find = |text: &str, chunk: usize| {
        let mut found = Vec::new();
        let mut stream = Stream::default();
        for chunk in text.as_bytes().chunks(chunk) {
            detector.push(&mut stream, chunk, &mut record(&mut found));
        }
        detector.flush(&mut stream, &mut record(&mut found));
        found.into_iter().map(|(id, ..)| id).collect::<Vec<_>>()
    };
    let inside = format!(" inn12345678 oth12345678{}", " ab".repeat(92));
    for chunk in [1, 2, 7, 100, 1000] {
        assert_eq!(find(&format!("=out{inside};\noth12345678 "), chunk), ["outer", "other"], "by {chunk}");
        assert_eq!(
            find(&format!("=out{inside}, oth12345678 "), chunk),
            ["inner", "other", "other"],
            "by {chunk}"
        );
        assert_eq!(find(&format!("=out{inside}"), chunk), ["inner", "other"], "by {chunk}");
    }
}

#[test]
fn a_key_that_comes_byte_by_byte_is_found() {
    for key in KEYS.iter() {
        let text = format!("token={key} and so on");
        assert_eq!(
            in_chunks(&DETECTOR, text.as_bytes().chunks(1)),
            scan(&DETECTOR, text.as_bytes()),
            "{key:.12}"
        );
        assert_eq!(
            in_chunks(&DETECTOR, key.as_bytes().chunks(1)),
            scan(&DETECTOR, key.as_bytes()),
            "{key:.12}"
        );
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let prefixes: Vec<String> = DETECTOR
        .rules()
        .rules()
        .iter()
        .flat_map(|rule| rule.prefixes.iter().chain(&rule.context).cloned())
        .collect();
    prop_oneof![
        3 => (0..KEYS.len()).prop_map(|i| KEYS[i].clone().into_bytes()),
        // Incomplete keys, and keys cut short.
        2 => ((0..KEYS.len()), 0..60usize).prop_map(|(i, n)| KEYS[i].bytes().take(n).collect()),
        1 => (0..prefixes.len()).prop_map(move |i| prefixes[i].clone().into_bytes()),
        2 => "[A-Za-z0-9_+/=-]{0,90}".prop_map(String::into_bytes),
        2 => "[ -~\r\n]{0,20}".prop_map(String::into_bytes),
        3 => prop::sample::select(vec![" ", "\n", "=", "\"", "\\n", "%3D", "&", ""]).prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(piece(), 0..14).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

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

    /// Flushes in the middle (an idle flow) may report earlier, but no byte twice and nothing out of thin air.
    #[test]
    fn flushing_at_any_time_reports_no_byte_twice(text in text(), cuts in prop::collection::vec(any::<usize>(), 0..12)) {
        assert_apart(&flushed(&DETECTOR, cut(&text, &cuts)), &text);
    }
}

#[test]
fn a_key_at_the_end_waits_for_what_comes_next() {
    let key = &DETECTOR.rules().get("github-personal-access-token").unwrap().positives[0];
    let mut found = Vec::new();
    let mut stream = Stream::default();
    DETECTOR.push(&mut stream, key.as_bytes(), &mut record(&mut found));
    assert!(found.is_empty() && stream.pending());
    DETECTOR.flush(&mut stream, &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert!(!stream.pending());

    // More of the same token: the span is reported, the rest of it is no key of its own.
    DETECTOR.push(&mut stream, b"xyz", &mut record(&mut found));
    DETECTOR.push(&mut stream, format!(" {key} ").as_bytes(), &mut record(&mut found));
    DETECTOR.flush(&mut stream, &mut record(&mut found));
    assert_eq!(found.len(), 2);
    assert_eq!(found[1].1, key.len() as u64 + 4);
}

#[test]
fn a_key_that_was_incomplete_at_a_flush_is_found_when_the_rest_comes() {
    let key = &DETECTOR.rules().get("anthropic-api-key").unwrap().positives[0];
    let (first, second) = key.as_bytes().split_at(30);
    let mut found = Vec::new();
    let mut stream = Stream::default();
    DETECTOR.push(&mut stream, first, &mut record(&mut found));
    assert!(!stream.pending(), "nothing to flush: the key is not complete");
    DETECTOR.flush(&mut stream, &mut record(&mut found));
    DETECTOR.push(&mut stream, second, &mut record(&mut found));
    DETECTOR.flush(&mut stream, &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].2, key.as_bytes());
}

#[test]
fn nothing_is_joined_across_a_gap() {
    let key = &DETECTOR.rules().get("anthropic-api-key").unwrap().positives[0];
    let (first, second) = key.as_bytes().split_at(30);
    let mut found = Vec::new();
    let mut stream = Stream::default();
    DETECTOR.push(&mut stream, first, &mut record(&mut found));
    stream.gap(1000);
    DETECTOR.push(&mut stream, second, &mut record(&mut found));
    DETECTOR.push(&mut stream, format!(" {key}").as_bytes(), &mut record(&mut found));
    DETECTOR.flush(&mut stream, &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, 1000 + key.len() as u64 + 1, "offsets go on counting across the gap");
}

#[test]
fn a_stream_survives_a_change_of_rules() {
    let one = Detector::new(Arc::new(RuleSet::default())).unwrap();
    let key = &DETECTOR.rules().get("groq-api-key").unwrap().positives[0];
    let mut found = Vec::new();
    let mut stream = Stream::default();
    DETECTOR.push(&mut stream, &key.as_bytes()[..20], &mut record(&mut found));
    one.push(&mut stream, b" no rules at all ", &mut record(&mut found));
    one.flush(&mut stream, &mut record(&mut found));
    DETECTOR.push(&mut stream, key.as_bytes(), &mut record(&mut found));
    DETECTOR.flush(&mut stream, &mut record(&mut found));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1, 37);
}

#[test]
fn a_stream_holds_little() {
    let held = |text: &[u8]| {
        let mut stream = Stream::default();
        let mut most = 0;
        for chunk in text.chunks(7) {
            DETECTOR.push(&mut stream, chunk, &mut |_| {});
            let debug = format!("{stream:?}");
            let number = debug.split("held: ").nth(1).unwrap().split(',').next().unwrap();
            most = most.max(number.parse::<usize>().unwrap());
        }
        most
    };
    assert!(std::mem::size_of::<Stream>() <= 96);
    assert!(held(&b"GET / HTTP/1.1\r\nAccept: */*\r\n".repeat(100)) <= 128);
    // Endless keys of every rule: whatever is pending stays within the bound.
    for key in KEYS.iter() {
        let endless = format!("{key}{}", &key[key.len() - 1..].repeat(9000));
        assert!(held(endless.as_bytes()) <= keymoat_detect::MAX_BYTES_HELD / 3);
        assert!(held(key.repeat(9000 / key.len() + 1).as_bytes()) <= keymoat_detect::MAX_BYTES_HELD / 3);
    }
}
