//! Per-connection kernel state that the agent may also write (connections older than itself).

use crate::event::Tuple;

/// Raised whenever a type or a meaning changes in a map that an agent in `strict` mode leaves to the next (`loader::pins`): an
/// agent with another number begins anew, and connections that are open then are older than it.
pub const LAYOUT: u32 = 6;

/// What is known of the bytes on a connection.
pub mod kind {
    /// Nothing was sent yet.
    pub const NEW: u8 = 0;
    /// Not TLS so far: captured. A ClientHello may still follow (STARTTLS, CONNECT).
    pub const PLAIN: u8 = 1;
    /// TLS: only the rest of a ClientHello is captured, records are used to link library and socket.
    pub const TLS: u8 = 2;
    /// Nothing leaves any more. Of `Gate::kind` only.
    pub const REFUSED: u8 = 3;
}

/// Value of the socket storage map `FLOWS`: one per TCP connection.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct FlowState {
    /// The kernel's socket cookie; 0 = not known yet.
    pub cookie: u64,
    /// Bytes sent so far: the stream offset of the byte with sequence number `next_seq`.
    pub sent: u64,
    /// Where in the stream the next TLS record begins.
    pub next_record: u64,
    /// TLS connection object whose records travel here (see `Link`); 0 = not linked.
    pub context: u64,
    /// Who opened the connection, or else who first sent on it: `tgid << 32 | tid`. 0 = not known yet.
    pub owner: u64,
    /// Process the context belongs to.
    pub tgid: u32,
    pub uid: u32,
    /// TCP sequence number of the next byte not seen before.
    pub next_seq: u32,
    /// Bytes of a ClientHello still to come.
    pub hello_left: u32,
    /// See [`kind`].
    pub kind: u8,
    /// `tuple_flags`.
    pub flags: u8,
    pub reserved: [u8; 6],
}

const _: () = assert!(core::mem::size_of::<FlowState>() == 64);

impl FlowState {
    pub const EMPTY: Self = Self {
        cookie: 0,
        sent: 0,
        next_record: 0,
        context: 0,
        owner: 0,
        tgid: 0,
        uid: 0,
        next_seq: 0,
        hello_left: 0,
        kind: kind::NEW,
        flags: 0,
        reserved: [0; 6],
    };
}

/// Key of the map `DESCRIPTORS`: an internet socket as the system call probes know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct DescriptorKey {
    pub tgid: u32,
    pub fd: u32,
}

/// Value of the map `DESCRIPTORS` (hosts without cgroup v2 only).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Descriptor {
    pub flow: FlowState,
    pub tuple: Tuple,
    /// 1 for UDP.
    pub datagram: u64,
}

const _: () = assert!(core::mem::size_of::<Descriptor>() == 112);

// SAFETY: `repr(C)`, integers only, no implicit padding, every bit pattern valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Descriptor {}
// SAFETY: as above.
#[cfg(feature = "user")]
unsafe impl aya::Pod for DescriptorKey {}
// SAFETY: `repr(C)`, integers only, no implicit padding, every bit pattern valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for FlowState {}
