//! What is said on this host: JSONL, and text for people. A thread of its own writes it, so that a reader who
//! stands still holds up neither the pipeline nor the collector.

use super::jsonl;
use super::lock;
use super::weight;
use crate::health::{Cause, Counters};
use crate::record::Line;
use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Bytes that may wait for the writer.
const ROOM: usize = 8 << 20;

/// Where text for people goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Output,
    Error,
}

/// Text for people.
#[derive(Clone, Copy)]
pub struct Human {
    pub color: bool,
    /// The text of a line; none when it is not for people.
    pub render: fn(&Line, bool) -> Option<String>,
    pub to: Stream,
}

/// Lines on their way to the writer.
#[derive(Default)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something changed: a line came, a batch was written, the queue was closed.
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Line>>,
    bytes: usize,
    /// Lines the writer took and has not finished with. Which of them are out is known only then.
    in_hand: usize,
    closed: bool,
}

impl Queue {
    /// False when there is no room.
    pub(super) fn push(&self, line: Arc<Line>) -> bool {
        let weight = weight::of(&line);
        let mut state = lock(&self.state);
        if state.closed || state.bytes.saturating_add(weight) > ROOM {
            return false;
        }
        state.bytes += weight;
        state.waiting.push_back(line);
        drop(state);
        self.changed.notify_all();
        true
    }

    /// Everything that waits, as soon as something does or `until` has come; none when the queue is closed and empty.
    pub(super) fn take(&self, until: Instant) -> Option<Vec<Arc<Line>>> {
        let mut state = lock(&self.state);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if !state.waiting.is_empty() || (left.is_zero() && !state.closed) {
                state.in_hand = state.waiting.len();
                state.bytes = 0;
                return Some(state.waiting.drain(..).collect());
            }
            if state.closed {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(|e| e.into_inner()).0;
        }
    }

    /// What was taken is written.
    fn done(&self) {
        lock(&self.state).in_hand = 0;
        self.changed.notify_all();
    }

    /// Closes the queue and waits until it is written, no longer than until `deadline`. The number of lines left.
    pub(super) fn close(&self, deadline: Instant) -> u64 {
        let mut state = lock(&self.state);
        state.closed = true;
        self.changed.notify_all();
        loop {
            let left = state.waiting.len() + state.in_hand;
            let time = deadline.saturating_duration_since(Instant::now());
            if left == 0 || time.is_zero() {
                state.waiting.clear();
                return left as u64;
            }
            state = self.changed.wait_timeout(state, time).unwrap_or_else(|e| e.into_inner()).0;
        }
    }
}

/// The writer's side.
pub(super) struct Writers {
    pub(super) jsonl: Option<jsonl::Writer>,
    pub(super) human: Option<Human>,
}

/// Writes until the queue is closed; calls `tick` about once per `period`.
pub(super) fn run(
    queue: &Queue,
    mut writers: Writers,
    counters: &Counters,
    period: Duration,
    tick: impl Fn(),
) {
    let mut next_tick = Instant::now() + period;
    while let Some(lines) = queue.take(next_tick) {
        if let Some(jsonl) = &mut writers.jsonl {
            counters.add(Cause::JsonlWriteFailed, jsonl.write(&lines));
        }
        if let Some(human) = writers.human {
            show(human, &lines);
        }
        queue.done();
        if Instant::now() >= next_tick {
            tick();
            next_tick = Instant::now() + period;
        }
    }
}

fn show(human: Human, lines: &[Arc<Line>]) {
    let text: String = lines.iter().filter_map(|line| (human.render)(line, human.color)).collect();
    if text.is_empty() {
        return;
    }
    let mut out: Box<dyn Write> = match human.to {
        Stream::Output => Box::new(io::stdout().lock()),
        Stream::Error => Box::new(io::stderr().lock()),
    };
    // A closed terminal has no reader to miss it; whoever needs every line reads the JSONL.
    if let Err(error) = out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        tracing::debug!(%error, "cannot write to the terminal");
    }
}

#[cfg(test)]
mod tests {
    use super::super::samples::{finding, line};
    use super::*;

    #[test]
    fn what_a_stuck_writer_holds_is_left_over() {
        let queue = Queue::default();
        assert!(queue.push(line(finding(1))));
        assert_eq!(queue.take(Instant::now()).unwrap().len(), 1);
        assert!(queue.push(line(finding(2))));
        assert_eq!(queue.close(Instant::now() + Duration::from_millis(1)), 2);
        assert!(!queue.push(line(finding(3))));
        assert!(queue.take(Instant::now()).is_none());
    }

    #[test]
    fn the_queue_is_bounded() {
        let queue = Queue::default();
        let weight = weight::of(&line(finding(1)));
        let kept = (0..).take_while(|n| queue.push(line(finding(*n)))).count();
        assert_eq!(kept, ROOM / weight);
    }
}
