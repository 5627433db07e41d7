use super::*;

const RULE: &str = r#"
vendor = "Acme"
[[rule]]
id = "acme-key"
name = "Acme key"
severity = "high"
pattern = 'acmek_[a-z0-9]{20}'
prefixes = ["acmek_"]
explanation = "It opens Acme."
remediation = "Revoke it."
positives = [["acmek_", { fill = "hex", n = 20 }], ["acmek_", { repeat = "a1", n = 10 }]]
negatives = [["acmek_", "short"], ["acmek_", { repeat = "Z", n = 20 }]]
"#;

fn ask(words: &[&str]) -> (anyhow::Result<Exit>, String) {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RulesArgs,
    }
    let line = <Line as clap::Parser>::try_parse_from([&["rules"], words].concat()).unwrap();
    let mut out = Vec::new();
    let exit = answer(&line.args, &mut out);
    (exit, String::from_utf8(out).unwrap())
}

fn file(name: &str, text: &str) -> (tempfile::TempDir, String) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (directory, path)
}

#[test]
fn list_names_every_rule_also_the_configured_ones() {
    let (rules, path) = file("acme.toml", RULE);
    let config = rules.path().join("agent.toml");
    std::fs::write(&config, format!("rules = [{path:?}]")).unwrap();
    let (exit, text) = ask(&["list", "--config", config.to_str().unwrap()]);
    assert_eq!(exit.unwrap(), Exit::Clean);
    assert!(text.contains("anthropic-api-key") && text.contains("acme-key"), "{text}");
    let state = |id: &str| text.lines().find(|line| line.contains(id)).unwrap().split_whitespace().nth(1);
    assert_eq!((state("acme-key"), state("generic-jwt")), (Some("on"), Some("off")));

    let (_, json) = ask(&["list", "--json", "--config", config.to_str().unwrap()]);
    let ids: Vec<String> = json
        .lines()
        .map(|l| serde_json::from_str::<serde_json::Value>(l).unwrap()["id"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids.iter().any(|id| id == "acme-key") && ids.len() > 1);
}

/// A rule found too far behind its start: only userspace can decide it.
const FAR_RULE: &str = r#"
vendor = "Acme"
[[rule]]
id = "acme-far"
name = "Acme far key"
severity = "high"
pattern = '[0-9]{240}acmek[0-9]{8}'
marker = { texts = ["acmek"], at = 240 }
explanation = "It opens Acme."
remediation = "Revoke it."
positives = [[{ fill = "digits", n = 240 }, "acmek", { fill = "digits", n = 8 }], [{ repeat = "1", n = 240 }, "acmek12345678"]]
negatives = [["acmek", "12345678"], [{ repeat = "1", n = 239 }, "acmek12345678"]]
"#;

#[test]
fn list_and_show_say_what_the_kernel_can_decide() {
    let (rules, near) = file("acme.toml", RULE);
    let far = rules.path().join("far.toml");
    std::fs::write(&far, FAR_RULE).unwrap();
    let config = rules.path().join("agent.toml");
    std::fs::write(&config, format!("rules = [{near:?}, {far:?}]")).unwrap();
    let config = config.to_str().unwrap();

    let (_, text) = ask(&["list", "--config", config]);
    let kernel = |id: &str| text.lines().find(|line| line.contains(id)).unwrap().split_whitespace().nth(2);
    assert_eq!((kernel("acme-key"), kernel("acme-far")), (Some("yes"), Some("no")), "{text}");
    assert!(text.contains("of kernel grade") && text.contains("kernel tables: "), "{text}");

    let (_, json) = ask(&["list", "--json", "--config", config]);
    let entries = json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let entries: Vec<_> = entries.filter(|entry| entry["vendor"] == "Acme").collect();
    let entry = |id: &str| entries.iter().find(|entry| entry["id"] == id).unwrap();
    assert_eq!(entry("acme-key")["kernel_grade"], true);
    assert!(entry("acme-key").get("why_not").is_none());
    assert_eq!(entry("acme-far")["kernel_grade"], false);
    assert!(entry("acme-far")["why_not"].as_str().unwrap().contains("behind the start"));

    let (_, text) = ask(&["show", "acme-key", "--config", config]);
    assert!(text.contains("kernel grade    yes"), "{text}");
    let (_, text) = ask(&["show", "acme-far", "--config", config]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let words = words.join(" ");
    assert!(words.contains("no, decided in userspace only") && words.contains("behind the start"), "{text}");
}

#[test]
fn show_tells_all_but_no_complete_key() {
    let rules = RuleSet::builtin().unwrap();
    let detector = Detector::new(Arc::new(rules.clone())).unwrap();
    // Some of them: each asks as the command does, from reading all rules on.
    for rule in rules.rules().iter().step_by(40) {
        let (exit, text) = ask(&["show", &rule.id]);
        assert_eq!(exit.unwrap(), Exit::Clean);
        assert!(text.contains(&rule.severity.to_string()) && text.contains("looks like"), "{text}");
        for sample in &rule.positives {
            detector.scan(sample.as_bytes(), &mut |m| {
                let secret = std::str::from_utf8(m.secret).unwrap();
                assert!(!text.contains(secret), "`rules show {}` prints a complete key", rule.id);
            });
        }
    }
}

#[test]
fn an_unknown_rule_is_an_error_that_helps() {
    let (exit, _) = ask(&["show", "anthropic"]);
    let error = exit.unwrap_err().to_string();
    assert!(error.contains("did you mean anthropic-"), "{error}");
    let error = ask(&["show", "zzz"]).0.unwrap_err().to_string();
    assert!(error.contains("rules list"), "{error}");
}

#[test]
fn check_accepts_a_good_file() {
    let (_directory, path) = file("acme.toml", RULE);
    let (exit, text) = ask(&["check", &path]);
    assert_eq!(exit.unwrap(), Exit::Clean);
    assert!(text.contains("rules: 1"), "{text}");
}

#[test]
fn check_runs_the_samples() {
    let (_directory, path) =
        file("acme.toml", &RULE.replace(r#"["acmek_", "short"]"#, r#"["acmek_", { fill = "hex", n = 20 }]"#));
    let (exit, text) = ask(&["check", &path]);
    assert_eq!(exit.unwrap(), Exit::Findings);
    assert!(text.contains("acme-key") && text.contains("negatives"), "{text}");
}

#[test]
fn check_says_where_a_file_is_wrong() {
    let (_directory, path) =
        file("acme.toml", &RULE.replace("severity = \"high\"", "severity = \"terrible\""));
    let error = ask(&["check", &path]).0.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{path}:6:12: ")), "{error}");
    let error = ask(&["check", "/nothing/here.toml"]).0.unwrap_err().to_string();
    assert!(error.starts_with("/nothing/here.toml: "), "{error}");
    let (_directory, path) = file("acme.toml", &RULE.replace("acme-key", "anthropic-api-key"));
    let error = ask(&["check", &path]).0.unwrap_err().to_string();
    assert!(error.contains("anthropic-api-key"), "{error}");
}

/// Two rules that work, one that cannot, and an allowlist that does half of its work.
const GITLEAKS: &str = r#"
[[rules]]
id = "zap-key"
description = "Zap key"
regex = '''zap=([a-z0-9]{12})'''
[[rules]]
id = "anthropic-api-key"
regex = '''anthropic=([a-z0-9]{12})'''
[[rules]]
id = "p12"
path = '''\.p12$'''
[allowlist]
paths = ['''go\.sum''']
stopwords = ["example"]
"#;

#[test]
fn check_names_what_of_a_gitleaks_file_has_no_effect() {
    let (_directory, path) = file("gitleaks.toml", GITLEAKS);
    let (exit, text) = ask(&["check", &path]);
    assert_eq!(exit.unwrap(), Exit::Clean, "{text}");
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with(&format!("{path}:11:8: ")) && lines[0].contains("`p12`"), "{text}");
    assert!(lines[1].starts_with(&format!("{path}:13:9: ")) && lines[1].contains("`paths`"), "{text}");
    assert!(lines[2].contains("`gitleaks-anthropic-api-key` in findings"), "{text}");
    assert!(lines[3].contains("2 of 3 rules work"), "{text}");
    assert_eq!(ask(&["check", "--strict", &path]).0.unwrap(), Exit::Findings);
}

#[test]
fn check_is_content_with_a_gitleaks_file_that_works() {
    let (_directory, path) = file("any.toml", &GITLEAKS[..GITLEAKS.find("[[rules]]\nid = \"anth").unwrap()]);
    let (exit, text) = ask(&["check", "--strict", &path]);
    assert_eq!(exit.unwrap(), Exit::Clean);
    assert!(text.contains("right, rules: 1"), "{text}");
    let (_directory, path) = file("any.toml", &GITLEAKS.replace("stopwords", "stop_words"));
    let error = ask(&["check", &path]).0.unwrap_err().to_string();
    assert!(error.starts_with(&format!("{path}:14:1: ")) && error.contains("stop_words"), "{error}");
}
