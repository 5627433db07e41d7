//! The kernel's own memory: messages that were copied into it, and values of maps.

use crate::{emit::Bytes, task};
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use keymoat_abi::LossCause;

/// The kernel's own memory from this address on.
#[derive(Clone, Copy)]
pub struct KernelMemory(pub u64);

impl Bytes for KernelMemory {
    const FULL_RECORDS: u32 = 0;
    const FORGETS: bool = true;

    #[inline(always)]
    unsafe fn copy(self, to: *mut u8, from: u64, len: u64) -> Result<(), LossCause> {
        let source = self.0.wrapping_add(from) as *const core::ffi::c_void;
        // SAFETY: the helper checks the source; the destination by the trait's contract.
        match unsafe { bpf_probe_read_kernel(to.cast(), len as u32, source.cast()) } {
            0 => Ok(()),
            _ => Err(LossCause::UnreadableMemory),
        }
    }

    #[inline(always)]
    unsafe fn copy_exactly<const LEN: u32>(self, to: *mut u8, from: u64) -> bool {
        let source = self.0.wrapping_add(from) as *const core::ffi::c_void;
        // SAFETY: the helper checks the source; the destination by the trait's contract.
        unsafe { bpf_probe_read_kernel(to.cast(), LEN, source.cast()) == 0 }
    }

    #[inline(always)]
    unsafe fn comm(self, to: *mut u8) {
        // SAFETY: by the trait's contract.
        unsafe { task::comm_from_task(to) };
    }
}
