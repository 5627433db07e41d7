//! What the running kernel is and can do.

pub mod btf;
pub mod cgroup;
pub mod numbers;
pub mod priority;
pub mod rcu;
pub mod rules;
pub mod unread;
pub mod uprobe;

/// Byte offsets in the kernel's structures, zero where unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    /// In `task_struct`.
    pub pid: u32,
    pub tgid: u32,
    pub comm: u32,
    /// In `tcp_sock`. Without it, TLS is judged as messages only.
    pub write_seq: u32,
}

impl Offsets {
    /// From the running kernel's BTF; `None` when it has none.
    pub fn read() -> Option<Self> {
        let data = std::fs::read(btf::PATH).ok()?;
        let [pid, tgid, comm] = btf::member_offsets(&data, "task_struct", ["pid", "tgid", "comm"])?;
        let [write_seq] = btf::member_offsets(&data, "tcp_sock", ["write_seq"]).unwrap_or_default();
        Some(Self { pid, tgid, comm, write_seq })
    }
}

/// Now by the clock of its programs (`bpf_ktime_get_ns`) and of perf events: `CLOCK_MONOTONIC`, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// Does the kernel ask BPF programs what it lets pass? Where it does not, such programs load, attach, and are never called.
pub fn has_bpf_lsm() -> bool {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    modules.trim().split(',').any(|module| module == "bpf")
}

/// The kernel's release string, e.g. `6.1.0-42-amd64`.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}
