//! The built-in rules, held against their own samples.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use keymoat_detect::{Detector, RuleSet, Severity, is_home, is_usual, redact_all, redacted};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

#[test]
fn every_sample_of_every_rule_behaves() {
    let rules = RuleSet::builtin().unwrap();
    let failures: Vec<String> = rules.check().unwrap().iter().map(ToString::to_string).collect();
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// `RuleSet::builtin` leaves the slow checks out; here they are.
#[test]
fn every_built_in_file_stands_the_checks_of_a_users_file() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        count += RuleSet::from_toml(&path.display().to_string(), &text).unwrap().rules().len();
    }
    assert_eq!(count, RuleSet::builtin().unwrap().rules().len(), "every file is embedded");
    assert!(count >= 200);
}

#[test]
fn no_rule_file_holds_a_whole_key() {
    let detector = Detector::new(Arc::new(RuleSet::builtin().unwrap())).unwrap();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("rules");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read(&path).unwrap();
        detector.scan(&text, &mut |found| panic!("{} holds a {}", path.display(), found.rule.id));
    }
}

#[test]
fn every_rule_tells_a_person_what_to_do() {
    let rules = RuleSet::builtin().unwrap();
    let mut texts: BTreeMap<&str, &str> = BTreeMap::new();
    for rule in rules.rules() {
        assert!(rule.explanation.len() > 40 && rule.explanation.ends_with(['.', ')']), "{}", rule.id);
        assert!(rule.remediation.len() > 60 && rule.remediation.ends_with(['.', ')']), "{}", rule.id);
        assert!(!rule.attack.is_empty(), "{}", rule.id);
        assert!(rule.attack.iter().all(|id| id.starts_with('T') && id.len() >= 5), "{}", rule.id);
        assert!(rule.home.is_empty() || !rule.usual.is_empty(), "{}: a home, but no way there", rule.id);
        assert!(texts.insert(&rule.name, &rule.id).is_none(), "two rules are called {}", rule.name);
    }
}

#[test]
fn an_anthropic_key_is_at_home_in_its_header_at_anthropic() {
    let rules = RuleSet::builtin().unwrap();
    let rule = rules.get("anthropic-api-key").unwrap();
    assert!(is_home(rule, "api.anthropic.com") && is_home(rule, "API.Anthropic.com:443"));
    assert!(!is_home(rule, "api.anthropic.com.evil.example") && !is_home(rule, "webhook.example"));
    assert!(is_usual(rule, "header:x-api-key") && is_usual(rule, "header:X-API-Key"));
    assert!(is_usual(rule, "header:authorization") && !is_usual(rule, "body"));
}

#[test]
fn redaction_shows_the_public_prefix_and_the_length() {
    let rules = RuleSet::builtin().unwrap();
    let shown = |id: &str| {
        let rule = rules.get(id).unwrap();
        redacted(rule, rule.positives[0].as_bytes())
    };
    assert_eq!(shown("anthropic-api-key"), "sk-ant-api…(108)");
    assert_eq!(shown("openai-legacy-key"), "sk-…(51)");
    assert_eq!(shown("slack-configuration-token"), "xoxe-…(153)");
    assert_eq!(shown("azure-openai-api-key"), "…(84)");
}

#[test]
fn redaction_hides_the_secret_of_every_rule() {
    let rules = RuleSet::builtin().unwrap();
    let detector = Detector::new(Arc::new(rules.clone())).unwrap();
    for rule in rules.rules() {
        for positive in &rule.positives {
            let text = format!("curl -H 'x: {positive}' https://example.com");
            let clean = redact_all(&detector, &text);
            assert!(
                clean.starts_with("curl -H 'x: ") && clean.ends_with("' https://example.com"),
                "{}",
                rule.id
            );
            let mut whole = true;
            detector.scan(clean.as_bytes(), &mut |_| whole = false);
            assert!(whole, "{}: still found after redaction", rule.id);
            detector.scan(text.as_bytes(), &mut |found| {
                let hidden = found.secret.len() - rule.public_prefix_len(found.secret);
                assert!(hidden >= 12 || rule.severity == Severity::Info, "{}", rule.id);
                assert!(!format!("{found:?}").contains(&positive[positive.len() - 8..]), "{}", rule.id);
            });
        }
    }
}

#[test]
fn text_around_secrets_survives_redaction() {
    let rules = RuleSet::builtin().unwrap();
    let key = rules.get("groq-api-key").unwrap().positives[0].clone();
    let detector = Detector::new(Arc::new(rules)).unwrap();
    let text = format!("größe={key} {key}—é");
    assert_eq!(redact_all(&detector, &text), "größe=gsk_…(56) gsk_…(56)—é");
    assert_eq!(redact_all(&detector, "nothing here"), "nothing here");
}
