//! The compiled rules on their way into the kernel's maps.
//!
//! Maps are made once, and each has room for two sets of rules. One half is in use; the other is filled while nobody looks at it,
//! and then taken into use in one store. A write that is being scanned goes on with the half it began with.

use crate::loader::LoadError;
use aya::maps::{Array, MapData, MapError};
use aya::{Ebpf, Pod};
use keymoat_abi::scan::{BLOCK, FILTER_WORDS, Half};
use keymoat_detect::RuleTables;

/// TLS connections, and threads that send datagrams, whose scans are remembered: 900 bytes each.
const SCANS: u32 = 16_384;
const DATAGRAM_SCANS: u32 = 4_096;
/// Streams of clean plaintext whose last request is remembered: 1 KiB each.
const RECALLS: u32 = 8_192;
/// Threads that write TLS at the same moment: 900 bytes each.
const BEFORE: u32 = 2_048;
/// Connections whose destination TLS probes decide by: 140 bytes each.
const HOSTS: u32 = 16_384;

/// How many entries each map needs: the tables, half as much again for rules that are added later, and all that twice.
pub fn sizes(tables: &RuleTables) -> [(&'static str, u32); 12] {
    // No table has more entries than a `u32` counts: see `KernelRules`.
    let entries = |len: usize| u32::try_from((len + len / 2 + 1) * 2).unwrap_or(u32::MAX);
    let judging = |entries| if tables.header.generation == 0 { 1 } else { entries };
    [
        ("SCAN_CLASSES", entries(tables.classes.len())),
        ("SCAN_LITERALS", entries(tables.literals.len().div_ceil(BLOCK))),
        ("SCAN_ENDING", entries(tables.ending.len())),
        ("SCAN_ANCHORS", entries(tables.anchors.len())),
        ("SCAN_TOKENS", entries(tables.tokens.len())),
        ("SCAN_CELLS", entries(tables.cells.len().div_ceil(BLOCK))),
        ("SCAN_GLUE", entries(tables.glue.len())),
        ("TLS_SCANS", judging(SCANS)),
        ("BEFORE", judging(BEFORE)),
        ("HOSTS", judging(HOSTS)),
        ("DATAGRAM_SCANS", judging(DATAGRAM_SCANS)),
        ("RECALLS", judging(RECALLS)),
    ]
}

/// Fills the half of the maps that is not in use, and says which that is.
///
/// # Errors
/// [`LoadError::RulesTooLarge`] when there is no room for the tables; [`LoadError::Map`] when the kernel refuses a value.
pub fn write(ebpf: &mut Ebpf, tables: &RuleTables) -> Result<u32, LoadError> {
    let used = array::<u32>(ebpf, "SCAN_IN_USE")?.get(&0, 0).map_err(failed("SCAN_IN_USE"))?;
    let number = (used + 1) & 1;
    let filter: Option<[u64; FILTER_WORDS]> =
        [tables.windows.as_slice(), &tables.beginnings].concat().try_into().ok();
    let mut fill = Fill { ebpf, number };
    fill.one("SCAN_FILTER", filter)?;
    let half = Half {
        classes: fill.table("SCAN_CLASSES", tables.classes.iter().copied())?,
        literals: fill.table("SCAN_LITERALS", blocks(&tables.literals))?,
        ending: fill.table("SCAN_ENDING", tables.ending.iter().copied())?,
        anchors: fill.table("SCAN_ANCHORS", tables.anchors.iter().copied())?,
        tokens: fill.table("SCAN_TOKENS", tables.tokens.iter().copied())?,
        cells: fill.table("SCAN_CELLS", blocks(&tables.cells))?,
        glue: fill.table("SCAN_GLUE", tables.glue.iter().copied())?,
        header: tables.header,
    };
    fill.one("SCAN_HALVES", Some(half))?;
    Ok(number)
}

/// Takes a half that was written into use.
///
/// # Errors
/// [`LoadError::Map`] when the kernel refuses it.
pub fn take_into_use(ebpf: &mut Ebpf, number: u32) -> Result<(), LoadError> {
    array(ebpf, "SCAN_IN_USE")?.set(0, number, 0).map_err(failed("SCAN_IN_USE"))
}

/// Cells in blocks, the last filled up with zeroes.
fn blocks(cells: &[u16]) -> impl ExactSizeIterator<Item = [u16; BLOCK]> {
    cells.chunks(BLOCK).map(|chunk| {
        let mut block = [0; BLOCK];
        block.iter_mut().zip(chunk).for_each(|(to, &from)| *to = from);
        block
    })
}

/// Writes into one half of each map.
struct Fill<'a> {
    ebpf: &'a mut Ebpf,
    number: u32,
}

impl Fill<'_> {
    /// What each half has one of.
    fn one<T: Pod>(&mut self, name: &'static str, value: Option<T>) -> Result<(), LoadError> {
        let mut map = array(self.ebpf, name)?;
        value.map_or(Ok(()), |value| map.set(self.number, value, 0)).map_err(failed(name))
    }

    /// A table; gives where it begins.
    fn table<T: Pod>(
        &mut self,
        name: &'static str,
        values: impl ExactSizeIterator<Item = T>,
    ) -> Result<u32, LoadError> {
        let mut map = array(self.ebpf, name)?;
        let room = map.len() / 2;
        if values.len() > room as usize {
            return Err(LoadError::RulesTooLarge);
        }
        let begin = room * self.number;
        for (index, value) in (begin..).zip(values) {
            map.set(index, value, 0).map_err(failed(name))?;
        }
        Ok(begin)
    }
}

fn array<'a, T: Pod>(ebpf: &'a mut Ebpf, name: &'static str) -> Result<Array<&'a mut MapData, T>, LoadError> {
    ebpf.map_mut(name).ok_or(LoadError::Missing(name))?.try_into().map_err(failed(name))
}

fn failed(name: &'static str) -> impl Fn(MapError) -> LoadError {
    move |error| LoadError::Map { name, error }
}
