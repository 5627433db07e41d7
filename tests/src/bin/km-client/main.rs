//! A client that sends a script through one named system call, so each way out of a process has its test.
//!
//!     km-client CALL ADDRESS SCRIPT [wait] [hold] [group=N] [threads=N] [lives=N] [link=NAME]
//!
//! `CALL` is one of `calls::CALLS`, the same with `udp-` (connected), `udpto-` (an address in each call) or a way to a
//! connection (`connect::WAYS`) in front, `raw` or `packet` (datagrams built by hand; `link` they leave by), or `unix`
//! (a socket pair: nothing leaves). `wait`: connect, print `connected`, go on at a line of
//! input. `hold`: when everything is sent print `sent`, and close at a line of input. `group=N`: N writes of
//! the script in one call, for calls that take several buffers or messages. `threads=N`: N connections at
//! once, each with every Nth write. `lives=N`: one connection after another, N writes on each; one that is refused ends its
//! connection only, and at the end it says `refused` and how many were.

mod calls;
mod connect;
mod packets;
mod uring;

use calls::{Call, Target};
use keymoat_tests::Script;
use std::error::Error;
use std::io::{self, Read};
use std::net::{Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

type Failure = Box<dyn Error + Send + Sync>;

struct Options {
    wait: bool,
    hold: bool,
    group: usize,
    threads: usize,
    lives: Option<usize>,
    link: String,
}

fn main() -> Result<(), Failure> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [call, address, script, options @ ..] = args.as_slice() else {
        return Err(
            "usage: km-client CALL ADDRESS SCRIPT [wait] [hold] [group=N] [threads=N] [lives=N] [link=NAME]"
                .into(),
        );
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
    let mut parsed =
        Options { wait: false, hold: false, group: usize::MAX, threads: 1, lives: None, link: String::new() };
    for option in options {
        match option.split_once('=') {
            None if option == "wait" => parsed.wait = true,
            None if option == "hold" => parsed.hold = true,
            Some(("group", number)) => parsed.group = number.parse()?,
            Some(("threads", number)) => parsed.threads = number.parse()?,
            Some(("lives", number)) => parsed.lives = Some(number.parse()?),
            Some(("link", name)) => parsed.link = name.to_owned(),
            _ => return Err(format!("unknown option {option}").into()),
        }
    }
    Ok(parsed)
}

fn run(call: &str, address: SocketAddr, writes: &[Vec<u8>], options: &Options) -> Result<(), Failure> {
    if call == "unix" {
        return unix(writes);
    }
    if call == "raw" {
        return Ok(packets::raw(address, writes)?);
    }
    if call == "packet" {
        return Ok(packets::packet(address, &options.link, writes)?);
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
    match options.lives {
        None => connection(call, address, writes, options),
        Some(lives) => {
            let ends = writes.chunks(lives.max(1)).map(|part| connection(call, address, part, options));
            println!("refused {}", ends.filter(Result::is_err).count());
            Ok(())
        }
    }
}

fn connection(call: &str, address: SocketAddr, writes: &[Vec<u8>], options: &Options) -> Result<(), Failure> {
    let (mut connected, call) = connect::connect(call, address)?;
    let target = Target { socket: connected.stream.as_fd(), address: connected.address };
    send(calls::find(call)?, &target, writes, options)?;
    connected.stream.shutdown(Shutdown::Write)?;
    // The server closes when it has everything. It may have closed in the middle of nonsense: no matter.
    drop(connected.stream.read_to_end(&mut Vec::new()));
    if connected.in_syn && !connect::was_in_syn(&connected.stream)? {
        return Err("the first write was not in the SYN".into());
    }
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
