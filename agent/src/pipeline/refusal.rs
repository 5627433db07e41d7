//! What the kernel refused: the finding says so, and the connection is ended.

use super::report::destination;
use super::{Facts, Output, Pipeline};
use crate::enforce::Method;
use crate::enforce::hang_up::Refused;
use crate::flow::{self, Flow, FlowKey};
use crate::health::Cause;
use crate::record;
use keymoat_abi::enforce::UNJUDGED;
use keymoat_abi::{Refusal, Source, Why};
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
        if let (Some(blocking), Method::SkMsg) = (&self.blocking, method) {
            let _ = blocking.hang_up.send(Refused { pid: refusal.tgid(), cookie: refusal.cookie });
        }
    }

    /// The socket refused plaintext that this TLS connection was given.
    fn refused_plaintext(&mut self, refusal: &Refusal, now: Instant) {
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
        if let Some(blocking) = &self.blocking
            && flow.source != Source::Udp
        {
            // Nobody listens when the agent shuts down.
            let _ = blocking.hang_up.send(Refused { pid: flow.writer.pid, cookie: flow.cookie });
        }
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
