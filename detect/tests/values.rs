//! Registered values beside rules: found by the same detector, in any encoding, once; and what is no finding hides none.

#![allow(clippy::unwrap_used, reason = "tests assert by panicking")]

use data_encoding::BASE64;
use keymoat_detect::text::{self, Sight, Text};
use keymoat_detect::{Detector, Registry, RuleSet, redact_all};
use proptest::prelude::*;
use std::sync::{Arc, LazyLock};

const VALUE: &str = "x9Kq/2+Lm\"Pz7wTq";

static DETECTOR: LazyLock<Detector> = LazyLock::new(|| detector(true));

fn detector(on: bool) -> Detector {
    let mut rules = RuleSet::builtin().unwrap();
    rules.merge(RuleSet::registered()).unwrap();
    if !on {
        rules.disable(&["registered-value"]).unwrap();
    }
    let mut values = Registry::builder();
    values.add("password", VALUE.as_bytes()).unwrap();
    values.add("around", around().as_bytes()).unwrap();
    Detector::new(Arc::new(rules)).unwrap().with_values(values.build())
}

fn key() -> String {
    format!("sk-ant-{}03-{}AA", "api", "k9_Z-".repeat(19).get(..93).unwrap())
}

/// A value with a key of a known vendor in it.
fn around() -> String {
    format!("q7Zr0Wxk {} wT4v", key())
}

type Found = (u64, u64, String, String, bool);

fn record(found: &mut Vec<Found>) -> impl FnMut(Sight<'_>) + '_ {
    |sight| {
        let names: Vec<&str> = sight.wrapped.iter().map(|wrap| wrap.name()).collect();
        let is_finding = sight.assessment.is_ok();
        let (start, end) = (sight.span.start, sight.span.end);
        found.push((start, end, sight.rule.id.clone(), names.join(" > "), is_finding));
    }
}

fn scan(bytes: &[u8]) -> Vec<Found> {
    let mut found = Vec::new();
    text::scan(&DETECTOR, bytes, &mut record(&mut found));
    found.sort();
    found
}

fn ids(bytes: &[u8]) -> Vec<(String, String)> {
    scan(bytes).into_iter().map(|(_, _, rule, path, _)| (rule, path)).collect()
}

fn json(text: &str) -> String {
    format!("{{\"p\": \"{}\"}}", text.replace('"', "\\\""))
}

#[test]
fn a_value_is_found_once_whatever_it_is_wrapped_up_in() {
    let registered = |path: &str| vec![("registered-value".to_owned(), path.to_owned())];
    assert_eq!(ids(VALUE.as_bytes()), registered(""));
    assert_eq!(ids(json(VALUE).as_bytes()), registered("json"));
    assert_eq!(ids(BASE64.encode(VALUE.as_bytes()).as_bytes()), registered("base64"));
    assert_eq!(ids(BASE64.encode(json(VALUE).as_bytes()).as_bytes()), registered("base64 > json"));
    let twice = BASE64.encode(json(&BASE64.encode(VALUE.as_bytes())).as_bytes());
    assert_eq!(ids(twice.as_bytes()), registered("base64 > base64"));
    assert_eq!(ids(VALUE.to_lowercase().as_bytes()), []);
}

#[test]
fn a_value_and_the_key_in_it_are_both_found_and_both_hidden() {
    let text = format!("a {} b", around());
    let rules: Vec<String> = ids(text.as_bytes()).into_iter().map(|(rule, _)| rule).collect();
    assert_eq!(rules, ["registered-value", "anthropic-api-key"]);
    assert_eq!(redact_all(&DETECTOR, &text), format!("a …({}) b", around().len()));
}

#[test]
fn values_of_a_rule_that_is_off_are_not_looked_for() {
    let mut count = 0;
    detector(false).scan(VALUE.as_bytes(), &mut |_| count += 1);
    assert_eq!(count, 0);
}

/// Two rules; the first one's matches end where the second one's may start.
const OVERLAPPING: &str = r#"
vendor = "test"

[[rule]]
id = "outer"
name = "outer"
severity = "high"
pattern = "zout_[a-z]{28}[a-z_]{4}"
prefixes = ["zout_"]
right = "none"
explanation = "e"
remediation = "r"
positives = [["zout_", { fill = "lower", n = 32, seed = 1 }], ["zout_", { fill = "lower", n = 32, seed = 2 }]]
negatives = [["zout"], ["zou"]]

[[rule]]
id = "inner"
name = "inner"
severity = "high"
pattern = "zin_[a-z0-9]{24}"
prefixes = ["zin_"]
left = "none"
explanation = "e"
remediation = "r"
positives = [["zin_", { fill = "base36", n = 24, seed = 1 }], ["zin_", { fill = "base36", n = 24, seed = 2 }]]
negatives = [["zin"], ["zi"]]
"#;

#[test]
fn a_placeholder_hides_no_key_that_starts_in_it_and_a_finding_does() {
    let detector = Detector::new(Arc::new(RuleSet::from_toml("test", OVERLAPPING).unwrap())).unwrap();
    let key = "q7zr0wxkt4vn9bydlh2sjcea";
    for (filling, expected) in [
        ("x".repeat(28), vec![("outer".to_owned(), false), ("inner".to_owned(), true)]),
        ("qzrwxktvnbydlhsjceaugmpokfxi".to_owned(), vec![("outer".to_owned(), true)]),
    ] {
        let text = format!("a zout_{filling}zin_{key} b");
        for chunk in [1, 7, 40, text.len()] {
            let (mut found, mut flow) = (Vec::new(), Text::default());
            let mut see = |sight: Sight<'_>| found.push((sight.rule.id.clone(), sight.assessment.is_ok()));
            for part in text.as_bytes().chunks(chunk) {
                flow.push(&detector, part, &mut see);
            }
            flow.finish(&detector, &mut see);
            assert_eq!(found, expected, "in chunks of {chunk}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In every order and encoding, cut anywhere.
    #[test]
    fn a_cut_anywhere_changes_nothing(
        parts in prop::collection::vec(0..8_usize, 1..8),
        cuts in prop::collection::vec(1..60_usize, 1..12),
    ) {
        let placeholder = format!("sk-ant-{}03-{}AA", "api", "x".repeat(93));
        let forms = [
            VALUE.to_owned(),
            json(VALUE),
            BASE64.encode(json(VALUE).as_bytes()),
            key(),
            around(),
            json(&BASE64.encode(around().as_bytes())),
            placeholder,
            "x9Kq%2F2%2BLm%22Pz7wTq".to_owned(),
        ];
        let text: Vec<&str> = parts.iter().filter_map(|&part| forms.get(part).map(String::as_str)).collect();
        let text = text.join("\n ");
        let (mut found, mut flow, mut rest) = (Vec::new(), Text::default(), text.as_bytes());
        for &cut in cuts.iter().cycle() {
            let (now, later) = rest.split_at(cut.min(rest.len()));
            flow.push(&DETECTOR, now, &mut record(&mut found));
            rest = later;
            if rest.is_empty() {
                break;
            }
        }
        flow.finish(&DETECTOR, &mut record(&mut found));
        found.sort();
        prop_assert_eq!(found, scan(text.as_bytes()));
    }
}
