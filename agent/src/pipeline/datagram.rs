//! Datagrams, each a message of its own.

use super::{Facts, Output, Pipeline};
use crate::flow::{Flow, FlowKey};
use keymoat_abi::{Data, Source, Tuple, event::flags};
use keymoat_detect::Hit;
use keymoat_detect::decode::Part;
use keymoat_detect::decode::place::Place;
use std::hash::BuildHasher as _;
use std::time::Instant;

impl<F: Facts, O: Output> Pipeline<F, O> {
    /// Datagrams stand alone. Only one with a secret in it, or one in several records, needs a flow.
    pub(super) fn datagram(&mut self, head: &Data, payload: &[u8], now: Instant) {
        if self.ignores(&head.tuple) {
            return;
        }
        let mut hits = std::mem::take(&mut self.hits);
        let whole = head.chunk == 0 && payload.len() as u64 == head.total;
        if whole {
            self.scanner.alone(Place::Datagram, payload, &mut hits);
        }
        if !(whole && hits.is_empty() && head.flags & flags::REFUSED == 0) {
            let Tuple { local, remote, local_port, remote_port, .. } = head.tuple;
            let socket = if head.cookie != 0 { (head.cookie, [0; 16], 0) } else { (0, local, local_port) };
            let key = FlowKey::Datagrams(self.hasher.hash_one((socket, remote, remote_port)));
            if let Some((id, mut flow)) = self.open(key, Source::Udp, now) {
                flow.note(head, Source::Udp, now);
                if !whole {
                    self.datagram_part(&mut flow, head, payload, &mut hits);
                }
                self.take_hits(&mut flow, &mut hits, now);
                if head.flags & flags::REFUSED != 0 {
                    self.explain_refusal(&mut flow, head.rule, now);
                }
                self.put(id, flow, now);
            }
        }
        self.hits = hits;
    }

    fn datagram_part(&self, flow: &mut Flow, head: &Data, payload: &[u8], hits: &mut Vec<Hit>) {
        if head.chunk == 0 {
            flow.inspector.datagram(&self.scanner, &[], Part::Last, hits);
        }
        let last = head.offset + payload.len() as u64 >= head.total;
        let part = if last { Part::Last } else { Part::More };
        flow.inspector.datagram(&self.scanner, payload, part, hits);
    }
}
