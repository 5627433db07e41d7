//! What the collector has not acknowledged yet, bounded by records and bytes.
//!
//! A record is *waiting* until it goes out in a batch, then *in flight* until the batch is acknowledged. A batch
//! keeps its number and its events for as long as it lives, however often it is sent.
//!
//! When the buffer is full the **newest** record is turned away. The oldest tell where a leak began, and one that
//! is in flight may already be stored: dropping it and counting it lost would count it twice.

use super::{weight, wire};
use crate::record::{Line, Ready, Record};
use keymoat_proto::{Message, limits, v1};
use std::collections::VecDeque;
use std::sync::Arc;
use uuid::Uuid;

/// Batches that may be unacknowledged at a time: a slow collector is given more only as it commits.
const WINDOW: usize = 8;
/// Records after which a batch is closed; its bytes are bounded by the contract.
const BATCH_RECORDS: usize = 256;

/// How much may wait for the collector.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub records: usize,
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { records: 50_000, bytes: 16 << 20 }
    }
}

pub(super) struct Buffer {
    limits: Limits,
    waiting: VecDeque<Waiting>,
    in_flight: VecDeque<InFlight>,
    records: usize,
    bytes: usize,
    /// The newest totals of losses. A later line replaces an earlier one, so they need no room: the news that
    /// the buffer is full is never itself turned away.
    loss: Option<Waiting>,
    host: v1::Host,
    next_sequence: u64,
}

struct Waiting {
    id: String,
    line: Arc<Line>,
    weight: usize,
}

struct InFlight {
    batch: v1::Batch,
    records: usize,
    weight: usize,
    /// On the present stream.
    sent: bool,
}

impl Buffer {
    pub(super) fn new(limits: Limits, host_name: &str) -> Self {
        Self {
            limits,
            waiting: VecDeque::new(),
            in_flight: VecDeque::new(),
            records: 0,
            bytes: 0,
            loss: None,
            host: wire::host(host_name, &Uuid::now_v7().to_string(), None),
            next_sequence: 1,
        }
    }

    /// Keeps a line until it is acknowledged; false when there is no room for it.
    pub(super) fn push(&mut self, line: Arc<Line>) -> bool {
        let weight = weight::of(&line);
        let id = match &line.record {
            Record::Ready(ready) => {
                self.set_host(ready);
                return true;
            }
            Record::Finding(finding) => finding.id.clone(),
            _ => Uuid::now_v7().to_string(),
        };
        let waiting = Waiting { id, line, weight };
        if matches!(waiting.line.record, Record::Loss(_)) {
            self.loss = Some(waiting);
            return true;
        }
        if self.records >= self.limits.records || self.bytes.saturating_add(weight) > self.limits.bytes {
            return false;
        }
        self.records += 1;
        self.bytes += weight;
        self.waiting.push_back(waiting);
        true
    }

    fn set_host(&mut self, ready: &Ready) {
        self.host = wire::host(&self.host.name, &self.host.run, Some(ready));
    }

    /// Something is there to be sent on the present stream.
    pub(super) fn has_batch(&self) -> bool {
        self.in_flight.iter().any(|flight| !flight.sent)
            || (self.in_flight.len() < WINDOW && (!self.waiting.is_empty() || self.loss.is_some()))
    }

    /// The next batch for the present stream: what an earlier stream left unacknowledged comes first.
    pub(super) fn next_batch(&mut self) -> Option<v1::Batch> {
        if !self.has_batch() {
            return None;
        }
        if self.in_flight.iter().all(|flight| flight.sent) {
            let flight = self.close_batch();
            self.in_flight.push_back(flight);
        }
        let flight = self.in_flight.iter_mut().find(|flight| !flight.sent)?;
        flight.sent = true;
        Some(v1::Batch { host: Some(self.host.clone()), ..flight.batch.clone() })
    }

    fn close_batch(&mut self) -> InFlight {
        let batch = v1::Batch { sequence: self.next_sequence, host: None, events: Vec::new() };
        self.next_sequence += 1;
        let mut flight = InFlight { batch, records: 0, weight: 0, sent: false };
        let mut encoded = 0;
        while flight.records < BATCH_RECORDS && encoded < limits::BATCH {
            let Some(waiting) = self.waiting.pop_front() else { break };
            flight.records += 1;
            flight.weight += waiting.weight;
            encoded += flight.add(&waiting);
        }
        if let Some(loss) = self.loss.take() {
            flight.add(&loss);
        }
        flight
    }

    /// Removes an acknowledged batch. The number of its records, or none when it is not in flight.
    pub(super) fn acknowledge(&mut self, sequence: u64) -> Option<usize> {
        let at = self.in_flight.iter().position(|flight| flight.batch.sequence == sequence)?;
        let flight = self.in_flight.remove(at)?;
        self.records -= flight.records;
        self.bytes -= flight.weight;
        Some(flight.records)
    }

    /// Gives up the oldest batch in flight: the collector cannot read it. The number of its records.
    pub(super) fn give_up_oldest(&mut self) -> usize {
        let oldest = self.in_flight.front().map(|flight| flight.batch.sequence);
        oldest.and_then(|sequence| self.acknowledge(sequence)).unwrap_or(0)
    }

    /// A new stream begins: whatever is in flight is to be sent again.
    pub(super) fn rewind(&mut self) {
        for flight in &mut self.in_flight {
            flight.sent = false;
        }
    }

    /// Nothing waits and nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.in_flight.is_empty() && self.loss.is_none()
    }

    /// Records that are not acknowledged.
    pub(super) fn records(&self) -> usize {
        self.records
    }

    /// Forgets everything. The number of records that were not acknowledged.
    pub(super) fn clear(&mut self) -> usize {
        self.waiting.clear();
        self.in_flight.clear();
        self.loss = None;
        self.bytes = 0;
        std::mem::take(&mut self.records)
    }
}

impl InFlight {
    /// Adds an event. Its encoded length.
    fn add(&mut self, waiting: &Waiting) -> usize {
        let Some(event) = wire::event(&waiting.id, &waiting.line) else { return 0 };
        let length = event.encoded_len();
        self.batch.events.push(event);
        length
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{finding, line, loss};
    use super::*;

    fn buffer(records: usize) -> Buffer {
        Buffer::new(Limits { records, bytes: usize::MAX }, "host")
    }

    fn ids(batch: &v1::Batch) -> Vec<&str> {
        batch.events.iter().map(|event| event.id.as_str()).collect()
    }

    #[test]
    fn a_batch_sent_again_is_the_same_batch() {
        let mut buffer = buffer(10);
        assert!(buffer.push(line(finding(1))));
        let first = buffer.next_batch().unwrap();
        assert!(buffer.push(line(finding(2))));
        assert!(buffer.next_batch().is_some());
        assert!(buffer.next_batch().is_none());
        buffer.rewind();
        assert_eq!(buffer.next_batch().unwrap(), first);
        assert_eq!(buffer.next_batch().unwrap().sequence, 2);
        assert!(!buffer.is_empty());
        assert_eq!(buffer.acknowledge(2), Some(1));
        assert_eq!(buffer.acknowledge(2), None);
        assert_eq!(buffer.acknowledge(1), Some(1));
        assert!(buffer.is_empty());
        assert_eq!((buffer.records, buffer.bytes), (0, 0));
    }

    #[test]
    fn the_newest_is_turned_away_and_room_returns_with_an_ack() {
        let mut buffer = buffer(2);
        assert!(buffer.push(line(finding(1))));
        assert!(buffer.push(line(finding(2))));
        assert!(!buffer.push(line(finding(3))));
        let batch = buffer.next_batch().unwrap();
        assert_eq!(batch.events.len(), 2);
        assert!(!buffer.push(line(finding(3))), "in flight is not yet delivered");
        buffer.acknowledge(batch.sequence);
        assert!(buffer.push(line(finding(3))));
    }

    #[test]
    fn bytes_are_bounded_too() {
        let weight = weight::of(&line(finding(1)));
        let mut buffer = Buffer::new(Limits { records: 100, bytes: weight * 3 }, "host");
        let kept = (0..10).filter(|n| buffer.push(line(finding(*n)))).count();
        assert_eq!(kept, 3);
    }

    #[test]
    fn the_window_bounds_what_is_in_flight() {
        let mut buffer = buffer(1000);
        for n in 0..20 {
            buffer.push(line(finding(n)));
            buffer.next_batch();
        }
        assert_eq!(buffer.in_flight.len(), WINDOW);
        buffer.acknowledge(1);
        let next = buffer.next_batch().unwrap();
        assert_eq!(next.events.len(), 20 - WINDOW);
    }

    #[test]
    fn losses_need_no_room_and_the_newest_counts() {
        let mut buffer = buffer(1);
        assert!(buffer.push(line(finding(1))));
        assert!(buffer.push(line(loss(1))));
        assert!(buffer.push(line(loss(2))));
        let batch = buffer.next_batch().unwrap();
        assert_eq!(batch.events.len(), 2);
        let Some(v1::event::Kind::Loss(newest)) = &batch.events[1].kind else { panic!("no loss") };
        assert_eq!(newest.counters["flow-gap"], 2);
        assert_eq!(buffer.acknowledge(batch.sequence), Some(1));
        assert!(buffer.is_empty());
    }

    #[test]
    fn a_finding_keeps_its_id() {
        let mut buffer = buffer(1);
        let sent = line(finding(7));
        buffer.push(Arc::clone(&sent));
        let Record::Finding(f) = &sent.record else { panic!("not a finding") };
        assert_eq!(ids(&buffer.next_batch().unwrap()), [f.id.as_str()]);
    }

    #[test]
    fn the_largest_event_keeps_to_the_contract() {
        let long = "€".repeat(100_000);
        let mut record = finding(1);
        let Record::Finding(f) = &mut record else { panic!("not a finding") };
        f.process.cmdline = vec![long.clone(); 500];
        f.process.exe = Some(long.clone());
        f.process.comm = long.clone();
        f.explanation = long.clone();
        f.remediation = long.clone();
        f.channel.location = long.clone();
        f.destination.host = Some(long.clone());
        f.attack = vec![long.clone(); 500];
        f.process.ancestors =
            (0..500).map(|pid| crate::record::Ancestor { pid, comm: long.clone() }).collect();
        let mut buffer = buffer(1);
        buffer.push(line(record));
        let batch = buffer.next_batch().unwrap();
        assert!(batch.encoded_len() < limits::EVENT);
    }
}
