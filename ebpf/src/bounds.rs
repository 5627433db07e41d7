//! What the verifier has to be told, each with its reason.

/// Hides a value's origin from LLVM, so that a bounds check written after it is really emitted.
///
/// LLVM proves some checks redundant that the verifier cannot prove (it forgets a register's range when
/// the value is spilled as 32 bits or rebuilt from another register) and removes them.
#[inline(always)]
pub fn opaque(value: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut value = value;
        // SAFETY: a register moved to itself. (An empty template would give two line records one address,
        // which the kernel refuses.)
        unsafe {
            core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, preserves_flags, nostack))
        };
        value
    }
    #[cfg(not(target_arch = "bpf"))]
    value
}

/// `value` limited to `max`, in a form the verifier follows.
#[inline(always)]
pub fn at_most(value: u64, max: u64) -> u64 {
    let value = opaque(value);
    if value > max { max } else { value }
}

/// `value`, or 1 instead of 0, in a form the verifier follows: some helpers refuse a length that could be 0, and kernels
/// before 6.8 learn nothing from `== 0`, which is what LLVM makes of `< 1`.
#[inline(always)]
pub fn at_least_one(value: u64) -> u64 {
    let (value, one) = (opaque(value), opaque(1));
    if value < one { one } else { value }
}
