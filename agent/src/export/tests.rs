//! The exporter against a collector that can be slow, absent, restarted or of another opinion.

use super::samples::finding;
use super::{ExportConfig, Handle, JsonlTarget, Limits, Outbox, prepare, start};
use crate::health::{Cause, Counters};
use crate::record::Record;
use keymoat_proto::v1::collector_server::{Collector, CollectorServer};
use keymoat_proto::v1::{self, event::Kind};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

const DEADLINE: Duration = Duration::from_secs(30);

/// What a fake collector keeps, and how it behaves. It outlives the servers that use it, as a store does.
#[derive(Clone)]
struct Fake {
    /// Times each event arrived, by id.
    arrived: Arc<Mutex<BTreeMap<String, u32>>>,
    losses: Arc<Mutex<BTreeMap<String, u64>>>,
    hosts: Arc<Mutex<Vec<v1::Host>>>,
    /// One permit is one acknowledgement.
    acks: Arc<Semaphore>,
    /// A batch with this event cannot be read.
    unreadable: Arc<Mutex<Option<String>>>,
}

impl Default for Fake {
    fn default() -> Self {
        let acks = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        let (arrived, losses, hosts, unreadable) = Default::default();
        Self { arrived, losses, hosts, acks, unreadable }
    }
}

impl Fake {
    /// One that acknowledges only what it is given permits for.
    fn slow() -> Self {
        Self { acks: Arc::new(Semaphore::new(0)), ..Self::default() }
    }

    fn take(&self, batch: &v1::Batch) -> Result<(), Status> {
        let unreadable = self.unreadable.lock().unwrap().clone();
        if batch.events.iter().any(|event| Some(&event.id) == unreadable.as_ref()) {
            return Err(Status::invalid_argument("cannot read it"));
        }
        self.hosts.lock().unwrap().extend(batch.host.clone());
        for event in &batch.events {
            match &event.kind {
                Some(Kind::Loss(loss)) => self.losses.lock().unwrap().extend(loss.counters.clone()),
                _ => *self.arrived.lock().unwrap().entry(event.id.clone()).or_default() += 1,
            }
        }
        Ok(())
    }

    fn arrived(&self) -> usize {
        self.arrived.lock().unwrap().len()
    }
}

#[tonic::async_trait]
impl Collector for Fake {
    type StreamStream = ReceiverStream<Result<v1::Ack, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::Batch>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (mut batches, fake) = (request.into_inner(), self.clone());
        let (acks, out) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(batch)) = batches.message().await {
                if let Err(status) = fake.take(&batch) {
                    let _ = acks.send(Err(status)).await;
                    return;
                }
                fake.acks.acquire().await.unwrap().forget();
                let ack = v1::Ack { sequence: batch.sequence, ..v1::Ack::default() };
                if acks.send(Ok(ack)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(ReceiverStream::new(out)))
    }

    async fn list_findings(
        &self,
        _: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

/// A running server; dropping it ends every connection at once.
struct Server {
    address: SocketAddr,
    _runtime: tokio::runtime::Runtime,
    _stop: oneshot::Sender<()>,
}

fn serve(fake: &Fake, address: SocketAddr) -> Server {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let fake = fake.clone();
    let listener = runtime.block_on(async { socket(address).listen(16).unwrap() });
    let address = TcpListener::local_addr(&listener).unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    runtime.spawn(async move {
        let server = tonic::transport::Server::builder()
            .add_service(CollectorServer::new(fake))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::select! {
            result = server => result.unwrap(),
            _ = stopped => {}
        }
    });
    Server { address, _runtime: runtime, _stop: stop }
}

fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

/// An address nobody listens on, and what keeps it from being given to anybody who does not ask for it by number.
fn nowhere() -> (SocketAddr, TcpSocket) {
    let socket = socket(anywhere());
    (socket.local_addr().unwrap(), socket)
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseport(true).unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

fn export(address: SocketAddr, records: usize) -> (Outbox, Handle, Counters) {
    let counters = Counters::default();
    let config = ExportConfig {
        collector: Some(format!("http://{address}")),
        limits: Limits { records, ..Limits::default() },
        ..ExportConfig::default()
    };
    let (outbox, handle) = start(prepare(config).unwrap(), counters.clone()).unwrap();
    (outbox, handle, counters)
}

fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !reached() {
        assert!(Instant::now() < deadline, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn total(counters: &Counters, cause: Cause) -> u64 {
    counters.snapshot().get(cause.label()).copied().unwrap_or(0)
}

#[test]
fn everything_is_delivered_once() {
    let fake = Fake::default();
    let server = serve(&fake, anywhere());
    let (outbox, handle, counters) = export(server.address, 10_000);
    outbox.send(Record::Ready(crate::record::Ready {
        version: "1.2.3",
        mode: "detect".to_owned(),
        hooks: vec!["cgroup_skb".to_owned()],
        enforcement: None,
        rules: 60,
        kernel: "6.1".to_owned(),
    }));
    for n in 0..2_000 {
        outbox.send(finding(n));
    }
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert_eq!(fake.arrived(), 2_000);
    assert!(fake.arrived.lock().unwrap().values().all(|times| *times == 1));
    assert!(counters.snapshot().is_empty());
    let hosts = fake.hosts.lock().unwrap();
    assert_eq!(
        (hosts[0].version.as_str(), hosts[0].hooks.as_slice()),
        ("1.2.3", ["cgroup_skb".to_owned()].as_slice())
    );
    assert!(hosts.iter().all(|host| host.run == hosts[0].run));
}

#[test]
fn a_collector_that_comes_later_gets_everything() {
    let fake = Fake::default();
    let (address, _reserved) = nowhere();
    let (outbox, handle, counters) = export(address, 10_000);
    for n in 0..100 {
        outbox.send(finding(n));
    }
    let _server = serve(&fake, address);
    until("all arrived", || fake.arrived() == 100);
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert!(counters.snapshot().is_empty());
}

#[test]
fn what_was_not_acknowledged_is_sent_to_the_next_collector() {
    let fake = Fake::slow();
    let server = serve(&fake, anywhere());
    let address = server.address;
    let (outbox, handle, _) = export(address, 10_000);
    for n in 0..100 {
        outbox.send(finding(n));
    }
    until("the first batch arrived", || fake.arrived() > 0);
    drop(server);
    fake.acks.add_permits(1_000_000);
    let _server = serve(&fake, address);
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    let arrived = fake.arrived.lock().unwrap();
    assert_eq!(arrived.len(), 100);
    assert!(arrived.values().any(|times| *times > 1), "unacknowledged, so sent again with the same id");
}

#[test]
fn a_slow_collector_costs_exactly_what_does_not_fit() {
    let fake = Fake::slow();
    let server = serve(&fake, anywhere());
    let (outbox, handle, counters) = export(server.address, 50);
    for n in 0..200 {
        outbox.send(finding(n));
    }
    assert_eq!(total(&counters, Cause::ExportBufferFull), 150);
    fake.acks.add_permits(1_000_000);
    until("the rest arrived", || fake.arrived() == 50);
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert_eq!(fake.arrived(), 50);
    assert_eq!(fake.losses.lock().unwrap()[Cause::ExportBufferFull.label()], 150, "the collector was told");
}

#[test]
fn sent_is_delivered_plus_counted_while_acks_come_and_go() {
    let fake = Fake::slow();
    let server = serve(&fake, anywhere());
    let (outbox, handle, counters) = export(server.address, 64);
    const SENT: u64 = 20_000;
    let senders: Vec<_> = (0..4)
        .map(|part| {
            let (outbox, acks) = (outbox.clone(), Arc::clone(&fake.acks));
            std::thread::spawn(move || {
                for n in 0..SENT / 4 {
                    outbox.send(finding(part * SENT + n));
                    if n % 50 == 0 {
                        acks.add_permits(1);
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().unwrap();
    }
    fake.acks.add_permits(1_000_000);
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert_eq!(fake.arrived() as u64 + total(&counters, Cause::ExportBufferFull), SENT);
    assert!(fake.arrived.lock().unwrap().values().all(|times| *times == 1));
}

#[test]
fn what_the_drain_leaves_is_counted_and_said() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let counters = Counters::default();
    let (address, _reserved) = nowhere();
    let config = ExportConfig {
        jsonl: Some(JsonlTarget::File(path.clone())),
        collector: Some(format!("http://{address}")),
        ..ExportConfig::default()
    };
    let (outbox, handle) = start(prepare(config).unwrap(), counters.clone()).unwrap();
    for n in 0..10 {
        outbox.send(finding(n));
    }
    assert_eq!(handle.drain(Duration::from_millis(50)).undelivered, 10);
    outbox.send(finding(11));
    assert_eq!(total(&counters, Cause::UndeliveredAtExit), 11, "what comes after the end is counted too");
    let lines: Vec<serde_json::Value> = std::fs::read_to_string(path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.iter().filter(|line| line["type"] == "finding").count(), 10);
    let loss = lines.iter().rfind(|line| line["type"] == "loss").unwrap();
    assert_eq!(loss["counters"][Cause::UndeliveredAtExit.label()], 10);
    assert!(lines.iter().all(|line| line["host"].is_string() && line["time"].is_string()));
}

#[test]
fn an_unreadable_batch_does_not_stop_those_behind_it() {
    let fake = Fake::default();
    let (address, _reserved) = nowhere();
    let (outbox, handle, counters) = export(address, 10_000);
    let (bad, good) = (finding(1), finding(2));
    let Record::Finding(f) = &bad else { panic!("not a finding") };
    *fake.unreadable.lock().unwrap() = Some(f.id.clone());
    let _server = serve(&fake, address);
    outbox.send(bad);
    until("it was given up", || total(&counters, Cause::CollectorRefused) == 1);
    outbox.send(good);
    assert_eq!(handle.drain(DEADLINE).undelivered, 0);
    assert_eq!(fake.arrived(), 1);
}

#[test]
fn the_way_to_the_collector_is_reported_here() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("out.jsonl");
    let fake = Fake::default();
    let (address, _reserved) = nowhere();
    let config = ExportConfig {
        jsonl: Some(JsonlTarget::File(path.clone())),
        collector: Some(format!("http://{address}")),
        ..ExportConfig::default()
    };
    let (outbox, handle) = start(prepare(config).unwrap(), Counters::default()).unwrap();
    let said = |status: &str| {
        let text = std::fs::read_to_string(&path).unwrap();
        text.contains(&format!(r#""type":"health","component":"collector","status":"{status}""#))
    };
    until("degraded", || said("degraded"));
    outbox.send(finding(1));
    let _server = serve(&fake, address);
    until("ok", || said("ok"));
    handle.drain(DEADLINE);
    assert_eq!(fake.arrived(), 1, "and only here");
}

#[test]
fn a_wrong_address_is_an_error_at_the_start() {
    for url in ["https://127.0.0.1:1", "127.0.0.1:1", "", "http://", "ftp://host", "http://a b"] {
        let config = ExportConfig { collector: Some(url.to_owned()), ..ExportConfig::default() };
        assert!(prepare(config).and_then(|ready| start(ready, Counters::default())).is_err(), "{url:?}");
    }
}

#[test]
fn a_line_has_the_shape_the_collector_gives_back() {
    let mut record = finding(0x1234);
    let Record::Finding(f) = &mut record else { panic!("not a finding") };
    f.id = "0193a5b0-7c00-7000-8000-000000000001".to_owned();
    let time = "2026-01-02T03:04:05.678901234Z".parse().unwrap();
    let line = crate::record::Line { record, time, host: "build-7".to_owned() };
    let agreed: serde_json::Value =
        serde_json::from_str(include_str!("../../../proto/fixtures/finding.json")).unwrap();
    assert_eq!(serde_json::to_value(&line).unwrap(), agreed);
    if let Record::Finding(f) = &line.record {
        let event = super::wire::event(&f.id, &line).unwrap();
        assert_eq!(event.time_unix_nanos, 1_767_323_045_678_901_234);
        assert_eq!(event.id, f.id);
    }
}

#[test]
fn a_reader_who_stands_still_does_not_hold_up_the_collector() {
    use rustix::fs::{CWD, FileType, Mode, mknodat};
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    mknodat(CWD, &path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    let _never_read = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let (fake, counters) = (Fake::default(), Counters::default());
    let server = serve(&fake, anywhere());
    let config = ExportConfig {
        jsonl: Some(JsonlTarget::File(path)),
        collector: Some(format!("http://{}", server.address)),
        ..ExportConfig::default()
    };
    let (outbox, handle) = start(prepare(config).unwrap(), counters.clone()).unwrap();
    for n in 0..1_000 {
        outbox.send(finding(n));
    }
    until("all arrived", || fake.arrived() == 1_000);
    let drained = handle.drain(Duration::from_millis(50));
    assert_eq!(drained.undelivered, 0);
    assert!(drained.unwritten > 0);
    assert_eq!(total(&counters, Cause::JsonlWriteFailed), drained.unwritten);
}
