//! Ring events to findings: flows are kept, bytes judged, findings sent with where they go and who sent them.
//!
//! One thread owns the pipeline; nothing in it blocks. Whatever it has to give up on is counted.

mod datagram;
mod exchange;
mod refusal;
mod report;

use crate::discover::Hello;
use crate::enforce::hang_up::Refused;
use crate::enforce::judgement::Judge;
use crate::enrich::ProcessTable;
use crate::export::Outbox;
use crate::flow::order::Admit;
use crate::flow::table::{FlowId, Table};
use crate::flow::{Flow, FlowKey, LINK_WAIT, SILENCE, VERDICT_WAIT, Waiting, tls};
use crate::health::{Cause, Counters};
use crate::kernel::numbers::Numbers;
use crate::record::{Process, Record};
pub use exchange::Exchange;
use foldhash::quality::RandomState;
use keymoat_abi::{Data, Link, Source, Tuple, decode::Event, event::flags};
use keymoat_detect::decode::place::Place;
use keymoat_detect::{Detector, Fed, Hit, Scanner, Suppressed};
use report::Reporter;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Unfinished heads and hellos of all flows together.
const MAX_BUFFERED: usize = 16 * 1024 * 1024;
/// Findings that may wait for their destination: on one flow, and on all.
const MAX_WAITING_PER_FLOW: usize = 1024;
const MAX_WAITING: usize = 16 * 1024;
/// No timer fires twice for the same flow in less than this.
const TIMER_STEP: Duration = Duration::from_millis(1);

/// What is known about a process.
pub trait Facts {
    fn facts(&self, pid: u32, comm: &str) -> Process;
}

/// Where records go. Never blocks.
pub trait Output {
    fn send(&self, record: Record);
}

impl Facts for Arc<ProcessTable> {
    fn facts(&self, pid: u32, comm: &str) -> Process {
        ProcessTable::facts(self, pid, comm)
    }
}

impl Output for Outbox {
    fn send(&self, record: Record) {
        Outbox::send(self, record);
    }
}

#[derive(Clone)]
pub struct PipelineConfig {
    pub include_loopback: bool,
    pub max_flows: usize,
    /// Key of the fingerprints.
    pub fleet_key: Vec<u8>,
    pub judge: Judge,
    /// The kernel refuses: findings in TLS wait for its word, and connections that it refused are ended.
    pub blocking: Option<Blocking>,
}

#[derive(Clone)]
pub struct Blocking {
    pub hang_up: Sender<Refused>,
    /// What the kernel calls the rules.
    pub numbers: Arc<Numbers>,
    pub unsent: Waits,
}

/// Does plaintext with a key wait at a TLS connection (process id and object), of which nobody knows yet whether it leaves?
pub type Waits = Arc<dyn Fn(u32, u64) -> bool + Send + Sync>;

pub struct Pipeline<F = Arc<ProcessTable>, O = Outbox> {
    include_loopback: bool,
    blocking: Option<Blocking>,
    scanner: Arc<Scanner>,
    reporter: Reporter<F, O>,
    counters: Counters,
    hellos: Sender<Hello>,
    hasher: RandomState,
    flows: Table,
    timers: BinaryHeap<Reverse<(Instant, FlowId)>>,
    /// Kept for its memory.
    hits: Vec<Hit>,
    waiting: usize,
    buffered: usize,
}

impl<F: Facts, O: Output> Pipeline<F, O> {
    pub fn new(
        config: PipelineConfig,
        detector: Arc<Detector>,
        processes: F,
        counters: Counters,
        outbox: O,
        hellos: Sender<Hello>,
    ) -> Self {
        let scanner = Arc::new(Scanner::new(detector, &config.fleet_key));
        let reporter = Reporter::new(&config, Arc::clone(&scanner), processes, counters.clone(), outbox);
        Self {
            include_loopback: config.include_loopback,
            blocking: config.blocking,
            scanner,
            reporter,
            counters,
            hellos,
            hasher: RandomState::default(),
            flows: Table::new(config.max_flows),
            timers: BinaryHeap::new(),
            hits: Vec::new(),
            waiting: 0,
            buffered: 0,
        }
    }

    pub fn event(&mut self, event: &Event<'_>, now: Instant) {
        match event {
            Event::Data { head, source: Source::Udp, payload } => self.datagram(head, payload, now),
            Event::Data { head, source, payload } => self.data(head, *source, payload, now),
            Event::Link(link) => self.link(link, now),
            Event::Refusal(refusal) => self.refusal(refusal, now),
            Event::Close(close) => self.close(close.cookie, now),
        }
    }

    /// Does what is due without new data: tails that stay tails, destinations that stay unknown, repeats.
    pub fn tick(&mut self, now: Instant) {
        while let Some(Reverse((due, id))) = self.timers.peek().copied()
            && due <= now
        {
            self.timers.pop();
            self.wake(id, now);
        }
        self.count_suppressed();
    }

    /// What the detector saw and gave no hit for.
    fn count_suppressed(&self) {
        for (why, total) in self.scanner.suppressed() {
            let cause = match why {
                Suppressed::Placeholder => Cause::SuppressedPlaceholder,
                Suppressed::LowEntropy => Cause::SuppressedLowEntropy,
            };
            self.counters.set(cause, total);
        }
        self.counters.set(Cause::RegisteredValueGivenUp, self.scanner.detector().values_given_up());
    }

    /// Judges and reports everything that still waits.
    pub fn finish(&mut self) {
        let now = Instant::now();
        while let Some(id) = self.flows.oldest()
            && let Some(flow) = self.flows.remove(id)
        {
            self.retire(flow, now);
        }
        self.count_suppressed();
    }

    pub fn open_flows(&self) -> usize {
        self.flows.len()
    }

    fn data(&mut self, head: &Data, source: Source, payload: &[u8], now: Instant) {
        if self.ignores(&head.tuple) {
            return;
        }
        if source.is_tls() && head.flags & flags::REFUSED != 0 {
            return self.stopped(head, source, payload, now);
        }
        let key = match source {
            Source::OpenSsl | Source::GnuTls => FlowKey::Tls { tgid: head.tgid(), context: head.context },
            _ => FlowKey::Socket(head.cookie),
        };
        let Some((id, mut flow)) = self.open(key, source, now) else { return };
        if flow.order.restarts(head) {
            let old = std::mem::replace(&mut flow, Box::new(Flow::new(key, source, now)));
            self.retire(old, now);
        }
        flow.join(head);
        if source.is_tls() && head.cookie != 0 && head.cookie != flow.cookie {
            self.follow(&mut flow, head.cookie);
        }
        flow.note(head, source, now);

        let mut hits = std::mem::take(&mut self.hits);
        let before = flow.buffered();
        if head.flags & flags::CLIENT_HELLO != 0 && !source.is_tls() {
            self.hello(&mut flow, head, payload, &mut hits);
        } else {
            self.feed(&mut flow, head, payload, &mut hits);
        }
        self.account(&mut flow, before, &mut hits);
        self.take_hits(&mut flow, &mut hits, now);
        self.hits = hits;
        if head.flags & flags::REFUSED != 0 {
            self.explain_refusal(&mut flow, head.rule, now);
        }
        self.put(id, flow, now);
    }

    fn feed(&mut self, flow: &mut Flow, head: &Data, payload: &[u8], hits: &mut Vec<Hit>) {
        match flow.order.admit(&self.hasher, head, payload, flow.source.is_tls()) {
            Admit::Next => {}
            Admit::Duplicate => return,
            Admit::Gap { missing, announced } => {
                // What was skipped of a refused write did not leave.
                if !announced && head.flags & flags::REFUSED == 0 {
                    self.counters.add(Cause::FlowGap, 1);
                }
                let fed = flow.inspector.gap(&self.scanner, missing, hits);
                self.count(&fed);
            }
            Admit::Diverged(dropped) => {
                let fed = flow.inspector.gap(&self.scanner, 0, hits);
                self.count(&fed);
                flow.inspector.feed(&self.scanner, &dropped, false, hits);
            }
        }
        let fed = flow.inspector.feed(&self.scanner, payload, head.chunk == 0, hits);
        self.count(&fed);
    }

    /// A ClientHello: remembers the name it asks for. Its bytes are sent in the clear, so they are judged too.
    fn hello(&mut self, flow: &mut Flow, head: &Data, payload: &[u8], hits: &mut Vec<Hit>) {
        flow.order.admit(&self.hasher, head, payload, false);
        self.scanner.alone(Place::Stream, payload, hits);
        if flow.tuple.is_accepted() {
            return;
        }
        let outcome = if flow.hello.is_empty() {
            tls::client_hello(payload)
        } else {
            flow.hello.extend_from_slice(payload);
            tls::client_hello(&flow.hello)
        };
        match outcome {
            tls::Hello::Part if flow.hello.len().max(payload.len()) > tls::MAX_HELLO => {
                tracing::debug!(pid = flow.writer.pid, "endless ClientHello ignored");
                flow.hello = Vec::new();
            }
            tls::Hello::Part if flow.hello.is_empty() => flow.hello = payload.to_vec(),
            tls::Hello::Part => {}
            tls::Hello::Whole(name) => {
                flow.hello = Vec::new();
                flow.sni = name.map(Arc::from);
                self.tell_carried(flow);
                let destination =
                    self.reporter.shown(report::destination(&flow.tuple, flow.sni.as_deref(), None));
                let comm = flow.writer.comm().into_owned();
                // Nobody listens when the agent shuts down.
                let _ = self.hellos.send(Hello { pid: flow.writer.pid, comm, destination });
            }
            tls::Hello::Malformed(why) => {
                tracing::debug!(pid = flow.writer.pid, why, "ClientHello ignored");
                flow.hello = Vec::new();
            }
        }
    }

    /// The TLS connections that were linked to this socket before its name was known.
    fn tell_carried(&mut self, socket: &Flow) {
        for key in &socket.carries {
            let carried = self.flows.find(*key).and_then(|id| self.flows.get_mut(id));
            if let Some(carried) = carried.filter(|carried| carried.cookie == socket.cookie) {
                carried.sni.clone_from(&socket.sni);
            }
        }
    }

    /// The kernel saw which socket a TLS connection writes to.
    fn link(&mut self, link: &Link, now: Instant) {
        let key = FlowKey::Tls { tgid: link.tgid(), context: link.context };
        let ignored = self.ignores(&link.tuple);
        // Of connections to this very host nothing else is told.
        let sni = if ignored { None } else { self.carry(link.cookie, &link.tuple, key, now) };
        let Some((id, mut flow)) = self.open(key, Source::OpenSsl, now) else { return };
        if flow.confirmed && flow.cookie != link.cookie {
            // What waits for the word of the socket before: there will be none.
            self.release_all(&mut flow, now);
        }
        self.connect(&mut flow, link.cookie, link.tuple, sni);
        if self.blocking.is_some() && !ignored {
            // The socket's word comes right behind, if it refuses.
            let soon = now + VERDICT_WAIT;
            flow.waiting.iter_mut().for_each(|waiting| waiting.until = waiting.until.min(soon));
        } else {
            self.release_all(&mut flow, now);
        }
        self.put(id, flow, now);
    }

    /// The kernel says a TLS connection's bytes go to this socket, and the link that said so first was missed.
    fn follow(&mut self, flow: &mut Flow, cookie: u64) {
        let socket = self.flows.find(FlowKey::Socket(cookie)).and_then(|id| self.flows.get_mut(id));
        let (tuple, sni) = match socket {
            Some(socket) => {
                if !socket.carries.contains(&flow.key) {
                    socket.carries.push(flow.key);
                }
                (socket.tuple, socket.sni.clone())
            }
            None => (Tuple::UNKNOWN, None),
        };
        self.connect(flow, cookie, tuple, sni);
    }

    fn connect(&mut self, flow: &mut Flow, cookie: u64, tuple: Tuple, sni: Option<Arc<str>>) {
        if flow.cookie != cookie && flow.cookie != 0 {
            self.reporter.repeats(flow);
            flow.reconnect();
        }
        flow.cookie = cookie;
        flow.tuple = tuple;
        flow.sni = sni.or_else(|| flow.sni.take());
    }

    /// Notes that a socket carries a TLS flow; gives the name its ClientHello asked for.
    fn carry(&mut self, cookie: u64, tuple: &Tuple, tls: FlowKey, now: Instant) -> Option<Arc<str>> {
        let (id, mut socket) = self.open(FlowKey::Socket(cookie), Source::Tcp, now)?;
        socket.tuple = *tuple;
        if !socket.carries.contains(&tls) {
            socket.carries.push(tls);
        }
        let sni = socket.sni.clone();
        self.flows.put(id, socket);
        sni
    }

    fn close(&mut self, cookie: u64, now: Instant) {
        let Some(id) = self.flows.find(FlowKey::Socket(cookie)) else { return };
        let Some(socket) = self.flows.remove(id) else { return };
        for key in &socket.carries {
            if let Some(id) = self.flows.find(*key)
                && self.flows.get(id).is_some_and(|flow| flow.cookie == cookie)
                && let Some(flow) = self.flows.remove(id)
            {
                self.retire(flow, now);
            }
        }
        self.retire(socket, now);
    }

    fn wake(&mut self, id: FlowId, now: Instant) {
        let Some(mut flow) = self.flows.take(id) else { return };
        flow.armed = None;
        if flow.undecided() && flow.last_data + crate::flow::IDLE <= now {
            let mut hits = std::mem::take(&mut self.hits);
            flow.flush(&self.scanner, &mut hits);
            let since = flow.last_data;
            self.take_hits(&mut flow, &mut hits, since);
            self.hits = hits;
        }
        if flow.waiting.iter().any(|waiting| waiting.until <= now) {
            if self.is_undecided(&flow) {
                flow.waiting.iter_mut().for_each(|waiting| waiting.until = now + VERDICT_WAIT);
            } else {
                self.release_all(&mut flow, now);
            }
        }
        if flow.repeats_due.is_some_and(|due| due <= now) {
            self.reporter.repeats(&mut flow);
        }
        if flow.stopped && flow.last_data + SILENCE <= now {
            flow.stopped = false;
            self.hang_up(flow.writer.pid, flow.cookie, &flow.tuple);
        }
        self.put(id, flow, now);
    }

    /// Takes a flow out of the table to work on it; makes it if need be.
    fn open(&mut self, key: FlowKey, source: Source, now: Instant) -> Option<(FlowId, Box<Flow>)> {
        if let Some(id) = self.flows.find(key) {
            self.flows.touch(id);
            return Some((id, self.flows.take(id)?));
        }
        let (id, evicted) = self.flows.insert(Flow::new(key, source, now));
        if let Some(evicted) = evicted {
            self.counters.add(Cause::FlowEvicted, 1);
            self.retire(evicted, now);
        }
        Some((id, self.flows.take(id)?))
    }

    fn put(&mut self, id: FlowId, mut flow: Box<Flow>, now: Instant) {
        if let Some(due) = flow.next_due()
            && flow.armed.is_none_or(|armed| due < armed)
        {
            let due = due.max(now + TIMER_STEP);
            self.timers.push(Reverse((due, id)));
            flow.armed = Some(due);
        }
        self.flows.put(id, flow);
    }

    /// The flow is over: everything that waits is judged and goes out.
    fn retire(&mut self, mut flow: Box<Flow>, now: Instant) {
        self.buffered = self.buffered.saturating_sub(flow.buffered());
        let mut hits = Vec::new();
        flow.flush(&self.scanner, &mut hits);
        self.take_hits(&mut flow, &mut hits, now);
        self.release_all(&mut flow, now);
        self.reporter.repeats(&mut flow);
    }

    /// Sends what was found, or lets it wait until it is known where it goes.
    fn take_hits(&mut self, flow: &mut Flow, hits: &mut Vec<Hit>, since: Instant) {
        if hits.is_empty() {
            return;
        }
        let wait = match (flow.source.is_tls(), flow.confirmed) {
            (true, false) => Some(LINK_WAIT),
            (true, true)
                if self.blocking.is_some() && flow.refused.is_none() && !self.ignores(&flow.tuple) =>
            {
                Some(VERDICT_WAIT)
            }
            _ => None,
        };
        if wait.is_none() {
            self.release_all(flow, since);
        }
        let mut process = None;
        for hit in hits.drain(..) {
            // Looked up now, while the process lives, unless it will most likely not be needed.
            let needed = !self.ignores(&flow.tuple) && !self.reporter.knows(flow, &hit);
            let process = needed
                .then(|| Arc::clone(process.get_or_insert_with(|| self.reporter.process(&flow.writer))));
            let until = since + wait.unwrap_or_default();
            let waiting = Waiting { hit, writer: flow.writer, process, write: flow.write, until };
            if wait.is_some() && flow.waiting.len() < MAX_WAITING_PER_FLOW && self.waiting < MAX_WAITING {
                flow.waiting.push(waiting);
                self.waiting += 1;
            } else {
                self.reporter.release(flow, waiting, since);
            }
        }
    }

    fn release_all(&mut self, flow: &mut Flow, now: Instant) {
        let waiting = std::mem::take(&mut flow.waiting);
        self.waiting = self.waiting.saturating_sub(waiting.len());
        for one in waiting {
            self.reporter.release(flow, one, now);
        }
    }

    /// Keeps the sum of what all flows hold back in bounds: over it, this flow stops holding back.
    fn account(&mut self, flow: &mut Flow, before: usize, hits: &mut Vec<Hit>) {
        self.buffered = (self.buffered + flow.buffered()).saturating_sub(before);
        if self.buffered > MAX_BUFFERED && flow.buffered() > 0 {
            let held = flow.buffered();
            let fed = flow.give_up(&self.scanner, hits);
            self.count(&fed);
            self.buffered = (self.buffered + flow.buffered()).saturating_sub(held);
        }
    }

    fn count(&self, fed: &Fed) {
        if fed.heads_too_long > 0 {
            self.counters.add(Cause::HeadTooLong, fed.heads_too_long);
        }
        if fed.bodies_too_large > 0 {
            self.counters.add(Cause::BodyTooLarge, fed.bodies_too_large);
        }
    }

    fn ignores(&self, tuple: &Tuple) -> bool {
        !self.include_loopback && tuple.is_known() && tuple.is_loopback()
    }
}

#[cfg(test)]
mod tests;
