//! Connections older than the agent: found in /proc and duplicated out of their process for a moment, to note whose
//! they are, in the socket's storage or, where system calls are watched instead, by their descriptor. Of newer
//! ones the kernel programs know it. Their bytes are seen without this.

use crate::health::{Cause, Counters};
use aya::maps::{HashMap as AyaHashMap, MapData, MapError, SkStorage, SockHash};
use keymoat_abi::config::{RELIES_ON_UNREAD, comm};
use keymoat_abi::event::tuple_flags;
use keymoat_abi::state::{Descriptor, DescriptorKey};
use keymoat_abi::{FlowState, Tuple};
use rustix::fd::{AsRawFd as _, OwnedFd};
use rustix::net::sockopt::{socket_acceptconn, socket_cookie, socket_protocol};
use rustix::net::{Shutdown, SocketAddrAny, getpeername, getsockname, ipproto, shutdown};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt as _;

const NOEXIST: u64 = 1; // BPF_NOEXIST
/// Tells the cookies of adopted descriptors from real ones and from those the kernel half makes up.
const ADOPTED: u64 = 0b11 << 62;

pub struct Sockets {
    flows: SkStorage<MapData, FlowState>,
    descriptors: AyaHashMap<MapData, DescriptorKey, Descriptor>,
    /// Connections whose writes are judged; none while nothing is refused.
    connections: Option<SockHash<MapData, u64>>,
    /// Some connections are judged already, by what an agent before this one left.
    succeeds: bool,
    /// Connections of [`RELIES_ON_UNREAD`] are not judged.
    spares: bool,
    counters: Counters,
}

/// How many connections were put under watch, and how many could not be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    pub connections: usize,
    pub failed: usize,
}

/// Which of the connections found are of interest.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub loopback: bool,
    pub accepted: bool,
}

/// An internet socket of another process.
struct Found {
    pid: u32,
    fd: u32,
    uid: u32,
    /// Inode of the process's network namespace.
    netns: u64,
    socket: OwnedFd,
    udp: bool,
    mptcp: bool,
    listening: bool,
    local: SocketAddr,
    remote: Option<SocketAddr>,
}

impl Found {
    fn relies_on_unread(&self) -> bool {
        let name = std::fs::read(format!("/proc/{}/comm", self.pid)).unwrap_or_default();
        RELIES_ON_UNREAD.contains(&comm(name.trim_ascii_end()))
    }
}

impl Sockets {
    pub(crate) fn new(
        flows: SkStorage<MapData, FlowState>,
        descriptors: AyaHashMap<MapData, DescriptorKey, Descriptor>,
        counters: Counters,
    ) -> Self {
        Self { flows, descriptors, connections: None, succeeds: false, spares: false, counters }
    }

    /// Has connections that are adopted from now on judged: those that this host opened. `succeeds`: some are already. `spares`: but
    /// those of [`RELIES_ON_UNREAD`].
    pub fn judge(&mut self, connections: SockHash<MapData, u64>, succeeds: bool, spares: bool) {
        (self.connections, self.succeeds, self.spares) = (Some(connections), succeeds, spares);
    }

    /// Notes the process and the direction of every established TCP connection. Call it after the programs are
    /// attached: what is established later comes by itself, what came twice is one entry.
    pub fn adopt_connections(&mut self, wanted: Wanted) -> Adopted {
        self.adopt_each(wanted, |sockets, found, flags| {
            if found.udp || found.mptcp || found.remote.is_none() {
                return None;
            }
            Some(sockets.adopt_connection(found, flags))
        })
    }

    /// Notes the descriptor of every internet socket of every process, for the system call probes.
    pub fn adopt_descriptors(&mut self, wanted: Wanted) -> Adopted {
        self.adopt_each(wanted, |sockets, found, flags| Some(sockets.adopt_descriptor(found, flags)))
    }

    fn adopt_each(
        &mut self,
        wanted: Wanted,
        adopt: impl Fn(&mut Self, &Found, u8) -> Option<Result<(), MapError>>,
    ) -> Adopted {
        let mut listening = HashSet::new();
        visit(&mut |found| {
            if found.listening {
                listening.insert((found.netns, found.local.port()));
            }
        });
        let mut adopted = Adopted::default();
        visit(&mut |found| {
            let accepted =
                !found.listening && !found.udp && listening.contains(&(found.netns, found.local.port()));
            let loopback = found.remote.is_some_and(|remote| is_own_host(found.local.ip(), remote.ip()));
            if (loopback && !wanted.loopback) || (accepted && !wanted.accepted) {
                return;
            }
            let flags = if accepted { tuple_flags::ACCEPTED } else { 0 }
                | if loopback { tuple_flags::LOOPBACK } else { 0 };
            match adopt(self, found, flags) {
                None => {}
                Some(Ok(())) => adopted.connections += 1,
                Some(Err(error)) => {
                    tracing::debug!("descriptor {} of process {} not adopted: {error}", found.fd, found.pid);
                    self.counters.add(Cause::OldSocketNotTracked, 1);
                    adopted.failed += 1;
                }
            }
        });
        adopted
    }

    fn adopt_connection(&mut self, found: &Found, flags: u8) -> Result<(), MapError> {
        let socket = &found.socket;
        let cookie = socket_cookie(socket).map_err(|error| MapError::IoError(error.into()))?;
        let owner = u64::from(found.pid) << 32 | u64::from(found.pid);
        let state = FlowState { cookie, flags, owner, uid: found.uid, ..FlowState::EMPTY };
        match self.flows.insert(socket, state, NOEXIST) {
            // The kernel programs were first, or two processes share the socket.
            Err(error) if already_there(&error) => {}
            result => result?,
        }
        match &mut self.connections {
            Some(connections)
                if flags & tuple_flags::ACCEPTED == 0 && !(self.spares && found.relies_on_unread()) =>
            {
                match connections.insert(cookie, socket.as_raw_fd(), 0) {
                    // It keeps the program that judges it.
                    Err(error) if self.succeeds && is_busy(&error) => Ok(()),
                    result => result,
                }
            }
            _ => Ok(()),
        }
    }

    fn adopt_descriptor(&mut self, found: &Found, flags: u8) -> Result<(), MapError> {
        let cookie = ADOPTED | u64::from(found.pid) << 32 | u64::from(found.fd);
        let flow = FlowState { cookie, flags, ..FlowState::EMPTY };
        let tuple = found.remote.map_or(Tuple::UNKNOWN, |remote| Tuple {
            local: octets(found.local.ip()),
            remote: octets(remote.ip()),
            local_port: found.local.port(),
            remote_port: remote.port(),
            flags,
            known: 1,
            reserved: [0; 2],
        });
        let descriptor = Descriptor { flow, tuple, datagram: found.udp.into() };
        match self.descriptors.insert(DescriptorKey { tgid: found.pid, fd: found.fd }, descriptor, NOEXIST) {
            Err(error) if already_there(&error) => Ok(()),
            result => result,
        }
    }
}

fn is_busy(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(call) if call.io_error.kind() == std::io::ErrorKind::ResourceBusy)
}

fn already_there(error: &MapError) -> bool {
    matches!(error, MapError::SyscallError(call) if call.io_error.kind() == std::io::ErrorKind::AlreadyExists)
}

/// IPv4 as `::ffff:a.b.c.d`, as the kernel half writes it.
fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// As `is_own_host` in the kernel half.
fn is_own_host(local: IpAddr, remote: IpAddr) -> bool {
    remote.to_canonical().is_loopback() || remote.to_canonical() == local.to_canonical()
}

/// Shuts a process's connection in both directions: the one with this cookie, or one of MPTCP that goes out by this port.
///
/// # Errors
/// When the process cannot be looked into.
pub fn shut(pid: u32, cookie: u64, port: u16) -> std::io::Result<()> {
    let pid = i32::try_from(pid).map_err(std::io::Error::other)?;
    visit_process(pid, &mut |found| {
        let carries_it = found.mptcp && found.local.port() == port;
        if carries_it || socket_cookie(&found.socket) == Ok(cookie) {
            // It may be closed by now.
            let _ = shutdown(&found.socket, Shutdown::Both);
        }
    })
}

/// Shows every internet socket of every other process, one at a time: no more descriptors are held than one.
fn visit(show: &mut dyn FnMut(&Found)) {
    let Ok(processes) = std::fs::read_dir("/proc") else { return };
    for entry in processes.flatten() {
        let Some(pid) = number(&entry) else { continue };
        if u32::try_from(pid) != Ok(std::process::id()) {
            // A process that exits meanwhile takes its connections with it.
            let _ = visit_process(pid, show);
        }
    }
}

fn visit_process(pid: i32, show: &mut dyn FnMut(&Found)) -> std::io::Result<()> {
    let Some(raw_pid) = Pid::from_raw(pid) else { return Ok(()) };
    let mut process = None;
    for entry in std::fs::read_dir(format!("/proc/{pid}/fd"))?.flatten() {
        let Some(fd) = number(&entry) else { continue };
        let Ok(target) = std::fs::read_link(entry.path()) else { continue };
        if !target.as_os_str().as_encoded_bytes().starts_with(b"socket:") {
            continue;
        }
        if process.is_none() {
            let netns = std::fs::metadata(format!("/proc/{pid}/ns/net"))?.ino();
            let uid = std::fs::metadata(format!("/proc/{pid}"))?.uid();
            process = Some((pidfd_open(raw_pid, PidfdFlags::empty())?, netns, uid));
        }
        let Some((pidfd, netns, uid)) = &process else { continue };
        let Ok(socket) = pidfd_getfd(pidfd, fd, PidfdGetfdFlags::empty()) else { continue };
        if let Some(found) = describe(pid, fd, *netns, *uid, socket) {
            show(&found);
        }
    }
    Ok(())
}

fn describe(pid: i32, fd: i32, netns: u64, uid: u32, socket: OwnedFd) -> Option<Found> {
    let protocol = socket_protocol(&socket).ok()??;
    if ![ipproto::TCP, ipproto::UDP, ipproto::MPTCP].contains(&protocol) {
        return None;
    }
    let udp = protocol == ipproto::UDP;
    Some(Found {
        pid: pid.unsigned_abs(),
        fd: fd.unsigned_abs(),
        netns,
        uid,
        udp,
        mptcp: protocol == ipproto::MPTCP,
        listening: !udp && socket_acceptconn(&socket).unwrap_or(false),
        local: address(getsockname(&socket).ok())?,
        remote: address(getpeername(&socket).ok().flatten()),
        socket,
    })
}

fn number(entry: &std::fs::DirEntry) -> Option<i32> {
    entry.file_name().to_str()?.parse().ok()
}

fn address(found: Option<SocketAddrAny>) -> Option<SocketAddr> {
    SocketAddr::try_from(found?).ok()
}
