//! What was stored can be read: as lines, as a table, on the page, over gRPC.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

mod common;

use common::{Collector, Store, changed, event, finding, loss};
use keymoat_proto::v1::{self, event::Kind};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;

#[tokio::test]
async fn a_line_has_the_shape_the_agent_gave_it() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let id = "0193a5b0-7c00-7000-8000-000000000001".to_owned();
    collector.stream().await.send(vec![v1::Event { id, ..finding() }]).await.unwrap();
    let mut agreed: Value = serde_json::from_str(include_str!("../../proto/fixtures/finding.json")).unwrap();
    agreed["repeats"] = 0.into();
    assert_eq!(store.findings(), [agreed.clone()]);
    assert_eq!(collector.json("/api/findings")["findings"], Value::from(vec![agreed]));
}

#[tokio::test]
async fn pages_follow_one_another_newest_first() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let mut agent = collector.stream().await;
    let sent: Vec<v1::Event> = (0..75).map(|_| finding()).collect();
    let mut newest_first: Vec<String> = sent.iter().map(|event| event.id.clone()).collect();
    newest_first.sort();
    newest_first.reverse();
    agent.send(sent).await.unwrap();

    let (mut over_grpc, mut before) = (Vec::new(), String::new());
    let mut client = collector.client().await;
    loop {
        let page =
            client.list_findings(v1::ListFindingsRequest { limit: 25, before }).await.unwrap().into_inner();
        over_grpc.extend(page.findings.iter().map(|finding| finding.id.clone()));
        before = page.next;
        if before.is_empty() {
            break;
        }
    }
    assert_eq!(over_grpc, newest_first);

    let (mut over_http, mut before) = (Vec::new(), String::new());
    while let page = collector.json(&format!("/api/findings?limit=30{before}"))
        && let findings = page["findings"].as_array().unwrap()
        && !findings.is_empty()
    {
        over_http.extend(findings.iter().map(|finding| finding["id"].as_str().unwrap().to_owned()));
        let Some(next) = page["next"].as_str() else { break };
        before = format!("&before={next}");
    }
    assert_eq!(over_http, newest_first);
    assert_eq!(store.ids(), newest_first);
    assert_eq!(collector.json("/api/findings?limit=0")["findings"].as_array().unwrap().len(), 1);
    assert_eq!(collector.get("/api/findings?limit=x").0, 400);
}

#[tokio::test]
async fn a_finding_comes_back_over_grpc_as_it_went() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let sent = finding();
    let mut agent = collector.stream().await;
    agent.send(vec![sent.clone()]).await.unwrap();
    let request = v1::ListFindingsRequest::default();
    let page = collector.client().await.list_findings(request).await.unwrap().into_inner();
    let back = &page.findings[0];
    assert_eq!(back.finding.clone().map(Kind::Finding), sent.kind);
    assert_eq!((&back.id, back.time_unix_nanos), (&sent.id, sent.time_unix_nanos));
    assert_eq!(back.host, "build-7");
}

#[tokio::test]
async fn the_page_says_everything_and_runs_nothing() {
    const SCRIPT: &str = "<script>alert('x')</script>\"'&";
    let store = Store::new();
    let collector = Collector::start(&store);
    assert!(collector.get("/").1.contains("No findings yet."));
    let bad = || SCRIPT.to_owned();
    let hostile = changed(|f| {
        f.rule.as_mut().unwrap().name = bad();
        f.rule.as_mut().unwrap().id = bad();
        f.channel.as_mut().unwrap().location = bad();
        f.process.as_mut().unwrap().comm = bad();
        f.process.as_mut().unwrap().cmdline = vec![bad()];
        f.destination.as_mut().unwrap().host = Some(bad());
        f.secret.as_mut().unwrap().redacted = format!("{SCRIPT}…(108)");
        f.explanation = bad();
        f.remediation = bad();
    });
    let health = v1::Health { component: bad(), status: bad(), message: bad() };
    let unseen = v1::UnseenTls {
        process: Some(v1::Process { comm: bad(), ..v1::Process::default() }),
        destination: Some(v1::Destination::default()),
        reason: bad(),
    };
    let mut agent = collector.stream().await;
    agent.host.name = bad();
    agent.host.kernel = bad();
    agent.host.hooks = vec![bad()];
    let notices = [event(Kind::Health(health)), event(Kind::UnseenTls(unseen))];
    let events = [hostile, finding(), loss(&[(SCRIPT, 1)])].into_iter().chain(notices).collect();
    assert_eq!(agent.send(events).await.unwrap().refused, 0);

    let (status, head, body) = collector.get_as("/", "localhost");
    assert_eq!(status, 200);
    assert!(!body.contains("<script"), "{body}");
    assert!(!body.contains("\"'&"));
    assert!(head.to_lowercase().contains("content-security-policy: default-src 'none'"), "{head}");
    for text in [
        "2026-01-02 03:04:05",
        "Anthropic API key",
        "critical",
        "observed",
        "sk-ant-api…(108)",
        "header:x-api-key",
        "curl (4242)",
        "webhook.example:443 (192.0.2.7)",
        "speaks TLS unseen",
    ] {
        assert!(body.contains(text), "{text} is missing");
    }
    assert_eq!(collector.get("/style.css").0, 200);
    assert_eq!(collector.get("/nothing").0, 404);
    let (status, _, _) = collector.get_as("/", "evil.example");
    assert_eq!(status, 421, "another name for this address");
}

#[tokio::test]
async fn the_table_is_for_people() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let older = finding();
    let steering = changed(|f| f.process.as_mut().unwrap().comm = "\x1b[2J".to_owned());
    collector.stream().await.send(vec![older, steering]).await.unwrap();
    let output = store.list(&[]);
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("Severity") && text.contains("critical") && !text.contains('\x1b'), "{text}");
    assert!(!String::from_utf8(store.list(&["--limit", "1"]).stdout).unwrap().contains("curl"));
}

#[tokio::test]
async fn the_store_is_its_owners_only() {
    let store = Store::new();
    let _collector = Collector::start(&store);
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&store.path()), 0o600);
    assert_eq!(mode(store.path().parent().unwrap()), 0o700);
}
