//! The one thread that writes. It commits whatever has come together since its last commit, so that one write to
//! the disk serves many batches, and tells each who waits.

use super::{StoreError, Writer};
use crate::model::Batch;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// Batches that may wait for the writer; whoever has more waits, and so does the agent behind it.
const QUEUE: usize = 64;

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), Arc<StoreError>>>,
}

/// Hands batches to the writer. The thread ends when the last clone is gone and everything is committed.
#[derive(Clone)]
pub struct Committer {
    jobs: mpsc::Sender<Job>,
}

/// What becomes of a batch.
pub struct Committed(oneshot::Receiver<Result<(), Arc<StoreError>>>);

#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    #[error(transparent)]
    Store(Arc<StoreError>),
    #[error("the writer of the store has ended")]
    Ended,
}

impl Committer {
    pub fn start(writer: Box<dyn Writer>) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let thread =
            std::thread::Builder::new().name("store-writer".to_owned()).spawn(|| run(writer, queue))?;
        Ok((Self { jobs }, thread))
    }

    /// Queues a batch, and waits while the queue is full.
    pub async fn commit(&self, batch: Batch) -> Result<Committed, CommitError> {
        let (done, committed) = oneshot::channel();
        self.jobs.send(Job { batch, done }).await.map_err(|_| CommitError::Ended)?;
        Ok(Committed(committed))
    }
}

impl Committed {
    /// Returns when the batch is stored for good.
    pub async fn wait(self) -> Result<(), CommitError> {
        match self.0.await {
            Ok(result) => result.map_err(CommitError::Store),
            Err(_) => Err(CommitError::Ended),
        }
    }
}

fn run(mut writer: Box<dyn Writer>, mut queue: mpsc::Receiver<Job>) {
    while let Some(first) = queue.blocking_recv() {
        let (mut batches, mut waiting) = (vec![first.batch], vec![first.done]);
        while batches.len() < QUEUE {
            let Ok(job) = queue.try_recv() else { break };
            batches.push(job.batch);
            waiting.push(job.done);
        }
        let result = writer.commit(&batches).map_err(Arc::new);
        if let Err(error) = &result {
            tracing::error!(%error, batches = batches.len(), "cannot commit");
        }
        for done in waiting {
            // Whoever hung up will send the batch again.
            let _ = done.send(result.clone());
        }
    }
}
