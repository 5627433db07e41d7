//! OpenSSL 1.1 and 3.x, BoringSSL.

use super::{handshake, plaintext, ready};
use crate::emit::{self, FULL_RECORDS};
use crate::enforce::{LookOn, Rung, return_override::ReturnOverride, signal::Signal, sk_msg::SkMsg};
use crate::task;
use aya_ebpf::{macros::uprobe, programs::ProbeContext};
use keymoat_abi::{LossCause, Source};

/// `int SSL_write(SSL *ssl, const void *buf, int num)`
#[uprobe]
pub fn openssl_write(ctx: ProbeContext) -> u32 {
    write::<LookOn>(&ctx, int);
    0
}

/// As [`openssl_write`]; the socket refuses.
#[uprobe]
pub fn openssl_write_judged(ctx: ProbeContext) -> u32 {
    write::<SkMsg>(&ctx, int);
    0
}

/// As [`openssl_write`]; the call fails.
#[uprobe]
pub fn openssl_write_override(ctx: ProbeContext) -> u32 {
    write::<ReturnOverride>(&ctx, int);
    0
}

/// As [`openssl_write`]; the process is killed.
#[uprobe]
pub fn openssl_write_signal(ctx: ProbeContext) -> u32 {
    write::<Signal>(&ctx, int);
    0
}

/// `int SSL_write_ex(SSL *s, const void *buf, size_t num, size_t *written)`, and `SSL_write_ex2` and
/// `SSL_write_early_data`, which differ after the third argument.
#[uprobe]
pub fn openssl_write_ex(ctx: ProbeContext) -> u32 {
    write::<LookOn>(&ctx, |length| length);
    0
}

/// As [`openssl_write_ex`]; the socket refuses.
#[uprobe]
pub fn openssl_write_ex_judged(ctx: ProbeContext) -> u32 {
    write::<SkMsg>(&ctx, |length| length);
    0
}

/// As [`openssl_write_ex`]; the call fails.
#[uprobe]
pub fn openssl_write_ex_override(ctx: ProbeContext) -> u32 {
    write::<ReturnOverride>(&ctx, |length| length);
    0
}

/// As [`openssl_write_ex`]; the process is killed.
#[uprobe]
pub fn openssl_write_ex_signal(ctx: ProbeContext) -> u32 {
    write::<Signal>(&ctx, |length| length);
    0
}

/// `int SSL_do_handshake(SSL *ssl)`, which `SSL_connect` and `SSL_accept` call.
#[uprobe]
pub fn openssl_handshake(ctx: ProbeContext) -> u32 {
    ctx.arg::<u64>(0).into_iter().for_each(handshake);
    0
}

/// `void SSL_set_connect_state(SSL *s)`, which `SSL_connect` calls, and programs that have the handshake done by their first read.
#[uprobe]
pub fn openssl_ready(ctx: ProbeContext) -> u32 {
    ctx.arg::<u64>(0).into_iter().for_each(ready);
    0
}

/// `ossl_ssize_t SSL_sendfile(SSL *s, int fd, off_t offset, size_t size, int flags)`: kernel TLS encrypts the
/// file, so there is no plaintext to read here.
#[uprobe]
pub fn openssl_sendfile(_ctx: ProbeContext) -> u32 {
    if !task::is_outside() {
        emit::lost(LossCause::SslSendfile);
    }
    0
}

/// The upper half of the register is not defined for an `int`.
#[inline(always)]
fn int(register: u64) -> u64 {
    if (register as u32 as i32) < 0 { 0 } else { u64::from(register as u32) }
}

#[inline(always)]
fn write<R: Rung>(ctx: &ProbeContext, length: impl Fn(u64) -> u64) {
    let (Some(ssl), Some(buffer), Some(len)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1), ctx.arg::<u64>(2))
    else {
        return;
    };
    plaintext::<FULL_RECORDS, R>(ctx, Source::OpenSsl, ssl, buffer, length(len));
}
