//! Which rule has which number in the kernel. A number stays with its rule while anything in the kernel may speak of it: from
//! one set of rules to the next, and from one agent to the next.

use crate::loader::LoadError;
use aya::maps::{Array, MapData, MapError};
use keymoat_abi::enforce::{MAX_RULES, RuleId};
use keymoat_detect::RuleTables;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;

/// Numbers by a rule's place in its set, and back.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    by_place: Vec<u16>,
    places: HashMap<u16, usize>,
}

impl Numbers {
    /// Numbers the rules of a set, which the map may know already.
    ///
    /// # Errors
    /// [`LoadError::TooManyRules`] when all numbers are taken; [`LoadError::Map`] when the kernel refuses a value.
    pub fn assign<'a>(
        map: &mut Array<&mut MapData, RuleId>,
        ids: impl Iterator<Item = &'a str>,
    ) -> Result<Self, LoadError> {
        let failed = |error: MapError| LoadError::Map { name: "NUMBERS", error };
        let mut known: HashMap<RuleId, u16> = HashMap::new();
        let mut free = Vec::new();
        for number in 0..MAX_RULES as u16 {
            match map.get(&number.into(), 0).map_err(failed)? {
                RuleId::NONE => free.push(number),
                id => drop(known.insert(id, number)),
            }
        }
        let mut free = free.into_iter();
        let mut numbers = Self::default();
        for (place, id) in ids.map(digest).enumerate() {
            let number = match known.get(&id) {
                Some(number) => *number,
                None => {
                    let number = free.next().ok_or(LoadError::TooManyRules)?;
                    map.set(number.into(), id, 0).map_err(failed)?;
                    number
                }
            };
            numbers.by_place.push(number);
            numbers.places.insert(number, place);
        }
        Ok(numbers)
    }

    /// Each of so many rules has its place as its number.
    #[cfg(test)]
    pub fn by_place(rules: u16) -> Self {
        Self { by_place: (0..rules).collect(), places: (0..rules).map(|n| (n, n.into())).collect() }
    }

    /// The number of the rule at this place of the set.
    pub fn number(&self, place: usize) -> Option<u16> {
        self.by_place.get(place).copied()
    }

    /// The place of the rule with this number. None: it belongs to another set.
    pub fn place(&self, number: u16) -> Option<usize> {
        self.places.get(&number).copied()
    }

    /// The tables with these numbers in them.
    pub fn renumber(&self, tables: &RuleTables) -> RuleTables {
        let mut tables = tables.clone();
        for token in &mut tables.tokens {
            token.rule = self.number(token.rule.into()).unwrap_or(token.rule);
        }
        tables
    }
}

fn digest(id: &str) -> RuleId {
    let mut bytes = [0; size_of::<RuleId>()];
    bytes.iter_mut().zip(Sha256::digest(id)).for_each(|(to, from)| *to = from);
    RuleId(bytes)
}
