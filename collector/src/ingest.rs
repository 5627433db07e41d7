//! The gRPC side: batches in, acknowledgements out.

use crate::model::Batch;
use crate::store::Store;
use crate::store::commit::{CommitError, Committed, Committer};
use crate::wire::check::{self, Malformed};
use crate::wire::say;
use jiff::Timestamp;
use keymoat_proto::v1;
use keymoat_proto::v1::collector_server::Collector;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Batches of one stream that may wait for their commit.
const WINDOW: usize = 16;
/// Findings of one page of `ListFindings`. A page keeps to the size of a message: each fits `limits::EVENT`.
const PAGE: usize = 30;

/// How many events were refused since the collector started, by reason.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    totals: Arc<Mutex<BTreeMap<String, u64>>>,
}

impl Refusals {
    fn add(&self, reason: impl ToString, events: u64) {
        let mut totals = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        *totals.entry(reason.to_string()).or_default() += events;
    }

    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        self.totals.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Takes batches from agents.
pub struct Ingest {
    pub store: Arc<dyn Store>,
    pub committer: Committer,
    pub refusals: Refusals,
    /// Turns true when the collector is to end.
    pub stop: watch::Receiver<bool>,
}

/// What one stream answers, in the order of its batches.
enum Answer {
    /// `committed` is none when nothing of the batch was fit to be stored.
    Ack {
        ack: v1::Ack,
        committed: Option<Committed>,
    },
    End(Status),
}

#[tonic::async_trait]
impl Collector for Ingest {
    type StreamStream = ReceiverStream<Result<v1::Ack, Status>>;

    async fn stream(
        &self,
        request: Request<Streaming<v1::Batch>>,
    ) -> Result<Response<Self::StreamStream>, Status> {
        let (answers, waiting) = mpsc::channel(WINDOW);
        let (acks, out) = mpsc::channel(1);
        let intake = Intake { committer: self.committer.clone(), refusals: self.refusals.clone(), answers };
        tokio::spawn(intake.run(request.into_inner(), self.stop.clone()));
        tokio::spawn(acknowledge(waiting, acks));
        Ok(Response::new(ReceiverStream::new(out)))
    }

    async fn list_findings(
        &self,
        request: Request<v1::ListFindingsRequest>,
    ) -> Result<Response<v1::ListFindingsResponse>, Status> {
        let v1::ListFindingsRequest { limit, before } = request.into_inner();
        let limit = if limit == 0 { PAGE } else { PAGE.min(limit as usize) };
        let store = Arc::clone(&self.store);
        let read = move || store.findings(limit, Some(before.as_str()).filter(|id| !id.is_empty()));
        let findings = tokio::task::spawn_blocking(read)
            .await
            .map_err(|error| Status::internal(error.to_string()))?
            .map_err(|error| Status::internal(error.to_string()))?;
        let next = findings.last().filter(|_| findings.len() == limit).map(|f| f.id.clone());
        Ok(Response::new(v1::ListFindingsResponse {
            findings: findings.into_iter().map(say::finding).collect(),
            next: next.unwrap_or_default(),
        }))
    }
}

/// Reads one stream and hands its batches to the writer.
struct Intake {
    committer: Committer,
    refusals: Refusals,
    answers: mpsc::Sender<Answer>,
}

impl Intake {
    async fn run(self, mut batches: Streaming<v1::Batch>, mut stop: watch::Receiver<bool>) {
        loop {
            let batch = tokio::select! {
                batch = batches.message() => batch,
                // An agent whose stream ends without an error comes back.
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let answer = match batch {
                Ok(Some(batch)) => self.take(batch).await,
                Ok(None) => return,
                Err(status) => self.unreadable(&status),
            };
            let end = matches!(answer, Answer::End(_));
            if self.answers.send(answer).await.is_err() || end {
                return;
            }
        }
    }

    /// Checks a batch and queues what is good in it. Even an empty rest is committed: the agent was heard of.
    async fn take(&self, batch: v1::Batch) -> Answer {
        let mut ack = v1::Ack { sequence: batch.sequence, ..v1::Ack::default() };
        let agent = match check::agent(batch.host, Timestamp::now()) {
            Ok(agent) => agent,
            Err(malformed) => {
                // Whose events these are is not known: nothing of the batch can be kept.
                ack.refusal = self.refuse(&malformed, batch.events.len());
                ack.refused = u32::try_from(batch.events.len()).unwrap_or(u32::MAX);
                tracing::warn!(reason = ack.refusal, "refused a batch");
                return Answer::Ack { ack, committed: None };
            }
        };
        let mut events = Vec::with_capacity(batch.events.len());
        for event in batch.events {
            match check::event(event, &agent.host) {
                Ok(event) => events.push(event),
                Err(malformed) => {
                    let reason = self.refuse(&malformed, 1);
                    if ack.refused == 0 {
                        tracing::warn!(host = ?agent.host, %reason, "refused an event");
                        ack.refusal = reason;
                    }
                    ack.refused += 1;
                }
            }
        }
        match self.committer.commit(Batch { agent, events }).await {
            Ok(committed) => Answer::Ack { ack, committed: Some(committed) },
            Err(error) => Answer::End(unavailable(&error)),
        }
    }

    fn refuse(&self, malformed: &Malformed, events: usize) -> String {
        self.refusals.add(malformed, events as u64);
        malformed.to_string()
    }

    /// Either the agent went away, which is nobody's fault, or it sent what is no batch.
    fn unreadable(&self, status: &Status) -> Answer {
        use tonic::Code::{Internal, InvalidArgument, OutOfRange, ResourceExhausted};
        if matches!(status.code(), Internal | InvalidArgument | OutOfRange | ResourceExhausted) {
            self.refusals.add("batch cannot be read", 1);
            tracing::warn!(reason = ?status.message(), "refused a batch");
            return Answer::End(Status::invalid_argument(status.message()));
        }
        tracing::debug!(?status, "a stream broke");
        Answer::End(status.clone())
    }
}

/// Sends each acknowledgement when its batch is committed, and ends the stream when one cannot be.
async fn acknowledge(mut answers: mpsc::Receiver<Answer>, acks: mpsc::Sender<Result<v1::Ack, Status>>) {
    while let Some(answer) = answers.recv().await {
        let result = match answer {
            Answer::Ack { ack, committed: None } => Ok(ack),
            Answer::Ack { ack, committed: Some(committed) } => {
                committed.wait().await.map(|()| ack).map_err(|error| unavailable(&error))
            }
            Answer::End(status) => Err(status),
        };
        let end = result.is_err();
        if acks.send(result).await.is_err() || end {
            return;
        }
    }
}

fn unavailable(error: &CommitError) -> Status {
    Status::unavailable(error.to_string())
}
