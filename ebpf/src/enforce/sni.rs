//! The name in a ClientHello (RFC 8446, 4.1.2; RFC 6066, 3).

use crate::bounds::at_most;
use crate::emit::Bytes;
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use keymoat_abi::enforce::{HOST_BYTES, HostKey};

/// Record header, handshake header, version, random.
const FIXED: u64 = 5 + 4 + 2 + 32;
/// Extensions looked at, and bytes of a name: more than any client sends, and any name has.
const MAX_EXTENSIONS: u32 = 64;
const MAX_NAME: u32 = 255;
const SERVER_NAME: u16 = 0;
/// Length of the list, type of the name, length of the name.
const NAME_HEADER: u64 = 5;

/// A walk through a ClientHello.
struct Walk<'a, B> {
    bytes: B,
    len: u64,
    /// Where the next extension begins; or, once the name is found, where the name begins and ends.
    at: u64,
    name_end: u64,
    host: &'a mut HostKey,
}

/// Reads the name out of the ClientHello in these `len` bytes into `host`. No name, no key.
#[inline(always)]
pub fn read<B: Bytes>(bytes: B, len: u64, host: &mut HostKey) {
    host.bits = 0;
    let Some(at) = extensions(bytes) else { return };
    let mut walk = Walk { bytes, len, at, name_end: 0, host };
    // SAFETY: the callbacks have the signature that the helper wants, and `walk` lives longer than the calls.
    unsafe {
        bpf_loop(MAX_EXTENSIONS, extension::<B> as *mut c_void, (&raw mut walk).cast(), 0);
        if walk.name_end != 0 {
            bpf_loop(MAX_NAME + 1, reversed::<B> as *mut c_void, (&raw mut walk).cast(), 0);
        }
    }
}

/// Where the extensions begin.
#[inline(always)]
fn extensions<B: Bytes>(bytes: B) -> Option<u64> {
    let suites = FIXED.wrapping_add(1).wrapping_add(u64::from(byte(bytes, FIXED)?));
    let methods = suites.wrapping_add(2).wrapping_add(u64::from(pair(bytes, suites)?));
    let extensions = methods.wrapping_add(1).wrapping_add(u64::from(byte(bytes, methods)?));
    Some(extensions.wrapping_add(2))
}

/// One extension. 1 ends the loop.
extern "C" fn extension<B: Bytes>(_index: u64, walk: *mut Walk<'_, B>) -> i64 {
    // SAFETY: what `read` gave to the helper.
    let walk = unsafe { &mut *walk };
    let (Some(kind), Some(len)) = (pair(walk.bytes, walk.at), pair(walk.bytes, walk.at.wrapping_add(2)))
    else {
        return 1;
    };
    let content = walk.at.wrapping_add(4);
    if content >= walk.len {
        return 1;
    }
    if kind != SERVER_NAME {
        walk.at = content.wrapping_add(u64::from(len));
        return 0;
    }
    let Some(name_len) = pair(walk.bytes, content.wrapping_add(3)) else { return 1 };
    walk.at = content.wrapping_add(NAME_HEADER);
    let name_end = walk.at.wrapping_add(u64::from(name_len));
    if name_end <= walk.len && name_len > 0 {
        walk.name_end = name_end;
    }
    1
}

/// One byte of the name, last first; after them the zero byte that ends a key.
extern "C" fn reversed<B: Bytes>(index: u64, walk: *mut Walk<'_, B>) -> i64 {
    // SAFETY: what `read` gave to the helper.
    let walk = unsafe { &mut *walk };
    let place = at_most(index, HOST_BYTES as u64 - 1) as usize;
    let done = walk.name_end <= walk.at;
    walk.name_end = walk.name_end.wrapping_sub(1);
    let letter = if done { Some(0) } else { byte(walk.bytes, walk.name_end) };
    let (Some(letter), Some(to)) = (letter, walk.host.name.get_mut(place)) else { return 1 };
    *to = letter.to_ascii_lowercase();
    walk.host.bits = (place as u32 + 1) * 8;
    i64::from(done || place == HOST_BYTES - 1)
}

#[inline(always)]
fn byte<B: Bytes>(bytes: B, at: u64) -> Option<u8> {
    let mut value = 0u8;
    // SAFETY: one byte fits.
    unsafe { bytes.copy_exactly::<1>(&raw mut value, at) }.then_some(value)
}

#[inline(always)]
fn pair<B: Bytes>(bytes: B, at: u64) -> Option<u16> {
    let mut value = 0u16;
    // SAFETY: two bytes fit.
    unsafe { bytes.copy_exactly::<2>((&raw mut value).cast(), at) }.then_some(u16::from_be(value))
}
