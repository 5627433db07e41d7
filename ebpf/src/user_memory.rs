//! A program's own memory, as it is when the program calls.

use crate::{emit::Bytes, task};
use aya_ebpf::helpers::generated::bpf_probe_read_user;
use keymoat_abi::LossCause;

/// Memory from this address on, of which `FULL` records of full size are read before the last one.
#[derive(Clone, Copy)]
pub struct UserMemory<const FULL: u32>(pub u64);

impl<const FULL: u32> Bytes for UserMemory<FULL> {
    const FULL_RECORDS: u32 = FULL;
    const OF_PROGRAM: bool = true;

    #[inline(always)]
    fn address(self) -> u64 {
        self.0
    }

    #[inline(always)]
    unsafe fn copy(self, to: *mut u8, from: u64, len: u64) -> Result<(), LossCause> {
        let source = (self.0 + from) as *const core::ffi::c_void;
        // SAFETY: the helper checks the source; the destination by the trait's contract.
        match unsafe { bpf_probe_read_user(to.cast(), len as u32, source.cast()) } {
            0 => Ok(()),
            _ => Err(LossCause::UnreadableMemory),
        }
    }

    #[inline(always)]
    unsafe fn copy_exactly<const LEN: u32>(self, to: *mut u8, from: u64) -> bool {
        let source = self.0.wrapping_add(from) as *const core::ffi::c_void;
        // SAFETY: the helper checks the source; the destination by the trait's contract.
        unsafe { bpf_probe_read_user(to.cast(), LEN, source.cast()) == 0 }
    }

    #[inline(always)]
    unsafe fn comm(self, to: *mut u8) {
        // SAFETY: by the trait's contract.
        unsafe { task::comm(to) };
    }
}
