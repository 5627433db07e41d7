//! GnuTLS.

use super::{handshake, plaintext};
use crate::bounds::at_most;
use crate::enforce::{LookOn, Rung, return_override::ReturnOverride, signal::Signal, sk_msg::SkMsg};
use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use keymoat_abi::Source;

/// A call sends at most one record and says how much it took; the program calls again with the rest.
const MAX_RECORD: u64 = 16_384;

/// `ssize_t gnutls_record_send(gnutls_session_t session, const void *data, size_t data_size)`, and `_send2`,
/// `_send_early_data` and `_send_range`, which differ after the third argument.
#[uprobe]
pub fn gnutls_send(ctx: ProbeContext) -> u32 {
    send::<LookOn>(&ctx)
}

/// As [`gnutls_send`]; the socket refuses.
#[uprobe]
pub fn gnutls_send_judged(ctx: ProbeContext) -> u32 {
    send::<SkMsg>(&ctx)
}

/// As [`gnutls_send`]; the call fails.
#[uprobe]
pub fn gnutls_send_override(ctx: ProbeContext) -> u32 {
    send::<ReturnOverride>(&ctx)
}

/// As [`gnutls_send`]; the process is killed.
#[uprobe]
pub fn gnutls_send_signal(ctx: ProbeContext) -> u32 {
    send::<Signal>(&ctx)
}

#[inline(always)]
fn send<R: Rung>(ctx: &ProbeContext) -> u32 {
    let (Some(session), Some(data), Some(len)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2))
    else {
        return 0;
    };
    // One TLS record is less than one ring record of full size.
    plaintext::<0, R>(ctx, Source::GnuTls, session, data, at_most(len, MAX_RECORD));
    0
}

/// `int gnutls_handshake(gnutls_session_t session)`
#[uprobe]
pub fn gnutls_handshake(ctx: ProbeContext) -> u32 {
    ctx.arg::<u64>(0).into_iter().for_each(handshake);
    0
}
