//! Short grace periods while probes are put in and taken out.
//!
//! The kernel waits for an RCU grace period before the first probe of a file is in place: 5 to 60 ms, in which a program
//! with a library nobody mapped before has long sent its first request. Expedited, the wait takes about 0.2 ms.
//! The setting is the whole machine's and costs its processors an interrupt per grace period, so it is on only
//! for the moment of an attach.

use std::fs;

const SWITCH: &str = "/sys/kernel/rcu_expedited";

/// Grace periods are expedited while this lives. Only one thread uses it at a time: the one that attaches, and at the end
/// the one that takes everything down.
#[must_use]
pub struct Expedited {
    ours: bool,
}

impl Expedited {
    /// Does nothing where the switch cannot be turned, or is on already by somebody else's wish.
    pub fn begin() -> Self {
        let off = fs::read_to_string(SWITCH).is_ok_and(|value| value.trim() == "0");
        Self { ours: off && fs::write(SWITCH, "1").is_ok() }
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = fs::write(SWITCH, "0")
        {
            tracing::warn!("{SWITCH} stays at 1: {error}");
        }
    }
}

/// Can it be switched at all? For `doctor`.
pub fn switchable() -> bool {
    fs::OpenOptions::new().write(true).open(SWITCH).is_ok()
}
