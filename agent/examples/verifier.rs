//! What the running kernel's verifier says of each program that it refuses: `verifier [METHOD...]` (as root): of those that only
//! look, or of those with which these methods refuse..

use clap::ValueEnum as _;
use keymoat_agent::enforce::Method;
use keymoat_agent::kernel::{Offsets, cgroup};
use keymoat_agent::loader::{Judging, Kernel, LoadError, Settings};
use keymoat_detect::{KernelRules, RuleSet};
use std::time::Instant;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let settings = Settings {
        include_loopback: false,
        accepted_connections: true,
        response_budget: 0,
        ring_bytes: 64 * 1024,
        offsets: Offsets::read().unwrap_or_default(),
        unread_hidden: false,
        tree: None,
    };
    let methods: Vec<_> =
        std::env::args().skip(1).map(|name| Method::from_str(&name, false)).collect::<Result<_, _>>()?;
    let rules = KernelRules::compile(&RuleSet::builtin()?);
    let mut kernel =
        Kernel::load(settings, (!methods.is_empty()).then(|| Judging::unnumbered(rules.tables())))?;
    for method in methods {
        report(method.name(), || kernel.use_rung(method));
    }
    report("sockets", || cgroup::v2_mount().map_or(Ok(()), |cgroup| kernel.attach_sockets(&cgroup)));
    report("tls", || kernel.load_tls());
    report("syscalls", || kernel.attach_syscalls());
    kernel.with(|ebpf| {
        for (name, program) in ebpf.programs() {
            if let Ok(info) = program.info() {
                println!("{name}: {} instructions walked", info.verified_instruction_count().unwrap_or(0));
            }
        }
    });
    Ok(())
}

fn report(what: &str, attach: impl FnOnce() -> Result<(), LoadError>) {
    let began = Instant::now();
    match attach() {
        Ok(()) => println!("{what}: accepted in {:?}", began.elapsed()),
        Err(error) => {
            let text = error.to_string();
            let lines: Vec<&str> = text.lines().collect();
            println!(
                "{what}: {}\n…\n{}",
                lines.first().unwrap_or(&""),
                lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
            );
        }
    }
}
