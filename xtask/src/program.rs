//! A program that a verb runs: what it says is kept, and it ends when the verb does.

use crate::shell;
use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use std::{
    io::{Read, Write as _},
    os::unix::process::CommandExt as _,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

pub struct Program {
    name: &'static str,
    child: Mutex<Child>,
    said: Arc<Mutex<Vec<u8>>>,
}

const LOOK: Duration = Duration::from_millis(5);
/// The kernel takes its time to remove probes while the machine is busy.
const PATIENCE: Duration = Duration::from_secs(30);

impl Program {
    /// With `echo`, what it says goes to this terminal, too.
    pub fn start(name: &'static str, mut command: Command, echo: bool) -> Result<Self> {
        command.stdin(Stdio::null());
        Self::spawn(name, command, echo)
    }

    /// A program that lives as long as its standard input.
    pub fn start_with_input(name: &'static str, mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped());
        Self::spawn(name, command, false)
    }

    fn spawn(name: &'static str, mut command: Command, echo: bool) -> Result<Self> {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is for the verb, which ends its programs in order.
        let mut child = command.process_group(0).spawn().with_context(|| shell::line(&command))?;
        let said = Arc::default();
        let (out, err) =
            (child.stdout.take().context("its stdout")?, child.stderr.take().context("its stderr")?);
        listen(out, Arc::clone(&said), echo);
        listen(err, Arc::clone(&said), echo);
        Ok(Self { name, child: Mutex::new(child), said })
    }

    pub fn pid(&self) -> u32 {
        lock(&self.child).id()
    }

    /// Everything it said so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&lock(&self.said)).into_owned()
    }

    /// An error when it has ended.
    pub fn alive(&self) -> Result<()> {
        match self.ended()? {
            Some(status) => bail!("{} ended ({status}); it said:\n{}", self.name, self.said().trim()),
            None => Ok(()),
        }
    }

    /// Asks until there is an answer, while the program lives and nobody presses Ctrl-C.
    pub fn wait<T>(&self, what: &str, patience: Duration, ask: impl Fn() -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(answer) = ask() {
                return Ok(answer);
            }
            self.alive()?;
            if shell::interrupted() {
                bail!("interrupted");
            }
            if Instant::now() > deadline {
                let said = self.said();
                bail!("no sign of {what} from {} in {patience:?}; it said:\n{}", self.name, said.trim());
            }
            thread::sleep(LOOK);
        }
    }

    fn ended(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.child).try_wait()?)
    }
}

/// A thread of its own, which ends with the pipe.
fn listen(mut pipe: impl Read + Send + 'static, said: Arc<Mutex<Vec<u8>>>, echo: bool) {
    thread::spawn(move || {
        let mut bytes = [0; 4096];
        while let Ok(length @ 1..) = pipe.read(&mut bytes) {
            let Some(new) = bytes.get(..length) else { return };
            lock(&said).extend(new);
            if echo {
                // A terminal that went away is no reason to stop.
                let _ = std::io::stdout().lock().write_all(new).and_then(|()| std::io::stdout().flush());
            }
        }
    });
}

/// What a thread that panicked left is as good as ever: bytes, and a handle.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut child = lock(&self.child);
        if matches!(child.try_wait(), Ok(Some(_))) {
            return;
        }
        // It is not collected yet, so the number is still its own.
        if let Some(pid) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while matches!(child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                shell::say(format!("{} does not end by itself: killed", self.name));
                let _ = child.kill();
                let _ = child.wait();
                return;
            }
            thread::sleep(LOOK);
        }
    }
}
