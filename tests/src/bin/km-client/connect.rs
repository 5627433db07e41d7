//! Ways to a TCP connection, beside the plain one. A prefix of the call's name chooses.

use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, connect as connect_to, ipproto, socket_with,
};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};

/// A socket that is connected, or that the first call connects.
pub struct Connected {
    pub stream: TcpStream,
    /// For a call that connects: where to.
    pub address: Option<SocketAddr>,
    /// What was sent must have been in the SYN.
    pub in_syn: bool,
}

type Way = fn(SocketAddr) -> io::Result<Connected>;

const WAYS: &[(&str, Way)] =
    &[("mptcp-", mptcp), ("early-", early), ("fastopen-", fast_open), ("unconnected-", unconnected)];

/// The socket, and what is left of the call's name.
pub fn connect(call: &str, to: SocketAddr) -> io::Result<(Connected, &str)> {
    for (prefix, way) in WAYS {
        if let Some(call) = call.strip_prefix(prefix) {
            return Ok((way(to)?, call));
        }
    }
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok((Connected { stream, address: None, in_syn: false }, call))
}

/// Multipath TCP: the program's socket is not the one whose bytes leave.
fn mptcp(to: SocketAddr) -> io::Result<Connected> {
    let socket = socket(to, Some(ipproto::MPTCP), SocketFlags::empty())?;
    connect_to(&socket, &to)?;
    Ok(Connected { stream: socket.into(), address: None, in_syn: false })
}

/// Does not wait for the connection: the first call does, inside the kernel.
fn early(to: SocketAddr) -> io::Result<Connected> {
    let socket = socket(to, None, SocketFlags::NONBLOCK)?;
    match connect_to(&socket, &to) {
        Err(rustix::io::Errno::INPROGRESS) => {}
        other => other?,
    }
    let stream = TcpStream::from(socket);
    stream.set_nonblocking(false)?;
    Ok(Connected { stream, address: None, in_syn: false })
}

/// The first write goes out with the SYN.
fn fast_open(to: SocketAddr) -> io::Result<Connected> {
    cookie(to)?;
    let socket = socket(to, None, SocketFlags::empty())?;
    set(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)?;
    connect_to(&socket, &to)?;
    Ok(Connected { stream: socket.into(), address: None, in_syn: true })
}

/// As [`fast_open`], by a call that names the address.
fn unconnected(to: SocketAddr) -> io::Result<Connected> {
    cookie(to)?;
    let socket = socket(to, None, SocketFlags::empty())?;
    Ok(Connected { stream: socket.into(), address: Some(to), in_syn: true })
}

/// Asks the server for the cookie that data in a SYN needs; the kernel keeps it.
fn cookie(to: SocketAddr) -> io::Result<()> {
    let socket = socket(to, None, SocketFlags::empty())?;
    set(&socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN_CONNECT)?;
    Ok(connect_to(&socket, &to)?)
}

fn socket(to: SocketAddr, protocol: Option<Protocol>, flags: SocketFlags) -> io::Result<OwnedFd> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    Ok(socket_with(family, SocketType::STREAM, flags, protocol)?)
}

/// Turns a socket option on.
pub fn set(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: the pointer and size describe `on`, which lives through the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Did the other end take what was in the SYN?
pub fn was_in_syn(socket: &impl AsRawFd) -> io::Result<bool> {
    const SYN_DATA: u8 = 32; // TCPI_OPT_SYN_DATA
    // SAFETY: all zero is a valid value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&info) as libc::socklen_t;
    // SAFETY: the pointer and size describe `info`, which lives through the call.
    let got = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            (&raw mut info).cast(),
            &raw mut size,
        )
    };
    if got == 0 { Ok(info.tcpi_options & SYN_DATA != 0) } else { Err(io::Error::last_os_error()) }
}
