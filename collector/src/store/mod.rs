//! Where events are kept. A kind of store is one file here and one line in [`open`]; nothing outside this folder
//! knows which one is in use.

pub mod commit;
mod sqlite;

use crate::model::{Agent, Batch, Finding, Notice};
use std::path::PathBuf;
use std::sync::Arc;

/// A store, as those who read see it. Its calls block.
pub trait Store: Send + Sync {
    /// The one who writes.
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError>;

    /// Findings, newest first: at most `limit`, and only those older than the one with the id `before`.
    fn findings(&self, limit: usize, before: Option<&str>) -> Result<Vec<Finding>, StoreError>;

    /// The runs of agents, with what each could not deliver, the one heard of last first.
    fn agents(&self, limit: usize) -> Result<Vec<Agent>, StoreError>;

    /// What agents had to say beside findings, newest first.
    fn notices(&self, limit: usize) -> Result<Vec<Notice>, StoreError>;
}

/// A store, as the one who writes sees it.
pub trait Writer: Send {
    /// Stores all batches or none. When it returns `Ok` they survive a crash of the process and of the machine.
    /// A batch that is stored already changes nothing.
    fn commit(&mut self, batches: &[Batch]) -> Result<(), StoreError>;
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads what is there; it is an error when nothing is.
    Read,
    /// Reads and writes, and creates the store at need.
    Write,
}

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("{0:?} is not the address of a store; known is sqlite:PATH")]
    Address(String),
    #[error("there is no store at {}", .0.display())]
    Absent(PathBuf),
    #[error("cannot create {}: {source}", path.display())]
    Create { path: PathBuf, source: std::io::Error },
    #[error("store {}: {source}", path.display())]
    Sqlite { path: PathBuf, source: rusqlite::Error },
    #[error("store {}: {source}", path.display())]
    Migrate { path: PathBuf, source: rusqlite_migration::Error },
    #[error("a stored event cannot be read: {0}")]
    Damaged(#[from] serde_json::Error),
}

/// Opens the store at an address: `sqlite:PATH` or `sqlite://PATH`.
pub fn open(address: &str, access: Access) -> Result<Arc<dyn Store>, StoreError> {
    let path = address.strip_prefix("sqlite:").map(|rest| rest.strip_prefix("//").unwrap_or(rest));
    match path {
        Some(path) if !path.is_empty() => Ok(Arc::new(sqlite::Sqlite::open(path.as_ref(), access)?)),
        _ => Err(StoreError::Address(address.to_owned())),
    }
}

/// Where the store is when nobody says: the system's place for root, else the user's own.
pub fn default_address() -> String {
    let directory = if rustix::process::geteuid().is_root() {
        PathBuf::from("/var/lib/keymoat")
    } else {
        let state = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).filter(|path| path.is_absolute());
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".local/state");
        state.unwrap_or_else(home).join("keymoat")
    };
    format!("sqlite:{}", directory.join("collector.db").display())
}
