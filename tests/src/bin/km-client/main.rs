//! A client that sends a script through one named system call, so each way out of a process has its test.
//!
//!     km-client CALL ADDRESS SCRIPT [wait] [hold] [group=N] [threads=N]
//!
//! `CALL` is one of `calls::TCP`, the same with `udp-` (connected) or `udpto-` (an address in each call) in
//! front, or `unix` (a socket pair: nothing leaves). `wait`: connect, print `connected`, go on at a line of
//! input. `hold`: when everything is sent print `sent`, and close at a line of input. `group=N`: N writes of
//! the script in one call, for calls that take several buffers or messages. `threads=N`: N connections at
//! once, each with every Nth write.

mod calls;
mod uring;

use calls::{Call, Target};
use keymoat_tests::Script;
use std::error::Error;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

type Failure = Box<dyn Error + Send + Sync>;

struct Options {
    wait: bool,
    hold: bool,
    group: usize,
    threads: usize,
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [call, address, script, options @ ..] = args.as_slice() else {
        return Err("usage: km-client CALL ADDRESS SCRIPT [wait] [hold] [group=N] [threads=N]".into());
    };
    let script = Script::parse(&std::fs::read(script)?).ok_or("not a script")?;
    let options = parse(options)?;
    let address: SocketAddr = address.parse()?;
    let all = script.writes();

    thread::scope(|scope| {
        let threads: Vec<_> = (0..options.threads)
            .map(|index| {
                let part = all.iter().skip(index).step_by(options.threads).cloned().collect::<Vec<_>>();
                let options = &options;
                scope.spawn(move || run(call, address, &part, options))
            })
            .collect();
        threads.into_iter().try_for_each(|thread| thread.join().map_err(|_| "a thread panicked")?)
    })
}

fn parse(options: &[String]) -> Result<Options, Failure> {
    let mut parsed = Options { wait: false, hold: false, group: usize::MAX, threads: 1 };
    for option in options {
        match option.split_once('=') {
            None if option == "wait" => parsed.wait = true,
            None if option == "hold" => parsed.hold = true,
            Some(("group", number)) => parsed.group = number.parse()?,
            Some(("threads", number)) => parsed.threads = number.parse()?,
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok(parsed)
}

fn run(call: &str, address: SocketAddr, writes: &[Vec<u8>], options: &Options) -> Result<(), Failure> {
    if call == "unix" {
        return unix(writes);
    }
    if let Some(call) = call.strip_prefix("udp-") {
        let socket = datagrams(address)?;
        socket.connect(address)?;
        let target = Target { socket: socket.as_fd(), address: None };
        return send(calls::find(call)?, &target, writes, options);
    }
    if let Some(call) = call.strip_prefix("udpto-") {
        let socket = datagrams(address)?;
        let target = Target { socket: socket.as_fd(), address: Some(address) };
        return send(calls::find(call)?, &target, writes, options);
    }
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    send(calls::find(call)?, &Target { socket: stream.as_fd(), address: None }, writes, options)?;
    stream.shutdown(Shutdown::Write)?;
    // The server closes when it has everything. It may have closed in the middle of nonsense: no matter.
    drop(stream.read_to_end(&mut Vec::new()));
    Ok(())
}

fn send(call: Call, target: &Target<'_>, writes: &[Vec<u8>], options: &Options) -> Result<(), Failure> {
    if options.wait {
        pause("connected")?;
    }
    for group in writes.chunks(options.group.min(writes.len()).max(1)) {
        call(target, group)?;
    }
    if options.hold {
        pause("sent")?;
    }
    Ok(())
}

/// Tells the test how far this is and waits for its word.
fn pause(reached: &str) -> io::Result<()> {
    println!("{reached}");
    io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn datagrams(to: SocketAddr) -> io::Result<UdpSocket> {
    match to {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }
}

fn unix(writes: &[Vec<u8>]) -> Result<(), Failure> {
    let (near, mut far) = UnixStream::pair()?;
    calls::write(&Target { socket: near.as_fd(), address: None }, writes)?;
    drop(near);
    let mut received = Vec::new();
    far.read_to_end(&mut received)?;
    if received == writes.concat() { Ok(()) } else { Err("not received".into()) }
}
