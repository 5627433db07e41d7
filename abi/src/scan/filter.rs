//! Which places can start a literal, judged by three bytes at every second place.
//!
//! A literal of four bytes or more holds three of its first four bytes at an even place, whatever its own place is. So one
//! bit per window of three bytes is enough: set for the first and for the second three bytes of every literal. A literal of
//! three bytes has only its first two in a window that starts one before it; there, all windows that end in them are set.

/// The shortest literal that can be filtered.
pub const SHORTEST: usize = 3;
/// Words of 64 bits in the table of windows: 32 KiB, of which text touches little.
pub const WINDOW_WORDS: usize = 1 << (PLACE_BITS - 6);
const PLACE_BITS: u32 = 18;
/// An odd number near 2^32 divided by the golden ratio: neighbouring windows fall far apart.
const SPREAD: u32 = 0x9e37_79b1;

/// The bit of a window, its first byte lowest. Windows that share a bit cost a look at the automaton.
#[inline]
pub const fn window_place(window: u32) -> u32 {
    (window & 0x00ff_ffff).wrapping_mul(SPREAD) >> (u32::BITS - PLACE_BITS)
}

/// Windows judged at once: those that start in eight bytes.
pub(super) const PLACES: u32 = 4;
/// Bytes that takes.
pub(super) const BYTES: u64 = 9;

/// Can a literal start at one of the places that [`judge`] tells apart?
#[inline]
pub(super) fn may_start(windows: impl Fn(u32) -> u64, low: u64, high: u64) -> bool {
    let set = |window: u64| {
        let place = window_place(window as u32);
        windows(place >> 6) >> (place & 63)
    };
    (set(low) | set(low >> 16) | set(low >> 32) | set(low >> 48 | high << 16)) & 1 == 1
}

/// Bit `n` is set if the window at place `2 * n` of `low` can hold a literal's start. `high` follows `low`.
#[inline]
pub(super) fn judge(windows: impl Fn(u32) -> u64, low: u64, high: u64) -> u32 {
    let set = |window: u64| {
        let place = window_place(window as u32);
        (windows(place >> 6) >> (place & 63)) as u32 & 1
    };
    set(low) | set(low >> 16) << 1 | set(low >> 32) << 2 | set(low >> 48 | high << 16) << 3
}
