//! What makes a match sure, doubtful, or no finding.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use keymoat_detect::{Confidence, Detector, RuleSet, Stream, Suppressed, redact_all};
use std::sync::{Arc, LazyLock};

static DETECTOR: LazyLock<Detector> =
    LazyLock::new(|| Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap());

/// How the only match in the text is judged.
fn judged(text: &str) -> Result<Confidence, Suppressed> {
    let mut all = Vec::new();
    DETECTOR.scan(text.as_bytes(), &mut |found| {
        all.push(found.assessment.map(|assessment| assessment.confidence));
    });
    assert_eq!(all.len(), 1, "{text:.12}");
    all[0]
}

fn positive(rule: &str) -> String {
    DETECTOR.rules().get(rule).unwrap().positives[0].clone()
}

/// Two neighbours in the checksum change places: every character is still one that may stand there.
fn with_a_wrong_checksum(rule: &str) -> String {
    let mut key = positive(rule).into_bytes();
    // Of a fine-grained token eight characters follow.
    let end = key.len() - if rule == "github-fine-grained-token" { 8 } else { 0 };
    let second = (end - 5..end).rev().find(|&at| key[at] != key[at - 1]).unwrap();
    key.swap(second - 1, second);
    String::from_utf8(key).unwrap()
}

#[test]
fn a_wrong_checksum_is_a_finding_of_low_confidence() {
    for rule in [
        "github-personal-access-token",
        "github-refresh-token",
        "github-fine-grained-token",
        "npm-access-token",
        "grafana-service-account-token",
        "atlassian-api-token",
        "bitbucket-app-password",
        "bitbucket-access-token",
        "gitlab-routable-access-token",
        "confluent-api-secret",
        "age-secret-key",
    ] {
        assert_eq!(judged(&positive(rule)), Ok(Confidence::High), "{rule}");
        assert_eq!(judged(&with_a_wrong_checksum(rule)), Ok(Confidence::Low), "{rule}");
    }
}

#[test]
fn without_a_checksum_the_literal_decides() {
    assert_eq!(judged(&positive("anthropic-api-key")), Ok(Confidence::High));
    assert_eq!(judged(&positive("huggingface-access-token")), Ok(Confidence::Medium), "hf_ is short");
    assert_eq!(
        judged(&positive("mistral-api-key")),
        Ok(Confidence::Medium),
        "a variable's name is all there is"
    );
}

#[test]
fn a_variable_with_words_in_it_is_doubted_and_one_that_repeats_itself_is_no_finding() {
    let assignment = |value: &str| format!("{}={value}", ["MISTRAL", "_API_KEY"].concat());
    assert_eq!(judged(&assignment("ourProductionDatabasePasswordTwo")), Ok(Confidence::Low));
    assert_eq!(judged(&assignment(&"aB".repeat(16))), Err(Suppressed::LowEntropy));
    assert_eq!(judged(&assignment(&"a".repeat(32))), Err(Suppressed::Placeholder));
}

#[test]
fn placeholders_are_no_findings_and_are_redacted_all_the_same() {
    for key in [
        format!("sk-ant-{}03-{}AA", "api", "x".repeat(93)),
        format!("ghp_{}", "0".repeat(36)),
        format!("ghp_{}", "1234567890abcdefghijklmnopqrstuvwxyz"),
        format!("AKIA{}", "IOSFODNN7EXAMPLE"),
        format!("npm_{}", "yourNpmTokenGoesHere").replace("Here", &"X".repeat(20)),
    ] {
        assert_eq!(judged(&key), Err(Suppressed::Placeholder), "{key:.20}");
        let clean = redact_all(&DETECTOR, &format!("curl -H 'x: {key}'"));
        assert!(!clean.contains(&key[8..]), "{clean}");
    }
}

/// A checksum that is right by chance is rarer than a key that holds a word by chance.
#[test]
fn a_key_that_proves_itself_is_no_placeholder() {
    let file = r#"vendor = "Test"
[[rule]]
id = "test-key"
name = "Test key"
severity = "high"
pattern = 'tst_[A-Za-z0-9]{36}'
prefixes = ["tst_"]
validators = ["crc32-base62"]
explanation = "It is a test."
remediation = "Nothing."
positives = [["tst_", { repeat = "x", n = 30 }, { checksum = "crc32-base62" }], ["tst_", { fill = "base62", n = 30 }, { checksum = "crc32-base62" }]]
negatives = [["tst_", { repeat = "x", n = 36 }], ["tst_"]]
"#;
    let rules = RuleSet::from_toml("test.toml", file).unwrap();
    assert_eq!(rules.check().unwrap(), []);
}

/// A positive whose checksum is wrong is a rule file's fault.
#[test]
fn samples_have_to_be_believable() {
    let key = "{ fill = \"base62\", n = 36 }";
    let file = format!(
        "vendor = 'Test'\n[[rule]]\nid = 'test-key'\nname = 'Test key'\nseverity = 'high'\n\
         pattern = 'tst_[A-Za-z0-9]{{36}}'\nprefixes = ['tst_']\nvalidators = ['crc32-base62']\n\
         explanation = 'x'\nremediation = 'x'\npositives = [['tst_', {key}], ['tst_', {key}]]\n\
         negatives = [['tst_'], ['x']]\n"
    );
    let failures = RuleSet::from_toml("test.toml", &file).unwrap().check().unwrap();
    assert!(failures[0].to_string().ends_with("is doubted: its checksum is wrong"), "{}", failures[0]);
}

#[test]
fn an_assessment_does_not_depend_on_how_the_bytes_were_cut() {
    let rules = DETECTOR.rules().rules();
    for key in rules.iter().flat_map(|rule| &rule.positives) {
        let text = format!("x={key} ");
        let mut whole = Vec::new();
        DETECTOR.scan(text.as_bytes(), &mut |found| whole.push(found.assessment));
        let (mut cut, mut stream) = (Vec::new(), Stream::default());
        for chunk in text.as_bytes().chunks(7) {
            DETECTOR.push(&mut stream, chunk, &mut |found| cut.push(found.assessment));
        }
        DETECTOR.flush(&mut stream, &mut |found| cut.push(found.assessment));
        assert_eq!(cut, whole, "{key:.12}");
    }
}

#[test]
fn nothing_about_a_match_shows_the_secret() {
    for key in DETECTOR.rules().rules().iter().flat_map(|rule| &rule.positives) {
        DETECTOR.scan(key.as_bytes(), &mut |found| {
            let shown = format!("{found:?}");
            let body = &key[found.rule.public_prefix_len(found.secret) + found.start as usize..];
            for part in body.as_bytes().windows(8) {
                let part = std::str::from_utf8(part).unwrap();
                assert!(!shown.contains(part), "{}: {part}", found.rule.id);
            }
        });
    }
}
