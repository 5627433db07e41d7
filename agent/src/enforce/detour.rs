//! Where a call goes that `return-override` stops: to the entry of a function that fails by itself, with the stack as it was when
//! the call began. The kernel's half is `ebpf/src/enforce/return_override.rs`.

use crate::elf::Function;
use crate::placement::{Kind, Placement};
use iced_x86::{
    Code, Decoder, DecoderOptions, Instruction, InstructionInfoFactory, InstructionInfoOptions, OpAccess,
    OpKind, Register,
};
use keymoat_abi::enforce::Detour;

/// What a function leaves to its caller as it was (System V ABI).
const KEPT: [Register; 6] =
    [Register::RBX, Register::RBP, Register::R12, Register::R13, Register::R14, Register::R15];

/// The place for a probe in `function` from which its call can go on in `fails_as`: `best`, if what runs before it can be
/// undone there; else the entry, where there is nothing to undo.
pub fn plan(function: &Function, best: Placement, fails_as: &Function) -> (Placement, Option<Detour>) {
    let undone = depth(&function.code, best.offset_in_function);
    let (placement, depth) = match undone {
        Some(depth) => (best, depth),
        None => {
            (entry(function, format!("what runs before +{:#x} cannot be undone", best.offset_in_function)), 0)
        }
    };
    let probe = function.address.wrapping_add(placement.offset_in_function);
    let distance = i32::try_from(fails_as.address.wrapping_sub(probe) as i64).ok();
    (placement, distance.map(|distance| Detour { depth, distance }))
}

/// The function's first instruction.
pub fn entry(function: &Function, reason: String) -> Placement {
    Placement { offset_in_function: 0, file_offset: function.file_offset, kind: Kind::Entry, reason }
}

/// Bytes that the instructions before `at` put on the stack. None if they change anything else that a caller keeps.
fn depth(code: &[u8], at: u64) -> Option<u16> {
    let mut info = InstructionInfoFactory::new();
    let mut depth = 0_u64;
    for instruction in Decoder::with_ip(64, code, 0, DecoderOptions::NONE).iter() {
        if instruction.ip() >= at {
            break;
        }
        let grows = grown(&instruction);
        let used = info.info_options(&instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
        let changes = |register: Register| {
            let written = |access| !matches!(access, OpAccess::Read | OpAccess::CondRead | OpAccess::None);
            let hits = |used: &iced_x86::UsedRegister| used.register().full_register() == register;
            used.used_registers().iter().any(|used| hits(used) && written(used.access()))
        };
        if KEPT.into_iter().any(changes) || grows.is_none() && changes(Register::RSP) {
            return None;
        }
        depth = depth.checked_add(grows.unwrap_or(0))?;
    }
    u16::try_from(depth).ok()
}

/// By how much an instruction makes the stack grow, of those that are known to.
fn grown(instruction: &Instruction) -> Option<u64> {
    match instruction.code() {
        Code::Push_r64 => Some(8),
        Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32
            if instruction.op0_kind() == OpKind::Register && instruction.op0_register() == Register::RSP =>
        {
            Some(instruction.immediate(1))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::placement::{Emulation, place};

    fn function(code: &[u8]) -> Function {
        Function { symbol: "f", address: 0x5000, file_offset: 0x1000, code: code.to_vec() }
    }

    fn planned(code: &[u8], fails_at: u64) -> (u64, Option<Detour>) {
        let function = function(code);
        let best = place(&function, Emulation { calls: true });
        let fails_as = Function { address: fails_at, ..function.clone() };
        let (placement, detour) = plan(&function, best, &fails_as);
        (placement.offset_in_function, detour)
    }

    /// SSL_write of OpenSSL 3.0, up to its `js`, and SSL_write_ex, up to its call.
    #[test]
    fn what_the_prologue_puts_on_the_stack_is_taken_off() {
        let canary = [0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0, 0x48, 0x89, 0x44, 0x24, 0x08];
        let write = [&[0x48, 0x83, 0xec, 0x18][..], &canary, &[0x31, 0xc0, 0x85, 0xd2, 0x78, 0x2f, 0xc3]];
        let detour = Detour { depth: 0x18, distance: -0x16 };
        assert_eq!(planned(&write.concat(), 0x5000), (0x16, Some(detour)));
        let write_ex = [0x48, 0x83, 0xec, 0x08, 0xe8, 0x87, 0xfb, 0xff, 0xff];
        assert_eq!(planned(&write_ex, 0x5104), (4, Some(Detour { depth: 8, distance: 0x100 })));
        assert_eq!(planned(&[0x41, 0x57, 0xc3], 0x5000), (0, Some(Detour { depth: 0, distance: 0 })));
        // gnutls_record_send: xor r8d, r8d; xor ecx, ecx; jmp
        let tail = [0x45, 0x31, 0xc0, 0x31, 0xc9, 0xe9, 0x66, 0x9c, 0xff, 0xff];
        assert_eq!(planned(&tail, 0x5000), (5, Some(Detour { depth: 0, distance: -5 })));
    }

    #[test]
    fn what_cannot_be_undone_is_left_before_it_is_done() {
        let at_entry = (0, Some(Detour { depth: 0, distance: 0 }));
        assert_eq!(planned(&[0x48, 0x89, 0xfb, 0x50, 0xc3], 0x5000), at_entry, "mov rbx, rdi");
        assert_eq!(planned(&[0x41, 0x89, 0xd6, 0x50, 0xc3], 0x5000), at_entry, "mov r14d, edx");
        assert_eq!(planned(&[0x48, 0x83, 0xe4, 0xf0, 0x50, 0xc3], 0x5000), at_entry, "and rsp, -16");
        assert_eq!(planned(&[0x48, 0x83, 0xc4, 0x08, 0x50, 0xc3], 0x5000), at_entry, "add rsp, 8");
    }

    #[test]
    fn a_function_out_of_reach_is_no_detour() {
        assert_eq!(planned(&[0x55, 0xc3], 0x1_0000_0000_5000), (0, None));
    }

    /// The libraries that this was made with can be left where probing is cheap.
    #[test]
    fn libraries_of_this_machine() {
        use crate::probes::tls;
        let finder = crate::elf::FunctionFinder::new(tls::symbols());
        for path in [
            "/usr/lib/x86_64-linux-gnu/libssl.so.3",
            "/usr/lib/x86_64-linux-gnu/libgnutls.so.30",
            "/usr/bin/node",
        ] {
            let Ok(file) = std::fs::File::open(path) else { continue };
            let functions = finder.find(&file).unwrap();
            let named = |symbol: &str| functions.iter().find(|function| function.symbol == symbol);
            for spec in tls::specs() {
                let (Some(function), Some(fails_as)) = (named(spec.symbol), spec.fails_as) else { continue };
                let best = place(function, Emulation { calls: true });
                let (placement, detour) = plan(function, best, named(fails_as).unwrap());
                println!("{path} {}: {placement:?} {detour:?}", spec.symbol);
                assert!(detour.is_some());
            }
        }
    }

    proptest::proptest! {
        #[test]
        fn never_panics(code in proptest::collection::vec(proptest::num::u8::ANY, 0..600), at in 0_u64..700) {
            let _ = depth(&code, at);
        }
    }
}
