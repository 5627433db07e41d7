//! Datagrams that a program builds itself, below UDP and below IP.

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A raw socket: the kernel adds the IP header.
pub fn raw(to: SocketAddr, writes: &[Vec<u8>]) -> io::Result<()> {
    let to = v4(to)?;
    let socket = socket(libc::AF_INET, libc::SOCK_RAW, libc::IPPROTO_UDP)?;
    // SAFETY: all zero is a valid address.
    let mut address: libc::sockaddr_in = unsafe { zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_addr.s_addr = u32::from(*to.ip()).to_be();
    writes.iter().try_for_each(|payload| send(&socket, &datagram(to.port(), payload), &address))
}

/// A packet socket: the kernel adds the frame's header. Every host of the link gets it.
pub fn packet(to: SocketAddr, link: &str, writes: &[Vec<u8>]) -> io::Result<()> {
    let to = v4(to)?;
    let socket = socket(libc::AF_PACKET, libc::SOCK_DGRAM, 0)?;
    let name = std::ffi::CString::new(link)?;
    // SAFETY: all zero is a valid address; the name ends with a zero byte.
    let (mut address, index): (libc::sockaddr_ll, _) =
        unsafe { (zeroed(), libc::if_nametoindex(name.as_ptr())) };
    if index == 0 {
        return Err(io::Error::last_os_error());
    }
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_IP as u16).to_be();
    address.sll_ifindex = index as i32;
    address.sll_halen = 6;
    address.sll_addr = [0xff; 8];
    let from = own_address(to)?;
    writes.iter().try_for_each(|payload| {
        let datagram = datagram(to.port(), payload);
        send(&socket, &[&ip_header(from, *to.ip(), datagram.len())[..], &datagram].concat(), &address)
    })
}

fn v4(to: SocketAddr) -> io::Result<SocketAddrV4> {
    match to {
        SocketAddr::V4(to) => Ok(to),
        SocketAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

/// UDP (RFC 768), without a checksum.
fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    const SOURCE: u16 = 40_000;
    let header = [SOURCE, port, payload.len() as u16 + 8, 0].map(u16::to_be_bytes);
    [header.as_flattened(), payload].concat()
}

/// IPv4 (RFC 791, 3.1), without options.
fn ip_header(from: Ipv4Addr, to: Ipv4Addr, payload: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&(payload as u16 + 20).to_be_bytes());
    header[8..10].copy_from_slice(&[64, libc::IPPROTO_UDP as u8]);
    header[12..16].copy_from_slice(&from.octets());
    header[16..20].copy_from_slice(&to.octets());
    let words = header.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    header[10..12].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    header
}

/// The address this host would send from.
fn own_address(to: SocketAddrV4) -> io::Result<Ipv4Addr> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    socket.connect(to)?;
    match socket.local_addr()?.ip() {
        IpAddr::V4(ip) => Ok(ip),
        IpAddr::V6(_) => Err(io::ErrorKind::Unsupported.into()),
    }
}

fn socket(family: libc::c_int, kind: libc::c_int, protocol: libc::c_int) -> io::Result<OwnedFd> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(family, kind | libc::SOCK_CLOEXEC, protocol) };
    if socket < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a new descriptor that nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(socket) })
}

/// `address` is a socket address of any family.
fn send<A>(socket: &OwnedFd, bytes: &[u8], address: &A) -> io::Result<()> {
    let to: *const A = address;
    let size = size_of::<A>() as libc::socklen_t;
    // SAFETY: both pointers are valid for the sizes beside them.
    let sent =
        unsafe { libc::sendto(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0, to.cast(), size) };
    match usize::try_from(sent) {
        Ok(sent) if sent == bytes.len() => Ok(()),
        Ok(_) => Err(io::ErrorKind::WriteZero.into()),
        Err(_) => Err(io::Error::last_os_error()),
    }
}
