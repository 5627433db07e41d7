use super::*;
use std::fs;

/// A fake key, put together so that other scanners stay quiet.
fn key() -> String {
    format!("sk-ant-{}03-{}AA", "api", "k9_Z-".repeat(19).get(..93).unwrap())
}

fn args(files: &[&Path]) -> ScanArgs {
    ScanArgs {
        files: files.iter().map(|f| f.to_path_buf()).collect(),
        json: false,
        show_suppressed: false,
        destination: None,
        location: None,
        policy: None,
        enable: Vec::new(),
        disable: Vec::new(),
        config: None,
    }
}

fn run(args: &ScanArgs, stdin: &mut dyn Read) -> (Exit, String) {
    let mut out = Vec::new();
    let exit = scan(args, stdin, &mut out, false).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains(&key()) && !text.contains("k9_Z-k9_Z-"), "the raw secret was printed");
    (exit, text)
}

fn objects(text: &str) -> Vec<serde_json::Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_clean_stream_is_clean() {
    assert_eq!(run(&args(&[]), &mut &b"nothing here\n"[..]), (Exit::Clean, String::new()));
}

#[test]
fn a_finding_has_its_place_its_rule_and_a_redacted_form() {
    let text = format!("first\nKEY='{}'\n", key());
    let (exit, out) = run(&args(&[]), &mut text.as_bytes());
    assert_eq!(exit, Exit::Findings);
    let headline = out.lines().next().unwrap();
    assert_eq!(
        headline,
        "-:2:6: critical Anthropic API key sk-ant-api…(108) [anthropic-api-key] high confidence"
    );
    assert!(out.lines().count() > 1, "{out}");
}

#[test]
fn json_is_close_to_the_agents_finding() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notes");
    fs::write(&path, format!("\0\u{1}{}\n{}", key(), key())).unwrap();
    let args = ScanArgs { json: true, destination: Some("hooks.example.com".to_owned()), ..args(&[&path]) };
    let (exit, out) = run(&args, &mut io::empty());
    assert_eq!(exit, Exit::Findings);
    let found = objects(&out);
    assert_eq!(found.len(), 2);
    let first = &found[0];
    assert_eq!(first["type"], "finding");
    assert_eq!(first["rule"]["id"], "anthropic-api-key");
    assert_eq!(first["action"], "observed");
    assert_eq!(first["secret"]["redacted"], "sk-ant-api…(108)");
    assert_eq!(first["secret"]["length"], 108);
    assert_eq!(first["confidence"], "high");
    assert_eq!(first["secret"]["fingerprint"].as_str().unwrap().len(), 64);
    assert_eq!(first["secret"]["fingerprint"], found[1]["secret"]["fingerprint"]);
    assert_eq!(first["file"].as_str(), path.to_str());
    assert_eq!((first["line"].as_u64(), first["column"].as_u64()), (Some(1), Some(3)));
    assert_eq!((found[1]["line"].as_u64(), found[1]["column"].as_u64()), (Some(2), Some(1)));
    assert_eq!(first["destination"], "hooks.example.com");
    assert!(first["verdict"].as_str().unwrap().contains("not where this key belongs"));
}

/// A placeholder of the same shape, and another that is a run of zeros where a key would be.
fn placeholders() -> String {
    format!("sk-ant-{}03-{}AA\nghp_{}\n", "api", "x".repeat(93), "0".repeat(36))
}

#[test]
fn placeholders_are_counted_and_are_no_findings() {
    let (exit, out) = run(&args(&[]), &mut placeholders().as_bytes());
    assert_eq!(exit, Exit::Clean);
    assert_eq!(out, "suppressed: 2 (placeholder 2); --show-suppressed lists them\n");
    let text = placeholders() + &key();
    let (exit, out) = run(&args(&[]), &mut text.as_bytes());
    assert_eq!(exit, Exit::Findings);
    assert!(out.starts_with("-:3:1: critical") && out.ends_with("lists them\n"), "{out}");
}

#[test]
fn placeholders_are_listed_when_asked_for() {
    let args = ScanArgs { show_suppressed: true, ..args(&[]) };
    let (exit, out) = run(&args, &mut placeholders().as_bytes());
    assert_eq!(exit, Exit::Clean);
    let first = out.lines().next().unwrap();
    assert_eq!(
        first,
        "-:1:1: suppressed (placeholder) Anthropic API key sk-ant-api…(108) [anthropic-api-key]"
    );
    assert!(out.contains("-:2:1: suppressed") && out.ends_with("suppressed: 2 (placeholder 2)\n"), "{out}");
    assert!(!out.contains("xxx") && !out.contains("000"), "{out}");
}

#[test]
fn placeholders_in_json_are_no_findings_either() {
    let text = placeholders() + &key();
    let types = |args: &ScanArgs| -> Vec<String> {
        let (_, out) = run(args, &mut text.as_bytes());
        objects(&out).iter().map(|line| line["type"].as_str().unwrap().to_owned()).collect()
    };
    let json = ScanArgs { json: true, ..args(&[]) };
    assert_eq!(types(&json), ["finding", "summary"]);
    let all = ScanArgs { show_suppressed: true, ..json.clone() };
    assert_eq!(types(&all), ["suppressed", "suppressed", "finding", "summary"]);
    let (_, out) = run(&all, &mut text.as_bytes());
    let lines = objects(&out);
    assert_eq!(lines[0]["suppressed_as"], "placeholder");
    assert_eq!(lines[0]["secret"]["redacted"], "sk-ant-api…(108)");
    assert_eq!((lines[1]["line"].as_u64(), lines[1]["column"].as_u64()), (Some(2), Some(1)));
    assert_eq!(lines[3]["findings"], 1);
    assert_eq!(lines[3]["suppressed"]["placeholder"], 2);
}

#[test]
fn a_key_says_why_it_is_believed_or_doubted() {
    let doubted = format!("ghp_{}", "k9Zq".repeat(9));
    let (exit, out) = run(&args(&[]), &mut doubted.as_bytes());
    assert_eq!(exit, Exit::Findings);
    assert!(out.contains("] low confidence\n    its checksum is wrong\n"), "{out}");
    let id = ["AKIA", "Y34FZKBO", "KMUTVV7A"].concat();
    let (_, out) = run(&args(&[]), &mut id.as_bytes());
    assert!(out.contains("] high confidence\n    aws-account 609629065308\n"), "{out}");
    let (_, out) = run(&ScanArgs { json: true, ..args(&[]) }, &mut id.as_bytes());
    assert_eq!(objects(&out)[0]["facts"]["aws-account"], "609629065308");
}

#[test]
fn at_home_it_is_a_leak_all_the_same_since_nobody_sends_keys_in_files() {
    let args = ScanArgs { destination: Some("api.anthropic.com".to_owned()), json: true, ..args(&[]) };
    let (exit, out) = run(&args, &mut key().as_bytes());
    assert_eq!(exit, Exit::Findings);
    assert_eq!(objects(&out)[0]["action"], "observed");
    assert!(objects(&out)[0]["verdict"].as_str().unwrap().contains("header:x-api-key"), "{out}");
}

/// One finding as if it were sent to `host`, judged by a policy.
fn judged(host: &str, location: Option<&str>, policy: &str) -> (Exit, Vec<serde_json::Value>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("policy.toml");
    fs::write(&path, policy).unwrap();
    let args = ScanArgs {
        json: true,
        destination: Some(host.to_owned()),
        location: location.map(str::to_owned),
        policy: Some(path),
        ..args(&[])
    };
    let (exit, out) = run(&args, &mut key().as_bytes());
    (exit, objects(&out))
}

#[test]
fn a_place_in_a_message_can_be_asked_about() {
    let (exit, found) = judged("api.anthropic.com", Some("header:x-api-key"), "");
    assert_eq!((exit, found[0]["action"].as_str()), (Exit::Findings, Some("allowed")));
    assert_eq!((&found[0]["reason"], &found[0]["category"]), (&"usual".into(), &"llm".into()));
    let (_, found) = judged("api.anthropic.com", Some("body > json:messages[0].content"), "");
    assert_eq!(found[0]["reason"], "unusual-place");
    let told = found[0]["verdict"].as_str().unwrap();
    assert!(
        told.contains("not in the request body (field `messages[0].content`). It is a language"),
        "{told}"
    );
}

#[test]
fn the_policy_is_asked_and_named() {
    let entry = |action: &str| {
        format!(
            "[[entry]]\nname = 'mine'\naction = '{action}'\nseverity = 'low'\ndestination = {{ hosts = ['pastebin.com'] }}\n"
        )
    };
    let (exit, found) = judged("pastebin.com", None, &entry("allow"));
    assert_eq!(
        (exit, &found[0]["action"], &found[0]["policy"]),
        (Exit::Findings, &"allowed".into(), &"mine".into())
    );
    assert_eq!(found[0]["rule"]["severity"], "low");
    let told = found[0]["verdict"].as_str().unwrap();
    assert!(
        told.contains("It is a site for pasting")
            && told.ends_with("By the policy's entry `mine` it is allowed."),
        "{told}"
    );
    let (_, found) = judged("paste.example", None, &entry("allow"));
    assert_eq!((&found[0]["action"], found[0].get("policy")), (&"observed".into(), None));

    let (exit, found) = judged("pastebin.com", None, &entry("ignore"));
    assert_eq!((exit, found.len()), (Exit::Clean, 0));
}

#[test]
fn a_policy_that_is_wrong_stops_the_scan() {
    let args = ScanArgs {
        destination: Some("a.example".to_owned()),
        policy: Some(PathBuf::from("/nothing/here.toml")),
        ..args(&[])
    };
    let error = scan(&args, &mut io::empty(), io::sink(), false).unwrap_err().to_string();
    assert!(error.contains("/nothing/here.toml"), "{error}");
}

#[test]
fn a_directory_is_searched_and_an_unreadable_name_stops_nothing() {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("sub")).unwrap();
    fs::write(directory.path().join("sub/.env"), key()).unwrap();
    let missing = directory.path().join("missing");
    let (exit, out) = run(&args(&[&missing, directory.path()]), &mut io::empty());
    assert_eq!(exit, Exit::Findings);
    assert!(out.contains("sub/.env:1:1:"), "{out}");
    assert_eq!(run(&args(&[&missing]), &mut io::empty()).0, Exit::Error);
}

#[test]
fn a_file_name_cannot_write_to_the_terminal() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("a\x1b[2J\nb"), key()).unwrap();
    let (_, out) = run(&args(&[directory.path()]), &mut io::empty());
    assert!(out.contains("a\\x1b[2J\\nb:1:1:") && !out.contains('\x1b'), "{out}");
}

/// Gives out a text again and again, a few bytes at a time, without ever holding more of it.
struct Endless<'a> {
    text: &'a [u8],
    at: usize,
    left: usize,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = buffer.len().min(7001).min(self.left).min(self.text.len() - self.at);
        buffer[..n].copy_from_slice(&self.text[self.at..self.at + n]);
        self.at = (self.at + n) % self.text.len();
        self.left -= n;
        Ok(n)
    }
}

/// A key in every MiB of a stream, cut wherever reads end.
#[test]
fn a_long_stream_loses_nothing() {
    let mut text = vec![b'x'; 1 << 20];
    for line in (0..text.len()).step_by(100) {
        text[line] = b'\n';
    }
    let place = 700_001;
    text[place - 1] = b' ';
    text[place..place + 108].copy_from_slice(key().as_bytes());
    text[place + 108] = b'\n';
    let lines_before = |end: usize| text[..end].iter().filter(|b| **b == b'\n').count();
    let (per_round, first) = (lines_before(text.len()), lines_before(place) + 1);

    let mut source = Endless { text: &text, at: 0, left: text.len() * 16 };
    let (exit, out) = run(&ScanArgs { json: true, ..args(&[]) }, &mut source);
    assert_eq!(exit, Exit::Findings);
    let lines: Vec<u64> = objects(&out).iter().map(|f| f["line"].as_u64().unwrap()).collect();
    let expected: Vec<u64> = (0..16).map(|round| (round * per_round + first) as u64).collect();
    assert_eq!(lines, expected);
}

#[test]
fn a_reader_who_leaves_is_no_error() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert_eq!(scan(&args(&[]), &mut key().as_bytes(), Closed, false).unwrap(), Exit::Findings);
}

#[test]
fn a_read_error_in_the_middle_keeps_what_was_found() {
    struct Failing(Option<String>);
    impl Read for Failing {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let text = self.0.take().ok_or(ErrorKind::TimedOut)?;
            text.as_bytes().read(buffer)
        }
    }
    assert_eq!(run(&args(&[]), &mut Failing(Some(key()))).0, Exit::Findings);
    assert_eq!(run(&args(&[]), &mut Failing(Some("clean".to_owned()))).0, Exit::Error);
}

#[test]
fn a_configuration_that_is_wrong_stops_the_scan() {
    let args = ScanArgs { config: Some(PathBuf::from("/nothing/here.toml")), ..args(&[]) };
    assert!(scan(&args, &mut io::empty(), io::sink(), false).is_err());
}

#[test]
fn rules_are_switched_for_one_scan() {
    let jwt = format!("eyJhbGciOiJIUzI1NiJ9.eyJ{}.{}\n", "a1B2".repeat(20), "c3D4".repeat(11));
    assert_eq!(run(&args(&[]), &mut jwt.as_bytes()).0, Exit::Clean);
    let with_it = ScanArgs { enable: vec!["generic-jwt".to_owned()], ..args(&[]) };
    let (exit, out) = run(&with_it, &mut jwt.as_bytes());
    assert!(exit == Exit::Findings && out.contains("[generic-jwt]"), "{out}");

    let without = ScanArgs { disable: vec!["anthropic-api-key".to_owned()], ..args(&[]) };
    let (_, out) = run(&without, &mut key().as_bytes());
    assert!(!out.contains("[anthropic-api-key]"), "{out}");

    let unknown = ScanArgs { enable: vec!["jwt".to_owned()], ..args(&[]) };
    let error = scan(&unknown, &mut io::empty(), Vec::new(), false).unwrap_err();
    assert!(
        format!("{error:#}").starts_with("--enable: no rule has the id `jwt`; did you mean"),
        "{error:#}"
    );
}

#[test]
fn rules_of_gitleaks_find_in_files_too() {
    let directory = tempfile::tempdir().unwrap();
    let (rules, config) = (directory.path().join("gitleaks.toml"), directory.path().join("agent.toml"));
    fs::write(&rules, "[[rules]]\nid = \"zap-key\"\nregex = 'zap=([a-z0-9]{12})'\n").unwrap();
    fs::write(&config, format!("rules = [{:?}]", rules.to_str().unwrap())).unwrap();
    let args = ScanArgs { config: Some(config), json: true, ..args(&[]) };
    let (exit, out) = run(&args, &mut &b"one\nzap=a1b2c3d4e5f6\n"[..]);
    assert_eq!(exit, Exit::Findings);
    let found = &objects(&out)[0];
    assert_eq!(
        (found["rule"]["id"].as_str(), found["rule"]["severity"].as_str()),
        (Some("zap-key"), Some("high"))
    );
    assert_eq!((found["line"].as_u64(), found["column"].as_u64()), (Some(2), Some(5)));
    assert_eq!(found["secret"]["redacted"], "…(12)");
    assert_eq!(run(&args, &mut &b"zap=a1b2c3d4e5f"[..]).0, Exit::Clean);
}

/// A configuration that registers one value, and the directory it is in.
fn registering(value: &str) -> (tempfile::TempDir, ScanArgs) {
    use std::os::unix::fs::PermissionsExt;
    let directory = tempfile::tempdir().unwrap();
    let (values, config) = (directory.path().join("values"), directory.path().join("agent.toml"));
    fs::write(&values, format!("DB_PASSWORD = \"{value}\"\n")).unwrap();
    fs::set_permissions(&values, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&config, format!("registered_values_file = {values:?}\n")).unwrap();
    (directory, ScanArgs { json: true, config: Some(config), ..args(&[]) })
}

#[test]
fn registered_values_are_found_in_every_form_and_never_shown() {
    use data_encoding::BASE64;
    let value = "x9Kq/2+LmPz7wTq";
    let (_directory, args) = registering(value);
    let nested =
        BASE64.encode(format!("{{\"password\": \"{}\"}}", BASE64.encode(value.as_bytes())).as_bytes());
    for (text, encoding) in [
        (format!("password={value}\n"), None),
        (format!("{{\"a\": [\"{}\"]}}", value.replace('/', "\\/")), Some("json")),
        (format!("p={}&q", value.replace('/', "%2F").replace('+', "%2B")), Some("percent")),
        (format!("Basic {}", BASE64.encode(format!("app:{value}").as_bytes())), Some("base64")),
        (nested, Some("base64 > base64")),
    ] {
        let (exit, out) = run(&args, &mut text.as_bytes());
        assert_eq!(exit, Exit::Findings, "{text}");
        assert!(!out.contains(value), "{out}");
        let found: Vec<_> = objects(&out);
        assert_eq!(found.len(), 1, "{out}");
        assert_eq!(found[0]["rule"]["id"], "registered-value");
        assert_eq!(found[0]["facts"]["registered-as"], "DB_PASSWORD");
        assert_eq!(found[0]["confidence"], "high");
        assert_eq!(found[0]["encoding"].as_str(), encoding, "{text}");
    }
    for text in ["x9Kq/2+LmPz7wTp", "X9KQ/2+LMPZ7WTQ", "9Kq/2+LmPz7wTq", "x9Kq/2+LmPz7\nwTq"] {
        assert_eq!(run(&args, &mut text.as_bytes()), (Exit::Clean, String::new()), "{text}");
    }
}

#[test]
fn a_value_that_stands_everywhere_is_refused_by_its_name() {
    let (_directory, args) = registering("localhost");
    let error = scan(&args, &mut io::empty(), &mut Vec::new(), false).unwrap_err();
    let error = format!("{error:#}");
    assert!(error.contains("`DB_PASSWORD` reads like words") && !error.contains("localhost"), "{error}");
}

#[test]
fn what_is_encoded_is_opened_and_its_place_says_so() {
    use data_encoding::BASE64;
    let text = format!("first\ndata: {}\n", BASE64.encode(format!("{{\"key\": \"{}\"}}", key()).as_bytes()));
    let (exit, out) = run(&args(&[]), &mut text.as_bytes());
    assert_eq!(exit, Exit::Findings);
    assert!(out.starts_with("-:2:") && out.contains(": (base64) critical Anthropic API key"), "{out}");
    let (_, out) = run(&ScanArgs { json: true, ..args(&[]) }, &mut text.as_bytes());
    let found = objects(&out);
    assert_eq!(
        (found.len(), found[0]["encoding"].as_str(), found[0]["line"].as_u64()),
        (1, Some("base64"), Some(2))
    );
    let (_, out) = run(&ScanArgs { json: true, ..args(&[]) }, &mut key().as_bytes());
    assert!(objects(&out)[0].get("encoding").is_none());
}
