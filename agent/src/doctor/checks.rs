//! Each capability, tried out.

use super::{Check, Outcome};
use crate::discover;
use crate::kernel::{Offsets, btf, cgroup, rcu, unread};
use crate::loader::{Kernel, LoadError, Settings, brief, pins};
use crate::privileges;
use crate::socket_layer::{SYSCALLS_CANNOT_SEE, SocketLayer};

pub const TLS: &str = "tls-probes";

/// Big enough for a trial: nothing reads it.
const RING_BYTES: u32 = 64 * 1024;

/// Runs all checks; says which socket layer the agent would use.
pub fn all() -> (Vec<Check>, Option<SocketLayer>) {
    let mut checks = vec![architecture(), capabilities(), task_offsets(), cgroup_v2()];
    let trial = Trial::start();
    let layer = match &trial {
        Ok(trial) => trial.run(&mut checks),
        Err(error) => {
            checks.push(missing("load", error, "nothing can be seen; run as root, on a kernel from 5.8 on"));
            None
        }
    };
    checks.push(notifications());
    checks.push(quick_attach());
    checks.extend(unread());
    checks.extend(strict());
    (checks, layer)
}

fn ok(name: &'static str, detail: impl Into<String>) -> Check {
    Check { name, status: Outcome::Ok, detail: detail.into(), effect: String::new() }
}

fn missing(name: &'static str, error: &dyn std::error::Error, effect: impl Into<String>) -> Check {
    Check { name, status: Outcome::Missing, detail: brief(error), effect: effect.into() }
}

fn degraded(name: &'static str, detail: impl Into<String>, effect: impl Into<String>) -> Check {
    Check { name, status: Outcome::Degraded, detail: detail.into(), effect: effect.into() }
}

fn architecture() -> Check {
    let name = "architecture";
    match std::env::consts::ARCH {
        "x86_64" => ok(name, "x86_64"),
        other => {
            degraded(name, other, "TLS functions are found and probed on x86_64 only; sockets are watched")
        }
    }
}

fn capabilities() -> Check {
    let name = "capabilities";
    match privileges::plan() {
        Ok(plan) if plan.lacking.is_empty() => ok(name, "all held"),
        Ok(plan) => {
            let lacking: Vec<String> =
                plan.lacking.iter().map(|need| format!("{} ({})", need.capability, need.why)).collect();
            degraded(
                name,
                format!("without {}", lacking.join(", ")),
                "some programs' libraries cannot be read",
            )
        }
        Err(error) => missing(name, &error, "the agent will not start"),
    }
}

/// What an agent in `strict` mode left, which an agent that looks for it finds, and a person who wonders why writes are refused.
fn strict() -> Option<Check> {
    let left = "what `keymoat agent --strict` attached is in force, whether an agent runs or not; `keymoat agent --detach` ends it";
    pins::in_force().then(|| ok("strict", left))
}

/// Whom block mode would keep from reading; nobody, on most kernels.
fn unread() -> Option<Check> {
    let found = "judged connections hide what they have to read (FIONREAD)";
    unread::is_hidden().then(|| degraded("unread", found, format!("with `--mode block`: {}", unread::HIDDEN)))
}

fn task_offsets() -> Check {
    let name = "btf";
    match Offsets::read() {
        Some(_) => ok(name, btf::PATH),
        None => degraded(
            name,
            format!("{} is missing or has no task_struct", btf::PATH),
            "the process that sent a UDP packet is not known; use a kernel with CONFIG_DEBUG_INFO_BTF",
        ),
    }
}

fn cgroup_v2() -> Check {
    let name = "cgroup-v2";
    match cgroup::v2_mount() {
        Some(path) => ok(name, path.display().to_string()),
        None => degraded(
            name,
            "not mounted",
            "system calls are watched instead of sockets; mount -t cgroup2 none /sys/fs/cgroup/unified",
        ),
    }
}

fn notifications() -> Check {
    let name = "process-notifications";
    match discover::notifications_available() {
        Ok(()) => ok(name, "perf events for exec and mmap"),
        Err(error) => degraded(
            name,
            brief(&error),
            "processes are looked through every second instead: short-lived programs with libraries of their own are missed",
        ),
    }
}

fn quick_attach() -> Check {
    let name = "quick-attach";
    if rcu::switchable() {
        return ok(name, "grace periods are expedited while a probe is attached");
    }
    degraded(
        name,
        "/sys/kernel/rcu_expedited cannot be written",
        "a library that nobody mapped before is seen only 5 to 60 ms after it was mapped",
    )
}

pub(super) fn settings() -> Settings {
    let offsets = Offsets::read().unwrap_or_default();
    Settings {
        include_loopback: false,
        accepted_connections: true,
        response_budget: 0,
        ring_bytes: RING_BYTES,
        offsets,
        unread_hidden: false,
        tree: None,
    }
}

/// The kernel programs, loaded for the moment.
struct Trial(Kernel);

impl Trial {
    fn start() -> Result<Self, LoadError> {
        Kernel::load(settings(), None).map(Self)
    }

    fn run(&self, checks: &mut Vec<Check>) -> Option<SocketLayer> {
        checks.push(match self.0.load_tls() {
            Ok(()) => ok(TLS, "uprobe programs load"),
            Err(error) => missing(TLS, &error, "TLS plaintext is not seen"),
        });
        if self.sockets(checks) {
            return Some(SocketLayer::Sockets);
        }
        match self.0.attach_syscalls() {
            Ok(()) => {
                checks.push(degraded(
                    "syscall-probes",
                    "used instead of the socket programs",
                    format!("not seen: {SYSCALLS_CANNOT_SEE}"),
                ));
                Some(SocketLayer::Syscalls)
            }
            Err(error) => {
                checks.push(missing(
                    "syscall-probes",
                    &error,
                    "plaintext on sockets is not seen; mount -t tracefs tracefs /sys/kernel/tracing",
                ));
                None
            }
        }
    }

    fn sockets(&self, checks: &mut Vec<Check>) -> bool {
        let Some(cgroup) = cgroup::v2_mount() else { return false };
        let attached = self.0.attach_sockets(&cgroup);
        let works = attached.is_ok();
        checks.push(match attached {
            Ok(()) => {
                ok("sockets", "cgroup connect + sock_ops + cgroup_skb: TCP and UDP, every way to write")
            }
            Err(error) => missing("sockets", &error, "sockets are watched at their system calls instead"),
        });
        works
    }
}
