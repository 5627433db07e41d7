//! Does a judged connection say how much it has to read?
//!
//! Since a change of early 2026 (others report it of Linux 6.6.128, 6.12.75 and 6.18.14 on) the kernel counts, for a socket in a sockhash, what
//! programs on its incoming side passed on. Where only writes are judged there is none of them, and `ioctl(FIONREAD)` says 0, whatever came.
//! Seen here: 6.18.44 errs, 6.1.0-57, 6.12.117 and 7.3.4 do not. So the kernel is asked, not its version.
//!
//! It cannot be put right from here: that takes writing to programs' memory, which a locked down kernel forbids. Programs that rely on it
//! ([`keymoat_abi::config::RELIES_ON_UNREAD`]) are spared.

use aya::maps::{Map, MapData, MapError, SockHash};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_SOCKHASH;
use std::io::{self, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::AsRawFd as _;

/// What it means, for `doctor` and the log.
pub const HIDDEN: &str = "this kernel tells programs that nothing waits to be read on connections that are judged (FIONREAD): what nginx opens is \
     judged as packets, so its calls get no error; others may read in small pieces; kernels 6.12.117 and 7.3.4 are right";

/// Does it not? Where that cannot be tried (there is no loopback, the kernel has no such maps), it does.
pub fn is_hidden() -> bool {
    attempt().unwrap_or_else(|error| {
        tracing::debug!("whether this kernel hides what waits to be read was not found out: {error}");
        false
    })
}

/// Tries it, with a connection to itself.
fn attempt() -> io::Result<bool> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut socket = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    socket.write_all(b"?")?;
    let mut sockets = map().map_err(io::Error::other)?;
    sockets.insert(0, other.as_raw_fd(), 0).map_err(io::Error::other)?;
    // Waits for the byte, and leaves it there.
    other.peek(&mut [0])?;
    Ok(rustix::io::ioctl_fionread(&other)? == 0)
}

/// A sockhash for one socket.
fn map() -> Result<SockHash<MapData, u64>, MapError> {
    let (key, value) = (size_of::<u64>() as u32, size_of::<u32>() as u32);
    let map = aya_obj::Map::new_from_params(BPF_MAP_TYPE_SOCKHASH as u32, key, value, 1, 0);
    SockHash::try_from(Map::SockHash(MapData::create(map, "unread", None)?))
}
