//! Where in a function the probe goes.
//!
//! A uprobe replaces one instruction by a breakpoint. The kernel then either *emulates* that instruction, or
//! lets the CPU single-step a copy of it, which costs a second trap and a good part of a program's throughput. So the probe goes to
//! the first instruction the kernel emulates, as long as the arguments are still in their registers there and
//! the instruction runs exactly once per call. Where there is none, it goes to the entry.
//!
//! Every kernel from 5.10 on emulates the same few instructions on x86-64: `nop` (the plain one byte), `push`
//! of a 64-bit register, and the relative jumps, conditional jumps and calls. Longer nops and `endbr64` are
//! emulated by recent kernels only, and a nop with an operand-size prefix is *refused* by older ones.

use crate::elf::Function;
use iced_x86::{
    Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfoFactory, InstructionInfoOptions,
    OpAccess, OpKind, Register,
};
use serde::Serialize;

/// Farther in than this, nothing is looked for: the arguments never live that long.
const PROLOGUE: u64 = 256;

/// The first three integer arguments.
const ARGUMENTS: [Register; 3] = [Register::RDI, Register::RSI, Register::RDX];

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Placement {
    pub offset_in_function: u64,
    pub file_offset: u64,
    pub kind: Kind,
    /// Why here, for people.
    pub reason: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// On an instruction the kernel emulates, named by its mnemonic.
    Emulated(&'static str),
    /// On the first instruction, which the kernel has to single-step.
    Entry,
}

/// What this machine's kernel can emulate without harm.
#[derive(Clone, Copy, Debug)]
pub struct Emulation {
    /// An emulated `call` pushes its return address to the stack only. With a shadow stack in use, the
    /// matching `ret` would kill the program; so where the CPU offers one, calls are left alone.
    pub calls: bool,
}

impl Emulation {
    pub fn of_this_machine() -> Self {
        let info = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        Self { calls: !info.split_ascii_whitespace().any(|word| word == "user_shstk") }
    }
}

pub fn place(function: &Function, emulation: Emulation) -> Placement {
    let at = |offset, kind, reason| Placement {
        offset_in_function: offset,
        file_offset: function.file_offset.saturating_add(offset),
        kind,
        reason,
    };
    match search(&function.code, emulation) {
        Ok((offset, mnemonic)) => match branch_back(&function.code, offset) {
            None => at(offset, Kind::Emulated(mnemonic), format!("emulated {mnemonic} at +{offset:#x}")),
            Some(from) => at(0, Kind::Entry, format!("a branch at +{from:#x} goes back before +{offset:#x}")),
        },
        Err(reason) => at(0, Kind::Entry, reason),
    }
}

/// The first emulated instruction that every call reaches exactly once with its arguments in place.
fn search(code: &[u8], emulation: Emulation) -> Result<(u64, &'static str), String> {
    let mut info = InstructionInfoFactory::new();
    for instruction in decoder(code).iter() {
        let offset = instruction.ip();
        if instruction.is_invalid() || offset >= PROLOGUE {
            return Err(format!("no emulated instruction before +{offset:#x}"));
        }
        if let Some(mnemonic) = emulated(&instruction, bytes_of(code, &instruction), emulation) {
            return Ok((offset, mnemonic));
        }
        if instruction.flow_control() != FlowControl::Next {
            return Err(format!("control leaves at +{offset:#x}, before any emulated instruction"));
        }
        let used = info.info_options(&instruction, InstructionInfoOptions::NO_MEMORY_USAGE);
        let lost = used
            .used_registers()
            .iter()
            .find(|used| writes(used.access()) && ARGUMENTS.contains(&used.register().full_register()));
        if let Some(lost) = lost {
            let name = register_name(lost.register().full_register());
            return Err(format!("{name} is overwritten at +{offset:#x}, before any emulated instruction"));
        }
    }
    Err("no emulated instruction".to_owned())
}

/// The exact encodings the kernel emulates; any prefix makes it another length.
fn emulated(instruction: &Instruction, bytes: &[u8], emulation: Emulation) -> Option<&'static str> {
    match (bytes.len(), bytes) {
        (1, [0x90]) => Some("nop"),
        (1, [0x50..=0x57]) | (2, [0x41, 0x50..=0x57]) => Some("push"),
        (2, [0xeb, _]) | (5, [0xe9, ..]) => Some("jmp"),
        (5, [0xe8, ..]) if emulation.calls => Some("call"),
        (2, [0x70..=0x7f, _]) | (6, [0x0f, 0x80..=0x8f, ..]) => {
            Some(condition_name(instruction.condition_code()))
        }
        _ => None,
    }
}

/// A branch of the function itself into (entry, chosen] would run the probe again within one call.
fn branch_back(code: &[u8], chosen: u64) -> Option<u64> {
    let mut decoder = decoder(code);
    let mut instruction = Instruction::default();
    while decoder.can_decode() {
        decoder.decode_out(&mut instruction);
        let near = matches!(
            instruction.op0_kind(),
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64
        );
        let target = instruction.near_branch_target();
        if !instruction.is_invalid() && near && target > 0 && target <= chosen {
            return Some(instruction.ip());
        }
    }
    None
}

fn decoder(code: &[u8]) -> Decoder<'_> {
    Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
}

fn bytes_of<'a>(code: &'a [u8], instruction: &Instruction) -> &'a [u8] {
    let start = instruction.ip() as usize;
    code.get(start..start.saturating_add(instruction.len())).unwrap_or_default()
}

fn writes(access: OpAccess) -> bool {
    matches!(access, OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite)
}

fn register_name(register: Register) -> &'static str {
    match register {
        Register::RDI => "rdi",
        Register::RSI => "rsi",
        _ => "rdx",
    }
}

fn condition_name(condition: iced_x86::ConditionCode) -> &'static str {
    use iced_x86::ConditionCode as C;
    match condition {
        C::o => "jo",
        C::no => "jno",
        C::b => "jb",
        C::ae => "jae",
        C::e => "je",
        C::ne => "jne",
        C::be => "jbe",
        C::a => "ja",
        C::s => "js",
        C::ns => "jns",
        C::p => "jp",
        C::np => "jnp",
        C::l => "jl",
        C::ge => "jge",
        C::le => "jle",
        C::g => "jg",
        C::None => "jcc",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Emulation = Emulation { calls: true };

    fn placed(code: &[u8], emulation: Emulation) -> Placement {
        place(&Function { symbol: "f", address: 0x1000, file_offset: 0x1000, code: code.to_vec() }, emulation)
    }

    #[track_caller]
    fn expect(code: &[u8], offset: u64, kind: Kind) {
        let got = placed(code, ALL);
        assert_eq!((got.offset_in_function, got.kind), (offset, kind), "{}", got.reason);
        assert_eq!(got.file_offset, 0x1000 + offset);
    }

    /// SSL_write of OpenSSL 3.0: sub rsp; mov rax, fs:[0x28]; mov [rsp+8], rax; xor eax, eax; test edx, edx; js
    #[test]
    fn the_first_conditional_jump_after_a_prologue() {
        let code = [
            &[0x48, 0x83, 0xec, 0x18][..],
            &[0x64, 0x48, 0x8b, 0x04, 0x25, 0x28, 0, 0, 0],
            &[0x48, 0x89, 0x44, 0x24, 0x08],
            &[0x31, 0xc0],
            &[0x85, 0xd2],
            &[0x78, 0x2f],
            &[0xc3],
        ]
        .concat();
        expect(&code, 0x16, Kind::Emulated("js"));
    }

    #[test]
    fn a_call_a_tail_jump_a_push_and_a_nop() {
        expect(&[0x48, 0x83, 0xec, 0x08, 0xe8, 0x87, 0xfb, 0xff, 0xff], 4, Kind::Emulated("call"));
        expect(&[0x45, 0x31, 0xc0, 0x31, 0xc9, 0xe9, 0x66, 0x9c, 0xff, 0xff], 5, Kind::Emulated("jmp"));
        expect(&[0x55, 0x48, 0x89, 0xe5, 0xc3], 0, Kind::Emulated("push"));
        expect(&[0x41, 0x57, 0xc3], 0, Kind::Emulated("push"));
        expect(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55, 0xc3], 4, Kind::Emulated("push"));
        expect(&[0x31, 0xc0, 0x90, 0xc3], 2, Kind::Emulated("nop"));
        expect(&[0x31, 0xc0, 0x0f, 0x84, 0x10, 0, 0, 0, 0xc3], 2, Kind::Emulated("je"));
    }

    #[test]
    fn calls_are_left_alone_where_shadow_stacks_exist() {
        let code = [0x48, 0x83, 0xec, 0x08, 0xe8, 0x87, 0xfb, 0xff, 0xff];
        let got = placed(&code, Emulation { calls: false });
        assert_eq!((got.offset_in_function, got.kind), (0, Kind::Entry));
    }

    #[test]
    fn not_once_an_argument_is_gone_even_in_part() {
        expect(&[0x48, 0x89, 0xd7, 0x55], 0, Kind::Entry); // mov rdi, rdx; push
        expect(&[0xb2, 0x01, 0x55], 0, Kind::Entry); // mov dl, 1; push
        expect(&[0x48, 0x63, 0xd2, 0x55], 0, Kind::Entry); // movsxd rdx, edx; push
        expect(&[0x48, 0x0f, 0x44, 0xf0, 0x55], 0, Kind::Entry); // cmove rsi, rax; push
        expect(&[0x48, 0x99, 0x55], 0, Kind::Entry); // cqo writes rdx; push
        expect(&[0xf3, 0xa4, 0x55], 0, Kind::Entry); // rep movsb moves rdi and rsi; push
        expect(&[0x48, 0x87, 0xfe, 0x55], 0, Kind::Entry); // xchg rsi, rdi; push
        expect(&[0x48, 0x89, 0xf8, 0x55], 3, Kind::Emulated("push")); // mov rax, rdi only reads
    }

    #[test]
    fn not_when_control_leaves_before() {
        expect(&[0xc3, 0x55], 0, Kind::Entry); // ret
        expect(&[0xff, 0xe0, 0x55], 0, Kind::Entry); // jmp rax
        expect(&[0xff, 0xd0, 0x55], 0, Kind::Entry); // call rax
        expect(&[0xe3, 0x02, 0x55], 0, Kind::Entry); // jrcxz: a branch, but not an emulated one
        expect(&[0x0f, 0x0b, 0x55], 0, Kind::Entry); // ud2
        expect(&[0x0f, 0x05, 0x55], 0, Kind::Entry); // syscall
    }

    #[test]
    fn not_where_a_loop_would_hit_it_twice() {
        expect(&[0x31, 0xc0, 0x55, 0xeb, 0xfd], 0, Kind::Entry); // xor; push; jmp to the push
        expect(&[0x31, 0xc0, 0x90, 0x0f, 0x85, 0xf9, 0xff, 0xff, 0xff], 0, Kind::Entry); // nop; jne to the nop
        // Back to the entry is a call of its own, and past the probe is no second hit.
        expect(&[0x31, 0xc0, 0x55, 0xeb, 0xfb], 2, Kind::Emulated("push"));
        expect(&[0x31, 0xc0, 0x55, 0x31, 0xc0, 0xeb, 0xfc], 2, Kind::Emulated("push"));
    }

    #[test]
    fn prefixed_forms_are_not_trusted() {
        expect(&[0x66, 0x90, 0xc3], 0, Kind::Entry); // refused by kernels before 6.2
        expect(&[0x0f, 0x1f, 0x44, 0x00, 0x00, 0xc3], 0, Kind::Entry); // emulated by the newest only
        expect(&[0xf2, 0xe9, 0, 0, 0, 0], 0, Kind::Entry); // bnd jmp
        expect(&[0x66, 0x50, 0xc3], 0, Kind::Entry); // push ax
    }

    #[test]
    fn rubbish_falls_back() {
        expect(&[], 0, Kind::Entry);
        expect(&[0x06], 0, Kind::Entry);
        expect(&[0x48], 0, Kind::Entry);
        expect(&[0xe8, 0x01], 0, Kind::Entry);
    }

    proptest::proptest! {
        #[test]
        fn never_panics(code in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            let got = placed(&code, ALL);
            proptest::prop_assert!(got.offset_in_function <= code.len() as u64);
        }
    }
}
