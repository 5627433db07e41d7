//! Sockets: one layer for all of TCP, one for everything that is a packet, and system calls where neither
//! is to be had.

mod headers;
pub mod packet;
pub mod syscalls;
pub mod tcp;
