//! Does this kernel run the scan, does it say what userspace says, and what does it cost? `scan_in_kernel` (as root).
//!
//! A uprobe sits on a function of this very program, so each call of it is scanned in the kernel.

use aya::maps::Array;
use keymoat_abi::scan::Stream;
use keymoat_agent::kernel::Offsets;
use keymoat_agent::loader::{Judging, Kernel, Settings};
use keymoat_detect::{KernelRules, RuleSet};
use std::hint::black_box;
use std::time::Instant;

/// Bytes of one write.
const WRITE: usize = 64 * 1024;
const ROUNDS: usize = 200;
/// Rules that the check counts keys of.
const MAX_RULES: usize = 1024;

/// What the probe sits on.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn keymoat_scan_this(buffer: *const u8, len: usize) -> usize {
    black_box(buffer as usize ^ len)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rules = RuleSet::builtin()?;
    let compiled = KernelRules::compile(&rules);
    println!("{} rules, {} KiB of tables", rules.rules().len(), compiled.tables().size() / 1024);
    let settings = Settings {
        include_loopback: false,
        accepted_connections: false,
        response_budget: 0,
        ring_bytes: 64 * 1024,
        offsets: Offsets::default(),
        unread_hidden: false,
        tree: None,
    };
    let began = Instant::now();
    let kernel = Kernel::load(settings, Some(Judging::unnumbered(compiled.tables())))?;
    println!("maps made and filled in {:?}", began.elapsed());
    let began = Instant::now();
    kernel.attach_scan_check(&std::env::current_exe()?, "keymoat_scan_this")?;
    println!("program verified and attached in {:?}", began.elapsed());
    kernel.with(|ebpf| {
        let info = ebpf.program("scan_check").and_then(|program| program.info().ok());
        let walked = info.as_ref().and_then(aya::programs::ProgramInfo::verified_instruction_count);
        let size = info.as_ref().and_then(aya::programs::ProgramInfo::size_translated);
        println!("instructions: {} in the program, {} walked", size.unwrap_or(0) / 8, walked.unwrap_or(0));
    });
    let keys: Vec<&str> = rules.rules().iter().flat_map(|rule| &rule.positives).map(String::as_str).collect();
    let mut check = Check { kernel, rules: compiled, flow: Stream::NEW, keys: vec![0; MAX_RULES] };
    for (name, text) in texts(&keys) {
        check.run(name, &text)?;
    }
    Ok(())
}

fn texts(keys: &[&str]) -> [(&'static str, Vec<u8>); 4] {
    let fill = |text: String| text.bytes().cycle().take(WRITE).collect::<Vec<u8>>();
    let mut state = 11u64;
    let noise = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u8
    });
    let base64 = noise.filter(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(byte));
    [
        ("http", fill(HTTP.to_owned())),
        ("json", fill(JSON.to_owned())),
        ("base64", base64.take(WRITE).collect()),
        ("keys", fill(keys.iter().map(|key| format!("key={key}\r\n")).collect())),
    ]
}

/// The same writes on one flow, in the kernel and here.
struct Check {
    kernel: Kernel,
    rules: KernelRules,
    flow: Stream,
    /// By rule: keys found here.
    keys: Vec<u64>,
}

impl Check {
    fn run(&mut self, name: &str, text: &[u8]) -> Result<(), Box<dyn std::error::Error>> {
        let (mut kernel, mut here) = (f64::INFINITY, f64::INFINITY);
        for _ in 0..ROUNDS {
            keymoat_scan_this(text.as_ptr(), text.len());
            let [nanoseconds, finished] =
                self.kernel.with(|ebpf| entry::<[u64; 2]>(ebpf, "SCAN_CHECK", 0))?;
            if finished != 1 {
                return Err("the scan did not come to its end".into());
            }
            kernel = kernel.min(nanoseconds as f64);

            let began = Instant::now();
            let keys = &mut self.keys;
            let mut count =
                |rule: u16, _in_body: bool| keys.get_mut(usize::from(rule)).into_iter().for_each(|n| *n += 1);
            self.rules.write_stream(&mut self.flow, black_box(text), &mut count);
            here = here.min(began.elapsed().as_secs_f64() * 1e9);
            self.rules.complete(self.flow.flow()).for_each(|rule| count(rule, false));
        }
        let kernels: Vec<u64> = self.kernel.with(|ebpf| {
            (0..).take(MAX_RULES).map(|rule| entry(ebpf, "SCAN_CHECK_KEYS", rule)).collect::<Result<_, _>>()
        })?;
        if kernels != self.keys {
            return Err(format!("{name}: the kernel found {kernels:?}, userspace {:?}", self.keys).into());
        }
        let (per_byte, found) = (text.len() as f64, self.keys.iter().sum::<u64>());
        println!(
            "{name:<8} kernel {:>6.2} ns/byte, userspace {:>6.2} ns/byte, {found} keys so far, the same in both",
            kernel / per_byte,
            here / per_byte
        );
        Ok(())
    }
}

fn entry<T: aya::Pod>(
    ebpf: &aya::Ebpf,
    map: &'static str,
    index: u32,
) -> Result<T, Box<dyn std::error::Error>> {
    let map = ebpf.map(map).ok_or("the kernel object lacks a map")?;
    Ok(Array::<_, T>::try_from(map)?.get(&index, 0)?)
}

const HTTP: &str = "POST /v1/items/4711?page=2 HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: Mozilla/5.0 (X11; \
    Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36\r\nAccept: \
    text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\nAccept-Encoding: gzip, deflate, br\r\n\
    Content-Type: application/json\r\nX-Request-Id: 3f0c9b1e-77aa-4f0e-9a58-d2c1a6b0e4f7\r\n\r\n";
const JSON: &str = "{\"id\": 90210, \"created_at\": \"2026-11-22T01:28:15Z\", \"status\": \"completed\", \"items\": \
    [{\"sku\": \"BX-1187\", \"quantity\": 3, \"unit_price\": 12.5, \"description\": \"a parcel of grey wool, \
    delivered to the house by the mill before the evening\"}], \"note\": null, \"paid\": true}";
