//! Who is running.

use crate::maps::CONFIG;
use aya_ebpf::helpers::generated::{
    bpf_get_current_ancestor_cgroup_id, bpf_get_current_comm, bpf_get_current_task, bpf_probe_read_kernel,
};

/// `tgid << 32 | tid` where the program type has no `bpf_get_current_pid_tgid` (cgroup_skb before 6.10):
/// read from `task_struct` at offsets the agent took from BTF. 0 when they are not known.
#[inline(always)]
pub fn pid_tgid_from_task() -> u64 {
    let config = CONFIG.load();
    if config.task_tgid_offset == 0 {
        return 0;
    }
    let (mut pid, mut tgid) = (0u32, 0u32);
    // SAFETY: `bpf_probe_read_kernel` checks the address; the destinations are 4 bytes each.
    unsafe {
        let task = bpf_get_current_task();
        let at = |offset: u32| (task + u64::from(offset)) as *const core::ffi::c_void;
        bpf_probe_read_kernel((&raw mut pid).cast(), 4, at(config.task_pid_offset).cast());
        bpf_probe_read_kernel((&raw mut tgid).cast(), 4, at(config.task_tgid_offset).cast());
    }
    u64::from(tgid) << 32 | u64::from(pid)
}

/// Writes the thread's name into the 16 bytes at `to`, for program types without `bpf_get_current_comm`.
///
/// # Safety
/// `to` must point to 16 writable bytes, aligned to 8.
#[inline(always)]
pub unsafe fn comm_from_task(to: *mut u8) {
    let offset = CONFIG.load().task_comm_offset;
    if offset == 0 {
        // SAFETY: by this function's contract.
        unsafe { no_comm(to) };
        return;
    }
    // SAFETY: `bpf_probe_read_kernel` checks the source; `to` by this function's contract.
    unsafe {
        let from = (bpf_get_current_task() + u64::from(offset)) as *const core::ffi::c_void;
        bpf_probe_read_kernel(to.cast(), 16, from.cast());
    }
}

/// Writes an empty name into the 16 bytes at `to`.
///
/// # Safety
/// `to` must point to 16 writable bytes, aligned to 8.
#[inline(always)]
pub unsafe fn no_comm(to: *mut u8) {
    // SAFETY: by this function's contract. Volatile: two plain stores become a call of `memset`, a loop.
    unsafe {
        core::ptr::write_volatile(to.cast::<u64>(), 0);
        core::ptr::write_volatile(to.cast::<u64>().add(1), 0);
    }
}

/// Writes the thread's name into the 16 bytes at `to`.
///
/// # Safety
/// `to` must point to 16 writable bytes.
#[inline(always)]
pub unsafe fn comm(to: *mut u8) {
    // SAFETY: by this function's contract.
    unsafe { bpf_get_current_comm(to.cast(), 16) };
}

/// Is this process outside the tree that is watched?
#[inline(always)]
pub fn is_outside() -> bool {
    let config = CONFIG.load();
    // SAFETY: no pointers; 0 where the task's cgroup is not that deep.
    config.tree != 0 && unsafe { bpf_get_current_ancestor_cgroup_id(config.tree_level as i32) } != config.tree
}

/// Is this the agent itself? Its traffic is never captured.
#[inline(always)]
pub fn is_agent(pid_tgid: u64) -> bool {
    let own = CONFIG.load().own_tgid;
    own != 0 && (pid_tgid >> 32) as u32 == own
}
