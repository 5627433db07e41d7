//! gitleaks' rule files: every field, what is wrong in a file, and what means nothing here, each with its place.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

use keymoat_detect::{Detector, Problem, RuleError, RuleSet, Severity, Unsupported};
use proptest::prelude::*;
use std::sync::Arc;

fn load(text: &str) -> RuleSet {
    RuleSet::from_toml("team.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn error(text: &str) -> RuleError {
    RuleSet::from_toml("team.toml", text).err().unwrap_or_else(|| panic!("accepted:\n{text}"))
}

fn says(error: &RuleError, place: &str, words: &str) {
    let text = error.to_string();
    assert!(text.starts_with(place) && text.contains(words), "{text} (not {place} … {words})");
}

/// The only thing in this file that means nothing here.
fn only_unsupported(text: &str) -> RuleError {
    let set = load(text);
    let [only] = set.unsupported() else { panic!("{:?}", set.unsupported()) };
    only.clone()
}

/// What is found, as (rule, secret).
fn found(rules: &str, text: &str) -> Vec<(String, String)> {
    let detector = Detector::new(Arc::new(load(rules))).unwrap();
    let mut all = Vec::new();
    detector.scan(text.as_bytes(), &mut |m| {
        all.push((m.rule.id.clone(), String::from_utf8_lossy(m.secret).into_owned()));
    });
    all
}

fn secrets(rules: &str, text: &str) -> Vec<String> {
    found(rules, text).into_iter().map(|(_, secret)| secret).collect()
}

/// A rule with more fields behind it.
fn rule(more: &str) -> String {
    format!("[[rules]]\nid = \"zap\"\nregex = '''zap=(\\w+)'''\n{more}\n")
}

const FULL: &str = r##"
title = "team"
description = "ours"
minVersion = "v8.25.0"

[[rules]]
id = "Acme_Key"
description = "An Acme key opens the warehouse"
regex = '''(?i)[\w.-]{0,50}?(?:acme)(?:[ \t\w.-]{0,20})[\s'"]{0,3}(?:=|>|:{1,3}=|:)[\x60'"\s=]{0,5}([a-z0-9]{16})(?:[\x60'"\s;]|\\[nrt]|$)'''
entropy = 2
secretGroup = 1
keywords = ["ACME"]
tags = ["key", "warehouse"]

[rules.allowlist]
description = "tests"
condition = "OR"
regexTarget = "match"
regexes = ['''acme_test''']
stopwords = ["example"]
"##;

#[test]
fn a_rule_keeps_what_its_author_wrote() {
    let set = load(FULL);
    assert!(set.unsupported().is_empty(), "{:?}", set.unsupported());
    let [rule] = set.rules() else { panic!() };
    assert_eq!(
        (rule.id.as_str(), rule.name.as_str(), rule.vendor.as_str()),
        ("Acme_Key", "Acme_Key", "gitleaks")
    );
    assert_eq!(rule.severity, Severity::High);
    assert!(rule.pattern.starts_with("(?i)[\\w.-]{0,50}?(?:acme)") && rule.is_from_gitleaks());
    let explanation = "An Acme key opens the warehouse. Matched by your gitleaks rule `Acme_Key`.";
    assert_eq!(rule.explanation, explanation);
    assert!(rule.remediation.contains("Revoke it") && rule.remediation.contains("team.toml"));
    assert_eq!(rule.origin.to_string(), "team.toml:7");
    assert!(rule.home.is_empty() && rule.positives.is_empty() && rule.negatives.is_empty());
    assert_eq!(rule.public_prefix_len(b"acme"), 0);
}

#[test]
fn it_finds_the_secret_and_not_what_is_allowed() {
    assert_eq!(secrets(FULL, "ACME_TOKEN = \"a8b3c9d2e7f16f5e\"\n"), ["a8b3c9d2e7f16f5e"]);
    assert_eq!(secrets(FULL, "acme: a8b3c9d2e7f16f5e"), ["a8b3c9d2e7f16f5e"], "the end counts as `$`");
    for clean in [
        "acme: a8b3c9d2e7f16f5",
        "acme: a8b3c9d2e7f16f5e9",
        "zenith: a8b3c9d2e7f16f5e",
        "acme: abababababababab",
        "acme_test: a8b3c9d2e7f16f5e",
        "acme: exampled2e7f16f5",
    ] {
        assert!(found(FULL, clean).is_empty(), "{clean}");
    }
}

#[test]
fn both_kinds_of_file_are_told_apart() {
    assert_eq!(load("[allowlist]\nregexes = ['a']").rules().len(), 0);
    assert_eq!(RuleSet::from_toml("/etc/.gitleaks.toml", "").unwrap().rules().len(), 0);
    says(&error(""), "team.toml:1:1", "vendor");
    // A misspelt file of our own is not taken for theirs.
    says(&error("vendor = \"Acme\"\n[[rules]]\nid = \"a\""), "team.toml:2:3: ", "unknown field `rules`");
    // An agent's configuration is neither.
    says(&error("rules = [\"a.toml\"]"), "team.toml:1:1: ", "unknown field `rules`");
}

#[test]
fn old_spellings_are_accepted() {
    let text = rule("secretgroup = 1\n[rules.allowList]\nregextarget = \"line\"\nstopWords = [\"no\"]");
    assert_eq!(secrets(&text, "zap=yes zap=no"), ["yes"]);
}

#[test]
fn what_is_wrong_has_a_place() {
    let table = [
        (rule("keyword = [\"zap\"]"), "4:1: ", "unknown field `keyword`"),
        (rule("[rules.allowlist]\nregex = ['a']"), "5:1: ", "unknown field `regex`"),
        (rule("secretGroup = 2"), "4:15: ", "the regex has 1 groups"),
        (rule("secretGroup = -1"), "4:15: ", "invalid value"),
        (rule("entropy = \"3\""), "4:11: ", "invalid type"),
        (rule("keywords = [\"zap\", \"\"]"), "4:20: ", "`keywords` is empty"),
        (rule("[rules.allowlist]\ncondition = \"XOR\"\nregexes = ['a']"), "5:13: ", "`XOR` is no condition"),
        (rule("[rules.allowlist]\nregexTarget = \"file\"\nregexes = ['a']"), "5:15: ", "`file` is no target"),
        (rule("[rules.allowlist]\nregexes = ['a', '(']"), "5:17: ", "cannot be used"),
        (rule("[rules.allowlist]\npaths = ['(']"), "5:10: ", "cannot be used"),
        (rule("[rules.allowlist]\nstopwords = ['']"), "5:14: ", "`stopwords` is empty"),
        (rule("[[rules.allowlists]]\nregexes = []"), "4:1: ", "allows nothing"),
        (rule("[[rules.allowlists]]\nregexes = ['a']\ntargetRules = ['zap']"), "6:15: ", "for that rule"),
        (
            rule("[rules.allowlist]\nregexes = ['a']\n[[rules.allowlists]]\nregexes = ['a']"),
            "4:1: ",
            "together",
        ),
        (rule("path = '['"), "4:8: ", "cannot be used"),
        (rule("[[rules]]\nid = \"zap\"\nregex = 'zap'"), "5:6: ", "exists already in team.toml:2"),
        ("[[rules]]\nid = ''\nregex = 'zap'".to_owned(), "2:6: ", "`id` is empty"),
        ("[[rules]]\nregex = 'zap'".to_owned(), "1:1: ", "missing field `id`"),
        ("[[rules]]\nid = 'zap'\nregex = 'zap(?=x)'".to_owned(), "3:9: ", "look-around"),
        ("[[rules]]\nid = 'zap'\nregex = 'zap(?:[a-z]{1000}){1000}'".to_owned(), "3:9: ", "too much memory"),
        ("[[rules]]\nid = ".to_owned(), "2:", ""),
    ];
    for (text, place, words) in table {
        says(&error(&text), &format!("team.toml:{place}"), words);
    }
}

#[test]
fn lists_without_end_are_refused() {
    let words: Vec<String> = (0..9000).map(|n| format!("'word{n}'")).collect();
    says(
        &error(&rule(&format!("keywords = [{}]", words.join(",")))),
        "team.toml:4:12: ",
        "32768 bytes of keywords",
    );
    let words: Vec<String> = (0..30_000).map(|n| format!("'stopword{n}'")).collect();
    let text = rule(&format!("[rules.allowlist]\nstopwords = [{}]", words.join(",")));
    says(&error(&text), "team.toml:5:13: ", "262144 bytes of stopwords");
    let rules: String = (0..1025).map(|n| format!("[[rules]]\nid='r{n}'\nregex='zap'\n")).collect();
    says(&error(&rules), "team.toml:3073:1: ", "more than 1024 rules");
}

#[test]
fn rules_that_traffic_cannot_meet_are_named() {
    use Unsupported::*;
    let zap = || "zap".to_owned();
    let table = [
        ("[[rules]]\nid = 'zap'\npath = '\\.p12$'".to_owned(), "3:8: ", PathOnly(zap())),
        (rule("path = '\\.tf$'"), "4:8: ", PathCondition(zap())),
        ("[[rules]]\nid = 'zap'\n[rules.allowlist]\nregexes = ['a']".to_owned(), "2:6: ", NoRegex(zap())),
        ("[[rules]]\nid = 'zap'\nregex = '[a-f0-9]{32}'".to_owned(), "3:9: ", NoKeyword(zap())),
        ("[[rules]]\nid = 'zap'\nregex = 'zap\\p{Greek}'".to_owned(), "3:9: ", Unicode(zap())),
        (rule("[[rules.required]]\nid = 'other'\nwithinLines = 5"), "4:1: ", Required(zap())),
        (rule("skipReport = true"), "4:14: ", SkipReport(zap())),
    ];
    for (text, place, what) in table {
        let noted = only_unsupported(&text);
        says(&noted, &format!("team.toml:{place}"), "zap");
        assert!(what.is_unused_rule());
        assert_eq!(noted.problem, Problem::Unsupported(what));
        assert!(load(&text).rules().is_empty());
    }
    // Their twins.
    for text in
        [rule(""), rule("skipReport = false\nrequired = []"), rule("keywords = []"), rule("path = ''")]
    {
        assert!(load(&text).unsupported().is_empty() && load(&text).rules().len() == 1);
    }
}

#[test]
fn parts_that_have_no_effect_are_named() {
    use Unsupported::*;
    let table = [
        ("[extend]\nuseDefault = true".to_owned(), "2:14: ", ExtendDefault),
        ("[extend]\npath = 'base.toml'".to_owned(), "2:8: ", ExtendOther),
        ("[extend]\nurl = 'https://example.com'".to_owned(), "2:7: ", ExtendOther),
        ("[extend]\ndisabledRules = ['a']".to_owned(), "2:17: ", DisabledRules),
        ("[allowlist]\npaths = ['a']".to_owned(), "2:9: ", AllowedPaths),
        ("[allowlist]\ncommits = ['a']\nregexes = ['a']".to_owned(), "2:11: ", AllowedCommits),
        (rule("[rules.allowlist]\ncondition = 'AND'\npaths = ['a']\nregexes = ['a']"), "5:13: ", NeverAllows),
        (
            rule("[[allowlists]]\nregexes = ['a']\ntargetRules = ['zip']"),
            "6:16: ",
            UnknownTarget("zip".to_owned()),
        ),
    ];
    for (text, place, what) in table {
        let noted = only_unsupported(&text);
        says(&noted, &format!("team.toml:{place}"), "");
        assert!(!what.is_unused_rule());
        assert_eq!(noted.problem, Problem::Unsupported(what));
    }
    assert!(load("[extend]\nuseDefault = false").unsupported().is_empty());
}

#[test]
fn an_and_that_cannot_be_met_allows_nothing() {
    let text = |condition| {
        rule(&format!("[rules.allowlist]\ncondition='{condition}'\npaths=['a']\nregexes=['yes']"))
    };
    assert_eq!(secrets(&text("AND"), "zap=yes"), ["yes"]);
    assert!(secrets(&text("OR"), "zap=yes").is_empty());
    assert_eq!(secrets(&text("or"), "zap=no"), ["no"]);
}

#[test]
fn allowlists_are_for_their_rules() {
    let two = |more: &str| {
        let second = "[[rules]]\nid = 'zip'\nregex = 'zip=(\\w+)'\n";
        secrets(&format!("{}{second}{more}", rule("")), "zap=one zip=one zap=two")
    };
    assert_eq!(two(""), ["one", "one", "two"]);
    assert_eq!(two("[allowlist]\nregexes=['one']"), ["two"]);
    assert_eq!(
        two("[[allowlists]]\nregexes=['one']\n[[allowlists]]\nstopwords=['TWO']"),
        Vec::<String>::new()
    );
    assert_eq!(two("[[allowlists]]\nregexes=['one']\ntargetRules=['zip']"), ["one", "two"]);
    assert_eq!(two("[rules.allowlist]\nregexes=['one']"), ["one", "two"], "it belongs to the last rule");
}

#[test]
fn a_rule_without_keywords_is_found_by_its_literal() {
    let text = "[[rules]]\nid = 'z'\nregex = '(?i)\\b(zap_[a-z]{4,})\\b'";
    assert_eq!(secrets(text, "say ZAP_token!"), ["ZAP_token"]);
    assert!(secrets(text, "say xzap_token").is_empty());
}

#[test]
fn an_id_that_is_taken_gets_another() {
    let builtin = RuleSet::builtin().unwrap();
    let taken = builtin.rules()[0].id.clone();
    let mut all = builtin.clone();
    all.merge(load(&rule("").replace("\"zap\"", &format!("{taken:?}")))).unwrap();
    let renamed = format!("gitleaks-{taken}");
    assert!(all.get(&renamed).is_some() && all.rules().len() == builtin.rules().len() + 1);
    says(&all.unsupported()[0], "team.toml:2:6: ", &renamed);
    // Twice the same file is a mistake.
    all.merge(load(&rule(""))).unwrap();
    all.merge(load(&rule(""))).unwrap();
    assert!(all.merge(load(&rule(""))).is_err());
}

#[test]
fn their_rules_change_nothing_about_what_ours_find() {
    let builtin = RuleSet::builtin().unwrap();
    let key = builtin.get("groq-api-key").unwrap().positives[0].clone();
    let mut all = builtin.clone();
    // It starts earlier, ends later, and allows what ours finds.
    all.merge(load("[[rules]]\nid = 'greedy'\nregex = '''token: \\S+ \\w+'''")).unwrap();
    let detector = Detector::new(Arc::new(all)).unwrap();
    let found = |text: String| {
        let mut all = Vec::new();
        detector.scan(text.as_bytes(), &mut |m| all.push(m.rule.id.clone()));
        all
    };
    assert_eq!(found(format!("token: {key} more")), ["groq-api-key"]);
    assert_eq!(found("token: other more".to_owned()), ["greedy"]);
    assert_eq!(found(format!("token: other more {key}")), ["greedy", "groq-api-key"]);
}

#[test]
fn a_generic_rule_gives_way() {
    let text =
        "[[rules]]\nid='generic-key'\nregex='zap=(\\w+)'\n[[rules]]\nid='zap-key'\nregex='zap=([a-z]{4})\\b'";
    let ids = |of| found(text, of).into_iter().map(|(id, _)| id).collect::<Vec<_>>();
    assert_eq!(ids("zap=abcd"), ["zap-key"]);
    assert_eq!(ids("zap=12345"), ["generic-key"]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_it_panic(lines in prop::collection::vec(prop::sample::select(vec![
        "[[rules]]", "id = 'a'", "id = 7", "regex = 'zap(a)?'", "regex = '[[:x'", "regex = '\\Q{'", "path = 'a'",
        "keywords = ['a']", "secretGroup = 1", "entropy = nan", "entropy = -1", "[rules.allowlist]", "[allowlist]",
        "[[allowlists]]", "regexes = ['a']", "regexes = ['é', '[é]']", "stopwords = ['é']", "condition = 'AND'", "[extend]",
        "useDefault = true", "\u{0}", "tags = [", "]]", "commits = ['a']", "targetRules = ['a']", "[[rules.required]]",
    ]), 0..12), noise in "\\PC{0,20}") {
        let text = format!("{}\n{noise}", lines.join("\n"));
        for origin in ["gitleaks.toml", "other.toml"] {
            if let Ok(set) = RuleSet::from_toml(origin, &text) {
                Detector::new(Arc::new(set)).unwrap().scan(b"zapa zap a", &mut |_| {});
            }
        }
    }

    #[test]
    fn no_regex_makes_it_panic(regex in "[a(){}\\[\\]^$.*+?|\\\\QE<>:&~,0-9sSé-]{0,24}") {
        let text = format!("[[rules]]\nid = 'a'\nkeywords = ['a']\nregex = '''{regex}'''\n");
        if let Ok(set) = RuleSet::from_toml("gitleaks.toml", &text) {
            Detector::new(Arc::new(set)).unwrap().scan("aaa(a){a}[a]é<a>".as_bytes(), &mut |_| {});
        }
    }
}
