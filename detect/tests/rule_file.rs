//! What a person is told about a rule file that cannot be used: where, and what to do.

#![allow(clippy::unwrap_used, reason = "tests assert by panicking")]

use keymoat_detect::{Detector, RuleSet};
use std::path::Path;
use std::sync::Arc;

const GOOD: &str = r#"vendor = "Acme"
home = ["api.acme.example.com"]

[[rule]]
id = "acme-key"
name = "Acme key"
severity = "high"
pattern = 'acme_[0-9a-f]{32}'
prefixes = ["acme_"]
usual = ["header:authorization"]
explanation = "It opens Acme."
remediation = "Revoke it at Acme."
positives = [["acme_", { fill = "hex", n = 32 }], ["acme_", { repeat = "0f", n = 16 }]]
negatives = [["acme_", { fill = "hex", n = 30 }], ["acme_", "none"]]
"#;

/// The error for the good file with one line replaced; the line stands at `line`.
fn error(line: usize, replacement: &str) -> String {
    let mut lines: Vec<&str> = GOOD.lines().collect();
    let old = std::mem::replace(lines.get_mut(line - 1).unwrap(), replacement);
    assert_ne!(old, replacement);
    RuleSet::from_toml("my.toml", &lines.join("\n")).unwrap_err().to_string()
}

#[track_caller]
fn says(error: String, place: &str, words: &str) {
    assert!(error.starts_with(place), "{error}");
    assert!(error.contains(words), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn the_good_file_is_good() {
    let rules = RuleSet::from_toml("my.toml", GOOD).unwrap();
    assert_eq!(rules.check().unwrap(), []);
    let rule = rules.get("acme-key").unwrap();
    assert_eq!(rule.origin.to_string(), "my.toml:5");
    assert_eq!(rule.length(), (37, 37));
    assert_eq!(rule.home, ["api.acme.example.com"]);
}

#[test]
fn the_example_in_the_manual_is_good() {
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let example = manual.split("```toml").nth(1).unwrap().split("```").next().unwrap();
    let rules = RuleSet::from_toml("docs/rules.md", example).unwrap();
    assert_eq!(rules.check().unwrap(), []);
}

#[test]
fn toml_errors_name_the_place() {
    says(error(1, "vendor = "), "my.toml:1:", "");
    says(error(6, "nmae = \"Acme key\""), "my.toml:6:1: ", "unknown field `nmae`");
    says(error(7, "severity = \"awful\""), "my.toml:7:12: ", "critical");
    says(error(5, ""), "my.toml:4:1: ", "missing field `id`");
    says(error(13, "positives = [[\"a\", 7]]"), "my.toml:13:", "expected a piece");
    says(error(13, "positives = [[{ fill = \"kanji\", n = 3 }]]"), "my.toml:13:", "expected a piece");
}

#[test]
fn fields_are_checked_where_they_stand() {
    says(error(1, "vendor = ' '"), "my.toml:1:10: ", "`vendor` is empty");
    says(error(2, "home = ['https://acme.example.com']"), "my.toml:2:9: ", "is not a host");
    says(error(2, "home = ['*.com']"), "my.toml:2:9: ", "is not a host");
    says(error(5, "id = \"Acme Key\""), "my.toml:5:6: ", "not kebab-case");
    says(error(10, "usual = [\"X-Api-Key\"]"), "my.toml:10:10: ", "is not a location");
    says(error(11, "explanation = ''"), "my.toml:11:15: ", "`explanation` is empty");
    says(error(13, "positives = [['acme_']]"), "my.toml:13:13: ", "has 1 positives");
    says(error(14, "negatives = []"), "my.toml:14:13: ", "has 0 negatives");
}

#[test]
fn validators_are_checked_by_name_and_all_are_in_the_manual() {
    let unknown = error(10, "validators = ['entropy', 'crc23-base62']");
    says(
        unknown.clone(),
        "my.toml:10:26: ",
        "there is no validator `crc23-base62`: use one of `age-bech32`, ",
    );
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/rules.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    let names: Vec<&str> = unknown.split('`').skip(3).step_by(2).collect();
    assert!(names.len() >= 11, "{names:?}");
    for name in names {
        assert!(manual.contains(&format!("| `{name}` |")), "{name} is not in docs/rules.md");
    }
    let sample = "positives = [['acme_', { checksum = 'jwt' }], ['x']]";
    says(error(13, sample), "my.toml:13:13: ", "`jwt` computes no checksum of the pieces before it");
    says(error(13, &sample.replace("jwt", "x")), "my.toml:13:13: ", "`x` computes no checksum");
    // Nothing that a key of age could be.
    says(error(13, &sample.replace("jwt", "age-bech32")), "my.toml:13:13: ", "`age-bech32` computes no");
}

#[test]
fn patterns_that_cannot_run_are_explained() {
    says(error(8, "pattern = 'acme_[0-9'"), "my.toml:8:11: ", "unclosed character class");
    says(error(8, "pattern = 'acme_[0-9a-f]+'"), "my.toml:8:11: ", "no upper bound");
    says(error(8, "pattern = 'acme_[0-9a-f]{32,9000}'"), "my.toml:8:11: ", "longest allowed is 4000");
    says(error(8, "pattern = 'acme_'"), "my.toml:8:11: ", "as few as 5 bytes");
    says(error(8, "pattern = '\\bacme_[0-9a-f]{32}'"), "my.toml:8:11: ", "use `left` and `right`");
    let complex = "pattern = 'acme_[0-9a-z]{20,200}abc[0-9a-z]{20,200}xyz[0-9a-z]{20,200}'";
    says(error(8, complex), "my.toml:8:11: ", "name the marker in `contains`");
}

#[test]
fn anchors_are_checked_against_the_pattern() {
    says(error(9, ""), "my.toml:5:6: ", "no anchor");
    says(error(9, "prefixes = []"), "my.toml:9:12: ", "`prefixes` is empty");
    says(error(9, "prefixes = ['ac']"), "my.toml:9:13: ", "too short");
    says(error(9, "prefixes = ['acne_']"), "my.toml:9:13: ", "can start with the prefix `acne_`");
    says(error(9, "prefixes = ['acme_']\ncontext = ['acme=']"), "my.toml:5:6: ", "more than one kind");
    says(error(8, "pattern = '(?:acme|amce)_[0-9a-f]{32}'"), "my.toml:9:12: ", "can also start with `amce_");
    says(
        error(9, "marker = { texts = ['acme_'], at = 90 }"),
        "my.toml:9:10: ",
        "inside the pattern's 37 bytes",
    );
    says(error(9, "prefixes = ['acme_']\nleft = 'abc'"), "my.toml:10:8: ", "is not a set of bytes");
}

#[test]
fn ids_are_unique_within_a_file_and_between_files() {
    let rule = GOOD.split_once("\n\n").unwrap().1;
    says(
        RuleSet::from_toml("my.toml", &format!("{GOOD}{rule}")).unwrap_err().to_string(),
        "my.toml:16:6: ",
        "`acme-key` exists already in my.toml:5",
    );
    let mut all = RuleSet::from_toml("one.toml", GOOD).unwrap();
    let again = all.merge(RuleSet::from_toml("two.toml", GOOD).unwrap()).unwrap_err();
    says(again.to_string(), "two.toml:5:6: ", "exists already in one.toml:5");
    assert_eq!(all.rules().len(), 1);
}

#[test]
fn samples_that_do_not_behave_are_named() {
    let swapped =
        GOOD.replace("positives", "x").replace("negatives", "positives").replace("x =", "negatives =");
    let failures = RuleSet::from_toml("my.toml", &swapped).unwrap().check().unwrap();
    assert_eq!(failures.len(), 4);
    let first = failures.first().unwrap().to_string();
    assert!(first.contains("my.toml:5: rule `acme-key`: positives number 1"), "{first}");
}

fn found(rule_lines: &str, text: &str) -> Vec<(u64, String)> {
    let lines: Vec<&str> =
        GOOD.lines().filter(|line| !line.starts_with("pattern") && !line.starts_with("prefixes")).collect();
    let rules = RuleSet::from_toml("my.toml", &format!("{}\n{rule_lines}", lines.join("\n"))).unwrap();
    let detector = Detector::new(Arc::new(rules)).unwrap();
    let mut found = Vec::new();
    detector.scan(text.as_bytes(), &mut |m| {
        found.push((m.start, String::from_utf8_lossy(m.secret).into_owned()));
    });
    found
}

#[test]
fn boundaries_say_what_a_key_may_be_glued_to() {
    let usual = "pattern = 'acme_[0-9a-f]{8}'\nprefixes = ['acme_']";
    let key = "acme_0123abcd".to_owned();
    for (text, expected) in [
        ("acme_0123abcd", Some(0)),
        ("x=acme_0123abcd;", Some(2)),
        ("_acme_0123abcd_", Some(1)),
        ("xacme_0123abcd", None),
        ("acme_0123abcdz", None),
        ("acme_0123abcd0", None),
        ("acme_0123abc", None),
        ("a\\nacme_0123abcd\\n", Some(3)),
        ("a%3Dacme_0123abcd%20", Some(4)),
    ] {
        let expected: Vec<_> = expected.map(|start| (start, key.clone())).into_iter().collect();
        assert_eq!(found(usual, text), expected, "{text}");
    }
    let loose = format!("{usual}\nleft = 'none'\nright = '[0-9]'");
    assert_eq!(found(&loose, "xacme_0123abcdz").len(), 1);
    assert_eq!(found(&loose, "xacme_0123abcd0").len(), 0);
}

#[test]
fn of_several_lengths_the_longest_that_ends_at_a_boundary_is_taken() {
    let rule = "pattern = 'acme_[0-9a-f]{8}(?:-[0-9])?'\nprefixes = ['acme_']";
    assert_eq!(found(rule, "acme_0123abcd-7 "), [(0, "acme_0123abcd-7".to_owned())]);
    assert_eq!(found(rule, "acme_0123abcd-77"), [(0, "acme_0123abcd".to_owned())]);
    assert_eq!(found(rule, "acme_0123abcd-"), [(0, "acme_0123abcd".to_owned())]);
}

#[test]
fn markers_contexts_and_variables_find_what_has_no_prefix() {
    let marker = "pattern = '[0-9a-f]{8,10}MARK[0-9a-f]{4}'\nmarker = { texts = ['MARK'], at = [8, 10] }";
    assert_eq!(found(marker, "=0123456789MARKabcd "), [(1, "0123456789MARKabcd".to_owned())]);
    assert_eq!(found(marker, "=01234567MARKabcd "), [(1, "01234567MARKabcd".to_owned())]);
    assert_eq!(found(marker, "=0123456789aMARKabcd "), []);
    assert_eq!(found(marker, "4567MARKabcd "), []);

    let context = "pattern = '[0-9a-f]{16}'\ncontext = ['Acme ']\nvariables = ['ACME_KEY']";
    let key = "0123456789abcdef";
    for before in
        ["Acme ", "ACME_KEY=", "ACME_KEY='", "\"ACME_KEY\": \"", "{\\\"ACME_KEY\\\":\\\"", "ACME_KEY%3D"]
    {
        let text = format!("{before}{key}\"");
        assert_eq!(found(context, &text), [(before.len() as u64, key.to_owned())], "{text}");
    }
    assert_eq!(found(context, &format!("OTHER={key}")), []);

    let contains = "pattern = 'acme_[0-9A-Z]{12}'\nprefixes = ['acme_']\ncontains = ['XYZ']";
    assert_eq!(found(contains, "acme_0123XYZ45678").len(), 1);
    assert_eq!(found(contains, "acme_0123XYX45678").len(), 0);
}

#[test]
fn what_stands_between_context_and_secret_is_no_part_of_it() {
    let rule = "pattern = '[a-z0-9]{8,20}'\ncontext = ['acme://']\nbetween = '[a-z]{1,9}:'\nright = '[^@]'";
    let secret = (11, "p4ssw0rd".to_owned());
    assert_eq!(found(rule, "acme://app:p4ssw0rd@host"), std::slice::from_ref(&secret));
    assert_eq!(
        found(rule, "acme://app:p4ssw0rd@acme://app:p4ssw0rd@"),
        [secret, (31, "p4ssw0rd".to_owned())]
    );
    assert_eq!(found(rule, "acme://app@host"), []);
    assert_eq!(found(rule, "acme://app:p4ssw0rd/host"), []);
    assert_eq!(found(rule, "acme://:p4ssw0rd@host"), []);

    let error = |line: &str| error(9, line);
    says(error("prefixes = ['acme_']\nbetween = 'x'"), "my.toml:10:11: ", "`between` without `context`");
    says(error("context = ['acme ']\nbetween = 'x+'"), "my.toml:10:11: ", "no upper bound");
    says(error("context = ['acme ']\nbetween = '\\b'"), "my.toml:10:11: ", "use `left` and `right`");
}

#[test]
fn a_rule_that_is_off_by_default_is_found_once_it_is_enabled() {
    let off = GOOD.replace("severity = \"high\"", "severity = \"high\"\ndefault = \"off\"");
    let mut rules = RuleSet::from_toml("my.toml", &off).unwrap();
    let sample = rules.get("acme-key").unwrap().positives.first().unwrap().clone();
    let findings = |rules: &RuleSet| {
        let mut count = 0;
        Detector::new(Arc::new(rules.clone())).unwrap().scan(sample.as_bytes(), &mut |_| count += 1);
        count
    };
    assert_eq!(findings(&rules), 0);
    assert_eq!(rules.check().unwrap(), [], "its samples are tried all the same");
    rules.enable(&["acme-key"]).unwrap();
    assert_eq!(findings(&rules), 1);
    rules.disable(&["acme-key"]).unwrap();
    assert_eq!(findings(&rules), 0);
    let error = rules.enable(&["acme-key", "acme"]).unwrap_err().to_string();
    assert_eq!(error, "no rule has the id `acme`; did you mean acme-key?");
    assert_eq!(findings(&rules), 0, "an error changes nothing");
    assert!(rules.disable(&["zzz"]).unwrap_err().to_string().contains("`keymoat rules list`"));

    for word in ["on", "maybe", ""] {
        let text = off.replace("\"off\"", &format!("\"{word}\""));
        says(
            RuleSet::from_toml("my.toml", &text).unwrap_err().to_string(),
            "my.toml:8:11: ",
            "expected `off`",
        );
    }
}
