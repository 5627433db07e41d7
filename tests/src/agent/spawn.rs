//! The agent's process: started by a thread of its own, alone on this host, its output read line by line.

use super::said::Log;
use crate::env;
use crate::record::{Line, Record};
use rustix::io::FdFlags;
use rustix::process::{Signal, set_parent_process_death_signal};
use std::fs::{File, TryLockError};
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

/// Starts the agent from a thread that lives as long as it: the kernel ends the agent when its parent
/// *thread* ends, and test threads end with their test.
pub(super) fn spawn(mut command: Command, log: &Arc<Log>, at_ready: impl FnOnce() + Send + 'static) -> u32 {
    let lock = lock_host();
    let (started, pid) = mpsc::channel();
    let log = Arc::clone(log);
    thread::spawn(move || {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let lock_fd = lock.as_raw_fd();
        // SAFETY: both calls are plain system calls, allowed between fork and exec; the descriptor is open.
        unsafe {
            command.pre_exec(move || {
                set_parent_process_death_signal(Some(Signal::TERM))?;
                let lock = std::os::fd::BorrowedFd::borrow_raw(lock_fd);
                // The agent inherits the lock and so holds it until it is really gone.
                Ok(rustix::io::fcntl_setfd(lock.as_fd(), FdFlags::empty())?)
            });
        }
        let mut agent = command.spawn().expect("start the agent");
        drop(lock);
        started.send(agent.id()).expect("the test waits");
        let (stdout, stderr) = (agent.stdout.take().expect("piped"), agent.stderr.take().expect("piped"));
        let readers = [
            thread::spawn({
                let log = Arc::clone(&log);
                move || read_lines(BufReader::new(stdout), &log, at_ready)
            }),
            thread::spawn({
                let log = Arc::clone(&log);
                move || read_messages(stderr, &log)
            }),
        ];
        let status = agent.wait().expect("wait for the agent");
        for reader in readers {
            drop(reader.join());
        }
        log.add(|said| said.ended = Some(status));
    });
    pid.recv().expect("the agent did not start")
}

/// Waits until no other test process on this host has an agent.
pub(crate) fn lock_host() -> File {
    let file = std::env::temp_dir().join("keymoat-tests.lock");
    let file = File::options().create(true).append(true).open(file).expect("open the lock file");
    let deadline = Instant::now() + env::seconds(300.0);
    loop {
        match file.try_lock() {
            Ok(()) => return file,
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                thread::sleep(Duration::from_millis(20));
            }
            Err(error) => panic!("another test run has an agent: {error}"),
        }
    }
}

fn read_lines(mut pipe: impl BufRead, log: &Log, at_ready: impl FnOnce()) {
    let mut at_ready = Some(at_ready);
    let mut bytes = Vec::new();
    while matches!(pipe.read_until(b'\n', &mut bytes), Ok(1..)) {
        let line: serde_json::Result<Line> = serde_json::from_slice(&bytes);
        if matches!(&line, Ok(Line { record: Record::Ready(_), .. })) {
            at_ready.take().into_iter().for_each(|run| run());
        }
        log.add(|said| {
            said.stdout.append(&mut bytes);
            match line {
                Ok(line) => said.lines.push(line),
                Err(error) => said.bad_lines.push(error.to_string()),
            }
        });
    }
}

fn read_messages(mut pipe: impl Read, log: &Log) {
    let mut bytes = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut bytes) {
        log.add(|said| said.stderr.extend(&bytes[..length]));
    }
}
