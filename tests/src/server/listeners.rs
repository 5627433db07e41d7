//! Listening sockets that are more than plain ones.

use crate::net::Net;
use rustix::net::{
    AddressFamily, Protocol, SocketFlags, SocketType, bind, ipproto, listen, socket_with, sockopt,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Multipath TCP; plain TCP with who asks for that.
pub(super) fn mptcp() -> TcpListener {
    Net::shared().inside(|| socket(Some(ipproto::MPTCP), 16))
}

/// Takes what comes with a SYN.
pub(super) fn fast_open() -> TcpListener {
    let listener = Net::shared().inside(|| socket(None, 16));
    let queue: libc::c_int = 16;
    let size = size_of_val(&queue) as libc::socklen_t;
    // SAFETY: the pointer and size describe `queue`, which lives through the call.
    let set = unsafe {
        let value = (&raw const queue).cast();
        libc::setsockopt(listener.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_FASTOPEN, value, size)
    };
    assert_eq!(set, 0, "TCP_FASTOPEN: {}", std::io::Error::last_os_error());
    listener
}

/// Its queue is full when it is handed out: until somebody accepts, the next client's SYN is dropped, and comes again a
/// second later.
pub(super) fn full() -> TcpListener {
    Net::shared().inside(|| {
        let listener = socket(None, 0);
        let port = listener.local_addr().expect("an address").port();
        drop(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("fill the queue"));
        listener
    })
}

fn socket(protocol: Option<Protocol>, queue: i32) -> TcpListener {
    let socket = socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, protocol);
    let socket = socket.expect("a socket");
    sockopt::set_ipv6_v6only(&socket, false).expect("IPv4 too");
    bind(&socket, &SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0))).expect("bind");
    listen(&socket, queue).expect("listen");
    socket.into()
}
