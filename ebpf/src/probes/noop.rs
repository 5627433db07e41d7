//! The yardstick of `cargo xtask bench overhead`: what a uprobe costs that does nothing.

use aya_ebpf::{macros::uprobe, programs::ProbeContext};

#[uprobe]
pub fn noop(_ctx: ProbeContext) -> u32 {
    0
}
