//! What the kernel refused: the finding says so, and the connection is ended.

use super::{Facts, Output, Pipeline};
use crate::enforce::Method;
use crate::enforce::hang_up::Refused;
use crate::flow::{self, Flow, FlowKey};
use crate::health::Cause;
use keymoat_abi::{Data, Refusal, Source};
use keymoat_detect::{Hit, Inspector};
use std::time::Instant;

impl<F: Facts, O: Output> Pipeline<F, O> {
    /// The socket refused plaintext that this TLS connection was given.
    pub(super) fn refusal(&mut self, refusal: &Refusal, now: Instant) {
        let key = FlowKey::Tls { tgid: refusal.tgid(), context: refusal.context };
        let Some((id, mut flow)) = self.open(key, Source::OpenSsl, None, now) else { return };
        if flow.cookie != refusal.cookie {
            self.follow(&mut flow, refusal.cookie);
        }
        flow.tuple = refusal.tuple;
        flow.refused = Some(flow::Refused { from: refusal.offset, method: Method::SkMsg, explained: false });
        self.explain_refusal(&mut flow, refusal.rule as u16, now);
        self.put(id, flow, now);
    }

    /// A TLS call was stopped. What it was given never became part of the connection, which goes on (if its process does): so it
    /// is looked at by itself if it can be, and the flow stays as it was.
    pub(super) fn stopped(&mut self, head: &Data, source: Source, payload: &[u8], now: Instant) {
        let key = FlowKey::Tls { tgid: head.tgid(), context: head.context };
        let Some((id, mut flow)) = self.open(key, source, Some(head), now) else { return };
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

    /// Nothing more comes on a flow that was refused, so what waits is decided now: it says what was refused.
    pub(super) fn explain_refusal(&mut self, flow: &mut Flow, rule: u16, now: Instant) {
        let mut hits = std::mem::take(&mut self.hits);
        flow.flush(&self.scanner, &mut hits);
        self.take_hits(flow, &mut hits, now);
        self.hits = hits;
        self.release_all(flow, now);
        if let Some(hang_up) = &self.blocking
            && flow.refused.is_some_and(|refused| refused.method.ends_the_connection())
        {
            // Nobody listens when the agent shuts down.
            let _ = hang_up.send(Refused { pid: flow.writer.pid, cookie: flow.cookie });
        }
        self.check_explained(flow, rule);
    }

    /// A refusal for which there is no finding is at least counted.
    fn check_explained(&self, flow: &Flow, rule: u16) {
        if flow.refused.is_some_and(|refused| !refused.explained) {
            self.counters.add(Cause::RefusedUnexplained, 1);
            let rules = self.scanner.detector().rules().rules();
            let rule = rules.get(usize::from(rule)).map_or("unknown", |rule| rule.id.as_str());
            tracing::warn!(
                pid = flow.writer.pid,
                rule,
                "a write was refused in which the agent itself finds no key"
            );
        }
    }
}
