//! What the running kernel's verifier says of each program that it refuses: `verifier` (as root).

use keymoat_agent::kernel::{TaskOffsets, cgroup};
use keymoat_agent::loader::{Kernel, LoadError, Settings};

fn main() -> Result<(), LoadError> {
    let kernel = Kernel::load(Settings {
        include_loopback: false,
        accepted_connections: true,
        ring_bytes: 64 * 1024,
        task: TaskOffsets::read().unwrap_or_default(),
    })?;
    let sockets = cgroup::v2_mount().map_or(Ok(()), |cgroup| kernel.attach_sockets(&cgroup));
    for (what, result) in
        [("sockets", sockets), ("tls", kernel.load_tls()), ("syscalls", kernel.attach_syscalls())]
    {
        match result {
            Ok(()) => println!("{what}: accepted"),
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
    Ok(())
}
