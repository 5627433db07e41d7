//! What an agent sent is there once, whatever happens to the collector.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]

mod common;

use common::{Collector, DEADLINE, Store, event, finding, id, loss, until};
use keymoat_agent::export::{self, ExportConfig, JsonlTarget, Limits};
use keymoat_agent::health::Counters;
use keymoat_agent::record::{self, Record};
use keymoat_proto::v1::{self, event::Kind};
use rustix::process::Signal;
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn record(id: &str) -> Record {
    Record::Finding(Box::new(record::Finding {
        id: id.to_owned(),
        rule: record::RuleRef {
            id: "anthropic-api-key".to_owned(),
            name: "Anthropic API key".to_owned(),
            severity: "critical".to_owned(),
        },
        action: record::Action::Observed,
        enforcement: None,
        reason: record::Reason::NotHome,
        policy: None,
        secret: record::SecretRef {
            fingerprint: format!("{:064x}", 7),
            redacted: "sk-ant-api…(108)".to_owned(),
            length: 108,
        },
        confidence: Some("high".to_owned()),
        facts: record::Facts::new(),
        channel: record::Channel {
            kind: record::ChannelKind::Tls,
            library: Some("openssl".to_owned()),
            protocol: None,
            location: "body".to_owned(),
        },
        process: record::Process::default(),
        destination: record::Destination::default(),
        explanation: String::new(),
        remediation: String::new(),
        attack: Vec::new(),
    }))
}

fn export(grpc: SocketAddr, jsonl: Option<PathBuf>) -> (export::Outbox, export::Handle, Counters) {
    let counters = Counters::default();
    let config = ExportConfig {
        jsonl: jsonl.map(JsonlTarget::File),
        collector: Some(format!("http://{grpc}")),
        limits: Limits { records: 100_000, bytes: 256 << 20 },
        ..ExportConfig::default()
    };
    let (outbox, handle) = export::start(export::prepare(config).unwrap(), counters.clone()).unwrap();
    (outbox, handle, counters)
}

#[test]
fn killed_in_the_middle_and_restarted_nothing_is_lost_or_double() {
    /// Findings that are under way at any time, the moment of the kill included.
    const UNDER_WAY: usize = 2_000;
    let store = Arc::new(Store::new());
    let mut collector = Collector::start(&store);
    let address = collector.grpc;
    let (outbox, handle, counters) = export(address, None);
    let enough = Arc::new(AtomicBool::new(false));
    let sender = {
        let (store, enough) = (Arc::clone(&store), Arc::clone(&enough));
        std::thread::spawn(move || {
            let mut sent = Vec::new();
            while !enough.load(Ordering::Relaxed) {
                until("there is room", || {
                    enough.load(Ordering::Relaxed) || sent.len() < store.count() + UNDER_WAY
                });
                for _ in 0..100 {
                    sent.push(id());
                    outbox.send(record(sent.last().unwrap()));
                }
            }
            sent
        })
    };
    for kill in 1..=3 {
        until("some of it is stored", || store.count() >= kill * 1_500);
        collector.kill();
        collector = Collector::start_at(&store, address);
    }
    enough.store(true, Ordering::Relaxed);
    let sent = sender.join().unwrap();
    assert!(store.count() < sent.len(), "it was in the middle");
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert!(counters.snapshot().is_empty());
    let stored = store.ids();
    assert_eq!(stored.len(), sent.len());
    assert_eq!(stored.into_iter().collect::<BTreeSet<_>>(), sent.into_iter().collect::<BTreeSet<_>>());
}

#[test]
fn a_frozen_collector_is_noticed_and_what_it_held_is_delivered() {
    let store = Store::new();
    let frozen = Collector::start(&store);
    let lines = store.file("agent.jsonl");
    let (outbox, handle, counters) = export(frozen.grpc, Some(lines.clone()));
    outbox.send(record(&id()));
    until("the first is stored", || store.count() == 1);
    frozen.signal(Signal::STOP);
    for _ in 0..500 {
        outbox.send(record(&id()));
    }
    until("it is noticed", || std::fs::read_to_string(&lines).unwrap().contains("degraded"));
    frozen.signal(Signal::CONT);
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert!(counters.snapshot().is_empty());
    assert_eq!(store.count(), 501);
}

#[tokio::test]
async fn an_acknowledged_batch_survives_a_kill_at_once() {
    let store = Store::new();
    for stored in 1..=10 {
        let collector = Collector::start(&store);
        let mut agent = collector.stream().await;
        assert_eq!(agent.send(vec![finding()]).await.unwrap().refused, 0);
        collector.kill();
        assert_eq!(store.count(), stored);
    }
}

#[tokio::test]
async fn redelivery_changes_nothing() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let first = finding();
    let repeat = |repeats| event(Kind::Repeat(v1::Repeat { finding: first.id.clone(), repeats }));
    let losses = |total| loss(&[("flow-gap", total), ("bad-ring-record", 1)]);
    let mut agent = collector.stream().await;
    // The repeat before its finding, everything twice, the older numbers last.
    let batches = [vec![repeat(2)], vec![first.clone(), first.clone()], vec![repeat(5), losses(9)]];
    for batch in batches.iter().chain(&batches) {
        assert_eq!(agent.send(batch.clone()).await.unwrap().refused, 0);
    }
    agent.send(vec![repeat(3), losses(4)]).await.unwrap();

    let findings = store.findings();
    assert_eq!(findings.len(), 1);
    assert_eq!(findings[0]["repeats"], 5);
    let losses = collector.json("/api/losses")["losses"].clone();
    let run = agent.host.run.as_str();
    let total = |cause: &str, total: u64| serde_json::json!({"host": "build-7", "run": run, "cause": cause, "total": total});
    assert_eq!(losses, serde_json::json!([total("bad-ring-record", 1), total("flow-gap", 9)]));
}

#[tokio::test]
async fn told_to_end_it_finishes_what_it_took() {
    let store = Store::new();
    for signal in [Signal::TERM, Signal::INT] {
        let mut collector = Collector::start(&store);
        let mut agent = collector.stream().await;
        agent.send(vec![finding()]).await.unwrap();
        let before = store.count();
        collector.signal(signal);
        // An open stream does not keep it: it ends without an error, and the agent comes back.
        assert!(tokio::time::timeout(DEADLINE, agent.acks.message()).await.unwrap().unwrap().is_none());
        assert_eq!(tokio::task::spawn_blocking(move || collector.wait()).await.unwrap(), 0);
        assert_eq!(store.count(), before);
    }
}

#[test]
fn losses_of_the_agent_reach_the_collector() {
    let store = Store::new();
    let collector = Collector::start(&store);
    let (_outbox, handle, counters) = export(collector.grpc, None);
    counters.add(keymoat_agent::health::Cause::FlowGap, 3);
    until("the losses arrived", || collector.json("/api/losses")["losses"][0]["total"] == 3);
    counters.add(keymoat_agent::health::Cause::FlowGap, 1);
    handle.drain(Duration::from_secs(10));
    assert_eq!(collector.json("/api/losses")["losses"][0]["total"], 4);
    assert!(collector.get("/").1.contains("flow-gap"));
}
