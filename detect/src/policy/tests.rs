//! Sightings in, verdicts out.

use super::*;
use proptest::prelude::*;
use std::sync::LazyLock;

static RULES: LazyLock<RuleSet> = LazyLock::new(|| RuleSet::builtin().unwrap());
static BUILTIN: LazyLock<Policy> = LazyLock::new(|| Policy::builtin().unwrap());

const RULE: &str = "anthropic-api-key";
const HOME: &str = "api.anthropic.com";
const KEY: &str = "header:x-api-key";
const ELSEWHERE: &str = "collect.example.test";
const NOW: &str = "2026-06-01T12:00:00Z";

fn rule(id: &str) -> &'static Rule {
    RULES.get(id).unwrap()
}

/// A leak: a key in a header to somebody else.
fn leak() -> Sighting<'static> {
    Sighting {
        rule: rule(RULE),
        location: KEY,
        encrypted: true,
        destination: Destination { host: Some(ELSEWHERE), ip: Some("192.0.2.7".parse().unwrap()) },
        claimed_host: None,
        direction: Some(Direction::Outbound),
        process: Process {
            exe: Some("/usr/bin/curl"),
            comm: Some("curl"),
            uid: Some(1000),
            container: None,
            unit: Some("backup.service"),
        },
        at: NOW.parse().unwrap(),
    }
}

fn to(host: Option<&'static str>) -> Destination<'static> {
    Destination { host, ..leak().destination }
}

fn policy(text: &str) -> Policy {
    Policy::from_toml("policy.toml", text, &RULES).unwrap()
}

/// A policy of one entry, given its conditions.
fn entry(action: &str, conditions: &str) -> Policy {
    policy(&format!("[[entry]]\nname = \"one\"\naction = \"{action}\"\n{conditions}\n"))
}

fn applies(policy: &Policy, sighting: &Sighting<'_>) -> bool {
    judge(sighting, policy).by.is_some()
}

#[test]
fn only_the_usual_way_home_is_allowed() {
    let table = [
        (true, Some(HOME), None, KEY, Reason::Usual),
        (true, Some(HOME), Some(HOME), "header:X-Api-Key", Reason::Usual),
        (true, Some(HOME), Some(HOME), "header:authorization > base64", Reason::Usual),
        (true, Some(HOME), Some(HOME), "body", Reason::UnusualPlace),
        (true, Some(HOME), Some(HOME), "body > gzip > json:env.KEY > base64", Reason::UnusualPlace),
        (true, Some(HOME), Some(HOME), "message > json:messages[0].content", Reason::UnusualPlace),
        (true, Some(HOME), Some(HOME), "header:x-api-key > gzip", Reason::UnusualPlace),
        (true, Some(HOME), None, "stream", Reason::UnusualPlace),
        (true, Some(HOME), Some(ELSEWHERE), KEY, Reason::HostsDisagree),
        (true, Some(ELSEWHERE), Some(HOME), KEY, Reason::NotHome),
        (true, None, None, KEY, Reason::UnknownHost),
        (false, Some(HOME), Some(HOME), KEY, Reason::InTheClear),
        (false, None, None, "datagram", Reason::InTheClear),
    ];
    for (encrypted, host, claimed_host, location, reason) in table {
        let sighting = Sighting { encrypted, destination: to(host), claimed_host, location, ..leak() };
        let verdict = judge(&sighting, &BUILTIN);
        let action = if reason == Reason::Usual { Action::Allow } else { Action::Observe };
        assert_eq!(
            (verdict.action, verdict.reason),
            (action, reason),
            "{host:?} {claimed_host:?} {location}"
        );
        assert_eq!(verdict.by, None);
    }
}

#[test]
fn a_body_is_usual_for_keys_that_travel_in_bodies() {
    let in_body = RULES.rules().iter().find(|rule| rule.usual == ["body"] && !rule.home.is_empty()).unwrap();
    let host = in_body.home.iter().find(|host| !host.contains('*')).unwrap();
    let destination = Destination { host: Some(host), ip: None };
    let at = |location| judge(&Sighting { rule: in_body, destination, location, ..leak() }, &BUILTIN).reason;
    assert_eq!(at("body > json:refresh_token"), Reason::Usual);
    assert_eq!(at("message > json:refresh_token"), Reason::UnusualPlace);
    assert_eq!(at("header:authorization"), Reason::UnusualPlace);
}

#[test]
fn some_places_make_a_leak_worse() {
    let low = RULES.rules().iter().find(|rule| rule.severity == Severity::Low).unwrap();
    let info = RULES.rules().iter().find(|rule| rule.severity == Severity::Info).unwrap();
    let table = [
        ("webhook.site", low, "webhook-catcher", Severity::Medium),
        ("x.trycloudflare.com", low, "tunnel", Severity::Medium),
        ("pastebin.com", low, "paste", Severity::Medium),
        ("pastebin.com", rule(RULE), "paste", Severity::Critical),
        ("pastebin.com", info, "paste", Severity::Info),
        ("api.openai.com", low, "llm", Severity::Low),
        (ELSEWHERE, low, "unknown", Severity::Low),
    ];
    for (host, rule, category, severity) in table {
        let verdict = judge(&Sighting { rule, destination: to(Some(host)), ..leak() }, &BUILTIN);
        assert_eq!((verdict.category.name.as_str(), verdict.severity), (category, severity), "{host}");
    }
    // What is let pass is no worse anywhere.
    let allowed = entry("allow", "destination = { categories = ['paste'] }");
    let sighting = Sighting { rule: low, destination: to(Some("pastebin.com")), ..leak() };
    assert_eq!(judge(&sighting, &allowed).severity, Severity::Low);
}

#[test]
fn the_name_inside_says_who_gets_it() {
    let sighting = Sighting { destination: to(Some(HOME)), claimed_host: Some("webhook.site"), ..leak() };
    assert_eq!(judge(&sighting, &BUILTIN).category.name, "webhook-catcher");
    assert_eq!(judge(&Sighting { claimed_host: Some(HOME), ..sighting }, &BUILTIN).category.name, "llm");
}

#[test]
fn a_home_of_ones_own_counts_for_its_rule_only() {
    let policy = policy("[home]\n'grafana-service-account-token' = ['grafana.corp.example']\n");
    let own = Sighting {
        rule: rule("grafana-service-account-token"),
        destination: to(Some("grafana.corp.example")),
        location: "header:authorization",
        ..leak()
    };
    assert_eq!(judge(&own, &policy).reason, Reason::Usual);
    assert_eq!(judge(&own, &BUILTIN).reason, Reason::NotHome);
    for (other, reason) in [
        (Sighting { rule: rule(RULE), ..own }, Reason::NotHome),
        (Sighting { destination: to(Some("x.grafana.corp.example")), ..own }, Reason::NotHome),
        (Sighting { location: "body", ..own }, Reason::UnusualPlace),
        (Sighting { encrypted: false, ..own }, Reason::InTheClear),
        (Sighting { claimed_host: Some(ELSEWHERE), ..own }, Reason::HostsDisagree),
    ] {
        assert_eq!(judge(&other, &policy).reason, reason);
    }
}

/// Each condition: sightings that meet it, and their twins that do not.
#[test]
fn a_condition_applies_to_exactly_what_it_says() {
    let is = leak();
    let process = |exe, comm, uid| Process { exe, comm, uid: Some(uid), ..Process::default() };
    let container = "3f2a".repeat(16);
    let boxed = Sighting { process: Process { container: Some(&container), ..is.process }, ..is };
    let v6 = Destination { host: None, ip: Some("2001:db8::7".parse().unwrap()) };
    let table: Vec<(&str, Vec<Sighting<'_>>, Vec<Sighting<'_>>)> = vec![
        (
            "destination = { hosts = ['collect.example.test'] }",
            vec![is, Sighting { destination: to(Some("COLLECT.example.test:443")), ..is }],
            vec![
                Sighting { destination: to(Some("x.collect.example.test")), ..is },
                Sighting { destination: to(None), ..is },
            ],
        ),
        (
            "destination = { categories = ['paste', 'chat'] }",
            vec![Sighting { destination: to(Some("hooks.slack.com")), ..is }],
            vec![is, Sighting { destination: to(Some("webhook.site")), ..is }],
        ),
        (
            "destination = { categories = ['unknown'] }",
            vec![is, Sighting { destination: to(None), ..is }],
            vec![Sighting { destination: to(Some("webhook.site")), ..is }],
        ),
        (
            "destination = { networks = ['192.0.2.0/24', '2001:db8::7'] }",
            vec![is, Sighting { destination: v6, ..is }],
            vec![
                Sighting { destination: Destination { ip: None, ..is.destination }, ..is },
                Sighting { destination: Destination { ip: Some([192, 0, 3, 7].into()), ..v6 }, ..is },
            ],
        ),
        (
            "process = { exe = ['/usr/*/curl'] }",
            vec![is],
            vec![
                Sighting { process: process(Some("/opt/curl"), None, 0), ..is },
                Sighting { process: process(None, Some("/usr/bin/curl"), 0), ..is },
            ],
        ),
        (
            "process = { comm = ['cur*'] }",
            vec![is],
            vec![Sighting { process: process(Some("/usr/bin/curl"), Some("wget"), 0), ..is }],
        ),
        (
            "process = { uid = [0, 1000] }",
            vec![is, Sighting { process: process(None, None, 0), ..is }],
            vec![
                Sighting { process: process(None, None, 1), ..is },
                Sighting { process: Process::default(), ..is },
            ],
        ),
        ("process = { container = ['3f2a*'] }", vec![boxed], vec![is]),
        (
            "process = { unit = ['backup.service'] }",
            vec![is],
            vec![Sighting { process: Process { unit: Some("xbackup.service"), ..is.process }, ..is }],
        ),
        (
            "process = { comm = ['curl'], uid = [1000] }",
            vec![is],
            vec![
                Sighting { process: process(None, Some("curl"), 1), ..is },
                Sighting { process: process(None, Some("wget"), 1000), ..is },
            ],
        ),
        (
            "rule = { ids = ['anthropic-api-key'] }",
            vec![is],
            vec![Sighting { rule: rule("groq-api-key"), ..is }],
        ),
        (
            "rule = { vendors = ['anthropic', 'Groq'] }",
            vec![is, Sighting { rule: rule("groq-api-key"), ..is }],
            vec![Sighting { rule: rule("grafana-service-account-token"), ..is }],
        ),
        (
            "rule = { severity = 'critical' }",
            vec![is],
            RULES
                .rules()
                .iter()
                .filter(|r| r.severity < Severity::Critical)
                .map(|rule| Sighting { rule, ..is })
                .collect(),
        ),
        (
            "locations = ['header:*', 'body > json:messages*']",
            vec![is, Sighting { location: "body > json:messages[0].content > base64", ..is }],
            vec![Sighting { location: "body", ..is }, Sighting { location: "query:key", ..is }],
        ),
        (
            "direction = 'outbound'",
            vec![is],
            vec![Sighting { direction: Some(Direction::Inbound), ..is }, Sighting { direction: None, ..is }],
        ),
    ];
    for (conditions, meeting, missing) in &table {
        for action in ["allow", "observe", "block", "ignore"] {
            let policy = entry(action, conditions);
            for (sighting, expected) in
                meeting.iter().map(|s| (s, true)).chain(missing.iter().map(|s| (s, false)))
            {
                assert_eq!(applies(&policy, sighting), expected, "{action} {conditions}: {sighting:?}");
            }
        }
    }
}

#[test]
fn an_entry_that_lets_pass_is_sure_of_the_name() {
    let conditions =
        ["destination = { hosts = ['collect.example.test'] }", "destination = { categories = ['unknown'] }"];
    let doubtful = [
        Sighting { encrypted: false, ..leak() },
        Sighting { claimed_host: Some("webhook.site"), ..leak() },
        Sighting { destination: to(Some("webhook.site")), claimed_host: Some(ELSEWHERE), ..leak() },
    ];
    for conditions in conditions {
        for sighting in &doubtful {
            for action in ["allow", "ignore"] {
                assert!(!applies(&entry(action, conditions), sighting), "{action} {sighting:?}");
            }
            for action in ["observe", "block"] {
                assert!(applies(&entry(action, conditions), sighting), "{action} {sighting:?}");
            }
        }
    }
    // A network needs no name to be believed.
    let network = entry("allow", "destination = { networks = ['192.0.2.7'] }");
    assert!(doubtful.iter().all(|sighting| applies(&network, sighting)));
}

#[test]
fn an_action_and_a_severity_are_taken_as_they_are() {
    for (text, action) in [
        ("allow", Action::Allow),
        ("observe", Action::Observe),
        ("block", Action::Block),
        ("ignore", Action::Ignore),
    ] {
        let policy = entry(text, "severity = 'info'\ndirection = 'outbound'");
        let verdict = judge(&leak(), &policy);
        assert_eq!((verdict.action, verdict.severity, verdict.by), (action, Severity::Info, Some("one")));
        assert_eq!(verdict.reason, Reason::NotHome, "what was seen stays what it was");
        // Normal use as well.
        let usual = Sighting { destination: to(Some(HOME)), ..leak() };
        assert_eq!((judge(&usual, &policy).action, judge(&usual, &policy).reason), (action, Reason::Usual));
    }
}

#[test]
fn the_first_entry_that_applies_decides() {
    let policy = policy(
        "[[entry]]\nname = 'other'\naction = 'ignore'\ndestination = { hosts = ['other.example.test'] }\n\
         [[entry]]\nname = 'first'\naction = 'allow'\nprocess = { uid = [1000] }\n\
         [[entry]]\nname = 'second'\naction = 'block'\nseverity = 'low'\ndirection = 'outbound'\n",
    );
    let verdict = judge(&leak(), &policy);
    assert_eq!(
        (verdict.action, verdict.severity, verdict.by),
        (Action::Allow, Severity::Critical, Some("first"))
    );
    let verdict = judge(&Sighting { process: Process::default(), ..leak() }, &policy);
    assert_eq!(
        (verdict.action, verdict.severity, verdict.by),
        (Action::Block, Severity::Low, Some("second"))
    );
    let nobodys = Sighting { process: Process::default(), direction: None, ..leak() };
    assert_eq!(judge(&nobodys, &policy).by, None);
}

#[test]
fn an_entry_ends_at_its_time() {
    for end in ["2026-06-01T12:00:00Z", "'2026-06-01T14:00:00+02:00'"] {
        let policy = entry("allow", &format!("expires = {end}\ndirection = 'outbound'"));
        let at = |time: &str| Sighting { at: time.parse().unwrap(), ..leak() };
        assert!(applies(&policy, &at("2026-06-01T11:59:59.999999999Z")));
        assert!(!applies(&policy, &at("2026-06-01T12:00:00Z")), "the time itself is after it");
        assert!(!applies(&policy, &at("2026-06-01T12:00:01Z")));
        let names =
            |time: &str| policy.expired(time.parse().unwrap()).map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("2026-06-01T12:00:00Z"), ["one"]);
        assert!(names("2026-06-01T11:59:59Z").is_empty());
    }
}

/// The worked example of docs/policy.md, read from there.
#[test]
fn the_manuals_example_does_what_the_manual_says() {
    let manual = include_str!("../../../docs/policy.md");
    let text = manual.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let policy = policy(text);
    let by = |sighting: &Sighting<'_>| judge(sighting, &policy).by;

    let grafana = Sighting {
        rule: rule("grafana-service-account-token"),
        destination: to(Some("grafana.corp.example")),
        location: "header:authorization",
        ..leak()
    };
    assert_eq!((judge(&grafana, &policy).action, by(&grafana)), (Action::Allow, None));

    let aws = RULES.rules().iter().find(|rule| rule.vendor == "Amazon Web Services").unwrap();
    let storage = Destination { host: Some("eu.backup.corp.example"), ip: Some([10, 20, 3, 4].into()) };
    let restic = Process { exe: Some("/usr/bin/restic"), ..leak().process };
    let backup = Sighting { rule: aws, destination: storage, process: restic, location: "body", ..leak() };
    assert_eq!((judge(&backup, &policy).action, by(&backup)), (Action::Allow, Some("nightly-backup")));
    for other in [
        Sighting { rule: rule(RULE), ..backup },
        Sighting { destination: Destination { ip: Some([10, 21, 3, 4].into()), ..storage }, ..backup },
        Sighting { destination: Destination { host: Some(ELSEWHERE), ..storage }, ..backup },
        Sighting { process: leak().process, ..backup },
        Sighting { encrypted: false, ..backup },
        Sighting { at: "2027-01-31T00:00:00Z".parse().unwrap(), ..backup },
    ] {
        assert_eq!((judge(&other, &policy).action, by(&other)), (Action::Observe, None), "{other:?}");
    }

    let tests = Sighting {
        destination: Destination { host: None, ip: Some([127, 0, 0, 1].into()) },
        process: Process { uid: Some(1500), ..Process::default() },
        encrypted: false,
        ..leak()
    };
    assert_eq!((judge(&tests, &policy).action, by(&tests)), (Action::Ignore, Some("test-suite")));
    assert_eq!(by(&Sighting { process: Process { uid: Some(0), ..Process::default() }, ..tests }), None);

    let prompt = Sighting {
        destination: to(Some("api.openai.com")),
        location: "body > json:messages[0].content",
        ..leak()
    };
    let verdict = judge(&prompt, &policy);
    assert_eq!(
        (verdict.action, verdict.severity, verdict.by),
        (Action::Block, Severity::Critical, Some("keys-in-prompts"))
    );
    assert_eq!(by(&Sighting { location: "header:authorization", ..prompt }), None);
    assert_eq!(by(&Sighting { direction: Some(Direction::Inbound), ..prompt }), None);
}

#[track_caller]
fn refused(text: &str, place: &str, says: &str) {
    let error = Policy::from_toml("policy.toml", text, &RULES).unwrap_err().to_string();
    assert!(error.starts_with(&format!("policy.toml:{place}: ")), "{error}");
    assert!(error.contains(says), "{error}");
    assert!(!error.contains('\n'), "{error}");
}

#[test]
fn a_file_that_cannot_mean_anything_is_refused_where_it_is_wrong() {
    refused("[[entry]\n", "1:9", "expected `]`");
    refused("entries = []\n", "1:1", "docs/policy.md");
    refused("[home]\n'no-such-rule' = ['a.example']\n", "2:1", "keymoat rules list");
    refused("[home]\n'anthropic-api-key' = ['*.com']\n", "2:24", "not a host");
    refused("[home]\n'anthropic-api-key' = []\n", "2:23", "empty");
    refused("[[entry]]\naction = 'allow'\ndirection = 'outbound'\n", "1:1", "missing field `name`");
    refused("[[entry]]\nname = 'No Good'\naction = 'allow'\ndirection = 'outbound'\n", "2:8", "kebab-case");
    refused("[[entry]]\nname = 'x'\naction = 'deny'\n", "3:10", "`allow`, `observe`, `block`, `ignore`");
    refused("[[entry]]\nname = 'x'\naction = 'allow'\n", "2:8", "no condition");
    refused("[[entry]]\nname = 'x'\naction = 'allow'\nrule = {}\n", "2:8", "no condition");
    let twice = "[[entry]]\nname = 'x'\naction = 'allow'\ndirection = 'inbound'\n".repeat(2);
    refused(&twice, "6:8", "exists already in line 2");

    let with = |line: &str| format!("[[entry]]\nname = 'x'\naction = 'allow'\n{line}\n");
    for (line, column, says) in [
        ("direction = 'up'", 13, "`outbound` or `inbound`"),
        ("severity = 'bad'", 12, "`critical`"),
        ("hosts = ['a.example']", 1, "unknown field `hosts`"),
        ("expires = 2027-01-31", 11, "with its zone"),
        ("expires = 2027-01-31T00:00:00", 11, "with its zone"),
        ("expires = 'tomorrow'", 11, "RFC 3339"),
        ("expires = 7", 11, "expected a time"),
        ("destination = { hosts = ['a.example', 'https://a.example'] }", 39, "not a host"),
        ("destination = { hosts = [] }", 25, "empty"),
        ("destination = { categories = ['pastes'] }", 31, "paste, telemetry"),
        ("destination = { networks = ['10.0.0.0/33'] }", 29, "not a network"),
        ("destination = { networks = ['example.com'] }", 29, "not a network"),
        ("destination = { networks = ['10.1.2.3/8'] }", 29, "write `10.0.0.0/8`"),
        ("destination = { networks = ['::ffff:10.0.0.0/104'] }", 29, "not a network"),
        ("process = { exe = ['curl'] }", 20, "`*/curl`"),
        ("process = { comm = ['a-name-of-16-byt'] }", 21, "15 bytes"),
        ("process = { uid = [] }", 19, "empty"),
        ("process = { uid = [-1] }", 20, ""),
        ("process = { container = ['my-container'] }", 26, "64 hex digits"),
        ("process = { container = ['3f2a'] }", 26, "64 hex digits"),
        ("process = { unit = ['backup'] }", 21, "backup.service"),
        ("process = { pid = [1] }", 13, "unknown field `pid`"),
        ("rule = { ids = ['no-such-rule'] }", 17, "keymoat rules list"),
        ("rule = { vendors = ['Nobody'] }", 21, "keymoat rules list"),
        ("rule = { ids = ['anthropic-api-key'], vendors = ['Groq'] }", 8, "meets these conditions together"),
        ("locations = ['header:x', 'bdy']", 26, "not a location"),
        ("locations = ['body>gzip']", 14, "not a location"),
        ("locations = 'body'", 13, ""),
    ] {
        refused(&with(line), &format!("4:{column}"), says);
    }
}

#[test]
fn what_is_refused_has_a_twin_that_is_not() {
    for line in [
        "direction = 'inbound'",
        "expires = 2027-01-31T00:00:00+01:00\ndirection = 'inbound'",
        "destination = { hosts = ['a.example', '*.a.example', 'a.example'] }",
        "destination = { categories = ['paste'], networks = ['10.0.0.0/8', '10.0.0.1', '::/0'] }",
        "process = { exe = ['*/curl'], comm = ['a-name-of-15-by*'], uid = [0] }",
        "process = { container = ['3f2a*', '*'], unit = ['backup*', 'x.scope'] }",
        "rule = { ids = ['anthropic-api-key'], vendors = ['Anthropic'], severity = 'critical' }",
        "locations = ['*', 'header:*', 'b* > json:*', 'response-header:set-cookie', 'status-line']",
    ] {
        entry("ignore", line);
    }
    assert!(!applies(&policy(""), &leak()));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}") {
        let _ = Policy::from_toml("p", &text, &RULES);
    }

    /// Files that look like policies, with any values in them.
    #[test]
    fn no_policy_makes_it_panic(
        action in prop::sample::select(vec!["allow", "observe", "block", "ignore"]),
        field in prop::sample::select(vec![
            "home.anthropic-api-key", "destination.hosts", "destination.categories", "destination.networks", "process.exe",
            "process.comm", "process.container", "process.unit", "rule.ids", "rule.vendors", "locations",
        ]),
        values in prop::collection::vec(
            prop_oneof!["\\PC{0,40}", "[*.a-c/>: 0-9]{0,12}", Just("*".to_owned()), Just("body > *".to_owned())], 0..4),
        location in "\\PC{0,40}",
        host in prop::option::of("[*.a-z:]{0,30}"),
        seconds in -4_000_000_000i64..4_000_000_000,
    ) {
        let list = toml::Value::from(values);
        let text = match field.strip_prefix("home.") {
            Some(id) => format!("[home]\n{id} = {list}\n"),
            None => format!("[[entry]]\nname = 'x'\naction = '{action}'\nexpires = 2026-01-01T00:00:00Z\n{field} = {list}\n"),
        };
        if let Ok(policy) = Policy::from_toml("p", &text, &RULES) {
            let destination = Destination { host: host.as_deref(), ip: None };
            let at = Timestamp::from_second(seconds).unwrap();
            let verdict = judge(&Sighting { location: &location, destination, at, ..leak() }, &policy);
            prop_assert!(verdict.by.is_none() || at < "2026-01-01T00:00:00Z".parse().unwrap());
        }
    }
}
