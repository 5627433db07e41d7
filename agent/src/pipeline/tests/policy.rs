//! What the user's policy makes of a finding on its way through.

use super::*;
use crate::pipeline::report::REPEAT_EVERY;
use keymoat_detect::policy::Reason;

fn request(n: u64) -> String {
    format!("GET / HTTP/1.1\r\nHost: collect.example.test\r\nX-Api-Key: {}\r\n\r\n", key(n))
}

fn rig(action: &str, conditions: &str) -> Rig {
    let policy = format!("[[entry]]\nname = 'mine'\naction = '{action}'\n{conditions}\n");
    Rig::with_policy(false, 1024, &policy)
}

#[test]
fn a_finding_says_why_and_what_kind_of_place_it_went_to() {
    let mut rig = Rig::new();
    rig.write(&mut Conn::tls(0x10), request(1).replace("collect.example.test", "webhook.site"));
    rig.pipeline.finish();
    let finding = rig.findings().remove(0);
    assert_eq!((finding.reason, finding.policy), (Reason::NotHome, None));
    assert_eq!(finding.destination.category.as_deref(), Some("webhook-catcher"));
    assert!(finding.explanation.contains("shows whatever is sent to it"), "{}", finding.explanation);
}

#[test]
fn an_entry_decides_and_is_named() {
    let mut rig =
        rig("allow", "severity = 'low'\nprocess = { comm = ['curl'], uid = [1000] }\ndirection = 'outbound'");
    rig.write(&mut Conn::tcp(1), request(1));
    let finding = rig.findings().remove(0);
    assert_eq!((finding.action, finding.reason), (Action::Allowed, Reason::InTheClear));
    assert_eq!((finding.policy.as_deref(), finding.rule.severity.as_str()), (Some("mine"), "low"));

    let mut server =
        Conn { tuple: tuple(Ipv4Addr::new(192, 0, 2, 7), 443, tuple_flags::ACCEPTED), ..Conn::tcp(2) };
    rig.write(&mut server, request(2));
    let finding = rig.findings().remove(0);
    assert_eq!((finding.action, finding.policy), (Action::Observed, None), "the other direction");
}

#[test]
fn what_is_blocked_is_reported_while_only_detecting() {
    let mut rig = rig("block", "destination = { networks = ['192.0.2.0/24'] }");
    rig.write(&mut Conn::tcp(1), request(1));
    let finding = rig.findings().remove(0);
    assert_eq!((finding.action, finding.policy.as_deref()), (Action::Observed, Some("mine")));
}

#[test]
fn what_is_ignored_is_counted_every_time_and_nothing_else_is_said() {
    let mut rig = rig("ignore", "locations = ['header:x-api-key']");
    let mut conn = Conn::tcp(1);
    for _ in 0..3 {
        rig.write(&mut conn, request(1));
    }
    rig.pass(REPEAT_EVERY.as_millis() as u64 + 1);
    rig.close(1);
    assert!(rig.taken().is_empty());
    assert_eq!(rig.lost(Cause::PolicyIgnored), 3);

    rig.write(&mut Conn::tcp(2), format!("GET /?key={} HTTP/1.1\r\n\r\n", key(1)));
    assert_eq!(rig.locations(), ["query:key"], "another place is not ignored");
    assert_eq!(rig.lost(Cause::PolicyIgnored), 3);
}
