//! A program that reads from a blocking socket the way many do: it knows success, the end, and nothing else. It
//! shows whether being watched changes what system calls return.
//!
//!     km-reader half-close|full-duplex|signal ADDRESS
//!
//! The server answers `ok` long after it has been sent everything. Meanwhile the reading thread is blocked, and
//! something wakes it that is not data: the acknowledgement of its own end, room in the send buffer, a signal
//! whose handler asks for system calls to be restarted.

use std::error::Error;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::thread::JoinHandleExt;
use std::thread;
use std::time::Duration;

/// More than the two sides' buffers hold.
const MUCH: usize = 32 * 1024 * 1024;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [mode, address] = args.as_slice() else {
        return Err("usage: km-reader half-close|full-duplex|signal ADDRESS".into());
    };
    let mut stream = TcpStream::connect(address)?;
    let reader = stream.try_clone()?;
    // A plain read, not one that tries again when it is told to.
    let read = move || {
        let mut answer = [0; 16];
        (&reader).read(&mut answer).map(|length| answer.into_iter().take(length).collect::<Vec<u8>>())
    };
    let answer = match mode.as_str() {
        "half-close" => {
            stream.write_all(b"hello\n")?;
            stream.shutdown(Shutdown::Write)?;
            read()
        }
        "full-duplex" => {
            let reader = thread::spawn(read);
            stream.write_all(&vec![b'.'; MUCH])?;
            stream.write_all(b"end\n")?;
            reader.join().map_err(|_| "the reader panicked")?
        }
        "signal" => {
            handle_signal();
            stream.write_all(b"end\n")?;
            let reader = thread::spawn(read);
            for _ in 0..5 {
                thread::sleep(Duration::from_millis(20));
                // SAFETY: the thread was not joined, so its handle is valid; it ignores what it cannot use.
                unsafe { libc::pthread_kill(reader.as_pthread_t(), libc::SIGUSR1) };
            }
            reader.join().map_err(|_| "the reader panicked")?
        }
        other => return Err(format!("unknown mode {other}").into()),
    };
    let answer = answer.map_err(|error| format!("a blocking read failed: {error}"))?;
    if answer == b"ok\n" { Ok(()) } else { Err(format!("read {answer:?}").into()) }
}

/// Handles SIGUSR1 by doing nothing; interrupted system calls go on.
fn handle_signal() {
    extern "C" fn nothing(_: libc::c_int) {}
    // SAFETY: all zero is a valid action, filled in below; the handler touches nothing.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = nothing as extern "C" fn(libc::c_int) as libc::sighandler_t;
        action.sa_flags = libc::SA_RESTART;
        libc::sigaction(libc::SIGUSR1, &raw const action, std::ptr::null_mut());
    }
}
