//! Looks for keys in what a program writes: `keymoat_abi::scan` over the rules' maps.
//!
//! `bpf_loop` repeats one step, so the verifier walks it once, whatever the rules and the length of the write. It exists
//! since Linux 5.17.

use crate::{emit::Bytes, maps};
use aya_ebpf::helpers::generated::bpf_loop;
use core::ffi::c_void;
use keymoat_abi::scan::{
    Anchor, BEGINNING_WORDS, BLOCK, FILTER_WORDS, Half, Header, SLOTS, Source, Step, Stream, Tables, Token,
    WINDOW_WORDS,
};

/// What a scan ended with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// No key that the judge refuses.
    Passed,
    /// The judge refuses a key of this rule, which ends among the first `within` bytes of the write.
    Refused { rule: u16, within: u64 },
    /// There are no rules, the bytes could not be read, or they took too many steps: nothing can be said about the rest.
    Unfinished,
}

/// Whether a key may leave. A struct and no closure: a closure's type is nothing that the kernel's BTF allows in a struct.
pub trait Judge: Copy {
    /// `in_body`: the key is in the body of a request, for certain. It ends among the first `within` bytes of the write.
    fn refuses(&self, rule: u16, in_body: bool, within: u64) -> bool;
}

/// The kernel's own limit, which no scan comes near: [`Stream::spend`] ends it. A number that depended on the write would be one
/// more for the verifier to follow from every way that leads here.
const MAX_STEPS: u32 = 1 << 23;

/// Scans a write of `len` bytes. The judge is asked about every key that ends in it, and about those that are complete if
/// nothing follows: the write that completes a key is the one to refuse.
#[inline(always)]
pub fn scan<B: Bytes, J: Judge>(stream: &mut Stream, bytes: B, len: u64, judge: J) -> Outcome {
    let half = maps::SCAN_IN_USE.get(0).copied().unwrap_or(0) as u8;
    let Some(rules) = Rules::of(half) else { return Outcome::Unfinished };
    stream.begin(len, bytes.address(), rules.half.header.generation, half);
    let mut state = State { stream, bytes: Write(bytes), judge, end: UNFINISHED };
    // SAFETY: the callback has the signature that the helper wants, and `state` lives longer than the call.
    unsafe {
        bpf_loop(MAX_STEPS, advance::<B, J> as *mut c_void, (&raw mut state).cast(), 0);
    }
    match state.end {
        UNFINISHED => {
            state.stream.cue();
            Outcome::Unfinished
        }
        PASSED => Outcome::Passed,
        refused => Outcome::Refused { rule: refused as u16, within: state.stream.taken() },
    }
}

/// A scan between two steps.
struct State<'a, B, J> {
    stream: &'a mut Stream,
    bytes: Write<B>,
    judge: J,
    /// [`UNFINISHED`], [`PASSED`], or [`REFUSED`] and the rule. A number: the compiler copies an enum with what is between its
    /// fields, which nobody wrote and the verifier lets nobody read.
    end: u64,
}

const UNFINISHED: u64 = 0;
const PASSED: u64 = 1;
const REFUSED: u64 = 1 << 16;

/// The bytes of a write, as the matcher takes them.
#[derive(Clone, Copy)]
struct Write<B>(B);

impl<B: Bytes> Source for Write<B> {
    const OF_PROGRAM: bool = B::OF_PROGRAM;

    #[inline(always)]
    unsafe fn copy<const LEN: u32>(&self, to: *mut u8, from: u64) -> bool {
        // SAFETY: by this function's contract.
        unsafe { self.0.copy_exactly::<LEN>(to, from) }
    }
}

/// One step. 1 ends the loop.
extern "C" fn advance<B: Bytes, J: Judge>(_index: u64, state: *mut State<'_, B, J>) -> i64 {
    // SAFETY: what `scan` gave to the helper.
    let state = unsafe { &mut *state };
    if !state.stream.spend() {
        return 1;
    }
    if state.stream.open(&state.bytes) {
        return 0;
    }
    let looked = scan_look(&raw mut *state.stream);
    if looked & HIT != 0 {
        state.stream.cue();
        let rule = looked as u16;
        let refused = state.judge.refuses(rule, looked & IN_BODY != 0, state.stream.taken());
        if refused {
            state.end = REFUSED | u64::from(rule);
        }
        return refused.into();
    }
    if looked != STARVED || state.stream.refill(&state.bytes) {
        return 0;
    }
    if state.stream.is_taken() {
        state.end = at_the_end(state);
        if let Some(half) = maps::SCAN_HALVES.get(state.stream.half().into()) {
            state.stream.end(&half.header);
        }
    }
    1
}

/// Answers of [`scan_look`] and [`scan_complete`]: with [`HIT`] comes the rule, and [`IN_BODY`] if its key is in a body.
const MORE: u64 = 0;
const STARVED: u64 = 1;
const HIT: u64 = 1 << 16;
const IN_BODY: u64 = 1 << 17;

/// Looks at what a stream has taken. A global function: the verifier looks at it once and by itself, whoever calls it from
/// wherever (Linux 5.6; with a pointer, 5.13). Kernels before 6.4, above all, do not get through it otherwise.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan_look(stream: *mut Stream) -> u64 {
    // SAFETY: a valid stream, or null: the verifier sees to it.
    let Some(stream) = (unsafe { stream.as_mut() }) else { return STARVED };
    let Some(rules) = Rules::of(stream.half()) else { return STARVED };
    match stream.look(&rules) {
        Step::More => MORE,
        Step::Starved => STARVED,
        Step::Hit(rule) => hit(stream, rule),
    }
}

#[inline(always)]
fn hit(stream: &Stream, rule: u16) -> u64 {
    let place = if stream.is_in_body() { IN_BODY } else { 0 };
    HIT | place | u64::from(rule)
}

/// The rule of the match in this slot if it is complete when nothing follows.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn scan_complete(stream: *mut Stream, slot: u64) -> u64 {
    // SAFETY: as in `scan_look`.
    let Some(stream) = (unsafe { stream.as_mut() }) else { return MORE };
    let Some(rules) = Rules::of(stream.half()) else { return MORE };
    match stream.flow().complete(&rules, slot as usize) {
        Some(rule) => hit(stream, rule),
        None => MORE,
    }
}

/// What to say of the keys that are complete if nothing follows.
#[inline(always)]
fn at_the_end<B, J: Judge>(state: &mut State<'_, B, J>) -> u64 {
    for slot in 0..SLOTS {
        let complete = scan_complete(&raw mut *state.stream, slot as u64);
        if complete & HIT != 0
            && state.judge.refuses(complete as u16, complete & IN_BODY != 0, state.stream.taken())
        {
            return REFUSED | complete & 0xffff;
        }
    }
    PASSED
}

/// The tables in one half of the maps. What every step needs is looked up once.
#[derive(Clone, Copy)]
struct Rules<'a> {
    half: &'a Half,
    filter: &'a [u64; FILTER_WORDS],
}

impl Rules<'_> {
    /// None until the agent has written them.
    #[inline(always)]
    fn of(number: u8) -> Option<Self> {
        let half = maps::SCAN_HALVES.get(number.into())?;
        let filter = maps::SCAN_FILTER.get(number.into())?;
        (half.header.generation != 0).then_some(Self { half, filter })
    }
}

/// A cell of a table that is stored in blocks.
#[inline(always)]
fn cell(block: Option<&[u16; BLOCK]>, cell: u32) -> u16 {
    block.and_then(|cells| cells.get(cell as usize & (BLOCK - 1))).copied().unwrap_or(0)
}

impl Tables for Rules<'_> {
    #[inline(always)]
    fn header(&self) -> Header {
        self.half.header
    }
    #[inline(always)]
    fn windows(&self, word: u32) -> u64 {
        self.filter.get(word as usize & (WINDOW_WORDS - 1)).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn beginnings(&self, word: u32) -> u64 {
        self.filter.get(WINDOW_WORDS + (word as usize & (BEGINNING_WORDS - 1))).copied().unwrap_or(0)
    }
    #[inline(always)]
    fn class(&self, map: u16, byte: u8) -> u8 {
        maps::SCAN_CLASSES
            .get(self.half.classes + u32::from(map))
            .and_then(|classes| classes.get(usize::from(byte)))
            .copied()
            .unwrap_or(0)
    }
    #[inline(always)]
    fn literal(&self, index: u32) -> u16 {
        cell(maps::SCAN_LITERALS.get(self.half.literals + index / BLOCK as u32), index)
    }
    #[inline(always)]
    fn ending(&self, index: u16) -> u16 {
        maps::SCAN_ENDING.get(self.half.ending + u32::from(index)).copied().unwrap_or_default()
    }
    #[inline(always)]
    fn anchor(&self, index: u16) -> Anchor {
        maps::SCAN_ANCHORS.get(self.half.anchors + u32::from(index)).copied().unwrap_or_default()
    }
    #[inline(always)]
    fn token(&self, index: u16) -> Token {
        maps::SCAN_TOKENS.get(self.half.tokens + u32::from(index)).copied().unwrap_or_default()
    }
    #[inline(always)]
    fn cell(&self, index: u32) -> u16 {
        cell(maps::SCAN_CELLS.get(self.half.cells + index / BLOCK as u32), index)
    }
    #[inline(always)]
    fn glue(&self, set: u16, word: u8) -> u32 {
        maps::SCAN_GLUE
            .get(self.half.glue + u32::from(set))
            .and_then(|words| words.get(usize::from(word) & 7))
            .copied()
            .unwrap_or(0)
    }
}
