//! Every map: who writes it, who reads it.

use crate::probes::socket::syscalls::Call;
use aya_ebpf::{
    Global,
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, LpmTrie, LruHashMap, PerCpuArray, RingBuf, SockHash},
};
use keymoat_abi::{
    Config, FlowState, LossCause,
    enforce::{Gate, HOST_BYTES, HostKey, Keys, MAX_RULES, Permitted, RuleBits, RuleId},
    scan::{Anchor, BLOCK, FILTER_WORDS, GLUE_WORDS, Half, Stream, Token},
    state::{Descriptor, DescriptorKey},
};

/// Written once by the agent before load, read by every program.
#[unsafe(no_mangle)]
pub static CONFIG: Global<Config> = Global::new(Config {
    own_tgid: 0,
    include_loopback: 0,
    accepted_connections: 1,
    task_pid_offset: 0,
    task_tgid_offset: 0,
    task_comm_offset: 0,
    epoch: 0,
    strict: 0,
    everything: 0,
    response_budget: 0,
    unread_hidden: 0,
    tree_level: 0,
    tree: 0,
    write_seq_offset: 0,
    reserved: 0,
});

/// The epoch of the agent whose programs judge: one entry. Written by the agent once all of its own are attached, so that one
/// agent takes over from another with no write in between that neither looks at.
#[map]
pub static ACTIVE: Array<u32> = Array::with_max_entries(1, 0);

/// Written by `emit` only, read by the agent. The agent sets the size at load.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// One flag: not 0 when the agent sleeps and the next record has to wake it. Set by the agent before it
/// sleeps, cleared by `emit`.
#[map]
pub static CONSUMER: Array<u32> = Array::with_max_entries(1, 0);

/// Written by `emit`, summed over CPUs by the agent. Indexed by [`LossCause`].
#[map]
pub static LOSS: PerCpuArray<u64> = PerCpuArray::with_max_entries(LossCause::COUNT, 0);

/// One entry: what was shown of responses lately. Written and read by `budget`.
#[map]
pub static RESPONSES: PerCpuArray<crate::budget::Shown> = PerCpuArray::with_max_entries(1, 0);

/// State per TCP connection; goes when its socket goes. Written by `tcp_connect*`, `tcp_connections` and
/// `packet_egress`, and by the agent for connections older than itself.
#[btf_map]
pub static FLOWS: SkStorage<FlowState> = SkStorage::new();

/// Plaintext handed to a TLS library by a thread (`tgid << 32 | tid`) and not yet seen at a socket.
/// Written by the TLS probes, consumed by the socket programs.
#[map]
pub static MARKS: LruHashMap<u64, crate::marks::Marks> = LruHashMap::with_max_entries(8_192, 0);

/// Empty marks to insert from: too large for the stack. Never written.
#[map]
pub static NO_MARKS: Array<crate::marks::Marks> = Array::with_max_entries(1, 0);

/// What is known of a TLS connection object. Written by the TLS probes (offset) and the socket programs
/// (cookie), removed when its socket closes.
#[map]
pub static CONTEXTS: LruHashMap<crate::marks::ContextKey, crate::marks::Context> =
    LruHashMap::with_max_entries(65_536, 0);

/// Internet sockets by (process, file descriptor). Written by the system call probes only, and by the agent for
/// sockets older than itself; empty while the socket programs are in use.
#[map]
pub static DESCRIPTORS: LruHashMap<DescriptorKey, Descriptor> = LruHashMap::with_max_entries(16_384, 0);

/// Arguments of a system call that is running, by thread. Written and read by the system call probes.
#[map]
pub static CALLS: LruHashMap<u64, Call> = LruHashMap::with_max_entries(8_192, 0);

/// The half of the maps below whose rules are in use: one entry. Written by the agent.
#[map]
pub static SCAN_IN_USE: Array<u32> = Array::with_max_entries(1, 0);

/// The rules that `scan` decides, compiled, in two halves: see `keymoat_abi::scan::Tables` for what each map holds. Written by the
/// agent, which sets their sizes at load; read by `scan`.
#[map]
pub static SCAN_HALVES: Array<Half> = Array::with_max_entries(2, 0);
#[map]
pub static SCAN_FILTER: Array<[u64; FILTER_WORDS]> = Array::with_max_entries(2, 0);
#[map]
pub static SCAN_CLASSES: Array<[u8; 256]> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_LITERALS: Array<[u16; BLOCK]> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_ENDING: Array<u16> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_ANCHORS: Array<Anchor> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_TOKENS: Array<Token> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_CELLS: Array<[u16; BLOCK]> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_GLUE: Array<[u32; GLUE_WORDS]> = Array::with_max_entries(1, 0);

/// TCP connections whose writes are judged, by socket cookie: what `message_egress` is attached to. Written by
/// `tcp_connections_judged`, and by the agent for connections older than itself.
#[map]
pub static CONNECTIONS: SockHash<u64> = SockHash::with_max_entries(65_536, 0);

/// What `message_egress` knows of a connection; goes when its socket goes. Nobody else writes or reads it.
#[btf_map]
pub static GATES: SkStorage<Gate> = SkStorage::new();

/// Which rule has which number. Written by the agent; no program reads it, it is kept here for the next agent.
#[map]
pub static NUMBERS: Array<RuleId> = Array::with_max_entries(MAX_RULES as u32, 0);

/// Rules whose keys are refused where they are not permitted: one entry. Written by the agent.
#[map]
pub static REFUSED: Array<RuleBits> = Array::with_max_entries(1, 0);

/// Rules whose keys are permitted, by destination: see `HostKey`. Written by the agent.
#[map]
pub static PERMITTED: LpmTrie<[u8; HOST_BYTES], Permitted> = LpmTrie::with_max_entries(65_536, 0);

/// Keys in what a TLS connection is about to send. Written by the TLS probes, taken by `message_egress`.
#[map]
pub static KEYS: LruHashMap<crate::marks::ContextKey, Keys> = LruHashMap::with_max_entries(4_096, 0);

/// No keys, to insert from. Never written.
#[map]
pub static NO_KEYS: Array<Keys> = Array::with_max_entries(1, 0);

/// How far the plaintext of a TLS connection was scanned. Written by the TLS probes. The agent sets its size at load.
#[map]
pub static TLS_SCANS: LruHashMap<crate::marks::ContextKey, Stream> = LruHashMap::with_max_entries(1, 0);

/// Scans as they were before the write that a thread is at, to go back to. Written by TLS probes that stop calls. The agent sets its
/// size at load.
#[map]
pub static BEFORE: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(1, 0);

/// Where connections go, by socket cookie: the name in the ClientHello. Written by `message_egress`, read by TLS probes that stop
/// calls. The agent sets its size at load.
#[map]
pub static HOSTS: LruHashMap<u64, HostKey> = LruHashMap::with_max_entries(1, 0);

/// What came before the first bytes that the agent is shown, of TLS connections and sockets. Written by the programs that find
/// plaintext clean. The agent sets its size at load.
#[map]
pub static RECALLS: LruHashMap<crate::marks::ContextKey, crate::recall::Recall> =
    LruHashMap::with_max_entries(1, 0);

/// Nothing to recall, to insert from. Never written.
#[map]
pub static NO_RECALL: Array<crate::recall::Recall> = Array::with_max_entries(1, 0);

/// How far a datagram was scanned, by thread: each begins anew. Written by `packet_egress_judged`. The agent sets its size at load.
#[map]
pub static DATAGRAM_SCANS: LruHashMap<u64, Stream> = LruHashMap::with_max_entries(1, 0);

/// Scans of nothing, to insert from. Never written.
#[map]
pub static NO_SCAN: Array<Stream> = Array::with_max_entries(1, 0);

/// Of `scan_check` only: the flow; nanoseconds and whether the scan came to its end; keys by rule. Written by it, read by the
/// example `scan_in_kernel`.
#[map]
pub static SCAN_CHECK_FLOW: Array<Stream> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_CHECK: Array<[u64; 2]> = Array::with_max_entries(1, 0);
#[map]
pub static SCAN_CHECK_KEYS: Array<u64> = Array::with_max_entries(1024, 0);
