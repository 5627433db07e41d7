//! Which places can start a literal, judged by three bytes at every second place, and then by the bytes around.
//!
//! A literal of four bytes or more holds three of its first four bytes at an even place, whatever its own place is. So one
//! bit per window of three bytes is enough: set for the first and for the second three bytes of every literal. A literal of
//! three bytes has only its first two in a window that starts one before it; there, all windows that end in them are set.
//!
//! Of ordinary text one window in ten is set. A closer look at those, at four bytes (or all three) from each place where a literal
//! can start then, leaves one in a hundred.

/// The shortest literal that can be filtered.
pub const SHORTEST: usize = 3;
/// Words of 64 bits in the table of windows: 32 KiB, of which text touches little.
pub const WINDOW_WORDS: usize = 1 << (PLACE_BITS - 6);
const PLACE_BITS: u32 = 18;
/// Words of 64 bits in the table of beginnings: 16 KiB.
pub const BEGINNING_WORDS: usize = 1 << (BEGINNING_BITS - 6);
const BEGINNING_BITS: u32 = 17;
/// Words of both tables, as they lie in one: the windows, then the beginnings.
pub const FILTER_WORDS: usize = WINDOW_WORDS + BEGINNING_WORDS;
/// An odd number near 2^32 divided by the golden ratio: neighbouring windows fall far apart.
const SPREAD: u32 = 0x9e37_79b1;

/// The bit of a window, its first byte lowest. Windows that share a bit cost a closer look.
#[inline]
pub const fn window_place(window: u32) -> u32 {
    (window & 0x00ff_ffff).wrapping_mul(SPREAD) >> (u32::BITS - PLACE_BITS)
}

/// The bit of the beginning of a literal, its first byte lowest: four bytes, or three and a zero if it has no more. Beginnings that
/// share a bit cost a look at the automaton.
#[inline]
pub const fn beginning_place(beginning: u32) -> u32 {
    beginning.wrapping_mul(SPREAD) >> (u32::BITS - BEGINNING_BITS)
}

/// Bytes that it takes to judge the four windows that start in eight bytes, closer looks included.
pub(super) const BYTES: u64 = 11;

/// Can a literal start at one of four places? Judged at once.
#[inline]
pub(super) fn may_start(windows: impl Fn(u32) -> u64, low: u64, high: u64) -> bool {
    let set = |window: u64| {
        let place = window_place(window as u32);
        windows(place >> 6) >> (place & 63)
    };
    (set(low) | set(low >> 16) | set(low >> 32) | set(low >> 48 | high << 16)) & 1 == 1
}

/// The first of the places from `first` on at which a literal can start, by its window: 0, 2, 4 or 6. `high` follows `low`.
#[inline]
pub(super) fn first_that_may(windows: impl Fn(u32) -> u64, low: u64, high: u64, first: u32) -> Option<u32> {
    let set = |window: u64| {
        let place = window_place(window as u32);
        windows(place >> 6) >> (place & 63) & 1 == 1
    };
    match () {
        () if first == 0 && set(low) => Some(0),
        () if first <= 2 && set(low >> 16) => Some(2),
        () if first <= 4 && set(low >> 32) => Some(4),
        () if set(low >> 48 | high << 16) => Some(6),
        () => None,
    }
}

/// A closer look at a window: does a literal start at its place, one before or one behind? The lowest byte of `around` is the one
/// before that place.
#[inline]
pub(super) fn does_start(beginnings: impl Fn(u32) -> u64, around: u64) -> bool {
    let set = |beginning: u32| {
        let place = beginning_place(beginning);
        beginnings(place >> 6) >> (place & 63)
    };
    let four = |bytes: u64| set(bytes as u32);
    let three = |bytes: u64| set(bytes as u32 & 0x00ff_ffff);
    (four(around) | four(around >> 8) | three(around >> 8) | three(around >> 16)) & 1 == 1
}
