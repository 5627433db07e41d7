//! Keeps TLS of the kernel (kTLS) off connections that are judged (cgroup/setsockopt program).
//!
//! A program that has the kernel encrypt hands it plaintext past its TLS library: `SSL_sendfile`, or `write` on the socket itself. That
//! would come to `message_egress` as a message among records. Kernels of 2026 refuse to do both on one connection (6.1.190, 6.12.111:
//! "tls: reject the combination of TLS and sockmap", CVE-2026-93824), for reasons that hold for those before them. So every kernel refuses it,
//! and a step earlier: before the `tls` protocol takes the socket's calls, which all sockets with it share, judged or not.
//! TLS libraries then encrypt themselves.

use super::sk_msg;
use aya_ebpf::{macros::cgroup_sockopt, programs::SockoptContext};

const PASS: i32 = 1;
/// The call gets EPERM.
const REFUSE: i32 = 0;
const SOL_TCP: i32 = 6;
/// include/uapi/linux/tcp.h
const TCP_ULP: i32 = 31;
const TLS: [u8; 3] = *b"tls";

#[cgroup_sockopt(setsockopt)]
pub fn kernel_tls(ctx: SockoptContext) -> i32 {
    // SAFETY: the program's own context.
    let option = unsafe { &mut *ctx.sockopt };
    if option.level == SOL_TCP && option.optname == TCP_ULP && is_tls(&ctx) && is_judged(&ctx) {
        return REFUSE;
    }
    // The kernel takes what the program gave, however long: of the copy it has a page at most.
    option.optlen = 0;
    PASS
}

/// Is this the name of the protocol?
#[inline(always)]
fn is_tls(ctx: &SockoptContext) -> bool {
    // SAFETY: the program's own context.
    let (value, end) = unsafe {
        let option = &*ctx.sockopt;
        (option.__bindgen_anon_2.optval.cast::<[u8; 3]>(), option.__bindgen_anon_3.optval_end)
    };
    // SAFETY: between the two is what the program gave.
    value as usize + size_of::<[u8; 3]>() <= end as usize && unsafe { *value } == TLS
}

#[inline(always)]
fn is_judged(ctx: &SockoptContext) -> bool {
    // SAFETY: the program's own context.
    let sk = unsafe { (*ctx.sockopt).__bindgen_anon_1.sk };
    // SAFETY: the context's socket.
    !sk.is_null() && unsafe { sk_msg::gate(sk, false) }.is_some()
}
