//! The proof that this kernel runs `scan`, and what it costs: attached to a function (buffer, length) of the example
//! `scan_in_kernel`, never by the agent.

use crate::{
    maps::{SCAN_CHECK, SCAN_CHECK_FLOW, SCAN_CHECK_KEYS},
    scan::{Judge, Outcome, scan},
    user_memory::UserMemory,
};
use aya_ebpf::{helpers::bpf_ktime_get_ns, macros::uprobe, programs::ProbeContext};

#[uprobe]
pub fn scan_check(ctx: ProbeContext) -> u32 {
    let (Some(buffer), Some(len)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1)) else { return 0 };
    let (Some(flow), Some(result)) = (SCAN_CHECK_FLOW.get_ptr_mut(0), SCAN_CHECK.get_ptr_mut(0)) else {
        return 0;
    };
    // SAFETY: map values; the example calls from one thread only. The helpers take no arguments.
    unsafe {
        let began = bpf_ktime_get_ns();
        let outcome = scan(&mut *flow, UserMemory::<0>(buffer), len, Count);
        *result = [bpf_ktime_get_ns() - began, u64::from(outcome == Outcome::Passed)];
    }
    0
}

/// Counts the keys of each rule, and lets them pass.
#[derive(Clone, Copy)]
struct Count;

impl Judge for Count {
    #[inline(always)]
    fn refuses(&self, rule: u16, _in_body: bool, _within: u64) -> bool {
        if let Some(count) = SCAN_CHECK_KEYS.get_ptr_mut(rule.into()) {
            // SAFETY: a map value; the example calls from one thread only.
            unsafe { *count += 1 };
        }
        false
    }
}
