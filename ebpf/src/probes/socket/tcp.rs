//! TCP connections: who opened them, and when they begin and end. Their bytes are seen as `packet`s.
//!
//! A packet leaves in the sending task only mostly (what waits for the receiver leaves when an acknowledgement
//! comes in, on whatever task that interrupts), so the process is noted where it is certain: at `connect`.

use crate::{
    enforce::{self, sk_msg},
    flow::{self, Ends},
    maps::CONFIG,
    marks, task,
};
use aya_ebpf::{
    EbpfContext as _,
    bindings::{
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB, BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB, BPF_SOCK_OPS_STATE_CB,
        BPF_SOCK_OPS_STATE_CB_FLAG, BPF_TCP_CLOSE, BPF_TCP_CLOSE_WAIT, BPF_TCP_ESTABLISHED,
    },
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_get_socket_cookie},
    macros::{cgroup_sock_addr, sock_ops},
    programs::{SockAddrContext, SockOpsContext},
};
use aya_log_ebpf::debug;
use keymoat_abi::{
    FlowState, LossCause,
    config::{Comm, RELIES_ON_UNREAD},
    event::tuple_flags,
    state::kind,
};

const PASS: i32 = 1;
const SOCK_STREAM: u32 = 1;

#[cgroup_sock_addr(connect4)]
pub fn tcp_connect4(ctx: SockAddrContext) -> i32 {
    connect(&ctx);
    PASS
}

#[cgroup_sock_addr(connect6)]
pub fn tcp_connect6(ctx: SockAddrContext) -> i32 {
    connect(&ctx);
    PASS
}

/// Notes who opens the connection. A socket connected again (after a failure) is a new connection.
#[inline(always)]
fn connect(ctx: &SockAddrContext) {
    // SAFETY: the program's own context.
    let (kind, sk) = unsafe { ((*ctx.sock_addr).type_, (*ctx.sock_addr).__bindgen_anon_1.sk) };
    if kind != SOCK_STREAM || sk.is_null() {
        return;
    }
    // SAFETY: the context's socket, checked above.
    let Some(state) = (unsafe { flow::state(sk, true) }) else {
        debug!(ctx, "no room for the state of a connection");
        crate::emit::lost(LossCause::SocketNotTracked);
        return;
    };
    // SAFETY: socket storage of a socket that is not connected yet: nobody sends on it. No arguments.
    unsafe {
        *state = FlowState {
            owner: bpf_get_current_pid_tgid(),
            uid: bpf_get_current_uid_gid() as u32,
            flags: tuple_flags::OPENED | messages(),
            ..FlowState::EMPTY
        };
    }
}

/// A flag if this program's messages are not to be judged.
#[inline(always)]
fn messages() -> u8 {
    if CONFIG.load().unread_hidden == 0 {
        return 0;
    }
    let mut comm: Comm = 0;
    // SAFETY: 16 bytes, aligned to 16.
    unsafe { task::comm_from_task((&raw mut comm).cast()) };
    if RELIES_ON_UNREAD.contains(&comm) { tuple_flags::PACKETS_ONLY } else { 0 }
}

#[sock_ops]
pub fn tcp_connections(ctx: SockOpsContext) -> u32 {
    changed::<false>(&ctx)
}

/// As [`tcp_connections`]; what is written on connections that this host opens is judged.
#[sock_ops]
pub fn tcp_connections_judged(ctx: SockOpsContext) -> u32 {
    changed::<true>(&ctx)
}

#[inline(always)]
fn changed<const JUDGED: bool>(ctx: &SockOpsContext) -> u32 {
    if JUDGED && !enforce::is_active() {
        return 1;
    }
    match ctx.op() {
        BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB => {
            if let Some(state) = established(ctx, 0)
                && JUDGED
                && state.flags & tuple_flags::PACKETS_ONLY == 0
                && !flow::is_ignored(&ends(ctx).tuple(0))
            {
                sk_msg::watch(ctx, state.cookie);
            }
        }
        BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB => {
            established(ctx, tuple_flags::ACCEPTED);
        }
        BPF_SOCK_OPS_STATE_CB => state_changed::<JUDGED>(ctx),
        _ => {}
    }
    1
}

/// Asks to be told of the connection's end, and notes its cookie and direction. Gives its state; none if it could not be noted.
#[inline(always)]
fn established(ctx: &SockOpsContext, flags: u8) -> Option<&FlowState> {
    let _ = ctx.set_cb_flags((ctx.cb_flags() | BPF_SOCK_OPS_STATE_CB_FLAG) as i32);
    // SAFETY: the program's own context.
    let (sk, cookie) = unsafe { ((*ctx.ops).__bindgen_anon_2.sk, bpf_get_socket_cookie(ctx.as_ptr())) };
    if sk.is_null() {
        return None;
    }
    // SAFETY: the context's socket, checked above.
    let Some(state) = (unsafe { flow::state(sk, true) }) else {
        debug!(ctx, "no room for the state of connection {}", cookie);
        crate::emit::lost(LossCause::SocketNotTracked);
        return None;
    };
    // SAFETY: socket storage of a live socket.
    let state = unsafe { &mut *state };
    state.cookie = cookie;
    state.flags |= flags;
    Some(state)
}

#[inline(always)]
fn ends(ctx: &SockOpsContext) -> Ends {
    // SAFETY: the program's own context.
    let ops = unsafe { &*ctx.ops };
    Ends {
        family: ops.family,
        local_ip4: ops.local_ip4,
        remote_ip4: ops.remote_ip4,
        local_ip6: ops.local_ip6,
        remote_ip6: ops.remote_ip6,
        local_port: ops.local_port,
        remote_port: ops.remote_port,
    }
}

/// From here on nothing more is written: the TLS connection's address may be used for a new one at once.
#[inline(always)]
fn state_changed<const JUDGED: bool>(ctx: &SockOpsContext) {
    let state = ctx.arg(1);
    if state == BPF_TCP_ESTABLISHED || state == BPF_TCP_CLOSE_WAIT {
        return;
    }
    // SAFETY: the program's own context.
    let sk = unsafe { (*ctx.ops).__bindgen_anon_2.sk };
    if sk.is_null() {
        return;
    }
    // SAFETY: the context's socket, checked above.
    let Some(flow) = (unsafe { flow::state(sk, false) }) else { return };
    // SAFETY: socket storage of a live socket.
    let flow = unsafe { &mut *flow };
    if JUDGED {
        // SAFETY: the context's socket, checked above.
        unsafe { sk_msg::ends_with_refused_key(sk, flow, &ends(ctx).tuple(flow.flags)) };
    }
    marks::forget(flow);
    if state == BPF_TCP_CLOSE && flow.kind != kind::NEW {
        crate::emit::close(flow.cookie);
        flow.kind = kind::NEW;
    }
}
