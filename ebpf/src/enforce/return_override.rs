//! `return-override`: the TLS call itself fails, nothing was encrypted, and the connection goes on. It takes a kernel that lets
//! uprobe programs write registers (Linux 7.x).
//!
//! The call becomes one that fails by itself, with the error that its library has for it: `SSL_write` of -1 bytes, and instead of
//! functions that have no such length another one of the same library (`fails_as` in the agent's tables of probes). To return
//! in its place would not do: without an error in OpenSSL's queue, `SSL_get_error` tells a program that does not block what it
//! said of the last read, "wait for more", and the program waits. It would also leave a shadow stack out of step.

use super::Rung;
use aya_ebpf::{
    EbpfContext as _, helpers::generated::bpf_get_attach_cookie, macros::uprobe, programs::ProbeContext,
};
use keymoat_abi::{enforce::Detour, event::flags};

/// See above.
pub struct ReturnOverride;

impl Rung for ReturnOverride {
    const JUDGES: bool = true;
    const STOPS: bool = true;
    const STOPPED: u8 = flags::REFUSED;

    #[inline(always)]
    fn stop(ctx: &ProbeContext) -> bool {
        // SAFETY: the program's own context.
        let cookie = unsafe { bpf_get_attach_cookie(ctx.as_ptr()) };
        match Detour::from_cookie(cookie) {
            Some(detour) => go(ctx, detour),
            None => false,
        }
    }
}

/// What the agent has the kernel verify to learn whether it takes such programs. Never attached.
#[uprobe]
pub fn return_override(ctx: ProbeContext) -> u32 {
    ReturnOverride::stop(&ctx).into()
}

/// Goes on at the function that fails, as if it had been called: with the same connection as its first argument, a second one of
/// 0 and a third one of -1.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
fn go(ctx: &ProbeContext, detour: Detour) -> bool {
    let regs = ctx.regs;
    // SAFETY: the program's own context. Volatile: each a store of its own, as the verifier wants it.
    unsafe {
        let (ip, sp) = ((*regs).rip, (*regs).rsp);
        core::ptr::write_volatile(&raw mut (*regs).rsi, 0);
        core::ptr::write_volatile(&raw mut (*regs).rdx, u64::MAX);
        core::ptr::write_volatile(&raw mut (*regs).rsp, sp.wrapping_add(detour.depth.into()));
        core::ptr::write_volatile(&raw mut (*regs).rip, ip.wrapping_add(i64::from(detour.distance) as u64));
    }
    true
}

#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
fn go(_ctx: &ProbeContext, _detour: Detour) -> bool {
    false
}
