//! `signal`: the process is killed before the call runs. The last resort, for those who ask for it.

use super::Rung;
use aya_ebpf::{helpers::generated::bpf_send_signal, programs::ProbeContext};
use keymoat_abi::event::flags;

const SIGKILL: u32 = 9;

/// See above.
pub struct Signal;

impl Rung for Signal {
    const JUDGES: bool = true;
    const STOPS: bool = true;
    const STOPPED: u8 = flags::REFUSED | flags::KILLED;

    #[inline(always)]
    fn stop(_ctx: &ProbeContext) -> bool {
        // SAFETY: no pointers.
        unsafe { bpf_send_signal(SIGKILL) == 0 }
    }
}
