//! May a key start here?

/// How many bytes before a key [`left_is_free`] may look at: `\u003d`.
pub const LOOK_BEHIND: usize = 6;

/// May a key start here? `before(1)` is the byte just before it, `before(2)` the one before that; `None` where nothing is
/// known, which counts as free. `glued` says whether the byte just before belongs to the same word.
///
/// An escape is a boundary although it ends in a letter or digit: in `"my keys:\nghp_…"` the `n` belongs to
/// the line break, in `token%3Dghp_…` the `D` to the equals sign, and `\u003d` is how some JSON writers put it.
#[inline]
pub fn left_is_free(glued: impl Fn(u8) -> bool, before: impl Fn(usize) -> Option<u8>) -> bool {
    let Some(last) = before(1) else { return true };
    if !glued(last) {
        return true;
    }
    let is = |distance, byte| before(distance) == Some(byte);
    let hex = |distance| before(distance).is_some_and(|b| b.is_ascii_hexdigit());
    let control = matches!(last, b'n' | b'r' | b't' | b'b' | b'f') && is(2, b'\\');
    let percent = hex(1) && hex(2) && is(3, b'%');
    let unicode = hex(1) && hex(2) && hex(3) && hex(4) && is(5, b'u') && is(6, b'\\');
    control || percent || unicode
}
