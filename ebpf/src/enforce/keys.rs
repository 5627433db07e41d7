//! Keys that are on their way, and whether they may leave.

use super::Rung;
use crate::bounds::opaque;
use crate::emit::Bytes;
use crate::maps::{
    BEFORE, CONFIG, DATAGRAM_SCANS, HOSTS, KEYS, NO_KEYS, NO_SCAN, PERMITTED, REFUSED, TLS_SCANS,
};
use crate::{
    emit,
    marks::{self, ContextKey},
    scan::Judge,
    scan::Outcome,
    scan::scan,
    user_memory::UserMemory,
};
use aya_ebpf::helpers::generated::{bpf_ktime_get_ns, bpf_map_lookup_elem, bpf_probe_read_kernel};
use aya_ebpf::maps::LruHashMap;
use aya_ebpf::programs::ProbeContext;
use core::mem::size_of;
use keymoat_abi::{
    LossCause,
    enforce::{HostKey, KEYS_LIFETIME_NS, Permitted, UNJUDGED},
    scan::Stream,
};

/// Refuses what is not permitted at a place without a name, or in the clear.
#[derive(Clone, Copy)]
pub struct Everywhere;

impl Judge for Everywhere {
    #[inline(always)]
    fn refuses(&self, rule: u16, _in_body: bool, _within: u64) -> bool {
        REFUSED.get(0).is_some_and(|refused| refused.contains(rule))
    }
}

/// Notes the keys that some places refuse; lets them pass.
#[derive(Clone, Copy)]
struct Note {
    tgid: u64,
    context: u64,
}

impl Judge for Note {
    #[inline(always)]
    fn refuses(&self, rule: u16, in_body: bool, within: u64) -> bool {
        if REFUSED.get(0).is_some_and(|refused| refused.contains(rule)) {
            note(ContextKey { tgid: self.tgid, context: self.context }, rule, in_body, within);
        }
        false
    }
}

/// What was found in plaintext.
#[derive(Clone, Copy)]
pub struct Found {
    /// A key whose call was stopped.
    pub stopped: Option<Stopped>,
    /// The agent is to see the plaintext: there is a key in it, or before it, or a cue.
    pub shown: bool,
    /// It is the rest of plaintext that was looked at, and shown, as a whole.
    pub rest: bool,
}

impl Found {
    /// Nobody looked.
    pub const UNKNOWN: Self = Self { stopped: None, shown: true, rest: false };

    #[inline(always)]
    fn passed(flow: &Stream) -> Self {
        // A number of which nothing is known, as in `is_shown`.
        Self { stopped: None, shown: is_shown(flow), rest: opaque(u64::from(flow.is_rest())) != 0 }
    }
}

/// Is the agent to see what was scanned?
#[inline(always)]
pub fn is_shown(flow: &Stream) -> bool {
    // A number of which nothing is known: the verifier would follow each that is.
    opaque(u64::from(CONFIG.load().everything != 0 || flow.is_cued())) != 0
}

/// Looks for keys in `len` bytes of plaintext at `buffer`, given to a TLS connection after `sent` others.
#[inline(always)]
pub fn find(tgid: u64, context: u64, sent: u64, buffer: u64, len: u64) -> Found {
    let Some(flow) = of(&TLS_SCANS, &ContextKey { tgid, context }) else {
        unjudged(tgid, context);
        return Found::UNKNOWN;
    };
    // SAFETY: a value in the map; TLS libraries forbid concurrent writes on one connection.
    let flow = unsafe { &mut *flow };
    flow.comes_after(opaque(sent));
    if scan(flow, UserMemory::<0>(buffer), len, Note { tgid, context }) == Outcome::Unfinished {
        unjudged(tgid, context);
    }
    Found::passed(flow)
}

/// Nobody could look for keys in what this connection was given: counted, and refused in `strict` mode.
#[inline(always)]
fn unjudged(tgid: u64, context: u64) {
    emit::lost(LossCause::NotJudged);
    Note { tgid, context }.refuses(UNJUDGED, false, 0);
}

/// Refuses what is not permitted where the connection goes. Where that is not known, and where a key is permitted, the socket has
/// the last word: the key is noted.
#[derive(Clone, Copy)]
struct AtItsHost {
    tgid: u64,
    context: u64,
}

impl Judge for AtItsHost {
    #[inline(always)]
    fn refuses(&self, rule: u16, in_body: bool, within: u64) -> bool {
        if !REFUSED.get(0).is_some_and(|refused| refused.contains(rule)) {
            return false;
        }
        let key = ContextKey { tgid: self.tgid, context: self.context };
        if let Some(host) = HOSTS.get_ptr(&marks::known(&key).cookie)
            // SAFETY: a value in the map, written before any plaintext of its connection.
            && !permitted(unsafe { &*host }).is_some_and(|permitted| permitted.contains(rule, in_body))
        {
            return true;
        }
        note(key, rule, in_body, within);
        false
    }
}

/// A key in plaintext, whose call was stopped.
#[derive(Clone, Copy)]
pub struct Stopped {
    pub rule: u16,
    /// It ends among so many bytes of the plaintext.
    pub within: u64,
}

/// Looks for keys as [`find`] does; stops the call that would send one where it may not go.
///
/// What was stopped never happened, so the scan is put back to where it was: the next write is then looked at as the receiver
/// will see it, HTTP/2 and all. It is put back whole, from a copy in the kernel's memory (1032 bytes for each write): to take it
/// back in part would need to know what the scan changed.
#[inline(always)]
pub fn stop<R: Rung>(
    ctx: &ProbeContext,
    pid_tgid: u64,
    context: u64,
    sent: u64,
    buffer: u64,
    len: u64,
) -> Found {
    let (tgid, key) = (pid_tgid >> 32, ContextKey { tgid: pid_tgid >> 32, context });
    let (Some(flow), Some(before)) = (of(&TLS_SCANS, &key), of(&BEFORE, &pid_tgid)) else {
        unjudged(tgid, context);
        return Found::UNKNOWN;
    };
    copy(before, flow);
    // SAFETY: a value in the map; TLS libraries forbid concurrent writes on one connection.
    let flow = unsafe { &mut *flow };
    flow.comes_after(opaque(sent));
    match scan(flow, UserMemory::<0>(buffer), len, AtItsHost { tgid, context }) {
        Outcome::Passed => {}
        Outcome::Unfinished => unjudged(tgid, context),
        Outcome::Refused { rule, within } if R::stop(ctx) => {
            copy(flow, before);
            return Found { stopped: Some(Stopped { rule, within }), shown: true, rest: false };
        }
        // Then the socket does.
        Outcome::Refused { rule, within } => note(key, rule, flow.is_in_body(), within),
    }
    Found::passed(flow)
}

/// Copies a scan with a helper: word by word it would be 66 of the verifier's steps each time.
#[inline(always)]
fn copy(to: *mut Stream, from: *const Stream) {
    // SAFETY: both are values in maps.
    unsafe { bpf_probe_read_kernel(to.cast(), size_of::<Stream>() as u32, from.cast()) };
}

/// The rule of a key in a datagram that may not leave, [`UNJUDGED`] if nobody could look; and whether the agent is to see it.
/// Datagrams go in the clear, and each stands alone.
#[inline(always)]
pub fn in_datagram<B: Bytes>(pid_tgid: u64, bytes: B, len: u64) -> (Option<u16>, bool) {
    let Some(flow) = of(&DATAGRAM_SCANS, &pid_tgid) else { return (Some(UNJUDGED), true) };
    // SAFETY: a value in the map; a thread sends one datagram at a time.
    let flow = unsafe { &mut *flow };
    flow.restart();
    let rule = in_the_clear(flow, bytes, len);
    (rule, is_shown(flow))
}

/// The rule of a key in bytes that go in the clear and may not leave; [`UNJUDGED`] if nobody could look.
#[inline(always)]
pub fn in_the_clear<B: Bytes>(flow: &mut Stream, bytes: B, len: u64) -> Option<u16> {
    match scan(flow, bytes, len, Everywhere) {
        Outcome::Passed => None,
        Outcome::Refused { rule, .. } => Some(rule),
        Outcome::Unfinished => Some(UNJUDGED),
    }
}

/// The scan with this key; a new one if there is none.
#[inline(always)]
fn of<K>(scans: &LruHashMap<K, Stream>, key: &K) -> Option<*mut Stream> {
    if let Some(flow) = scans.get_ptr_mut(key) {
        return Some(flow);
    }
    let new = NO_SCAN.get_ptr(0)?;
    // SAFETY: an array slot that nobody writes.
    let inserted = scans.insert(key, unsafe { &*new }, 0);
    if inserted.is_err() {
        emit::lost(LossCause::NotJudged);
    }
    scans.get_ptr_mut(key)
}

#[inline(always)]
fn note(key: ContextKey, rule: u16, in_body: bool, within: u64) {
    // SAFETY: no arguments.
    let now = unsafe { bpf_ktime_get_ns() };
    if KEYS.get_ptr(&key).is_none() {
        let Some(none) = NO_KEYS.get_ptr(0) else { return };
        // SAFETY: an array slot that nobody writes.
        if KEYS.insert(&key, unsafe { &*none }, 0).is_err() {
            return emit::lost(LossCause::NotJudged);
        }
    }
    let Some(keys) = KEYS.get_ptr_mut(&key) else { return emit::lost(LossCause::NotJudged) };
    // SAFETY: a value in the map; TLS libraries forbid concurrent writes on one connection.
    let keys = unsafe { &mut *keys };
    if keys.time_ns.wrapping_add(KEYS_LIFETIME_NS) < now {
        keys.clear();
        keys.offset = marks::known(&key).sent;
    }
    keys.insert(rule, in_body);
    keys.time_ns = now;
    if keys.behind == 0 && within > emit::room(emit::FULL_RECORDS) {
        keys.behind = within;
    }
}

/// Where in the write that was just scanned the first key ends that lies behind what is shown of it. Told once.
#[inline(always)]
pub fn behind_what_is_shown(key: &ContextKey) -> Option<u64> {
    let keys = KEYS.get_ptr_mut(key)?;
    // SAFETY: a value in the map; TLS libraries forbid concurrent writes on one connection.
    let behind = unsafe { core::mem::take(&mut (*keys).behind) };
    (behind != 0).then_some(behind)
}

/// A refused key.
pub struct Refused {
    pub rule: u16,
    /// Where in the plaintext its write began.
    pub offset: u64,
}

/// The connection with this cookie goes to `host`: TLS probes may decide by it.
#[inline(always)]
pub fn goes_to(cookie: u64, host: &HostKey) {
    // 0: it was not tracked. What has no entry here is left to the socket.
    if cookie != 0 {
        let _ = HOSTS.insert(&cookie, host, 0);
    }
}

/// The socket that goes to `host` is about to carry what this TLS connection was given: takes its keys, and says which of
/// them may not leave.
#[inline(always)]
pub fn take(tgid: u64, context: u64, host: &HostKey) -> Option<Refused> {
    let key = ContextKey { tgid, context };
    let keys = KEYS.get_ptr_mut(&key)?;
    // SAFETY: a value in the map, no arguments.
    let (keys, now) = unsafe { (&mut *keys, bpf_ktime_get_ns()) };
    let fresh = keys.time_ns.wrapping_add(KEYS_LIFETIME_NS) >= now;
    let rule = if fresh { keys.first_refused(REFUSED.get(0)?, permitted(host)) } else { None };
    let offset = keys.offset;
    let _ = KEYS.remove(&key);
    Some(Refused { rule: rule?, offset })
}

/// The rules whose keys are at home at this place.
#[inline(always)]
fn permitted(host: &HostKey) -> Option<&'static Permitted> {
    if host.bits == 0 {
        return None;
    }
    let map = core::ptr::from_ref(&PERMITTED).cast_mut().cast();
    // SAFETY: a `HostKey` is laid out as the map's key is: the number of bits, then the bytes.
    unsafe { bpf_map_lookup_elem(map, core::ptr::from_ref(host).cast()).cast::<Permitted>().as_ref() }
}
