//! `lsm`: refuses sockets whose packets pass none of the other programs (AF_PACKET, AF_XDP), in `strict` mode, on kernels that
//! have BPF among their security modules.

use super::strict;
use crate::{emit, task};
use aya_ebpf::{helpers::generated::bpf_get_current_pid_tgid, macros::lsm, programs::LsmContext};
use keymoat_abi::{Tuple, Why};

const PASS: i32 = 0;
const EPERM: i32 = -1;
/// include/linux/socket.h
const AF_PACKET: i32 = 17;
const AF_XDP: i32 = 44;

/// `int socket_create(int family, int type, int protocol, int kern)`
#[lsm(hook = "socket_create")]
pub fn packet_socket(ctx: LsmContext) -> i32 {
    // SAFETY: the hook's arguments; after them comes what the program before this one said.
    let (family, kernels, before) = unsafe { (ctx.arg::<i32>(0), ctx.arg::<i32>(3), ctx.arg::<i32>(4)) };
    // SAFETY: no arguments.
    let pid_tgid = unsafe { bpf_get_current_pid_tgid() };
    let passes_nothing = family == AF_PACKET || family == AF_XDP;
    if before != 0 || kernels != 0 || !passes_nothing || !strict::is_on() || task::is_agent(pid_tgid) {
        return if before != 0 { before } else { PASS };
    }
    emit::uninspected(Why::PacketSocket, 0, pid_tgid, &Tuple::UNKNOWN);
    EPERM
}
