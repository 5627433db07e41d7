//! The compiled rules on their way into the kernel's maps.

use crate::loader::LoadError;
use aya::maps::{Array, MapError};
use aya::{Ebpf, Pod};
use keymoat_abi::scan::{BEGINNING_WORDS, BLOCK, WINDOW_WORDS};
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

/// How many entries each map needs. Maps are made once: a set of rules that needs more needs another load.
pub fn sizes(tables: &RuleTables) -> [(&'static str, u32); 12] {
    // An array cannot be empty. No table has more entries than a `u32` counts: see `KernelRules`.
    let entries = |len: usize| u32::try_from(len.max(1)).unwrap_or(u32::MAX);
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

/// Fills the maps. The header comes last: without it no program looks at the others.
///
/// # Errors
/// [`LoadError::Map`] when the kernel refuses a value.
pub fn write(ebpf: &mut Ebpf, tables: &RuleTables) -> Result<(), LoadError> {
    if tables.header.generation == 0 {
        return Ok(());
    }
    let windows: Option<[u64; WINDOW_WORDS]> = tables.windows.as_slice().try_into().ok();
    fill(ebpf, "SCAN_WINDOWS", windows)?;
    let beginnings: Option<[u64; BEGINNING_WORDS]> = tables.beginnings.as_slice().try_into().ok();
    fill(ebpf, "SCAN_BEGINNINGS", beginnings)?;
    fill(ebpf, "SCAN_CLASSES", tables.classes.iter().copied())?;
    fill(ebpf, "SCAN_LITERALS", blocks(&tables.literals))?;
    fill(ebpf, "SCAN_ENDING", tables.ending.iter().copied())?;
    fill(ebpf, "SCAN_ANCHORS", tables.anchors.iter().copied())?;
    fill(ebpf, "SCAN_TOKENS", tables.tokens.iter().copied())?;
    fill(ebpf, "SCAN_CELLS", blocks(&tables.cells))?;
    fill(ebpf, "SCAN_GLUE", tables.glue.iter().copied())?;
    fill(ebpf, "SCAN_HEADER", [tables.header])
}

/// Cells in blocks, the last filled up with zeroes.
fn blocks(cells: &[u16]) -> impl Iterator<Item = [u16; BLOCK]> {
    cells.chunks(BLOCK).map(|chunk| {
        let mut block = [0; BLOCK];
        block.iter_mut().zip(chunk).for_each(|(to, &from)| *to = from);
        block
    })
}

fn fill<T: Pod>(
    ebpf: &mut Ebpf,
    name: &'static str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), LoadError> {
    let failed = |error: MapError| LoadError::Map { name, error };
    let map = ebpf.map_mut(name).ok_or(LoadError::Missing(name))?;
    let mut map: Array<_, T> = map.try_into().map_err(failed)?;
    for (index, value) in (0..).zip(values) {
        map.set(index, value, 0).map_err(failed)?;
    }
    Ok(())
}
