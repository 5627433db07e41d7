use super::*;
use std::path::Path;

fn parse(text: &str) -> Result<Config, String> {
    Config::parse(Path::new("agent.toml"), text).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, place: &str, says: &str) {
    let error = parse(text).unwrap_err();
    assert!(error.starts_with(&format!("agent.toml:{place}: ")), "{error}");
    assert!(error.contains(says), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn nothing_set_means_the_defaults() {
    let config = parse("").unwrap();
    assert_eq!(config.mode, Mode::Detect);
    assert_eq!((config.ring_bytes.get(), config.max_flows.get()), (8 << 20, 65_536));
    assert!(config.accepted_connections && !config.include_loopback);
    assert!(config.jsonl.is_none() && config.collector.is_none() && config.rules.is_empty());
}

#[test]
fn every_key() {
    let config = parse(
        r#"
        mode = "block"
        enforcement = "return-override"
        capture = "everything"
        jsonl = "-"
        collector = "http://127.0.0.1:7001"
        include_loopback = true
        accepted_connections = false
        response_budget = 100
        fleet_key_file = "/run/key"
        rules = ["/etc/keymoat/rules.d/own.toml"]
        policy = "/etc/keymoat/policy.toml"
        enable_rules = ["generic-jwt"]
        disable_rules = ["aws-access-key-id", "canary"]
        ring_bytes = 1_048_576
        max_flows = 1000
        log = "debug"
        [buffer]
        records = 10
        "#,
    )
    .unwrap();
    assert_eq!((config.mode, config.enforcement), (Mode::Block, Some(Method::ReturnOverride)));
    assert_eq!((config.capture, Config::default().capture), (Capture::Everything, Capture::Needed));
    assert_eq!(config.response_budget.per_period(), 14_073_748);
    assert_eq!(config.jsonl, Some(JsonlOutput::Stdout));
    assert_eq!(config.collector.unwrap().to_string(), "http://127.0.0.1:7001/");
    assert!(config.include_loopback && !config.accepted_connections);
    assert_eq!(config.rules, [PathBuf::from("/etc/keymoat/rules.d/own.toml")]);
    assert_eq!(config.policy, Some(PathBuf::from("/etc/keymoat/policy.toml")));
    assert_eq!(config.enable_rules, ["generic-jwt"]);
    assert_eq!(config.disable_rules, ["aws-access-key-id", "canary"]);
    assert_eq!((config.ring_bytes.get(), config.max_flows.get()), (1 << 20, 1000));
    assert_eq!(config.log, LogLevel::Debug);
    assert_eq!((config.buffer.records.get(), config.buffer.bytes), (10, Buffer::default().bytes));
}

#[test]
fn errors_say_where_and_what() {
    refused("mode = \"detect\"\nmood = 1\n", "2:1", "unknown field `mood`");
    refused("\n  mode = \"stop\"", "2:10", "expected `detect` or `block`");
    refused("ring_bytes = 5000", "1:14", "power of two");
    refused("ring_bytes = -1", "1:14", "power of two");
    refused("max_flows = 1", "1:13", "use 64 to");
    refused("[buffer]\nrecords = 0", "2:11", "");
    refused("[buffer]\nrecord = 1", "2:1", "docs/operations.md");
    refused("rules = \"one.toml\"", "1:9", "expected a sequence");
    refused("jsonl = \"\"", "1:9", "`-` for standard output");
    refused("mode = ", "1:8", "");
    refused("ä = \"é\" x", "1:9", "");
}

#[test]
fn collector_urls() {
    for (url, says) in [
        ("127.0.0.1:7001", "http://HOST:PORT"),
        ("http://", "http://HOST:PORT"),
        ("https://c:1", "not supported yet"),
        ("http://c:1/path", "path"),
        ("http://a b", "not a URL"),
    ] {
        refused(&format!("collector = \"{url}\""), "1:13", says);
    }
}

#[test]
fn a_secret_in_the_file_is_refused_and_not_repeated() {
    let secret = "hunter2hunter2";
    for text in [
        format!("fleet_key = \"{secret}\""),
        format!("collector = \"http://me:{secret}@c:1\""),
        format!("api_key = \"{secret}\""),
    ] {
        let error = parse(&text).unwrap_err();
        assert!(!error.contains(secret), "{error}");
    }
    refused("fleet_key = \"x\"", "1:1", "`fleet_key_file`");
}

#[test]
fn a_named_file_must_exist_and_a_good_one_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    let error = Config::load(Some(&path)).unwrap_err().to_string();
    assert!(error.contains("--config"), "{error}");
    std::fs::write(&path, "max_flows = 77").unwrap();
    assert_eq!(Config::load(Some(&path)).unwrap().max_flows.get(), 77);
    std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
    assert!(matches!(Config::load(Some(&path)), Err(ConfigError::TooLarge(_))));
    std::fs::write(&path, b"mode = \"\xff\"").unwrap();
    assert!(matches!(Config::load(Some(&path)), Err(ConfigError::Unreadable { .. })));
}

#[test]
fn rules_are_switched_by_id() {
    let on = |text: &str| rules::load(&parse(text).unwrap()).map_err(|error| error.to_string());
    let is_on = |text: &str, id: &str| on(text).unwrap().get(id).unwrap().on;
    assert!(!is_on("", "generic-jwt") && is_on("", "anthropic-api-key"));
    assert!(is_on("enable_rules = ['generic-jwt']", "generic-jwt"));
    assert!(!is_on("disable_rules = ['anthropic-api-key']", "anthropic-api-key"));
    assert!(!is_on("enable_rules = ['generic-jwt']\ndisable_rules = ['generic-jwt']", "generic-jwt"));
    let error = on("enable_rules = ['eric-jwt']").unwrap_err();
    assert!(
        error.starts_with("`enable_rules`: no rule has the id `eric-jwt`; did you mean generic-jwt"),
        "{error}"
    );
    let error = on("disable_rules = ['nothing-like-it']").unwrap_err();
    assert!(error.starts_with("`disable_rules`: ") && error.contains("`keymoat rules list`"), "{error}");
}
