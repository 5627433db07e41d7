//! One agent of a host refuses. Of two, each would call late what the other refused, and a connection's messages are judged by one only.

use rustix::fs::{FlockOperation, flock};
use std::fs::{self, File};
use std::io;
use std::path::Path;

/// Locked while an agent in block mode runs.
const LOCK: &str = "/run/keymoat/block.lock";

#[derive(Debug, thiserror::Error)]
pub enum LoneError {
    #[error("an agent in block mode runs on this host already: {0}")]
    Taken(&'static str),
    #[error("cannot use {LOCK}: {0}")]
    File(#[from] io::Error),
}

/// The place of the one; free again when this is dropped, or its process ends however it does.
#[derive(Debug)]
pub struct Lone {
    _lock: File,
}

impl Lone {
    /// # Errors
    /// When it is taken.
    pub fn take() -> Result<Self, LoneError> {
        let file = open()?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)
            .map_err(|error| why(error, "stop it first, or start this one with `--mode detect`"))?;
        Ok(Self { _lock: file })
    }

    /// For those who do not need the place, and have nothing to do beside who has it.
    ///
    /// # Errors
    /// When it is taken.
    pub fn is_free() -> Result<(), LoneError> {
        let file = open()?;
        flock(&file, FlockOperation::NonBlockingLockShared)
            .map_err(|error| why(error, "what it refuses, it refuses for this command, too: run it as it is"))
    }
}

fn open() -> io::Result<File> {
    let path = Path::new(LOCK);
    path.parent().map_or(Ok(()), fs::create_dir_all)?;
    File::create(path)
}

fn why(error: rustix::io::Errno, advice: &'static str) -> LoneError {
    match error {
        rustix::io::Errno::WOULDBLOCK => LoneError::Taken(advice),
        other => LoneError::File(other.into()),
    }
}
