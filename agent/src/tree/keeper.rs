//! A process that keeps the rights that the agent gives up: it sends the command signals, and removes the tree's cgroup in the end,
//! also when the agent was killed.
//!
//! It is told by its standard input: a byte for each signal. When that is closed, it removes the cgroup and ends.

use super::{Tree, TreeError, remove};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{self, Read as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The hidden verb that it is started with.
pub const VERB: &str = "keep";

const SIGNALS: [(u8, Signal); 3] = [(b'c', Signal::CONT), (b't', Signal::TERM), (b'h', Signal::HUP)];

/// The agent's end of it.
#[derive(Debug)]
pub struct Keeper {
    child: Child,
    tell: Option<ChildStdin>,
}

impl Keeper {
    /// `command`: its process id.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(tree: &Tree, command: u32) -> Result<Self, TreeError> {
        let failed = |source| TreeError::Launch { program: "keymoat".to_owned(), source };
        let mut keeper = Command::new("/proc/self/exe");
        keeper.arg0("keymoat").arg(VERB).arg(tree.path()).arg(command.to_string());
        // Not in the terminal's way: what ends the command there must not end this first.
        keeper.process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = keeper.spawn().map_err(failed)?;
        let tell = child.stdin.take();
        Ok(Self { child, tell })
    }

    /// Has the command sent a signal: CONT, TERM or HUP.
    ///
    /// # Errors
    /// When the keeper is gone.
    pub fn send(&mut self, signal: Signal) -> io::Result<()> {
        let byte = SIGNALS.iter().find(|(_, known)| *known == signal).map(|(byte, _)| *byte);
        match (&mut self.tell, byte) {
            (Some(tell), Some(byte)) => tell.write_all(&[byte]),
            _ => Err(io::Error::other("not one that is passed on")),
        }
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tell = None;
        let _ = self.child.wait();
    }
}

/// What the process does.
pub fn keep(cgroup: &Path, command: u32) {
    let command = i32::try_from(command).ok().and_then(Pid::from_raw);
    for byte in io::stdin().lock().bytes().map_while(Result::ok) {
        if let (Some(command), Some((_, signal))) =
            (command, SIGNALS.iter().find(|(known, _)| *known == byte))
        {
            // It may have ended.
            let _ = kill_process(command, *signal);
        }
    }
    remove(cgroup);
}
