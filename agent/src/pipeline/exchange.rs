//! Other rules while the agent runs.

use super::{Facts, Output, Pipeline};
use crate::kernel::numbers::Numbers;
use keymoat_detect::Detector;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::Instant;

/// What is to be looked for from now on.
pub struct Exchange {
    pub detector: Arc<Detector>,
    /// What the kernel calls the rules, if it judges.
    pub numbers: Option<Arc<Numbers>>,
    /// Told when it begins. Who does not wait for that any more does not want it.
    pub begins: SyncSender<()>,
}

impl<F: Facts, O: Output> Pipeline<F, O> {
    /// What waits on each flow is judged by the rules it came under; from there on flows begin anew: where in a message they are is
    /// known again when the next one begins.
    pub fn exchange(&mut self, exchange: Exchange, now: Instant) {
        if exchange.begins.try_send(()).is_err() {
            return;
        }
        for id in self.flows.ids() {
            let Some(mut flow) = self.flows.take(id) else { continue };
            let before = flow.buffered();
            let mut hits = std::mem::take(&mut self.hits);
            flow.flush(&self.scanner, &mut hits);
            self.take_hits(&mut flow, &mut hits, now);
            self.hits = hits;
            self.release_unknown(&mut flow, &exchange.detector, now);
            flow.inspector.start_over();
            self.buffered = (self.buffered + flow.buffered()).saturating_sub(before);
            self.put(id, flow, now);
        }
        self.count_suppressed();
        self.scanner = Arc::new(self.scanner.with_detector(exchange.detector));
        self.reporter.exchange(Arc::clone(&self.scanner));
        if let (Some(blocking), Some(numbers)) = (&mut self.blocking, exchange.numbers) {
            blocking.numbers = numbers;
        }
    }

    /// Findings of rules that are no more wait for nothing: later nobody could say what they are.
    fn release_unknown(&mut self, flow: &mut crate::flow::Flow, detector: &Detector, now: Instant) {
        let (known, unknown): (Vec<_>, Vec<_>) = std::mem::take(&mut flow.waiting)
            .into_iter()
            .partition(|waiting| detector.rules().get(&waiting.hit.rule).is_some());
        flow.waiting = known;
        self.waiting = self.waiting.saturating_sub(unknown.len());
        for one in unknown {
            self.reporter.release(flow, one, now);
        }
    }
}
