//! The flows that are open, at most so many: the one not used for longest makes room.

use super::{Flow, FlowKey};
use foldhash::fast::RandomState;
use std::collections::HashMap;

const NONE: u32 = u32::MAX;

/// A place in the table, and which of its inhabitants is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FlowId {
    index: u32,
    generation: u32,
}

pub struct Table {
    max: usize,
    ids: HashMap<FlowKey, u32, RandomState>,
    slots: Vec<Slot>,
    /// Neighbours in order of use; apart from the slots, so that moving one touches little memory.
    order: Vec<Neighbours>,
    free: Vec<u32>,
    newest: u32,
    oldest: u32,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    flow: Option<Box<Flow>>,
}

#[derive(Clone, Copy)]
struct Neighbours {
    newer: u32,
    older: u32,
}

const ALONE: Neighbours = Neighbours { newer: NONE, older: NONE };

impl Table {
    pub fn new(max: usize) -> Self {
        Self {
            max: max.clamp(1, NONE as usize - 1),
            ids: HashMap::default(),
            slots: Vec::new(),
            order: Vec::new(),
            free: Vec::new(),
            newest: NONE,
            oldest: NONE,
        }
    }

    pub fn len(&self) -> usize {
        self.ids.len()
    }

    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    pub fn find(&self, key: FlowKey) -> Option<FlowId> {
        self.ids.get(&key).map(|&index| self.id(index))
    }

    pub fn get(&self, id: FlowId) -> Option<&Flow> {
        self.slot(id)?.flow.as_deref()
    }

    pub fn get_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.flow.as_deref_mut()
    }

    /// Makes this flow the one used last.
    pub fn touch(&mut self, id: FlowId) {
        if self.newest != id.index && self.slot(id).is_some() {
            self.unchain(id.index);
            self.chain(id.index);
        }
    }

    /// Takes a flow out to work on it while the table is used. Its place stays its own: [`Self::put`] it back.
    pub fn take(&mut self, id: FlowId) -> Option<Box<Flow>> {
        let slot = self.slots.get_mut(id.index as usize).filter(|slot| slot.generation == id.generation)?;
        slot.flow.take()
    }

    pub fn put(&mut self, id: FlowId, flow: Box<Flow>) {
        if let Some(slot) = self.slots.get_mut(id.index as usize)
            && slot.generation == id.generation
        {
            slot.flow = Some(flow);
        }
    }

    /// Adds a flow that is not there yet. The flow that had to make room comes back.
    pub fn insert(&mut self, flow: Flow) -> (FlowId, Option<Box<Flow>>) {
        let evicted = if self.len() < self.max { None } else { self.remove(self.id(self.oldest)) };
        let key = flow.key;
        let index = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::default());
            self.order.push(ALONE);
            (self.slots.len() - 1) as u32
        });
        if let Some(slot) = self.slots.get_mut(index as usize) {
            slot.flow = Some(Box::new(flow));
        }
        self.ids.insert(key, index);
        self.chain(index);
        (self.id(index), evicted)
    }

    /// Frees a flow's place. Nothing comes back when the flow is [taken](Self::take) or not there.
    pub fn remove(&mut self, id: FlowId) -> Option<Box<Flow>> {
        let flow = self.take(id)?;
        self.release(id, flow.key);
        Some(flow)
    }

    /// Frees the place of a flow that was taken out and will not be put back.
    pub fn release(&mut self, id: FlowId, key: FlowKey) {
        if let Some(slot) = self.slots.get_mut(id.index as usize)
            && slot.generation == id.generation
        {
            slot.generation = slot.generation.wrapping_add(1);
            slot.flow = None;
            self.ids.remove(&key);
            self.unchain(id.index);
            self.free.push(id.index);
        }
    }

    /// All flows.
    pub fn ids(&self) -> Vec<FlowId> {
        self.ids.values().map(|&index| self.id(index)).collect()
    }

    /// The flow not used for longest.
    pub fn oldest(&self) -> Option<FlowId> {
        (self.oldest != NONE).then(|| self.id(self.oldest))
    }

    fn id(&self, index: u32) -> FlowId {
        let generation = self.slots.get(index as usize).map_or(0, |slot| slot.generation);
        FlowId { index, generation }
    }

    fn slot(&self, id: FlowId) -> Option<&Slot> {
        self.slots.get(id.index as usize).filter(|slot| slot.generation == id.generation)
    }

    fn chain(&mut self, index: u32) {
        let older = std::mem::replace(&mut self.newest, index);
        self.set(index, Neighbours { newer: NONE, older });
        match self.order.get_mut(older as usize) {
            Some(neighbours) => neighbours.newer = index,
            None => self.oldest = index,
        }
    }

    fn unchain(&mut self, index: u32) {
        let Neighbours { newer, older } = self.order.get(index as usize).copied().unwrap_or(ALONE);
        match self.order.get_mut(newer as usize) {
            Some(neighbours) => neighbours.older = older,
            None => self.newest = older,
        }
        match self.order.get_mut(older as usize) {
            Some(neighbours) => neighbours.newer = newer,
            None => self.oldest = newer,
        }
        self.set(index, ALONE);
    }

    fn set(&mut self, index: u32, neighbours: Neighbours) {
        if let Some(place) = self.order.get_mut(index as usize) {
            *place = neighbours;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use keymoat_abi::Source;
    use std::time::Instant;

    fn flow(n: u64) -> Flow {
        Flow::new(FlowKey::Socket(n), Source::Tcp, Instant::now())
    }

    fn key(flow: Option<Box<Flow>>) -> Option<FlowKey> {
        flow.map(|flow| flow.key)
    }

    #[test]
    fn the_flow_not_used_for_longest_makes_room() {
        let mut table = Table::new(3);
        let ids: Vec<_> = (0..3).map(|n| table.insert(flow(n)).0).collect();
        table.touch(ids[0]);
        assert_eq!(key(table.insert(flow(3)).1), Some(FlowKey::Socket(1)));
        assert_eq!(key(table.insert(flow(4)).1), Some(FlowKey::Socket(2)));
        assert_eq!(key(table.insert(flow(5)).1), Some(FlowKey::Socket(0)));
        assert_eq!(table.len(), 3);
        assert!(table.get(ids[0]).is_none(), "an old id does not name a new inhabitant");
    }

    #[test]
    fn removing_from_any_place_keeps_the_order() {
        for gone in 0..4u64 {
            let mut table = Table::new(4);
            let ids: Vec<_> = (0..4).map(|n| table.insert(flow(n)).0).collect();
            assert!(table.remove(ids[gone as usize]).is_some());
            assert!(table.remove(ids[gone as usize]).is_none());
            let mut left = Vec::new();
            while let Some(id) = table.oldest() {
                left.extend(key(table.remove(id)));
            }
            let expected: Vec<_> = (0..4).filter(|n| *n != gone).map(FlowKey::Socket).collect();
            assert_eq!(left, expected);
            assert!(table.is_empty());
        }
    }

    #[test]
    fn a_taken_flow_keeps_its_place() {
        let mut table = Table::new(2);
        let (id, _) = table.insert(flow(1));
        let taken = table.take(id).unwrap();
        assert_eq!(table.find(FlowKey::Socket(1)), Some(id));
        assert!(table.get(id).is_none());
        table.put(id, taken);
        assert!(table.get(id).is_some());
    }
}
