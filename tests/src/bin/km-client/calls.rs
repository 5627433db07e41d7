//! One function per system call that sends.

use crate::{connect, uring};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::sendfile as file_to;
use rustix::io::{write as write_to, writev as writev_to};
use rustix::net::{self as socket, MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny};
use rustix::pipe::{IoSliceRaw, SpliceFlags, pipe, splice as splice_between, vmsplice as memory_to};
use std::fs::File;
use std::io::{self, IoSlice, Seek, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};

/// Where a call sends: a socket, and the address it names in each call when the socket is not connected.
pub struct Target<'a> {
    pub socket: BorrowedFd<'a>,
    pub address: Option<SocketAddr>,
}

/// Sends these buffers; calls that take one buffer are made once for each.
pub type Call = fn(&Target<'_>, &[Vec<u8>]) -> io::Result<()>;

const CALLS: &[(&str, Call)] = &[
    ("write", write),
    ("writev", writev),
    ("send", send),
    ("sendto", sendto),
    ("sendmsg", sendmsg),
    ("sendmmsg", sendmmsg),
    ("sendfile", sendfile),
    ("splice", splice),
    ("vmsplice", vmsplice),
    ("zerocopy", zerocopy),
    ("uring-send", uring::send),
    ("uring-write", uring::write),
    ("uring-sendmsg", uring::sendmsg),
    ("uring-send-zc", uring::send_zc),
    ("uring-sqpoll", uring::send_by_kernel_thread),
    ("more", more),
    ("fastopen", fast_open),
    ("after-full", after_full),
    ("after-no-memory", after_no_memory),
];

pub fn find(name: &str) -> io::Result<Call> {
    let found = CALLS.iter().find(|(known, _)| *known == name);
    found.map(|(_, call)| *call).ok_or_else(|| io::Error::other(format!("no call named {name}")))
}

pub fn write(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    each(buffers, |rest| Ok(write_to(target.socket, rest)?))
}

fn writev(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
    whole(writev_to(target.socket, &slices)?, buffers)
}

fn send(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    each(buffers, |rest| Ok(socket::send(target.socket, rest, SendFlags::empty())?))
}

fn sendto(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    // With an address a TCP socket ignores, and a datagram socket needs.
    let address = match target.address {
        Some(address) => address,
        None => socket_peer(target)?,
    };
    each(buffers, |rest| Ok(socket::sendto(target.socket, rest, SendFlags::empty(), &address)?))
}

fn sendmsg(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let slices: Vec<IoSlice<'_>> = buffers.iter().map(|buffer| IoSlice::new(buffer)).collect();
    let mut control = SendAncillaryBuffer::default();
    let flags = SendFlags::empty();
    let sent = match &target.address {
        Some(address) => socket::sendmsg_addr(target.socket, address, &slices, &mut control, flags)?,
        None => socket::sendmsg(target.socket, &slices, &mut control, flags)?,
    };
    whole(sent, buffers)
}

/// Every buffer a message of its own, all in one call.
fn sendmmsg(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let address = target.address.map(SocketAddrAny::from);
    let slices: Vec<[IoSlice<'_>; 1]> = buffers.iter().map(|buffer| [IoSlice::new(buffer)]).collect();
    let mut controls: Vec<_> = buffers.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let messages = slices.iter().zip(&mut controls);
    let mut messages: Vec<MMsgHdr<'_>> = match &address {
        Some(to) => messages.map(|(iov, control)| MMsgHdr::new_with_addr(to, iov, control)).collect(),
        None => messages.map(|(iov, control)| MMsgHdr::new(iov, control)).collect(),
    };
    let sent = socket::sendmmsg(target.socket, &mut messages, SendFlags::empty())?;
    if sent == buffers.len() { Ok(()) } else { Err(io::Error::other("not every message was sent")) }
}

fn sendfile(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    each(buffers, |rest| {
        let file = file_of(rest)?;
        Ok(file_to(target.socket, file.as_fd(), None, rest.len())?)
    })
}

fn splice(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    each(buffers, |rest| {
        let file = file_of(rest)?;
        let (reader, writer) = pipe()?;
        let none = SpliceFlags::empty();
        let length = splice_between(file.as_fd(), None, writer.as_fd(), None, rest.len(), none)?;
        drop(writer);
        Ok(splice_between(reader.as_fd(), None, target.socket, None, length, none)?)
    })
}

fn vmsplice(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    each(buffers, |rest| {
        let (reader, writer) = pipe()?;
        let slice = [IoSliceRaw::from_slice(rest)];
        // SAFETY: the slice outlives the pipe, and nothing changes it.
        let length = unsafe { memory_to(writer.as_fd(), &slice, SpliceFlags::empty())? };
        drop(writer);
        Ok(splice_between(reader.as_fd(), None, target.socket, None, length, SpliceFlags::empty())?)
    })
}

/// The buffers stay alive until the server has closed, which is after every completion.
fn zerocopy(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    connect::set(&target.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY)?;
    let flag = SendFlags::from_bits_retain(libc::MSG_ZEROCOPY as u32);
    each(buffers, |rest| Ok(socket::send(target.socket, rest, flag)?))
}

/// The kernel is told with every buffer but the last that more comes.
fn more(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let Some((last, before)) = buffers.split_last() else { return Ok(()) };
    each(before, |rest| Ok(socket::send(target.socket, rest, SendFlags::MORE)?))?;
    send(target, std::slice::from_ref(last))
}

/// The first buffer goes out with the SYN.
fn fast_open(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let (Some((first, after)), Some(address)) = (buffers.split_first(), target.address) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let flag = SendFlags::from_bits_retain(libc::MSG_FASTOPEN as u32);
    whole(socket::sendto(target.socket, first, flag, &address)?, std::slice::from_ref(first))?;
    send(target, after)
}

/// Fills the socket's buffer until the kernel takes no more, does so in the middle of a write, and goes on when there is room.
fn after_full(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    rustix::io::ioctl_fionbio(target.socket, true)?;
    while write_to(target.socket, &[b'.'; 1 << 20]).is_ok() {}
    rustix::event::poll(&mut [PollFd::new(&target.socket, PollFlags::OUT)], None)?;
    write(target, buffers)?;
    Ok(rustix::io::ioctl_fionbio(target.socket, false)?)
}

/// Sends without a copy until the kernel has no memory for more completions, takes them, and goes on.
fn after_no_memory(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    connect::set(&target.socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ZEROCOPY)?;
    let flag = SendFlags::from_bits_retain(libc::MSG_ZEROCOPY as u32);
    while socket::send(target.socket, b"filling\n", flag).is_ok() {}
    write(target, buffers)
}

/// Repeats a call until every byte of every buffer is sent.
pub fn each(buffers: &[Vec<u8>], mut call: impl FnMut(&[u8]) -> io::Result<usize>) -> io::Result<()> {
    for buffer in buffers {
        let mut rest = buffer.as_slice();
        while !rest.is_empty() {
            let sent = call(rest)?;
            rest = rest.get(sent..).filter(|_| sent > 0).ok_or(io::ErrorKind::WriteZero)?;
        }
    }
    Ok(())
}

/// A vectored call must take all at once here: going on in the middle would be another test.
fn whole(sent: usize, buffers: &[Vec<u8>]) -> io::Result<()> {
    let all: usize = buffers.iter().map(Vec::len).sum();
    if sent == all { Ok(()) } else { Err(io::Error::other(format!("{sent} of {all} bytes sent"))) }
}

fn file_of(bytes: &[u8]) -> io::Result<File> {
    let mut file = tempfile::tempfile()?;
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}

fn socket_peer(target: &Target<'_>) -> io::Result<SocketAddr> {
    let peer = socket::getpeername(target.socket)?.ok_or(io::ErrorKind::NotConnected)?;
    Ok(SocketAddr::try_from(peer)?)
}
