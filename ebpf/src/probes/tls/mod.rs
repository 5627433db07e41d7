//! TLS libraries: plaintext at the entry of the write call.
//!
//! All write calls of all libraries take (connection, buffer, length) as their first three arguments, so a
//! library is a few thin hooks over [`plaintext`].

pub mod gnutls;
pub mod openssl;

use crate::{
    emit::{self, Write},
    enforce::{self, keys},
    marks, task,
    user_memory::UserMemory,
};
use aya_ebpf::helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid};
use keymoat_abi::{Source, Tuple, event::flags};

/// A handshake of the TLS connection object at `context` begins or goes on.
#[inline(always)]
fn handshake(context: u64) {
    // SAFETY: no arguments.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    if context != 0 && !task::is_agent(pid_tgid) {
        marks::greet(pid_tgid, context);
    }
}

/// `len` bytes at `buffer` were handed to the TLS connection object at `context`. Of one write, `FULL` records of full size
/// are captured before the last one. `JUDGED`: keys in it are noted, for the socket to refuse its records.
#[inline(always)]
fn plaintext<const FULL: u32, const JUDGED: bool>(source: Source, context: u64, buffer: u64, len: u64) {
    // SAFETY: no arguments.
    let (pid_tgid, uid) = unsafe { (bpf_get_current_pid_tgid(), bpf_get_current_uid_gid() as u32) };
    if len == 0 || buffer == 0 || task::is_agent(pid_tgid) || JUDGED && !enforce::is_active() {
        return;
    }
    // First, while there is one state of the program: each one that reaches the scan would be verified with it.
    if JUDGED {
        keys::find(pid_tgid >> 32, context, buffer, len);
    }
    let known = marks::advance(pid_tgid, context, len);
    let retry = marks::add(pid_tgid, context, buffer, len, known.cookie == 0);
    let write = Write {
        source,
        rule: 0,
        flags: if retry { flags::MAYBE_RETRY } else { 0 },
        total: len,
        readable: len,
        offset: known.sent,
        cookie: known.cookie,
        context,
        pid_tgid,
        uid,
        tuple: Tuple::UNKNOWN,
    };
    emit::write(&write, UserMemory::<FULL>(buffer));
}
