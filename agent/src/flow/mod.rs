//! Flows: what is remembered of one connection between two of its writes.
//!
//! A TCP flow is a socket cookie, a TLS flow a (process, connection object), a UDP flow a socket and the remote
//! end. Bytes go through [`order`] (gaps, retries) and an [`Inspector`] (secrets, and where in a message they
//! are); what is found waits in the flow until it is known where the bytes go.

pub mod order;
pub mod seen;
pub mod table;
pub mod tls;

use crate::enforce::Method;
use crate::record::{ChannelKind, Process};
use keymoat_abi::event::flags;
use keymoat_abi::{Data, Source, Tuple};
use keymoat_detect::{Fed, Hit, Inspector, Scanner};
use order::Order;
use seen::Seen;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Bytes at the end of what was sent so far are judged without what may follow after this long.
pub const IDLE: Duration = Duration::from_millis(50);
/// How long a TLS finding waits to learn which socket its bytes took.
pub const LINK_WAIT: Duration = Duration::from_secs(2);
/// How long a TLS finding whose socket is known waits to learn that the socket refused it. Programs may write before their
/// handshake is done, which is sent when it is (Node), so this is as long as they may take to be linked.
pub const VERDICT_WAIT: Duration = LINK_WAIT;
/// How long a program may be silent on a connection after one of its calls was stopped. One that goes on, or gives up, does so in
/// milliseconds; people and timeouts wait longer than this.
pub const SILENCE: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FlowKey {
    /// A TCP connection.
    Socket(u64),
    /// A TLS connection object of a process.
    Tls { tgid: u32, context: u64 },
    /// A UDP socket and one remote end of it, hashed.
    Datagrams(u64),
}

/// Who wrote.
#[derive(Clone, Copy, Debug)]
pub struct Writer {
    pub pid: u32,
    pub uid: u32,
    pub comm: [u8; 16],
}

impl Writer {
    pub fn comm(&self) -> std::borrow::Cow<'_, str> {
        let end = self.comm.iter().position(|&b| b == 0).unwrap_or(self.comm.len());
        String::from_utf8_lossy(self.comm.get(..end).unwrap_or_default())
    }
}

/// A hit with everything that will not be known any more when it goes out.
pub struct Waiting {
    pub hit: Hit,
    pub writer: Writer,
    /// Read while the process still lived; none for what the flow has already reported.
    pub process: Option<Arc<Process>>,
    /// Where in the stream the write began with which it was found.
    pub write: u64,
    /// When it goes out, whatever is known by then.
    pub until: Instant,
}

/// The kernel refused a write.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// Where in the stream it began. Nothing left from there on: the connection is dead, or this is about one write only.
    pub from: u64,
    pub method: Method,
    /// A finding says what it was.
    pub explained: bool,
}

pub struct Flow {
    pub key: FlowKey,
    pub source: Source,
    pub writer: Writer,
    pub tuple: Tuple,
    /// Socket that carries this flow; 0 while not known.
    pub cookie: u64,
    /// The last bytes came with the kernel's own word that `cookie` carries them.
    pub confirmed: bool,
    /// Name the ClientHello asked for.
    pub sni: Option<Arc<str>>,
    /// A ClientHello not yet complete.
    pub hello: Vec<u8>,
    /// TLS flows linked to this socket.
    pub carries: Vec<FlowKey>,
    pub order: Order,
    pub inspector: Inspector,
    /// The last write began at the start of a message.
    pub aligned: bool,
    pub waiting: Vec<Waiting>,
    pub refused: Option<Refused>,
    /// The last call was stopped, and the connection goes on: if nothing follows, somebody may wait for an answer to it.
    pub stopped: bool,
    /// Where in the stream the last write began.
    pub write: u64,
    pub seen: Option<Box<Seen>>,
    pub repeats_due: Option<Instant>,
    pub last_data: Instant,
    /// Nothing came since [`Flow::flush`].
    pub flushed: bool,
    /// The earliest timer set for this flow.
    pub armed: Option<Instant>,
}

impl Flow {
    pub fn new(key: FlowKey, source: Source, now: Instant) -> Self {
        Self {
            key,
            source,
            writer: Writer { pid: 0, uid: 0, comm: [0; 16] },
            tuple: Tuple::UNKNOWN,
            cookie: 0,
            confirmed: false,
            sni: None,
            hello: Vec::new(),
            carries: Vec::new(),
            order: Order::default(),
            inspector: Inspector::default(),
            aligned: true,
            waiting: Vec::new(),
            refused: None,
            stopped: false,
            write: 0,
            seen: None,
            repeats_due: None,
            last_data: now,
            flushed: false,
            armed: None,
        }
    }

    pub fn channel(&self) -> ChannelKind {
        match self.source {
            Source::OpenSsl | Source::GnuTls => ChannelKind::Tls,
            Source::Udp => ChannelKind::Udp,
            Source::Tcp => ChannelKind::Tcp,
        }
    }

    /// Notes who wrote when, and what the kernel knows about the connection.
    pub fn note(&mut self, head: &Data, source: Source, now: Instant) {
        self.source = source;
        self.writer = Writer { pid: head.tgid(), uid: head.uid, comm: head.comm };
        self.last_data = now;
        self.flushed = false;
        self.stopped = false;
        if head.tuple.is_known() {
            self.tuple = head.tuple;
        }
        if !self.source.is_tls() {
            self.cookie = head.cookie;
        }
        if head.flags & flags::REFUSED != 0 {
            let method = match source {
                Source::Udp => Method::CgroupSkb,
                Source::Tcp if head.flags & flags::AS_PACKET != 0 => Method::CgroupSkb,
                Source::Tcp => Method::SkMsg,
                Source::OpenSsl | Source::GnuTls if head.flags & flags::KILLED != 0 => Method::Signal,
                Source::OpenSsl | Source::GnuTls => Method::ReturnOverride,
            };
            self.refused = Some(Refused { from: head.offset, method, explained: false });
            self.stopped = method == Method::ReturnOverride;
        } else if source == Source::Udp {
            self.refused = None;
        }
        self.confirmed = head.cookie != 0 && head.cookie == self.cookie && self.tuple.is_known();
        if head.chunk == 0 {
            self.write = head.offset;
            self.aligned = self.inspector.at_message_start();
        }
    }

    /// Before the first bytes: the stream need not begin with them. What comes before a key or a cue is not shown.
    pub fn join(&mut self, head: &Data) {
        match (self.order.has_begun(), head.chunk, head.offset) {
            (true, ..) | (false, 0, 0) => {}
            (false, 0, _) => self.inspector.joined_midway(),
            (false, ..) => self.inspector.lose_sync(),
        }
    }

    /// Judges what waits for more bytes, as if none would come. They may still come.
    pub fn flush(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) {
        self.inspector.flush(scanner, hits);
        self.flushed = true;
    }

    /// Gives up waiting for the end of a message head.
    pub fn give_up(&mut self, scanner: &Scanner, hits: &mut Vec<Hit>) -> Fed {
        self.hello = Vec::new();
        self.inspector.give_up(scanner, hits)
    }

    /// Does anything wait that [`Self::flush`] could decide?
    pub fn undecided(&self) -> bool {
        !self.flushed && self.inspector.pending()
    }

    /// Bytes held back in buffers.
    pub fn buffered(&self) -> usize {
        self.inspector.buffered() + self.hello.capacity()
    }

    /// The same object now carries another connection. What it wrote last belongs to the new one.
    pub fn reconnect(&mut self) {
        self.seen = None;
        self.repeats_due = None;
        self.sni = None;
        self.refused = None;
        self.stopped = false;
        self.order = Order::default();
        if !self.aligned {
            self.inspector.start_over();
        }
    }

    /// When this flow next needs attention without new data.
    pub fn next_due(&self) -> Option<Instant> {
        let idle = self.undecided().then(|| self.last_data + IDLE);
        let waiting = self.waiting.iter().map(|waiting| waiting.until).min();
        let silence = self.stopped.then(|| self.last_data + SILENCE);
        [idle, waiting, self.repeats_due, silence].into_iter().flatten().min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_idle_flow_stays_small() {
        assert!(size_of::<Flow>() <= 512, "{}", size_of::<Flow>());
    }
}
