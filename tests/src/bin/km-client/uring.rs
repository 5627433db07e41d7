//! Sending through io_uring.

use crate::calls::{Target, each};
use io_uring::squeue::Entry;
use io_uring::{IoUring, cqueue, opcode, types::Fd};
use std::io;
use std::os::fd::AsRawFd;

pub fn send(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let socket = Fd(target.socket.as_raw_fd());
    each(buffers, |rest| submit(&opcode::Send::new(socket, rest.as_ptr(), rest.len() as u32).build()))
}

pub fn write(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let socket = Fd(target.socket.as_raw_fd());
    each(buffers, |rest| submit(&opcode::Write::new(socket, rest.as_ptr(), rest.len() as u32).build()))
}

pub fn sendmsg(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let socket = Fd(target.socket.as_raw_fd());
    each(buffers, |rest| {
        let mut slice = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        // SAFETY: all zero is a valid message header: no address, no control data, no buffers.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut slice;
        message.msg_iovlen = 1;
        submit(&opcode::SendMsg::new(socket, &raw const message).build())
    })
}

/// Without a copy; a second completion says that the buffer is free again.
pub fn send_zc(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let socket = Fd(target.socket.as_raw_fd());
    each(buffers, |rest| submit(&opcode::SendZc::new(socket, rest.as_ptr(), rest.len() as u32).build()))
}

/// No system call sends: a thread of the kernel finds the entry.
pub fn send_by_kernel_thread(target: &Target<'_>, buffers: &[Vec<u8>]) -> io::Result<()> {
    let socket = Fd(target.socket.as_raw_fd());
    let mut ring = IoUring::builder().setup_sqpoll(1000).build(2)?;
    each(buffers, |rest| {
        submit_to(&mut ring, &opcode::Send::new(socket, rest.as_ptr(), rest.len() as u32).build())
    })
}

/// Submits one entry and waits for it.
fn submit(entry: &Entry) -> io::Result<usize> {
    submit_to(&mut IoUring::new(2)?, entry)
}

fn submit_to(ring: &mut IoUring, entry: &Entry) -> io::Result<usize> {
    // SAFETY: what the entry points to outlives this call, and this call waits for the last completion.
    unsafe { ring.submission().push(entry) }.map_err(io::Error::other)?;
    ring.submit_and_wait(1)?;
    let done = ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    if cqueue::more(done.flags()) {
        ring.submit_and_wait(1)?;
        ring.completion().next().ok_or(io::ErrorKind::UnexpectedEof)?;
    }
    usize::try_from(done.result()).map_err(|_| io::Error::from_raw_os_error(-done.result()))
}
