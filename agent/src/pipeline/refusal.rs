//! What the kernel refused: the finding says so, and the connection is ended.

use super::report::destination;
use super::{Facts, Output, Pipeline};
use crate::enforce::Method;
use crate::enforce::hang_up::Refused;
use crate::flow::{self, Flow, FlowKey};
use crate::health::Cause;
use crate::record;
use keymoat_abi::enforce::UNJUDGED;
use keymoat_abi::{Data, Refusal, Source, Tuple, Why};
use keymoat_detect::{Hit, Inspector};
use std::time::Instant;

impl<F: Facts, O: Output> Pipeline<F, O> {
    /// The kernel refused something that is not shown with the refusal.
    pub(super) fn refusal(&mut self, refusal: &Refusal, now: Instant) {
        match Why::from_u8(refusal.why) {
            Some(Why::Key) if refusal.rule == u32::from(UNJUDGED) => {
                self.uninspected(refusal, Why::NotJudged);
            }
            Some(Why::Key) => self.refused_plaintext(refusal, now),
            Some(why) => self.uninspected(refusal, why),
            None => self.counters.add(Cause::BadRingRecord, 1),
        }
    }

    /// Refused in `strict` mode.
    fn uninspected(&mut self, refusal: &Refusal, why: Why) {
        let (reason, method, explanation) = words(why);
        self.reporter.refusal(record::Refusal {
            process: self.reporter.process_of(refusal.tgid()),
            destination: destination(&refusal.tuple, None, None),
            reason,
            enforcement: method.name(),
            explanation,
        });
        // Of what is refused unseen, only TCP is refused so.
        if method == Method::SkMsg {
            self.hang_up(refusal.tgid(), refusal.cookie, &refusal.tuple);
        }
    }

    /// The socket refused plaintext that this TLS connection was given.
    fn refused_plaintext(&mut self, refusal: &Refusal, now: Instant) {
        let key = FlowKey::Tls { tgid: refusal.tgid(), context: refusal.context };
        let Some((id, mut flow)) = self.open(key, Source::OpenSsl, now) else { return };
        if flow.cookie != refusal.cookie {
            self.follow(&mut flow, refusal.cookie);
        }
        flow.tuple = refusal.tuple;
        let method = if refusal.as_packet == 0 { Method::SkMsg } else { Method::CgroupSkb };
        flow.refused = Some(flow::Refused { from: refusal.offset, method, explained: false });
        self.explain_refusal(&mut flow, refusal.rule as u16, now);
        self.put(id, flow, now);
    }

    /// A TLS call was stopped. What it was given never became part of the connection, which goes on (if its process does): so it
    /// is looked at by itself if it can be, and the flow stays as it was.
    pub(super) fn stopped(&mut self, head: &Data, source: Source, payload: &[u8], now: Instant) {
        let key = FlowKey::Tls { tgid: head.tgid(), context: head.context };
        let Some((id, mut flow)) = self.open(key, source, now) else { return };
        flow.join(head);
        if head.cookie != 0 && head.cookie != flow.cookie {
            self.follow(&mut flow, head.cookie);
        }
        flow.note(head, source, now);
        let before = std::mem::take(&mut flow.waiting);
        let mut hits = std::mem::take(&mut self.hits);
        if flow.inspector.at_http1_start() {
            self.look_alone(payload, &mut hits);
        }
        if hits.is_empty() {
            self.look_in_place(&mut flow, payload, &mut hits);
        }
        self.take_hits(&mut flow, &mut hits, now);
        self.hits = hits;
        self.release_all(&mut flow, now);
        self.check_explained(&flow, head.rule);
        flow.waiting = before;
        flow.refused = None;
        self.put(id, flow, now);
    }

    /// A write that begins a message needs nothing of what came before.
    fn look_alone(&self, payload: &[u8], hits: &mut Vec<Hit>) {
        let mut alone = Inspector::default();
        let fed = alone.feed(&self.scanner, payload, true, hits);
        self.count(&fed);
        alone.flush(&self.scanner, hits);
    }

    /// What it says rests on what left before: frames of HTTP/2, the middle of a body, a key that began earlier. To look at it costs the
    /// flow its place in the stream; programs end such connections when a write fails.
    fn look_in_place(&mut self, flow: &mut Flow, payload: &[u8], hits: &mut Vec<Hit>) {
        let before = flow.buffered();
        let fed = flow.inspector.feed(&self.scanner, payload, true, hits);
        self.count(&fed);
        flow.flush(&self.scanner, hits);
        flow.inspector.lose_sync();
        self.account(flow, before, hits);
    }

    /// May the socket still refuse what this TLS connection was given? It has not come there yet.
    pub(super) fn is_undecided(&self, flow: &Flow) -> bool {
        let FlowKey::Tls { tgid, context } = flow.key else { return false };
        let is_judged = flow.cookie != 0 && flow.tuple.is_known() && !self.ignores(&flow.tuple);
        is_judged
            && flow.refused.is_none()
            && self.blocking.as_ref().is_some_and(|blocking| (blocking.unsent)(tgid, context))
    }

    /// Nothing more comes on a flow that was refused, so what waits is decided now: it says what was refused.
    pub(super) fn explain_refusal(&mut self, flow: &mut Flow, rule: u16, now: Instant) {
        let mut hits = std::mem::take(&mut self.hits);
        flow.flush(&self.scanner, &mut hits);
        self.take_hits(flow, &mut hits, now);
        self.hits = hits;
        self.release_all(flow, now);
        if flow.source != Source::Udp
            && flow.refused.is_some_and(|refused| refused.method.ends_the_connection())
        {
            self.hang_up(flow.writer.pid, flow.cookie, &flow.tuple);
        }
        self.check_explained(flow, rule);
    }

    pub(super) fn hang_up(&self, pid: u32, cookie: u64, tuple: &Tuple) {
        if let Some(blocking) = &self.blocking
            && cookie != 0
        {
            // Nobody listens when the agent shuts down.
            let _ = blocking.hang_up.send(Refused { pid, cookie, port: tuple.local_port });
        }
    }

    /// A refusal for which there is no finding is at least counted.
    fn check_explained(&self, flow: &Flow, rule: u16) {
        if flow.refused.is_some_and(|refused| !refused.explained) {
            self.counters.add(Cause::RefusedUnexplained, 1);
            let rules = self.scanner.detector().rules().rules();
            let place = self.blocking.as_ref().and_then(|blocking| blocking.numbers.place(rule));
            let rule = place.and_then(|place| rules.get(place)).map_or("unknown", |rule| rule.id.as_str());
            tracing::warn!(
                pid = flow.writer.pid,
                rule,
                "a write was refused in which the agent itself finds no key"
            );
        }
    }
}

/// The reason in one word, the method, and what to tell a person.
fn words(why: Why) -> (&'static str, Method, &'static str) {
    match why {
        Why::Key | Why::NotJudged => (
            "not-judged",
            Method::SkMsg,
            "a write in which keymoat could not look for keys to its end; `strict` refuses what it cannot inspect",
        ),
        Why::UnseenTls => (
            "unseen-tls",
            Method::SkMsg,
            "TLS of a library that keymoat has no probe in, or not yet; `keymoat doctor` lists them. A program that has just \
             started may try again; to let others pass, leave out `strict`",
        ),
        Why::OldConnection => (
            "old-connection",
            Method::SkMsg,
            "a TLS connection older than the agent, of which nobody knows where it goes; the program may connect again",
        ),
        Why::Quic => (
            "quic",
            Method::CgroupSkb,
            "a QUIC connection (HTTP/3), which keymoat cannot look into; programs fall back to TLS over TCP",
        ),
        Why::PacketSocket => (
            "packet-socket",
            Method::Lsm,
            "a socket for raw packets (AF_PACKET, AF_XDP), which pass none of keymoat's programs; to let it be made, leave out \
             `strict`",
        ),
    }
}
