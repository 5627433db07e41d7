//! What decides, inside the kernel, whether a write is refused.
//!
//! A key is refused when its rule is in the set of refused rules and the destination does not permit it. Both are data that
//! the agent may change at any time; a rule's number is its place in the rule set.

use crate::scan::Stream;

/// Rules that can be numbered.
pub const MAX_RULES: usize = RULE_WORDS * 64 - 1;
/// Stands for bytes in which nobody could look for keys. No rule has this number; refused in `strict` mode, permitted nowhere.
pub const UNJUDGED: u16 = MAX_RULES as u16;
/// Stands for a cue: no key, but a reason to show the agent what leaves on this connection. No rule has this number, and it is in no
/// [`RuleBits`].
pub const CUE: u16 = u16::MAX;
/// Stand for places in HTTP/1 messages, as [`CUE`] stands for a cue: a head may begin; it does; it has ended, if one had begun.
pub const MAYBE_HEAD: u16 = CUE - 1;
pub const HEAD: u16 = CUE - 2;
pub const HEAD_ENDS: u16 = CUE - 3;
const RULE_WORDS: usize = 16;
/// Bytes of a destination's name that count. Of a longer name the first labels do not.
pub const HOST_BYTES: usize = 128;

/// Stands for a rule's id in the map `NUMBERS`, whose index is the rule's number: the first bytes of its SHA-256.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct RuleId(pub [u8; 16]);

impl RuleId {
    pub const NONE: Self = Self([0; 16]);
}

/// A set of rules.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct RuleBits(pub [u64; RULE_WORDS]);

impl RuleBits {
    #[inline]
    pub fn contains(&self, rule: u16) -> bool {
        self.word(rule) >> (rule & 63) & 1 == 1
    }

    /// A number beyond [`UNJUDGED`] is not added.
    #[inline]
    pub fn insert(&mut self, rule: u16) {
        if let Some(word) = self.0.get_mut(usize::from(rule >> 6)) {
            *word |= 1 << (rule & 63);
        }
    }

    #[inline]
    fn word(&self, rule: u16) -> u64 {
        self.0.get(usize::from(rule >> 6)).copied().unwrap_or(0)
    }

    /// The first rule that is in this set and `refused`, but not `permitted`.
    #[inline]
    pub fn first_refused(&self, refused: &Self, permitted: Option<&Self>) -> Option<u16> {
        for index in 0..RULE_WORDS {
            let of = |set: &Self| set.0.get(index).copied().unwrap_or(0);
            let left = of(self) & of(refused) & !permitted.map_or(0, of);
            if left != 0 {
                return Some((index as u16) << 6 | lowest(left));
            }
        }
        None
    }

    /// Adds all of another set.
    pub fn extend(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(word, other)| *word |= other);
    }
}

/// The lowest bit that is set. Without an instruction for it the compiler would ask a table, which the kernel does not have.
#[inline]
fn lowest(word: u64) -> u16 {
    let mut at = 0;
    for shift in [32, 16, 8, 4, 2, 1] {
        if word >> at & ((1 << shift) - 1) == 0 {
            at += shift;
        }
    }
    at
}

/// What is permitted at a place: rules, by where in a message their keys are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Permitted {
    /// Where it is not known to be a body: a request's head, another protocol.
    pub elsewhere: RuleBits,
    /// In the body of a request.
    pub in_body: RuleBits,
}

impl Permitted {
    #[inline]
    pub fn contains(&self, rule: u16, in_body: bool) -> bool {
        if in_body { self.in_body.contains(rule) } else { self.elsewhere.contains(rule) }
    }

    /// Adds all of another.
    pub fn extend(&mut self, other: &Self) {
        self.elsewhere.extend(&other.elsewhere);
        self.in_body.extend(&other.in_body);
    }
}

/// A destination's name as the key of a map of longest prefixes: its bytes in lower case, last first, so that a domain is a
/// prefix of the names below it. A whole name ends with a zero byte: what is meant for one name is not meant for those below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct HostKey {
    /// Bits of `name` that count; 0 = no name is known.
    pub bits: u32,
    pub name: [u8; HOST_BYTES],
}

impl HostKey {
    pub const NONE: Self = Self { bits: 0, name: [0; HOST_BYTES] };

    /// The key of one name.
    pub fn of(host: &str) -> Self {
        Self::reversed(host, 0)
    }

    /// The key of all names below a domain.
    pub fn below(domain: &str) -> Self {
        Self::reversed(domain, b'.')
    }

    fn reversed(name: &str, end: u8) -> Self {
        let mut key = Self::NONE;
        let bytes = name.bytes().rev().map(|byte| byte.to_ascii_lowercase()).chain([end]);
        for (to, byte) in key.name.iter_mut().zip(bytes) {
            *to = byte;
            key.bits += 8;
        }
        key
    }
}

/// How a call is left that is stopped at a probe in it: at the entry of another function, which fails. Both functions lie in one
/// file. Given to the probe as its cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Detour {
    /// Bytes that the call put on the stack before the probe.
    pub depth: u16,
    /// From the probe to that function.
    pub distance: i32,
}

impl Detour {
    /// Not 0 even for a detour of no bytes: a probe without one has the cookie 0.
    const IS_ONE: u64 = 1 << 63;

    #[inline]
    pub const fn cookie(self) -> u64 {
        Self::IS_ONE | (self.depth as u64) << 32 | self.distance as u32 as u64
    }

    #[inline]
    pub const fn from_cookie(cookie: u64) -> Option<Self> {
        if cookie & Self::IS_ONE == 0 {
            return None;
        }
        Some(Self { depth: (cookie >> 32) as u16, distance: cookie as u32 as i32 })
    }
}

/// Value of the socket storage map `GATES`: what the program that judges a connection's messages knows of it.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Gate {
    /// Where the message lies that is being judged, and how far its records were walked.
    pub data: u64,
    pub walked: u64,
    /// Bytes of TLS records that no plaintext was seen for, before the first that was.
    pub unseen: u64,
    /// Where the connection goes: the name in its ClientHello.
    pub host: HostKey,
    /// The TCP sequence number behind the last message that the kernel asked about. It keeps its verdict on one that it could not
    /// send, and does not ask about the next.
    pub asked: u32,
    /// See [`crate::state::kind`].
    pub kind: u8,
    pub reserved: [u8; 7],
    /// Of a connection that is not TLS.
    pub scan: Stream,
    /// The same of its packets.
    pub packets: Stream,
}

const _: () = assert!(core::mem::size_of::<Gate>() == 2232);

/// How long plaintext may wait for room in a socket. Keys in what waits longer are taken for those of a connection that is gone.
pub const KEYS_LIFETIME_NS: u64 = 60_000_000_000;

/// Value of the map `KEYS`: keys in what a TLS connection is about to send.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Keys {
    /// Their rules, by where in a message they are.
    pub elsewhere: RuleBits,
    pub in_body: RuleBits,
    /// When the last of them was found: `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Where in the plaintext the write began that holds the first of them.
    pub offset: u64,
    /// Among so many bytes of its write the first key ends that lies behind what the agent is shown of any write; 0: there is none.
    pub behind: u64,
}

const _: () = assert!(core::mem::size_of::<Keys>() == 280);

impl Keys {
    /// Notes a key of this rule.
    #[inline]
    pub fn insert(&mut self, rule: u16, in_body: bool) {
        if in_body {
            self.in_body.insert(rule);
        } else {
            self.elsewhere.insert(rule);
        }
    }

    /// Forgets all of them.
    #[inline]
    pub fn clear(&mut self) {
        (self.elsewhere, self.in_body) = (RuleBits::default(), RuleBits::default());
    }

    /// The first rule that is `refused` and not `permitted` where its key is.
    #[inline]
    pub fn first_refused(&self, refused: &RuleBits, permitted: Option<&Permitted>) -> Option<u16> {
        let elsewhere =
            self.elsewhere.first_refused(refused, permitted.map(|permitted| &permitted.elsewhere));
        elsewhere
            .or_else(|| self.in_body.first_refused(refused, permitted.map(|permitted| &permitted.in_body)))
    }
}

// SAFETY: `repr(C)`, integers only, without padding, and every bit pattern is valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for RuleBits {}

// SAFETY: two of them.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Permitted {}

// SAFETY: an array of bytes.
#[cfg(feature = "user")]
unsafe impl aya::Pod for RuleId {}

// SAFETY: `repr(C)`, integers only, without padding, and every bit pattern is valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Keys {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_refused_unless_permitted() {
        let mut found = RuleBits::default();
        let mut refused = RuleBits::default();
        let mut permitted = RuleBits::default();
        assert_eq!(found.first_refused(&refused, None), None);
        for rule in [0, 63, 64, 700, 1023] {
            found.insert(rule);
            assert_eq!(found.first_refused(&refused, Some(&permitted)), None);
            refused.insert(rule);
            assert_eq!(found.first_refused(&refused, Some(&permitted)), Some(rule));
            permitted.insert(rule);
            assert_eq!(found.first_refused(&refused, Some(&permitted)), None);
        }
        assert_eq!(found.first_refused(&refused, None), Some(0));
    }

    #[test]
    fn a_rule_beyond_the_last_is_in_no_set() {
        let mut set = RuleBits::default();
        set.insert(UNJUDGED + 1);
        assert!(!set.contains(UNJUDGED + 1));
        assert_eq!(set, RuleBits::default());
    }

    #[test]
    fn a_detour_is_what_its_cookie_says() {
        for (depth, distance) in [(0, 0), (8, -1), (u16::MAX, i32::MIN), (24, i32::MAX)] {
            let detour = Detour { depth, distance };
            assert_eq!(Detour::from_cookie(detour.cookie()), Some(detour));
        }
        assert_eq!(Detour::from_cookie(0), None);
    }

    #[test]
    fn a_domain_is_a_prefix_of_the_names_below_it() {
        let starts = |name: &HostKey, prefix: &HostKey| {
            let bytes = (prefix.bits / 8) as usize;
            prefix.bits <= name.bits && name.name[..bytes] == prefix.name[..bytes]
        };
        let api = HostKey::of("API.example.com");
        assert!(starts(&api, &HostKey::below("example.com")));
        assert!(starts(&api, &HostKey::of("api.example.com")));
        assert!(!starts(&api, &HostKey::of("example.com")));
        assert!(!starts(&api, &HostKey::below("api.example.com")));
        assert!(!starts(&api, &HostKey::below("ple.com")));
        assert!(!starts(&HostKey::of("api.example.com.evil.test"), &HostKey::below("example.com")));
    }
}
