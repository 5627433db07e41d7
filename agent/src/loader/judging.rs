//! What the programs judge by: rules, numbered, and where their keys may go.

use super::pins::Pins;
use super::{Kernel, LoadError, take};
use crate::enforce::unsent::Unsent;
use crate::enforce::verdicts::Verdicts;
use crate::kernel::numbers::Numbers;
use crate::kernel::rules;
use aya::Ebpf;
use aya::maps::{MapData, SockHash};
use keymoat_detect::RuleTables;
use std::sync::Arc;

/// What the programs judge by.
pub struct Judging<'a> {
    pub tables: &'a RuleTables,
    /// The rules' ids, by their place in the set.
    pub ids: Vec<&'a str>,
    /// All plaintext goes to the agent, not only what follows a key or a cue.
    pub everything: bool,
    /// What cannot be inspected is refused, and refusing goes on without the agent.
    pub strict: Option<Pins>,
}

impl<'a> Judging<'a> {
    /// By tables whose rules have no numbers of their own.
    pub fn unnumbered(tables: &'a RuleTables) -> Self {
        Self { tables, ids: Vec::new(), everything: false, strict: None }
    }
}

/// Rules in the kernel that are not in use yet.
pub struct Added {
    pub numbers: Arc<Numbers>,
    half: u32,
}

/// Numbers of rules, new ones for those that have none.
pub(super) fn number(ebpf: &mut Ebpf, ids: Vec<&str>) -> Result<Numbers, LoadError> {
    let name = "NUMBERS";
    let map = ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut map = map.try_into().map_err(|error| LoadError::Map { name, error })?;
    Numbers::assign(&mut map, ids.into_iter())
}

impl Kernel {
    /// The rules' numbers in the kernel, as they were at the start.
    pub fn numbers(&self) -> Arc<Numbers> {
        Arc::clone(&self.numbers)
    }

    /// Puts other rules beside those in use. No program is loaded or verified for that.
    ///
    /// # Errors
    /// [`LoadError::RulesTooLarge`] or [`LoadError::TooManyRules`] when there is no room; the rules in use stay.
    pub fn add_rules(&self, tables: &RuleTables, ids: Vec<&str>) -> Result<Added, LoadError> {
        let mut ebpf = self.lock();
        let numbers = number(&mut ebpf, ids)?;
        let half = rules::write(&mut ebpf, &numbers.renumber(tables))?;
        Ok(Added { numbers: Arc::new(numbers), half })
    }

    /// From here on writes are judged by rules that were added; those that are being judged go on as they began.
    ///
    /// # Errors
    /// [`LoadError::Map`] when the kernel refuses it.
    pub fn take_into_use(&self, added: &Added) -> Result<(), LoadError> {
        rules::take_into_use(&mut self.lock(), added.half)
    }

    /// What the programs that judge decide by. Works once.
    ///
    /// # Errors
    /// [`LoadError::Missing`] the second time.
    pub fn verdicts(&self) -> Result<Verdicts, LoadError> {
        let mut ebpf = self.lock();
        let (refused, permitted) = (take(&mut ebpf, "REFUSED")?, take(&mut ebpf, "PERMITTED")?);
        drop(ebpf);
        Verdicts::new(refused, permitted, self.numbers(), self.pins.is_some())
    }

    /// The keys of which nobody knows yet whether they leave. Works once.
    ///
    /// # Errors
    /// [`LoadError::Missing`] the second time.
    pub fn unsent(&self) -> Result<Unsent, LoadError> {
        Ok(Unsent::new(take(&mut self.lock(), "KEYS")?))
    }

    /// Where connections go whose writes are judged. None if nothing is judged, and the second time.
    pub fn take_connections(&self) -> Option<SockHash<MapData, u64>> {
        let judged = self.judges().then(|| take(&mut self.lock(), "CONNECTIONS"));
        judged.and_then(Result::ok)
    }
}
