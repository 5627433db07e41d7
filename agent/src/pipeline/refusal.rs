//! What the kernel refused: the finding says so, and the connection is ended.

use super::{Facts, Output, Pipeline};
use crate::enforce::Method;
use crate::enforce::hang_up::Refused;
use crate::flow::{self, Flow, FlowKey};
use crate::health::Cause;
use keymoat_abi::{Refusal, Source};
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

    /// Nothing more comes on a flow that was refused, so what waits is decided now: it says what was refused.
    pub(super) fn explain_refusal(&mut self, flow: &mut Flow, rule: u16, now: Instant) {
        let mut hits = std::mem::take(&mut self.hits);
        flow.flush(&self.scanner, &mut hits);
        self.take_hits(flow, &mut hits, now);
        self.hits = hits;
        self.release_all(flow, now);
        if let Some(hang_up) = &self.blocking
            && flow.source != Source::Udp
        {
            // Nobody listens when the agent shuts down.
            let _ = hang_up.send(Refused { pid: flow.writer.pid, cookie: flow.cookie });
        }
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
