//! Per-connection facts: the state in socket storage and the two ends of a connection.

use crate::maps::{CONFIG, FLOWS};
use aya_ebpf::{bindings::bpf_sock, helpers::generated::bpf_sk_storage_get};
use keymoat_abi::{FlowState, Tuple, event::tuple_flags};

const CREATE: u64 = 1; // BPF_SK_STORAGE_GET_F_CREATE
const AF_INET: u32 = 2;

/// The socket's state; created empty when `create` and there is none yet.
///
/// # Safety
/// `sk` must be the socket pointer of the program's context.
#[inline(always)]
pub unsafe fn state(sk: *mut bpf_sock, create: bool) -> Option<*mut FlowState> {
    let map = core::ptr::from_ref(&FLOWS).cast_mut().cast();
    // SAFETY: by this function's contract; the verifier checks the socket's type.
    let state =
        unsafe { bpf_sk_storage_get(map, sk.cast(), core::ptr::null_mut(), if create { CREATE } else { 0 }) };
    if state.is_null() { None } else { Some(state.cast()) }
}

/// Addresses and ports as the socket contexts hold them: addresses in network byte order, the remote port too
/// and in the upper half.
pub struct Ends {
    pub family: u32,
    pub local_ip4: u32,
    pub remote_ip4: u32,
    pub local_ip6: [u32; 4],
    pub remote_ip6: [u32; 4],
    pub local_port: u32,
    pub remote_port: u32,
}

impl Ends {
    #[inline(always)]
    pub fn tuple(&self, flags: u8) -> Tuple {
        let (local, remote) = if self.family == AF_INET {
            (mapped(self.local_ip4), mapped(self.remote_ip4))
        } else {
            (self.local_ip6, self.remote_ip6)
        };
        let mut flags = flags;
        if is_own_host(local, remote) {
            flags |= tuple_flags::LOOPBACK;
        }
        Tuple {
            local: bytes(local),
            remote: bytes(remote),
            local_port: self.local_port as u16,
            remote_port: u32::from_be(self.remote_port) as u16,
            flags,
            known: 1,
            reserved: [0; 2],
        }
    }
}

/// `::ffff:a.b.c.d`
#[inline(always)]
pub fn mapped(ip4: u32) -> [u32; 4] {
    [0, 0, 0xffff_u32.to_be(), ip4]
}

#[inline(always)]
fn bytes(words: [u32; 4]) -> [u8; 16] {
    // SAFETY: same size, no invalid values.
    unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(words) }
}

/// Does traffic between these addresses stay on this host? 127.0.0.0/8, ::1, or one address at both ends.
#[inline(always)]
pub fn is_own_host(local: [u32; 4], remote: [u32; 4]) -> bool {
    let [a, b, c, d] = remote;
    let mapped_v4 = a == 0 && b == 0 && c == 0xffff_u32.to_be();
    let v4_loopback = mapped_v4 && u32::from_be(d) >> 24 == 127;
    let v6_loopback = a == 0 && b == 0 && c == 0 && d == 1_u32.to_be();
    let [la, lb, lc, ld] = local;
    v4_loopback || v6_loopback || (a == la && b == lb && c == lc && d == ld)
}

/// Is traffic with this tuple none of our business?
#[inline(always)]
pub fn is_ignored(tuple: &Tuple) -> bool {
    tuple.is_loopback() && CONFIG.load().include_loopback == 0
}
