//! The way out: every record goes to JSONL, to the terminal and to the collector, whichever are asked for.
//!
//! **Architecture Invariant:** [`Outbox::send`] never blocks and nothing is lost silently. Each way out has a bounded
//! queue and a thread of its own; what does not fit one of them is counted there and does not touch the others.
//!
//! Totals of losses need nobody to send them: they are announced here, whenever one of them grew.

mod backoff;
mod buffer;
mod grpc;
pub mod human;
mod jsonl;
mod local;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
mod weight;
mod wire;

pub use buffer::Limits;
pub use jsonl::Target as JsonlTarget;
pub use local::{Human, Stream};

use crate::health::{Cause, Counters};
use crate::record::{Line, Loss, Record};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the totals of losses are looked at.
const LOSS_PERIOD: Duration = Duration::from_secs(1);
/// What the local writer gets at shutdown even when the collector used up the time.
const LOCAL_DRAIN: Duration = Duration::from_millis(500);

/// Where records go.
#[derive(Clone, Default)]
pub struct ExportConfig {
    pub jsonl: Option<JsonlTarget>,
    /// Left out when the JSONL goes to stdout, where it would get between the lines.
    pub human: Option<Human>,
    /// `http://HOST:PORT`.
    pub collector: Option<String>,
    /// What may wait for the collector.
    pub limits: Limits,
}

#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("cannot open {path} for JSONL: {source}", path = path.display())]
    OpenJsonl { path: PathBuf, source: std::io::Error },
    #[error("collector address {url:?}: {reason}")]
    Collector { url: String, reason: String },
    #[error("cannot start the export: {0}")]
    Start(#[source] std::io::Error),
}

/// Takes records from any thread. Cloning shares it.
#[derive(Clone)]
pub struct Outbox {
    inner: Arc<Inner>,
}

struct Inner {
    host: String,
    local: local::Queue,
    /// Somebody reads JSONL: a line that cannot be queued is missing there.
    jsonl: bool,
    remote: Option<grpc::Remote>,
    counters: Counters,
    announced: Mutex<BTreeMap<String, u64>>,
}

impl Outbox {
    fn new(config: &ExportConfig, counters: Counters) -> Self {
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let remote = config.collector.as_ref().map(|_| grpc::Remote::new(config.limits, &host));
        let jsonl = config.jsonl.is_some();
        let (local, announced) = Default::default();
        Self { inner: Arc::new(Inner { host, local, jsonl, remote, counters, announced }) }
    }

    /// Sends a record on every way out. Never blocks; what does not fit is counted.
    pub fn send(&self, record: Record) {
        let line = self.line(record);
        if let Some(remote) = &self.inner.remote
            && let Err(cause) = remote.push(Arc::clone(&line))
        {
            self.inner.counters.add(cause, 1);
        }
        self.send_local(line);
    }

    /// What concerns only who watches this host: how the way to the collector fares.
    fn tell(&self, record: Record) {
        self.send_local(self.line(record));
    }

    fn line(&self, record: Record) -> Arc<Line> {
        Arc::new(Line { record, time: jiff::Timestamp::now(), host: self.inner.host.clone() })
    }

    fn send_local(&self, line: Arc<Line>) {
        if !self.inner.local.push(line) && self.inner.jsonl {
            self.inner.counters.add(Cause::JsonlWriteFailed, 1);
        }
    }

    /// Sends the totals of losses if one grew since they were last sent.
    fn announce_losses(&self) {
        let counters = self.inner.counters.snapshot();
        let mut announced = lock(&self.inner.announced);
        if *announced != counters {
            announced.clone_from(&counters);
            drop(announced);
            self.send(Record::Loss(Loss { counters }));
        }
    }
}

/// The ways out, open and not used yet: files are opened with the rights the agent gives up before it starts.
pub struct Prepared {
    config: ExportConfig,
    jsonl: Option<Box<dyn std::io::Write + Send>>,
}

/// Opens the ways out.
pub fn prepare(config: ExportConfig) -> Result<Prepared, ExportError> {
    let jsonl = config.jsonl.as_ref().map(open).transpose()?;
    Ok(Prepared { config, jsonl })
}

/// Starts the threads of the ways out.
pub fn start(prepared: Prepared, counters: Counters) -> Result<(Outbox, Handle), ExportError> {
    let Prepared { config, jsonl } = prepared;
    let jsonl = jsonl.map(jsonl::Writer::new);
    let endpoint = config.collector.as_deref().map(grpc::endpoint).transpose()?;
    let human = config.human.filter(|_| config.jsonl != Some(JsonlTarget::Stdout));
    let outbox = Outbox::new(&config, counters.clone());

    let remote = match endpoint {
        Some(endpoint) => {
            let runtime = grpc::runtime().map_err(ExportError::Start)?;
            let outbox = outbox.clone();
            Some(thread("keymoat-grpc", move || runtime.block_on(grpc::run(&outbox, &endpoint)))?)
        }
        None => None,
    };
    let writers = local::Writers { jsonl, human };
    let writer = outbox.clone();
    thread("keymoat-output", move || {
        local::run(&writer.inner.local, writers, &counters, LOSS_PERIOD, || writer.announce_losses());
    })?;
    Ok((outbox.clone(), Handle { outbox, remote }))
}

fn open(target: &JsonlTarget) -> Result<Box<dyn std::io::Write + Send>, ExportError> {
    target.open().map_err(|source| {
        let path = match target {
            JsonlTarget::Stdout => "stdout".into(),
            JsonlTarget::File(path) => path.clone(),
        };
        ExportError::OpenJsonl { path, source }
    })
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, ExportError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run).map_err(ExportError::Start)
}

/// What was left when the time was up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drained {
    /// Records the collector did not acknowledge. They are counted.
    pub undelivered: u64,
    /// Lines that were not written. They are counted.
    pub unwritten: u64,
}

/// Ends the export.
pub struct Handle {
    outbox: Outbox,
    remote: Option<JoinHandle<()>>,
}

impl Handle {
    /// Delivers what is left within `timeout`, counts the rest, and says the final totals of losses. Records sent
    /// from now on are counted as lost: stop who sends first.
    pub fn drain(self, timeout: Duration) -> Drained {
        let Inner { local, jsonl, remote, counters, .. } = &*self.outbox.inner;
        let deadline = Instant::now() + timeout;
        self.outbox.announce_losses();
        let mut undelivered = 0;
        if let (Some(remote), Some(thread)) = (remote, self.remote) {
            undelivered = remote.close(deadline);
            counters.add(Cause::UndeliveredAtExit, undelivered);
            // The thread was told to end; nothing it does waits for anybody but the runtime.
            if thread.join().is_err() {
                tracing::error!("the export thread panicked");
            }
        }
        let losses = counters.snapshot();
        if *lock(&self.outbox.inner.announced) != losses {
            self.outbox.tell(Record::Loss(Loss { counters: losses }));
        }
        let unwritten = local.close(deadline.max(Instant::now() + LOCAL_DRAIN));
        if *jsonl {
            counters.add(Cause::JsonlWriteFailed, unwritten);
        }
        Drained { undelivered, unwritten }
    }
}

/// A panic elsewhere leaves the queues usable: each change to them is whole before anything can fail.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
