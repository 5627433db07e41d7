//! Ends connections that were refused. The kernel keeps refusing what is written there, and a program that only reads would wait
//! for an answer to what never left: so both directions are shut, as if the other end had hung up.

use crate::sockets;
use std::sync::mpsc::{Receiver, Sender, channel};

/// A connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Process that wrote on it.
    pub pid: u32,
    pub cookie: u64,
    /// Its port on this host: the program's own socket may have another cookie than the one that was refused (MPTCP).
    pub port: u16,
}

/// A thread of its own: a process can have many descriptors to look through.
///
/// # Errors
/// When there can be no thread.
pub fn start() -> std::io::Result<Sender<Refused>> {
    let (sender, refused) = channel();
    std::thread::Builder::new().name("hang-up".to_owned()).spawn(move || run(&refused))?;
    Ok(sender)
}

fn run(refused: &Receiver<Refused>) {
    for Refused { pid, cookie, port } in refused {
        // A process that is gone has closed its connections.
        if let Err(error) = sockets::shut(pid, cookie, port) {
            tracing::debug!(pid, "a refused connection was not shut: {error}");
        }
    }
}
