//! Counters of what was not delivered, per cause. One registry for the whole agent: whoever drops something
//! counts it here, and the counters reach the JSONL stream, `doctor` and the collector.

use keymoat_abi::LossCause;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

macro_rules! causes {
    ($($(#[$meta:meta])* $name:ident => $label:literal,)*) => {
        /// Something the agent itself dropped or skipped.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Cause { $($(#[$meta])* $name,)* }

        impl Cause {
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];
            pub const fn label(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

causes! {
    /// A ring record failed its checks.
    BadRingRecord => "bad-ring-record",
    /// Bytes between two records of a flow are missing.
    FlowGap => "flow-gap",
    /// A flow was forgotten to make room for newer ones.
    FlowEvicted => "flow-evicted",
    /// A request head was longer than what is buffered of one.
    HeadTooLong => "head-too-long",
    /// Decoding a compressed body would have made too much of it: the rest of it was not looked at.
    BodyTooLarge => "body-too-large",
    /// The table of findings seen on one flow was full: a repeat may be reported as new.
    DedupEvicted => "dedup-evicted",
    /// The process was gone before its facts could be read.
    ProcessGone => "process-gone",
    /// The process was gone before a file that it ran could be looked at.
    LibraryGone => "library-gone",
    /// A program or library could not be read while looking for TLS functions.
    LibraryUnreadable => "library-unreadable",
    /// A probe could not be attached.
    AttachFailed => "attach-failed",
    /// The kernel dropped exec or mmap notifications; a full rescan followed.
    ProcessEventsLost => "process-events-lost",
    /// The buffer towards the collector was full.
    ExportBufferFull => "export-buffer-full",
    /// The collector said that an event is malformed.
    CollectorRefused => "collector-refused",
    /// The agent ended before the collector acknowledged a record.
    UndeliveredAtExit => "undelivered-at-exit",
    /// A line could not be written to the JSONL output.
    JsonlWriteFailed => "jsonl-write-failed",
    /// The policy says to ignore a secret: it was seen and not reported.
    PolicyIgnored => "policy-ignored",
    /// A match that is what people write where a key would stand: seen and not reported.
    SuppressedPlaceholder => "suppressed-placeholder",
    /// A match far more regular than any key: seen and not reported.
    SuppressedLowEntropy => "suppressed-low-entropy",
    /// Registered values that were no longer looked for in the midst of a flow: too many began alike.
    RegisteredValueGivenUp => "registered-value-given-up",
    /// The kernel refused a write in which the agent itself finds no key that it would report.
    RefusedUnexplained => "refused-unexplained",
    /// It could not be noted whose a connection older than the agent is.
    OldSocketNotTracked => "old-socket-not-tracked",
}

/// Shared counters; cloning shares them.
#[derive(Clone, Debug)]
pub struct Counters {
    own: Arc<[AtomicU64]>,
    kernel: Arc<[AtomicU64]>,
    records: Arc<AtomicU64>,
}

impl Default for Counters {
    fn default() -> Self {
        let zeroes = |n: usize| (0..n).map(|_| AtomicU64::new(0)).collect();
        Self { own: zeroes(Cause::ALL.len()), kernel: zeroes(LossCause::ALL.len()), records: Arc::default() }
    }
}

impl Counters {
    pub fn add(&self, cause: Cause, n: u64) {
        if let Some(counter) = self.own.get(cause as usize) {
            counter.fetch_add(n, Ordering::Relaxed);
        }
    }

    /// Stores a total that somebody else keeps.
    pub fn set(&self, cause: Cause, total: u64) {
        if let Some(counter) = self.own.get(cause as usize) {
            counter.store(total, Ordering::Relaxed);
        }
    }

    /// Stores a total read from the kernel's counter array.
    pub fn set_kernel(&self, cause: LossCause, total: u64) {
        if let Some(counter) = self.kernel.get(cause as usize) {
            counter.store(total, Ordering::Relaxed);
        }
    }

    /// So many more records came from the kernel.
    pub fn add_records(&self, n: usize) {
        self.records.fetch_add(n as u64, Ordering::Relaxed);
    }

    /// Records that came from the kernel since the agent started.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// Totals since the agent started, by label; causes that never happened are left out.
    pub fn snapshot(&self) -> BTreeMap<String, u64> {
        let own = Cause::ALL.iter().map(|c| c.label()).zip(self.own.iter());
        let kernel = LossCause::ALL.iter().map(|c| c.label()).zip(self.kernel.iter());
        own.chain(kernel)
            .map(|(label, counter)| (label.to_owned(), counter.load(Ordering::Relaxed)))
            .filter(|(_, total)| *total > 0)
            .collect()
    }
}
