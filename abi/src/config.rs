//! What the agent tells the kernel programs before they load. Read-only afterwards.

/// Settings compiled into the programs as a read-only global, so the verifier removes what is off.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Config {
    /// Process id of the agent: its own traffic is never captured. 0 = none.
    pub own_tgid: u32,
    /// Not 0: traffic to this very host counts as leaving.
    pub include_loopback: u32,
    /// Not 0: connections this host accepted are watched too (a server's responses).
    pub accepted_connections: u32,
    /// Byte offset of `task_struct::pid` from BTF; 0 when unknown (see `task_tgid`).
    pub task_pid_offset: u32,
    /// Byte offset of `task_struct::tgid` from BTF; 0 when unknown: packets then have no process.
    pub task_tgid_offset: u32,
    /// Byte offset of `task_struct::comm` from BTF; 0 when unknown.
    pub task_comm_offset: u32,
    /// Which agent loaded these programs. Of two that are attached, those judge whose number is in the map `ACTIVE`.
    pub epoch: u32,
    /// Not 0: what cannot be inspected is refused.
    pub strict: u32,
    /// Not 0: the agent sees all plaintext, not only what follows a key or a cue. Of programs that judge.
    pub everything: u32,
    /// Bytes of responses (on connections this host accepted) that each processor may show in a period of 2^[`BUDGET_PERIOD_BITS`]
    /// nanoseconds; 0 = all.
    pub response_budget: u32,
    /// Not 0: sockets whose messages are judged hide what they have to read, so those of [`RELIES_ON_UNREAD`] are not.
    pub unread_hidden: u32,
    /// Depth of the cgroup of [`Config::tree`] below the root of cgroup v2.
    pub tree_level: u32,
    /// Cgroup id (its directory's inode number) of the only processes whose TLS calls are of interest; 0 = all are. Their sockets
    /// are told apart by where the socket programs are attached.
    pub tree: u64,
    /// Byte offset of `tcp_sock::write_seq` from BTF; 0 when unknown (see `Gate::asked`).
    pub write_seq_offset: u32,
    pub reserved: u32,
}

/// Programs that read only as long as the kernel says that there is something to read (FIONREAD), and wait for ever where it says nothing.
pub const RELIES_ON_UNREAD: [Comm; 2] = [
    Comm::from_ne_bytes(*b"nginx\0\0\0\0\0\0\0\0\0\0\0"),
    Comm::from_ne_bytes(*b"angie\0\0\0\0\0\0\0\0\0\0\0"),
];

/// A thread's name as the kernel has it: 16 bytes, filled up with zeros. A number, so that two are compared at once.
pub type Comm = u128;

/// The longest has 15 bytes; what is longer is cut.
pub fn comm(name: &[u8]) -> Comm {
    let mut bytes = [0; 16];
    bytes.iter_mut().take(15).zip(name).for_each(|(to, byte)| *to = *byte);
    Comm::from_ne_bytes(bytes)
}

/// 134 ms.
pub const BUDGET_PERIOD_BITS: u32 = 27;

const _: () = assert!(core::mem::size_of::<Config>() == 64);

// SAFETY: `Config` is `repr(C)`, made of integers only, without padding, and every bit pattern is valid.
#[cfg(feature = "user")]
unsafe impl aya::Pod for Config {}
