//! The fallback where cgroup v2 is missing: system call tracepoints.
//!
//! Internet sockets are recognised by their file descriptor, noted when `socket`, `connect` and `accept` return.
//! What this cannot see (`keymoat doctor` says it, `socket_layer::SYSCALLS_CANNOT_SEE`): sendfile, splice, io_uring,
//! descriptors inherited by a forked child, duplicated or received over a UNIX socket, and more. It reads the
//! program's memory before the kernel copies it, and does not wait for the call's result.

use crate::{
    emit::{self, Write},
    flow::{Ends, is_ignored},
    maps::{CALLS, DESCRIPTORS},
    marks, task,
    tls_record::{PEEK, Record},
    user_memory::UserMemory,
};
use aya_ebpf::{
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_current_uid_gid, bpf_ktime_get_ns, bpf_probe_read_user,
    },
    macros::tracepoint,
    programs::TracePointContext,
};
use keymoat_abi::{
    FlowState, LossCause, Source, Tuple,
    event::{flags, tuple_flags},
    state::{Descriptor, DescriptorKey, kind},
};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;
const SOCK_STREAM: u64 = 1;
const SOCK_DGRAM: u64 = 2;
/// `SOCK_CLOEXEC` and `SOCK_NONBLOCK` share the argument with the type.
const SOCK_TYPE: u64 = 0xf;
/// The connection goes on being made.
const EINPROGRESS: i64 = -115;
const EINTR: i64 = -4;
/// Records of full size (64 KiB) before the last one: of a call's only buffer, and of each of several, as the verifier
/// walks them all.
const ONE_BUFFER: u32 = 16;
const OF_MANY: u32 = 0;
/// iovecs read of one call; the verifier walks each.
const MAX_IOVECS: u32 = 8;
/// Messages read of one `sendmmsg`.
const MAX_MESSAGES: u32 = 2;

/// Arguments of a call, kept until it returns.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    first: u64,
    second: u64,
}

/// Arguments of `sys_enter_*` follow 16 bytes of header, 8 bytes each; so does the result of `sys_exit_*`.
#[inline(always)]
fn word(ctx: &TracePointContext, index: usize) -> u64 {
    // SAFETY: tracepoint records hold at least the words its callers ask for.
    unsafe { ctx.read_at::<u64>(16 + index * 8) }.unwrap_or(0)
}

#[inline(always)]
fn thread() -> u64 {
    // SAFETY: no arguments.
    unsafe { bpf_get_current_pid_tgid() }
}

#[inline(always)]
fn key(pid_tgid: u64, fd: u64) -> DescriptorKey {
    DescriptorKey { tgid: (pid_tgid >> 32) as u32, fd: fd as u32 }
}

#[inline(always)]
fn remember(first: u64, second: u64) {
    let _ = CALLS.insert(&thread(), &Call { first, second }, 0);
}

#[inline(always)]
fn recall() -> Option<Call> {
    let thread = thread();
    // SAFETY: only this thread writes its entry.
    let call = unsafe { CALLS.get(&thread).copied() };
    let _ = CALLS.remove(&thread);
    call
}

#[inline(always)]
fn new_descriptor(pid_tgid: u64, fd: u64, datagram: bool, tuple: Tuple) {
    // No socket cookie here: the moment of birth tells sockets apart just as well.
    // SAFETY: no arguments.
    let cookie = unsafe { bpf_ktime_get_ns() } | 1 << 63;
    let flow = FlowState { cookie, flags: tuple.flags, ..FlowState::EMPTY };
    let descriptor = Descriptor { flow, tuple, datagram: datagram.into() };
    if DESCRIPTORS.insert(&key(pid_tgid, fd), &descriptor, 0).is_err() {
        emit::lost(LossCause::SocketNotTracked);
    }
}

#[tracepoint]
pub fn enter_socket(ctx: TracePointContext) -> u32 {
    let (family, kind) = (word(&ctx, 0) as u16, word(&ctx, 1) & SOCK_TYPE);
    if (family == AF_INET || family == AF_INET6) && (kind == SOCK_STREAM || kind == SOCK_DGRAM) {
        remember(u64::from(family), kind);
    }
    0
}

#[tracepoint]
pub fn exit_socket(ctx: TracePointContext) -> u32 {
    if let Some(call) = recall()
        && (word(&ctx, 0) as i64) >= 0
    {
        new_descriptor(thread(), word(&ctx, 0), call.second == SOCK_DGRAM, Tuple::UNKNOWN);
    }
    0
}

#[tracepoint]
pub fn enter_connect(ctx: TracePointContext) -> u32 {
    let fd = word(&ctx, 0);
    if DESCRIPTORS.get_ptr(&key(thread(), fd)).is_some() {
        remember(fd, word(&ctx, 1));
    }
    0
}

/// Only a call that succeeds says where a socket is connected to: on a connected one, another changes nothing.
#[tracepoint]
pub fn exit_connect(ctx: TracePointContext) -> u32 {
    let result = word(&ctx, 0) as i64;
    let Some(call) = recall() else { return 0 };
    if result < 0 && result != EINPROGRESS && result != EINTR {
        return 0;
    }
    let known = DESCRIPTORS.get_ptr_mut(&key(thread(), call.first));
    if let (Some(known), Some(tuple)) = (known, remote_of(call.second)) {
        // SAFETY: a value in the map.
        unsafe {
            (*known).tuple = tuple;
            (*known).flow.flags = tuple.flags;
        }
    }
    0
}

#[tracepoint]
pub fn enter_accept(ctx: TracePointContext) -> u32 {
    remember(word(&ctx, 0), word(&ctx, 1));
    0
}

#[tracepoint]
pub fn exit_accept(ctx: TracePointContext) -> u32 {
    let fd = word(&ctx, 0);
    let Some(call) = recall() else { return 0 };
    let listens = DESCRIPTORS.get_ptr(&key(thread(), call.first)).is_some();
    if (fd as i64) >= 0 && listens {
        let mut tuple = remote_of(call.second).unwrap_or(Tuple::UNKNOWN);
        tuple.flags |= tuple_flags::ACCEPTED;
        new_descriptor(thread(), fd, false, tuple);
    }
    0
}

#[tracepoint]
pub fn enter_close(ctx: TracePointContext) -> u32 {
    let key = key(thread(), word(&ctx, 0));
    if let Some(known) = DESCRIPTORS.get_ptr_mut(&key) {
        // SAFETY: a value in the map.
        let flow = unsafe { &mut (*known).flow };
        marks::forget(flow);
        if flow.kind != kind::NEW {
            emit::close(flow.cookie);
        }
        let _ = DESCRIPTORS.remove(&key);
    }
    0
}

/// `write(fd, buf, count)`
#[tracepoint]
pub fn enter_write(ctx: TracePointContext) -> u32 {
    if let Some(mut socket) = Socket::find(word(&ctx, 0)) {
        socket.send::<ONE_BUFFER>(word(&ctx, 1), word(&ctx, 2));
    }
    0
}

/// `sendto(fd, buf, len, flags, addr, addrlen)`; `send` is the same call without an address.
#[tracepoint]
pub fn enter_sendto(ctx: TracePointContext) -> u32 {
    if let Some(mut socket) = Socket::find(word(&ctx, 0)) {
        socket.to(word(&ctx, 4));
        socket.send::<ONE_BUFFER>(word(&ctx, 1), word(&ctx, 2));
    }
    0
}

/// `writev(fd, iov, iovcnt)`; `pwritev2` at offset -1 is the same.
#[tracepoint]
pub fn enter_writev(ctx: TracePointContext) -> u32 {
    if let Some(mut socket) = Socket::find(word(&ctx, 0)) {
        socket.send_vector(word(&ctx, 1), word(&ctx, 2));
    }
    0
}

/// `sendmsg(fd, msghdr, flags)`
#[tracepoint]
pub fn enter_sendmsg(ctx: TracePointContext) -> u32 {
    if let Some(mut socket) = Socket::find(word(&ctx, 0)) {
        socket.send_message(word(&ctx, 1));
    }
    0
}

/// `sendmmsg(fd, mmsghdr[], vlen, flags)`
#[tracepoint]
pub fn enter_sendmmsg(ctx: TracePointContext) -> u32 {
    /// `struct mmsghdr`: a `msghdr` and the length sent, padded.
    const MMSGHDR: u64 = 64;
    let Some(mut socket) = Socket::find(word(&ctx, 0)) else { return 0 };
    let (messages, count) = (word(&ctx, 1), word(&ctx, 2));
    for index in 0..MAX_MESSAGES {
        if u64::from(index) >= count {
            return 0;
        }
        socket.send_message(messages + u64::from(index) * MMSGHDR);
    }
    if count > u64::from(MAX_MESSAGES) {
        emit::lost(LossCause::WriteTruncated);
    }
    0
}

/// The socket a call writes to.
struct Socket {
    descriptor: *mut Descriptor,
    pid_tgid: u64,
    tuple: Tuple,
}

impl Socket {
    #[inline(always)]
    fn find(fd: u64) -> Option<Self> {
        let pid_tgid = thread();
        let descriptor = DESCRIPTORS.get_ptr_mut(&key(pid_tgid, fd))?;
        if task::is_agent(pid_tgid) {
            return None;
        }
        // SAFETY: a value in the map.
        let tuple = unsafe { (*descriptor).tuple };
        Some(Self { descriptor, pid_tgid, tuple })
    }

    /// A datagram's own address wins over the connected one; TCP ignores it.
    #[inline(always)]
    fn to(&mut self, address: u64) {
        // SAFETY: a value in the map.
        let datagram = unsafe { (*self.descriptor).datagram != 0 };
        if datagram && let Some(tuple) = remote_of(address) {
            self.tuple = tuple;
        }
    }

    /// `struct msghdr`: name at 0, iov at 16, iovlen at 24.
    #[inline(always)]
    fn send_message(&mut self, header: u64) {
        self.to(user_word(header).unwrap_or(0));
        let (Some(iov), Some(count)) = (user_word(header + 16), user_word(header + 24)) else {
            emit::lost(LossCause::UnreadableMemory);
            return;
        };
        self.send_vector(iov, count);
    }

    /// `struct iovec`: base, length.
    #[inline(always)]
    fn send_vector(&mut self, iov: u64, count: u64) {
        for index in 0..MAX_IOVECS {
            if u64::from(index) >= count {
                return;
            }
            let at = iov + u64::from(index) * 16;
            let (Some(base), Some(len)) = (user_word(at), user_word(at + 8)) else {
                emit::lost(LossCause::UnreadableMemory);
                return;
            };
            self.send::<OF_MANY>(base, len);
        }
        if count > u64::from(MAX_IOVECS) {
            emit::lost(LossCause::WriteTruncated);
        }
    }

    #[inline(always)]
    fn send<const FULL: u32>(&mut self, buffer: u64, len: u64) {
        // SAFETY: a value in the map; a program that writes one socket from two threads at once gets its
        // bytes mixed anyway.
        let (flow, datagram) = unsafe { (&mut (*self.descriptor).flow, (*self.descriptor).datagram != 0) };
        if len == 0 || is_ignored_here(&self.tuple, flow, self.pid_tgid, buffer) {
            return;
        }
        let offset = flow.sent;
        flow.sent += len;
        let mut flag = 0;
        if !datagram && let Some(record) = peek(buffer).and_then(Record::parse) {
            if record.is_client_hello() {
                flag = flags::CLIENT_HELLO;
                flow.kind = kind::TLS;
            } else if flow.kind != kind::PLAIN {
                flow.kind = kind::TLS;
                link(&self.tuple, flow, self.pid_tgid, record);
                return;
            }
        } else if flow.kind == kind::TLS {
            return;
        }
        if flow.kind == kind::NEW {
            flow.kind = kind::PLAIN;
        }
        // SAFETY: no arguments.
        let uid = unsafe { bpf_get_current_uid_gid() } as u32;
        let write = Write {
            source: if datagram { Source::Udp } else { Source::Tcp },
            flags: flag,
            rule: 0,
            total: len,
            readable: len,
            offset: if datagram { 0 } else { offset },
            cookie: flow.cookie,
            context: 0,
            pid_tgid: self.pid_tgid,
            uid,
            tuple: self.tuple,
        };
        emit::write(&write, UserMemory::<FULL>(buffer));
    }
}

/// Traffic to this host is not captured, but TLS on it still says where its plaintext goes.
#[inline(always)]
fn is_ignored_here(tuple: &Tuple, flow: &mut FlowState, pid_tgid: u64, buffer: u64) -> bool {
    if !is_ignored(tuple) {
        return false;
    }
    if let Some(record) = peek(buffer).and_then(Record::parse) {
        link(tuple, flow, pid_tgid, record);
    }
    true
}

#[inline(always)]
fn link(tuple: &Tuple, flow: &mut FlowState, pid_tgid: u64, record: Record) {
    if record.is_application_data()
        && let Some(marks) = marks::of_thread(pid_tgid)
    {
        marks::take(marks, flow, tuple, pid_tgid, record.len);
    }
}

#[inline(always)]
fn peek(buffer: u64) -> Option<[u8; PEEK]> {
    user::<[u8; PEEK]>(buffer)
}

#[inline(always)]
fn user_word(address: u64) -> Option<u64> {
    user::<u64>(address)
}

#[inline(always)]
fn user<T: Copy>(address: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the source and fills the whole destination when it succeeds.
    unsafe {
        let read = bpf_probe_read_user(value.as_mut_ptr().cast(), size_of::<T>() as u32, address as *const _);
        if read == 0 { Some(value.assume_init()) } else { None }
    }
}

/// The address in a `sockaddr_in` or `sockaddr_in6` as the remote end of a tuple.
#[inline(always)]
fn remote_of(address: u64) -> Option<Tuple> {
    if address == 0 {
        return None;
    }
    let [family, port] = user::<[u16; 2]>(address)?;
    let mut ends = Ends {
        family: u32::from(family),
        local_ip4: 0,
        remote_ip4: 0,
        local_ip6: [0; 4],
        remote_ip6: [0; 4],
        local_port: 0,
        // As the socket contexts hold it: the two bytes in the upper half.
        remote_port: u32::from(port) << 16,
    };
    match family {
        AF_INET => ends.remote_ip4 = user(address + 4)?,
        AF_INET6 => ends.remote_ip6 = user(address + 8)?,
        _ => return None,
    }
    Some(ends.tuple(0))
}
