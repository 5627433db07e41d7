//! To the collector: batches out, acknowledgements in, and again from what is not acknowledged whenever the
//! connection breaks.

use super::backoff::Backoff;
use super::buffer::{Buffer, Limits};
use super::{ExportError, Outbox, lock};
use crate::health::Cause;
use crate::record::{Health, Line, Record};
use keymoat_proto::v1;
use keymoat_proto::v1::collector_client::CollectorClient;
use std::convert::Infallible;
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

/// A connection must be there, and the stream open, within this time.
const CONNECT: Duration = Duration::from_secs(5);
/// A peer that has been silent this long is asked whether it lives…
const PING: Duration = Duration::from_secs(5);
/// …and is taken for dead when it does not answer.
const PONG: Duration = Duration::from_secs(5);
/// The oldest batch is given up when the collector could not read it this many times in a row.
const UNREADABLE: u32 = 3;

/// The buffer, and what wakes who waits for it.
pub(super) struct Remote {
    buffer: Mutex<Buffer>,
    /// A record came.
    filled: Notify,
    /// The buffer became empty, or will not become so any more.
    emptied: Condvar,
    phase: watch::Sender<Phase>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Open,
    /// Nothing new is taken; what is there is delivered.
    Draining,
    /// Over, whatever is left.
    Closed,
}

impl Remote {
    pub(super) fn new(limits: Limits, host: &str) -> Self {
        Self {
            buffer: Mutex::new(Buffer::new(limits, host)),
            filled: Notify::new(),
            emptied: Condvar::new(),
            phase: watch::Sender::new(Phase::Open),
        }
    }

    /// Keeps a line for the collector, or says why it is lost.
    pub(super) fn push(&self, line: Arc<Line>) -> Result<(), Cause> {
        let mut buffer = lock(&self.buffer);
        // Looked at under the lock: nothing slips in behind the last count.
        if *self.phase.borrow() != Phase::Open {
            return Err(Cause::UndeliveredAtExit);
        }
        let kept = buffer.push(line);
        drop(buffer);
        if !kept {
            return Err(Cause::ExportBufferFull);
        }
        self.filled.notify_one();
        Ok(())
    }

    /// Takes nothing more and waits until everything is acknowledged, no longer than until `deadline`. The number of
    /// records that were not.
    pub(super) fn close(&self, deadline: Instant) -> u64 {
        let mut buffer = lock(&self.buffer);
        self.phase.send_replace(Phase::Draining);
        loop {
            let time = deadline.saturating_duration_since(Instant::now());
            if buffer.is_empty() || time.is_zero() {
                self.phase.send_replace(Phase::Closed);
                return buffer.clear() as u64;
            }
            buffer = self.emptied.wait_timeout(buffer, time).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    fn phase(&self) -> Phase {
        *self.phase.borrow()
    }

    /// Returns when the phase is at least `phase`.
    async fn reached(&self, phase: Phase) {
        // It fails only when the sender is gone, and that is `self`.
        let _ = self.phase.subscribe().wait_for(|now| *now >= phase).await;
    }

    /// A new stream begins. True when there is nothing to send on it.
    fn rewind(&self) -> bool {
        let mut buffer = lock(&self.buffer);
        buffer.rewind();
        buffer.is_empty()
    }

    fn acknowledge(&self, sequence: u64) -> Option<usize> {
        self.removed(|buffer| buffer.acknowledge(sequence))
    }

    fn give_up_oldest(&self) -> usize {
        self.removed(Buffer::give_up_oldest)
    }

    fn removed<T>(&self, remove: impl FnOnce(&mut Buffer) -> T) -> T {
        let mut buffer = lock(&self.buffer);
        let removed = remove(&mut buffer);
        if buffer.is_empty() {
            self.emptied.notify_all();
        }
        removed
    }
}

/// Checks a collector's address.
pub(super) fn endpoint(url: &str) -> Result<Endpoint, ExportError> {
    let wrong = |reason: String| ExportError::Collector { url: url.to_owned(), reason };
    let endpoint = Endpoint::from_shared(url.to_owned()).map_err(|error| wrong(error.to_string()))?;
    match endpoint.uri().scheme_str() {
        Some("http") if endpoint.uri().host().is_some_and(|host| !host.is_empty()) => {}
        Some("https") => return Err(wrong("TLS towards the collector is not supported yet".to_owned())),
        _ => return Err(wrong("expected http://HOST:PORT".to_owned())),
    }
    endpoint
        .connect_timeout(CONNECT)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .user_agent(concat!("keymoat/", env!("CARGO_PKG_VERSION")))
        .map_err(|error| wrong(error.to_string()))
}

/// One thread is enough: the second one is for name lookups, which block.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .thread_name("keymoat-resolve")
        .thread_keep_alive(Duration::from_secs(1))
        .build()
}

/// Delivers until the buffer is closed.
pub(super) async fn run(outbox: &Outbox, endpoint: &Endpoint) {
    let Some(remote) = &outbox.inner.remote else { return };
    let mut courier = Courier { outbox, remote, backoff: Backoff::default(), reachable: true, unreadable: 0 };
    tokio::select! {
        () = courier.run(endpoint) => {}
        () = remote.reached(Phase::Closed) => {}
    }
}

struct Courier<'a> {
    outbox: &'a Outbox,
    remote: &'a Remote,
    backoff: Backoff,
    /// What was last said of the collector.
    reachable: bool,
    /// Streams in a row that ended because the collector could not read the oldest batch.
    unreadable: u32,
}

impl Courier<'_> {
    /// One stream after the other. Ends only by being dropped.
    async fn run(&mut self, endpoint: &Endpoint) {
        loop {
            let Err(status) = self.stream(endpoint).await;
            self.failed(&status);
            let wait = self.backoff.wait();
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                // Shutting down: try once more without waiting, then go on as before.
                () = self.remote.reached(Phase::Draining), if self.remote.phase() == Phase::Open => self.backoff.reset(),
            }
        }
    }

    /// One stream, from connecting to its end.
    async fn stream(&mut self, endpoint: &Endpoint) -> Result<Infallible, Status> {
        let channel = endpoint.connect().await.map_err(|error| Status::unavailable(causes(&error)))?;
        let (batches, outgoing) = mpsc::channel(1);
        let mut client = CollectorClient::new(channel);
        let mut acks = open(&mut client, ReceiverStream::new(outgoing)).await?;
        if self.remote.rewind() {
            self.reached();
        }
        let mut outgoing_open = true;
        loop {
            let ready = outgoing_open && lock(&self.remote.buffer).has_batch();
            tokio::select! {
                ack = acks.message() => match ack? {
                    Some(ack) => self.acknowledged(&ack),
                    None => return Err(Status::unavailable("the collector ended the stream")),
                },
                permit = batches.reserve(), if ready => match permit {
                    Ok(permit) => if let Some(batch) = lock(&self.remote.buffer).next_batch() {
                        permit.send(batch);
                    },
                    // The stream is ending; the other half says why.
                    Err(_) => outgoing_open = false,
                },
                () = self.remote.filled.notified() => {}
            }
        }
    }

    fn acknowledged(&mut self, ack: &v1::Ack) {
        if self.remote.acknowledge(ack.sequence).is_none() {
            return;
        }
        self.unreadable = 0;
        self.reached();
        if ack.refused > 0 {
            tracing::warn!(refused = ack.refused, reason = ?ack.refusal, "the collector refused events");
            self.outbox.inner.counters.add(Cause::CollectorRefused, ack.refused.into());
        }
    }

    /// The collector took what there was; an open stream alone says little of one that cannot commit.
    fn reached(&mut self) {
        self.backoff.reset();
        if !std::mem::replace(&mut self.reachable, true) {
            self.tell("ok", "the collector is reachable again".to_owned());
        }
    }

    fn failed(&mut self, status: &Status) {
        if status.code() == Code::InvalidArgument {
            self.unreadable += 1;
            if self.unreadable >= UNREADABLE {
                self.unreadable = 0;
                let records = self.remote.give_up_oldest();
                tracing::warn!(records, reason = ?status.message(), "the collector cannot read a batch");
                self.outbox.inner.counters.add(Cause::CollectorRefused, records as u64);
            }
        }
        tracing::debug!(?status, "the stream to the collector ended");
        if std::mem::replace(&mut self.reachable, false) {
            let waiting = lock(&self.remote.buffer).records();
            let reason = status.message();
            self.tell(
                "degraded",
                format!("the collector is not reachable ({reason}); {waiting} records wait for it"),
            );
        }
    }

    fn tell(&self, status: &str, message: String) {
        let (component, status) = ("collector".to_owned(), status.to_owned());
        self.outbox.tell(Record::Health(Health { component, status, message }));
    }
}

async fn open(
    client: &mut CollectorClient<Channel>,
    batches: ReceiverStream<v1::Batch>,
) -> Result<tonic::Streaming<v1::Ack>, Status> {
    match tokio::time::timeout(CONNECT, client.stream(batches)).await {
        Ok(response) => Ok(response?.into_inner()),
        Err(_) => Err(Status::deadline_exceeded("the collector does not answer")),
    }
}

/// An error with everything beneath it: tonic's own text is only "transport error".
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    text
}
