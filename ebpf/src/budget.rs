//! How much of what this host answers is shown: responses come in bulk, and each one waits while it is copied.

use crate::{
    emit,
    maps::{CONFIG, RESPONSES},
};
use aya_ebpf::helpers::bpf_ktime_get_ns;
use keymoat_abi::{LossCause, config::BUDGET_PERIOD_BITS};

/// What one processor has shown of responses in a period.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Shown {
    period: u64,
    bytes: u64,
}

/// May so many more bytes of a response be shown? If not, that is counted.
#[inline(always)]
pub fn allows(len: u64) -> bool {
    let most = u64::from(CONFIG.load().response_budget);
    let Some(shown) = RESPONSES.get_ptr_mut(0) else { return true };
    if most == 0 {
        return true;
    }
    // SAFETY: no arguments; a per-CPU slot: a program that preempts this one may show a few bytes more.
    let bytes = unsafe {
        let period = bpf_ktime_get_ns() >> BUDGET_PERIOD_BITS;
        if (*shown).period != period {
            *shown = Shown { period, bytes: 0 };
        }
        (*shown).bytes += len;
        (*shown).bytes
    };
    if bytes > most {
        emit::lost(LossCause::ResponsesOverBudget);
    }
    bytes <= most
}
