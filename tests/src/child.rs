//! Client programs: started directly (so the process id is theirs), watched with a deadline, output kept.

use crate::env;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Seconds that a client has.
const PATIENCE: f64 = 30.0;

/// A client that ended.
#[derive(Clone, Debug)]
pub struct Finished {
    pub pid: u32,
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A client that runs and can be talked to.
#[derive(Debug)]
pub struct Client {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Option<BufReader<ChildStdout>>,
    stderr: Option<JoinHandle<String>>,
}

impl Client {
    pub fn start(mut command: Command) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap_or_else(|error| panic!("start {name}: {error}"));
        let stderr = child.stderr.take().map(|pipe| thread::spawn(move || read_all(pipe)));
        let stdout = child.stdout.take().map(BufReader::new);
        Self { name, stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Runs a client that needs no input; it must succeed.
    pub fn run(command: Command) -> Finished {
        Self::start(command).finish()
    }

    /// The same for one that takes long: so many seconds, and not less than any other.
    pub fn run_within(command: Command, seconds: f64) -> Finished {
        Self::start(command).finish_within(env::seconds(seconds.max(PATIENCE)))
    }

    /// Runs a client with `input` on its standard input; it must succeed.
    pub fn run_with(command: Command, input: &[u8]) -> Finished {
        let mut client = Self::start(command);
        client.say(input);
        client.finish()
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn say(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("still open");
        stdin.write_all(input).and_then(|()| stdin.flush()).expect("write to the client");
    }

    /// As [`Self::say`], to a client that may have ended.
    pub fn try_say(&mut self, input: &[u8]) {
        let stdin = self.stdin.as_mut().expect("still open");
        let _ended = stdin.write_all(input).and_then(|()| stdin.flush());
    }

    /// Waits for a line of output. Test programs print one when they reached a point a test waits for.
    pub fn wait_line(&mut self, wanted: &str) {
        let mut line = String::new();
        self.stdout.as_mut().expect("still open").read_line(&mut line).expect("read from the client");
        if line.trim() != wanted {
            let name = self.name.clone();
            let error = self.stderr.take().map(|thread| thread.join());
            panic!("{name} said {line:?} instead of {wanted:?}: {error:?}");
        }
    }

    /// Closes its input and waits; it must succeed.
    pub fn finish(self) -> Finished {
        self.finish_within(env::seconds(PATIENCE))
    }

    fn finish_within(self, limit: Duration) -> Finished {
        let name = self.name.clone();
        let finished = self.end_within(limit);
        let Finished { status, stdout, stderr, .. } = &finished;
        assert!(status.success(), "{name} failed with {status}\n{stdout}\n{stderr}");
        finished
    }

    /// Closes its input and waits, whatever the outcome.
    pub fn end(self) -> Finished {
        self.end_within(env::seconds(PATIENCE))
    }

    fn end_within(mut self, limit: Duration) -> Finished {
        drop(self.stdin.take());
        let stdout = self.stdout.take().map(|pipe| thread::spawn(move || read_all(pipe)));
        let status = wait(&mut self.child, limit);
        let text = |thread: Option<JoinHandle<String>>| {
            thread.and_then(|thread| thread.join().ok()).unwrap_or_default()
        };
        let (stdout, stderr) = (text(stdout), text(self.stderr.take()));
        let pid = self.child.id();
        let status = status.unwrap_or_else(|| panic!("{} did not end\n{stdout}\n{stderr}", self.name));
        Finished { pid, status, stdout, stderr }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Waits until a server that was started takes connections at this address.
pub fn wait_until_it_listens(server: &mut Child, address: SocketAddr, limit: Duration) {
    let deadline = Instant::now() + limit;
    while TcpStream::connect(address).is_err() {
        let ended = server.try_wait().expect("ask for its end");
        assert!(ended.is_none() && Instant::now() < deadline, "nothing listens at {address}: {ended:?}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a child; kills it at the deadline and returns none.
pub fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().expect("wait for a child") {
            return Some(status);
        }
        if Instant::now() > deadline {
            child.kill().expect("kill a child");
            child.wait().expect("wait for a child");
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn read_all(mut pipe: impl Read) -> String {
    let mut bytes = Vec::new();
    drop(pipe.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}
