//! Servers in the other network. Each test starts its own, so a port stands for a test.

mod git;
mod http;
mod http2;
mod listeners;
mod websocket;

use crate::{env, net::Net, pki};
use rustls::{ServerConnection, StreamOwned};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// A running server and what it received. It lives until the process ends.
#[derive(Debug)]
pub struct Server {
    pub port: u16,
    ip: Ipv4Addr,
    inbox: Arc<Inbox>,
}

/// One request, datagram, or for a sink everything one connection sent so far.
#[derive(Clone, Debug)]
pub struct Received {
    pub from: SocketAddr,
    pub bytes: Vec<u8>,
}

/// What a server received, and a signal when there is more.
#[derive(Debug, Default)]
struct Inbox {
    received: Mutex<Vec<Received>>,
    /// Everything that HTTP/1.1 connections sent, requests that never became whole too.
    raw: Mutex<BTreeMap<SocketAddr, Vec<u8>>>,
    more: Condvar,
    /// What is received is counted, and not kept.
    only_counts: bool,
    count: AtomicUsize,
}

/// A socket on a port that no other server of this process has, in either protocol or network: a finding's port then
/// says which test it belongs to.
fn on_own_port<S>(bind: impl Fn() -> S, address: fn(&S) -> io::Result<SocketAddr>) -> (S, u16) {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let socket = bind();
        let port = address(&socket).expect("an address").port();
        if TAKEN.lock().unwrap_or_else(PoisonError::into_inner).insert(port) {
            return (socket, port);
        }
    }
}

/// How a listening server treats a connection.
type Serve = fn(TcpStream, &Arc<Inbox>, SocketAddr);

impl Server {
    /// HTTP/1.1 over TLS.
    pub fn https() -> Self {
        Self::away(|stream, inbox, from| serve_tls(stream, inbox, from, http::ok))
    }

    /// The same behind a proxy that is asked for it in the clear (CONNECT; RFC 9110, 9.3.6).
    pub fn https_behind_a_proxy() -> Self {
        Self::away(|mut stream, inbox, from| {
            if take_connect(&mut stream).is_ok() {
                serve_tls(stream, inbox, from, http::ok);
            }
        })
    }

    /// The same behind a proxy that is asked for it over TLS: TLS in TLS.
    pub fn https_behind_an_https_proxy() -> Self {
        Self::away(|stream, inbox, from| {
            if let Some(mut stream) = accept_tls(stream)
                && take_connect(&mut stream).is_ok()
            {
                serve_tls(stream, inbox, from, http::ok);
            }
        })
    }

    /// HTTP/2 over TLS. A request is received as lines `name: value` and the body.
    pub fn http2() -> Self {
        Self::away(http2::serve)
    }

    /// A git server over HTTPS with one empty repository, `/notes.git`, that takes what is pushed.
    pub fn git() -> Self {
        Self::away(|stream, inbox, from| serve_tls(stream, inbox, from, git::answer))
    }

    /// WebSocket over TLS. Each message is received by itself.
    pub fn websocket() -> Self {
        Self::away(|stream, inbox, from| {
            if let Some(stream) = accept_tls(stream) {
                websocket::serve(stream, inbox, from);
            }
        })
    }

    /// HTTP/1.1 in the clear.
    pub fn http() -> Self {
        Self::away(|stream, inbox, from| http::serve(stream, inbox, from, http::ok))
    }

    /// HTTP/1.1 in the clear; requests are counted and not kept.
    pub fn http_that_counts() -> Self {
        Self::counting(|stream, inbox, from| http::serve(stream, inbox, from, http::ok))
    }

    /// The same over TLS.
    pub fn https_that_counts() -> Self {
        Self::counting(|stream, inbox, from| serve_tls(stream, inbox, from, http::ok))
    }

    /// Takes whatever comes and never answers.
    pub fn sink() -> Self {
        Self::away(serve_sink)
    }

    /// The same, over MPTCP with who speaks it.
    pub fn mptcp_sink() -> Self {
        Self::tcp(listeners::mptcp, Net::shared().v4, serve_sink)
    }

    /// A sink that takes the data in a SYN.
    pub fn fast_open_sink() -> Self {
        Self::tcp(listeners::fast_open, Net::shared().v4, serve_sink)
    }

    /// A sink that lets its first client wait for the connection.
    pub fn slow_to_connect_sink() -> Self {
        // The stimulus: until then nobody is let in.
        Self::tcp_after(env::seconds(0.3), listeners::full, Net::shared().v4, serve_sink)
    }

    /// Reads late, until a line `end` or the end, and answers `ok` later still: a client that blocks, blocks.
    pub fn late() -> Self {
        Self::away(|stream, inbox, from| serve_late(stream, inbox, from))
    }

    /// Takes whatever comes over TLS and never answers.
    pub fn tls_sink() -> Self {
        Self::away(|stream, inbox, from| {
            if let Some(stream) = accept_tls(stream) {
                serve_sink(stream, inbox, from);
            }
        })
    }

    /// The same, and after the first byte nothing is read for a while: a client that writes fills its buffer.
    pub fn late_tls_sink() -> Self {
        Self::away(|stream, inbox, from| {
            let mut first = [0];
            if let Some(mut stream) = accept_tls(stream)
                && stream.read_exact(&mut first).is_ok()
            {
                inbox.append(from, &first);
                thread::sleep(env::seconds(0.3));
                serve_sink(stream, inbox, from);
            }
        })
    }

    /// HTTP/1.1 in the clear on this very host's loopback.
    pub fn loopback_http() -> Self {
        Self::here(Ipv4Addr::LOCALHOST, |stream, inbox, from| http::serve(stream, inbox, from, http::ok))
    }

    /// HTTP/1.1 over TLS on this very host's loopback.
    pub fn loopback_https() -> Self {
        Self::here(Ipv4Addr::LOCALHOST, |stream, inbox, from| serve_tls(stream, inbox, from, http::ok))
    }

    /// HTTP/1.1 in the clear on an address of this host that is not loopback.
    pub fn own_address_http() -> Self {
        Self::here(Net::shared().host_v4, |stream, inbox, from| http::serve(stream, inbox, from, http::ok))
    }

    /// Takes datagrams.
    pub fn udp() -> Self {
        let (socket, port) = on_own_port(|| Net::shared().datagrams(), UdpSocket::local_addr);
        let inbox = Arc::<Inbox>::default();
        let theirs = Arc::clone(&inbox);
        thread::spawn(move || receive_datagrams(&socket, &theirs));
        Self { port, ip: Net::shared().v4, inbox }
    }

    fn away(serve: Serve) -> Self {
        Self::tcp(|| Net::shared().listen(), Net::shared().v4, serve)
    }

    fn here(ip: Ipv4Addr, serve: Serve) -> Self {
        Self::tcp(|| TcpListener::bind((ip, 0)).expect("listen"), ip, serve)
    }

    fn tcp(listen: impl Fn() -> TcpListener, ip: Ipv4Addr, serve: Serve) -> Self {
        Self::tcp_after(Duration::ZERO, listen, ip, serve)
    }

    fn tcp_after(delay: Duration, listen: impl Fn() -> TcpListener, ip: Ipv4Addr, serve: Serve) -> Self {
        Self::tcp_into(Inbox::default(), delay, listen, ip, serve)
    }

    fn counting(serve: Serve) -> Self {
        let inbox = Inbox { only_counts: true, ..Inbox::default() };
        Self::tcp_into(inbox, Duration::ZERO, || Net::shared().listen(), Net::shared().v4, serve)
    }

    fn tcp_into(
        inbox: Inbox,
        delay: Duration,
        listen: impl Fn() -> TcpListener,
        ip: Ipv4Addr,
        serve: Serve,
    ) -> Self {
        let (listener, port) = on_own_port(listen, TcpListener::local_addr);
        let inbox = Arc::new(inbox);
        let theirs = Arc::clone(&inbox);
        thread::spawn(move || {
            thread::sleep(delay);
            while let Ok((stream, from)) = listener.accept() {
                let inbox = Arc::clone(&theirs);
                thread::spawn(move || {
                    // A client that dies in the middle must not leave a thread behind for ever.
                    drop(stream.set_read_timeout(Some(env::seconds(60.0))));
                    // Answers to pipelined requests must not wait for each other's acknowledgements.
                    drop(stream.set_nodelay(true));
                    serve(stream, &inbox, from);
                });
            }
        });
        Self { port, ip, inbox }
    }

    pub fn address(&self) -> SocketAddr {
        (self.ip, self.port).into()
    }

    pub fn address6(&self) -> SocketAddr {
        Net::shared().address6(self.port)
    }

    /// Waits until something received so far contains `needle`, and returns it.
    pub fn wait_for(&self, needle: &[u8]) -> Received {
        let found = |all: &[Received]| all.iter().find(|one| contains(&one.bytes, needle)).cloned();
        self.inbox.wait(found).unwrap_or_else(|all| {
            let sizes: Vec<usize> = all.iter().map(|one| one.bytes.len()).collect();
            panic!("the server on port {} did not receive what was sent; sizes: {sizes:?}", self.port)
        })
    }

    /// How many requests (datagrams, messages) came so far.
    pub fn count(&self) -> usize {
        self.inbox.count.load(Ordering::Relaxed)
    }

    /// Waits until more has come than by now.
    pub fn wait_for_more(&self) {
        let before = self.count();
        let more = |_: &[Received]| (self.count() > before).then_some(());
        assert!(self.inbox.wait(more).is_ok(), "nothing came on port {} any more", self.port);
    }

    /// Everything received so far.
    pub fn received(&self) -> Vec<Received> {
        self.inbox.received.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fails if `needle` was ever received, in a request or a part of one.
    pub fn assert_never(&self, needle: &[u8]) {
        let received = self.inbox.received.lock().unwrap_or_else(PoisonError::into_inner);
        let raw = self.inbox.raw.lock().unwrap_or_else(PoisonError::into_inner);
        let all = received.iter().map(|one| &one.bytes).chain(raw.values());
        let leaks = all.filter(|bytes| contains(bytes, needle)).count();
        assert_eq!(leaks, 0, "the server on port {} received what should not have left", self.port);
    }

    /// Waits until `count` requests (datagrams, connections of a sink) have come.
    pub fn wait_for_count(&self, count: usize) {
        let enough = |all: &[Received]| (all.len() >= count).then_some(());
        self.inbox.wait(enough).unwrap_or_else(|all| {
            panic!("the server on port {} received {} of {count}", self.port, all.len())
        });
    }
}

impl Inbox {
    fn read(&self, from: SocketAddr, bytes: &[u8]) {
        if self.only_counts {
            return;
        }
        let mut raw = self.raw.lock().unwrap_or_else(PoisonError::into_inner);
        raw.entry(from).or_default().extend_from_slice(bytes);
    }

    fn push(&self, from: SocketAddr, bytes: Vec<u8>) {
        self.count.fetch_add(1, Ordering::Relaxed);
        if !self.only_counts {
            self.keep(Received { from, bytes });
        }
        self.more.notify_all();
    }

    fn keep(&self, one: Received) {
        self.received.lock().unwrap_or_else(PoisonError::into_inner).push(one);
    }

    /// Adds to what this connection sent before.
    fn append(&self, from: SocketAddr, bytes: &[u8]) {
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        match received.iter_mut().find(|one| one.from == from) {
            Some(one) => one.bytes.extend_from_slice(bytes),
            None => received.push(Received { from, bytes: bytes.to_vec() }),
        }
        drop(received);
        self.more.notify_all();
    }

    fn wait<T>(&self, mut look: impl FnMut(&[Received]) -> Option<T>) -> Result<T, Vec<Received>> {
        let deadline = Instant::now() + env::seconds(15.0);
        let mut received = self.received.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(found) = look(&received) {
                return Ok(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(received.clone());
            }
            (received, _) = self.more.wait_timeout(received, left).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Takes the request to a proxy and says that the server is reached.
fn take_connect(stream: &mut (impl Read + Write)) -> io::Result<()> {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte)?;
        head.extend_from_slice(&byte);
    }
    if !head.starts_with(b"CONNECT ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    stream.write_all(b"HTTP/1.1 200 reached\r\n\r\n")?;
    stream.flush()
}

fn serve_tls(stream: impl Read + Write, inbox: &Inbox, from: SocketAddr, answer: http::Answer) {
    let Some(mut stream) = accept_tls(stream) else { return };
    http::serve(&mut stream, inbox, from, answer);
    // Clients rightly complain about an end without one.
    stream.conn.send_close_notify();
    drop(stream.flush());
}

fn accept_tls<S: Read + Write>(stream: S) -> Option<StreamOwned<ServerConnection, S>> {
    Some(StreamOwned::new(ServerConnection::new(pki::server()).ok()?, stream))
}

fn serve_sink(mut stream: impl Read, inbox: &Arc<Inbox>, from: SocketAddr) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer) {
        inbox.append(from, &buffer[..length]);
    }
}

fn serve_late(mut stream: TcpStream, inbox: &Inbox, from: SocketAddr) {
    // The delays are the stimulus, not a wait for something: buffers fill and acknowledgements travel meanwhile.
    let delay = env::seconds(0.3);
    thread::sleep(delay);
    let mut all = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    while !all.ends_with(b"end\n") {
        match stream.read(&mut buffer) {
            Ok(length @ 1..) => all.extend_from_slice(&buffer[..length]),
            _ => break,
        }
    }
    inbox.push(from, all);
    thread::sleep(delay);
    drop(stream.write_all(b"ok\n"));
}

fn receive_datagrams(socket: &UdpSocket, inbox: &Inbox) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok((length, from)) = socket.recv_from(&mut buffer) {
        inbox.push(from, buffer[..length].to_vec());
    }
}

/// Whether `needle` occurs in `haystack`.
pub fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    needle.is_empty() || haystack.windows(needle.len()).any(|window| window == needle)
}
