//! Which of the two socket layers this host gets: the socket programs wherever cgroup v2 is, system call
//! tracepoints elsewhere.

use crate::config::SocketLayer as Wish;
use crate::kernel::cgroup;
use crate::loader::{Kernel, LoadError};
use crate::sockets::{Adopted, Sockets, Wanted};
use serde::Serialize;
use std::path::Path;

/// What is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum SocketLayer {
    Sockets,
    Syscalls,
}

/// What the fallback cannot see, for `doctor` and the log.
pub const SYSCALLS_CANNOT_SEE: &str = "sendfile, splice, io_uring, MSG_ZEROCOPY after the call, calls of 32-bit \
     programs, sockets inherited by a forked child, duplicated or received over a UNIX socket, the oldest of more than \
     16384 sockets; of one call more than 8 buffers, 64 KiB of each, or 2 messages; a datagram of several buffers as one; \
     that a call took only a part or nothing (the rest is seen again), that a descriptor went by dup2, close_range or exec \
     (a file in its place is taken for the socket), or that an own address or an accepted connection whose address nobody \
     asked for stays on this host";

#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error(
        "this kernel cannot refuse what leaves, so `--mode block` is not to be had here; `keymoat doctor` says what it lacks \
         (Linux 5.17 or later is needed), `--mode detect` reports: {0}"
    )]
    CannotRefuse(#[source] Box<LayerError>),
    #[error("cgroup v2 is not mounted; mount it with: mount -t cgroup2 none /sys/fs/cgroup/unified")]
    NoCgroup,
    #[error("the socket programs were refused: {0}")]
    Sockets(#[source] LoadError),
    #[error(
        "the system call probes were refused (is tracefs mounted? mount -t tracefs tracefs /sys/kernel/tracing): {0}"
    )]
    Syscalls(#[source] LoadError),
}

impl SocketLayer {
    /// Hooks as the `ready` line names them.
    pub fn hooks(self) -> &'static [&'static str] {
        match self {
            Self::Sockets => &["cgroup_connect", "sock_ops", "cgroup_skb"],
            Self::Syscalls => &["tracepoint:syscalls"],
        }
    }
}

/// Attaches what was wished for, or the best there is, and puts existing connections under it.
///
/// # Errors
/// [`LayerError`] when nothing could be attached; of two failures, the one of the better layer.
pub fn attach(
    kernel: &Kernel,
    sockets: &mut Sockets,
    wish: Wish,
    wanted: Wanted,
) -> Result<(SocketLayer, Adopted), LayerError> {
    if kernel.judges() {
        // What watches system calls sees too little and refuses nothing.
        return attach_sockets(kernel, sockets, wanted)
            .map_err(|error| LayerError::CannotRefuse(Box::new(error)));
    }
    match wish {
        Wish::Sockets => attach_sockets(kernel, sockets, wanted),
        Wish::Syscalls => attach_syscalls(kernel, sockets, wanted),
        Wish::Auto => attach_sockets(kernel, sockets, wanted).or_else(|better| {
            tracing::warn!("{better}; watching system calls instead, which cannot see {SYSCALLS_CANNOT_SEE}");
            attach_syscalls(kernel, sockets, wanted).map_err(|_| better)
        }),
    }
}

fn attach_sockets(
    kernel: &Kernel,
    sockets: &mut Sockets,
    wanted: Wanted,
) -> Result<(SocketLayer, Adopted), LayerError> {
    attach_below(kernel, sockets, &cgroup::v2_mount().ok_or(LayerError::NoCgroup)?)?;
    Ok((SocketLayer::Sockets, sockets.adopt_connections(wanted)))
}

/// Attaches to the sockets of one cgroup and those below it. Existing connections are left alone.
///
/// # Errors
/// [`LayerError::Sockets`]
pub fn attach_below(
    kernel: &Kernel,
    sockets: &mut Sockets,
    cgroup: &Path,
) -> Result<SocketLayer, LayerError> {
    kernel.attach_sockets(cgroup).map_err(LayerError::Sockets)?;
    if let Some(connections) = kernel.take_connections() {
        sockets.judge(connections, kernel.succeeds(), kernel.spares());
    }
    Ok(SocketLayer::Sockets)
}

fn attach_syscalls(
    kernel: &Kernel,
    sockets: &mut Sockets,
    wanted: Wanted,
) -> Result<(SocketLayer, Adopted), LayerError> {
    kernel.attach_syscalls().map_err(LayerError::Syscalls)?;
    Ok((SocketLayer::Syscalls, sockets.adopt_descriptors(wanted)))
}
