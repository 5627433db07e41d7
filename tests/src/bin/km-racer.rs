//! Sends one buffer again and again while another thread writes a key into it and out of it: a check of the program's memory
//! before the kernel copies it would look at other bytes than those that leave.
//!
//!     km-racer write|sendmsg|zerocopy ADDRESS TRIES SCRIPT
//!
//! The script is two writes of the same length, without the key and with it. A refused connection is dead, so a new one follows.
//! At the end it says how many were `sent` and how many `refused`.

use keymoat_tests::Script;
use rustix::event::{PollFd, PollFlags};
use std::error::Error;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Longest that the key stays in the buffer, and that it stays out of it: rarely in, since every refusal costs a connection.
const IN: u32 = 4_000;
const OUT: u32 = 60_000;

type Failure = Box<dyn Error + Send + Sync>;
type Call = fn(&TcpStream, *const u8, usize) -> io::Result<usize>;

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [call, address, tries, script] = args.as_slice() else {
        return Err("usage: km-racer write|sendmsg|zerocopy ADDRESS TRIES SCRIPT".into());
    };
    let script = Script::parse(&std::fs::read(script)?).ok_or("not a script")?;
    let [clean, secret] = script.writes() else { return Err("not a script of two writes".into()) };
    if clean.len() != secret.len() {
        return Err("two lengths".into());
    }
    let send: Call = match call.as_str() {
        "write" => write,
        "sendmsg" => sendmsg,
        "zerocopy" => zerocopy,
        other => return Err(format!("no call named {other}").into()),
    };
    let shared = Shared(Box::into_raw(clean.clone().into_boxed_slice()).cast());
    let (address, tries) = (address.parse()?, tries.parse()?);
    let done = AtomicBool::new(false);
    let (sent, refused) = thread::scope(|scope| {
        scope.spawn(|| flip(&shared, clean, secret, &done));
        let result = tries_of(send, address, &shared, clean.len(), tries);
        done.store(true, Ordering::Relaxed);
        result
    })?;
    println!("sent {sent} refused {refused}");
    Ok(())
}

/// A buffer that one thread writes and only the kernel reads. It is never freed.
struct Shared(*mut u8);

// SAFETY: no thread reads the buffer, and one writes it.
unsafe impl Sync for Shared {}

fn flip(shared: &Shared, clean: &[u8], secret: &[u8], done: &AtomicBool) {
    let mut random = 1_u32;
    while !done.load(Ordering::Relaxed) {
        for (bytes, longest) in [(secret, IN), (clean, OUT)] {
            for (at, byte) in bytes.iter().enumerate() {
                // SAFETY: the buffer is as long as both texts.
                unsafe { ptr::write_volatile(shared.0.add(at), *byte) };
            }
            // xorshift
            random ^= random << 13;
            random ^= random >> 17;
            random ^= random << 5;
            let wait = Duration::from_nanos((random % longest).into());
            let began = Instant::now();
            while began.elapsed() < wait {}
        }
    }
}

fn tries_of(
    send: Call,
    to: SocketAddr,
    shared: &Shared,
    len: usize,
    tries: u64,
) -> Result<(u64, u64), Failure> {
    let (mut sent, mut refused) = (0, 0);
    let mut stream = connect(to)?;
    for _ in 0..tries {
        match send(&stream, shared.0, len) {
            Ok(all) if all == len => sent += 1,
            Ok(part) => return Err(format!("{part} of {len} bytes were taken").into()),
            Err(error) if is_refusal(&error) => {
                refused += 1;
                stream = connect(to)?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok((sent, refused))
}

fn connect(to: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the pointer and size describe `on`, which lives through the call.
    let set = unsafe {
        let value = (&raw const on).cast();
        libc::setsockopt(stream.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY, value, size)
    };
    if set == 0 { Ok(stream) } else { Err(io::Error::last_os_error().into()) }
}

fn is_refusal(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

fn write(stream: &TcpStream, bytes: *const u8, len: usize) -> io::Result<usize> {
    // SAFETY: the buffer holds so many bytes; the kernel may read them while they change.
    taken(unsafe { libc::write(stream.as_raw_fd(), bytes.cast(), len) })
}

/// In two pieces, so that the kernel copies twice.
fn sendmsg(stream: &TcpStream, bytes: *const u8, len: usize) -> io::Result<usize> {
    let half = len / 2;
    // SAFETY: as `write`; all zero is a valid message header.
    taken(unsafe {
        let piece =
            |from: usize, len| libc::iovec { iov_base: bytes.add(from).cast_mut().cast(), iov_len: len };
        let mut pieces = [piece(0, half), piece(half, len - half)];
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = pieces.as_mut_ptr();
        message.msg_iovlen = pieces.len();
        libc::sendmsg(stream.as_raw_fd(), &raw const message, libc::MSG_NOSIGNAL)
    })
}

fn zerocopy(stream: &TcpStream, bytes: *const u8, len: usize) -> io::Result<usize> {
    let flags = libc::MSG_ZEROCOPY | libc::MSG_NOSIGNAL;
    // SAFETY: as `write`.
    let sent = taken(unsafe { libc::send(stream.as_raw_fd(), bytes.cast(), len, flags) })?;
    // A message that fails for want of room for completions is another matter (`ways_out`).
    rustix::event::poll(&mut [PollFd::new(stream, PollFlags::empty())], None)?;
    // SAFETY: all zero is a valid message header: no buffers, no room for what comes with a completion.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        while libc::recvmsg(stream.as_raw_fd(), &raw mut message, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT)
            >= 0
        {}
    }
    Ok(sent)
}

fn taken(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
