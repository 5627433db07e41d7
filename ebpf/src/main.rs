//! keymoat's kernel programs: thin hooks with fallible bodies.
//!
//! `probes/` holds the hooks, `emit` is the one place that writes the ring, `maps` says who writes and who
//! reads each map, `bounds` keeps what the verifier needs to be told.
#![no_std]
#![no_main]
#![cfg_attr(target_arch = "bpf", feature(asm_experimental_arch))]

mod bounds;
mod budget;
mod emit;
mod enforce;
mod flow;
mod kernel_memory;
mod maps;
mod marks;
mod probes;
mod recall;
mod scan;
mod task;
mod tls_record;
mod user_memory;

/// Some helpers are GPL-only; the object is offered under either licence.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
