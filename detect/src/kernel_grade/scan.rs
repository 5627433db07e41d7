//! The kernel's matcher, run in userspace: what the tests hold against the full engine.

use super::KernelRules;
use crate::rules::RuleSet;
use keymoat_abi::enforce::{CUE, UNJUDGED};
use keymoat_abi::scan::{Flow, SLOTS, Source, Step, Stream, step};
use std::collections::BTreeSet;
use std::ops::Range;

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
                Step::Hit(told) if told > UNJUDGED => {}
                Step::Hit(rule) => found(rule, flow.looked_at()),
                Step::Starved if rest.is_empty() => return,
                Step::Starved => {
                    let taken = flow.feed(rest);
                    rest = rest.get(taken..).unwrap_or_default();
                }
            }
        }
    }

    /// As [`Self::write`], for one side of a connection: what it is written in is undone, as the kernel does it. `found` is also told
    /// whether the key is in the body of a request, for certain.
    pub fn write_stream(&self, stream: &mut Stream, bytes: &[u8], found: &mut dyn FnMut(u16, bool)) {
        self.write_part(stream, bytes, 0..bytes.len(), found);
    }

    /// As [`Self::write_stream`], of a part of a program's memory: what is before it can be read as well.
    pub(super) fn write_part(
        &self,
        stream: &mut Stream,
        memory: &[u8],
        part: Range<usize>,
        found: &mut dyn FnMut(u16, bool),
    ) {
        let source = Part { memory, from: part.start as u64 };
        let address = (memory.as_ptr() as u64).wrapping_add(source.from);
        stream.begin(part.len() as u64, address, self.tables.header.generation, 0);
        stream.open(&source);
        loop {
            match stream.look(&self.tables) {
                Step::More => {}
                Step::Hit(CUE) => {}
                Step::Hit(rule) => found(rule, stream.is_in_body()),
                Step::Starved if stream.refill(&source) => {}
                Step::Starved => return,
            }
        }
    }

    /// For each rule, the rules that the matcher tells of its keys, by its own samples. The full engine picks one of several that
    /// fit; the matcher tells them all, so what is permitted to one has to be permitted to all.
    pub fn told_together(&self, rules: &RuleSet) -> Vec<BTreeSet<usize>> {
        rules.rules().iter().map(|rule| self.told(&rule.positives)).collect()
    }

    fn told(&self, texts: &[String]) -> BTreeSet<usize> {
        let mut told = BTreeSet::new();
        for text in texts {
            let mut flow = Flow::NEW;
            self.write(&mut flow, text.as_bytes(), &mut |rule, _| {
                told.insert(usize::from(rule));
            });
            told.extend(self.complete(&flow).map(usize::from));
        }
        told
    }

    /// The rules of the keys that are complete if the last write was the flow's last.
    pub fn complete(&self, flow: &Flow) -> impl Iterator<Item = u16> {
        (0..SLOTS).filter_map(|slot| flow.complete(&self.tables, slot))
    }
}

struct Part<'a> {
    memory: &'a [u8],
    from: u64,
}

impl Source for Part<'_> {
    const OF_PROGRAM: bool = true;

    unsafe fn copy<const LEN: u32>(&self, to: *mut u8, from: u64) -> bool {
        let from = usize::try_from(self.from.wrapping_add(from)).ok();
        let part = from.and_then(|from| self.memory.get(from..)?.get(..LEN as usize));
        if let Some(part) = part {
            // SAFETY: by this function's contract there is room, and it is not this slice's own memory.
            unsafe { core::ptr::copy_nonoverlapping(part.as_ptr(), to, part.len()) };
        }
        part.is_some()
    }
}
