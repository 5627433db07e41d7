//! The kernel's matcher, run in userspace: what the tests hold against the full engine.

use super::KernelRules;
use keymoat_abi::scan::{Flow, SLOTS, Step, step};

impl KernelRules {
    /// Scans one write of a flow. `found` is called with the rule (its place in the set) of every key that ended in it, and
    /// with the number of the flow's bytes that were looked at by then: the last of them follows the key, or ends the literal
    /// by which it was found.
    pub fn write(&self, flow: &mut Flow, bytes: &[u8], found: &mut dyn FnMut(u16, u64)) {
        if !flow.belongs_to(self.tables.header.generation) {
            flow.restart(self.tables.header.generation);
        }
        let mut rest = bytes;
        loop {
            match step(flow, &self.tables, rest.is_empty()) {
                Step::More => {}
                Step::Hit(rule) => found(rule, flow.looked_at()),
                Step::Starved if rest.is_empty() => return,
                Step::Starved => {
                    let taken = flow.feed(rest);
                    rest = rest.get(taken..).unwrap_or_default();
                }
            }
        }
    }

    /// The rules of the keys that are complete if the last write was the flow's last.
    pub fn complete(&self, flow: &Flow) -> impl Iterator<Item = u16> {
        (0..SLOTS).filter_map(|slot| flow.complete(&self.tables, slot))
    }
}
