//! What the agent may do, and the giving up of everything else.
//!
//! Capabilities belong to threads: [`restrict`] must run while there is only one, and new threads inherit what it
//! left. What only the attaching of probes needs stays with the thread that attaches them: the others are started by
//! [`without_attaching`] or after [`stop_attaching`]. Files the agent writes (JSONL, the fleet key) must be open by then.

use crate::kernel;
use caps::{CapSet, Capability, CapsHashSet};
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use std::fmt;
use std::time::{Duration, Instant};

/// Why the agent cannot do its work without.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    pub capability: Capability,
    pub why: &'static str,
}

/// Without these nothing is attached.
const NEEDED: &[Need] = &[
    Need { capability: Capability::CAP_BPF, why: "load programs and maps" },
    Need {
        capability: Capability::CAP_PERFMON,
        why: "uprobes, reading memory of programs, notifications of exec and mmap",
    },
    Need { capability: Capability::CAP_NET_ADMIN, why: "programs on sockets and packets" },
    Need {
        capability: Capability::CAP_SYS_PTRACE,
        why: "/proc/PID of other users: mappings, root, executable; copies of their sockets",
    },
];
/// Kernels before 5.8 have neither CAP_BPF nor CAP_PERFMON.
const INSTEAD: Need = Need {
    capability: Capability::CAP_SYS_ADMIN,
    why: "this kernel is older than 5.8 and has no CAP_BPF and CAP_PERFMON",
};
/// Where the kernel asks for it (`kernel::uprobe::needs_admin`): kept by the thread that attaches probes, by no other.
const ATTACHING: Need = Need {
    capability: Capability::CAP_SYS_ADMIN,
    why: "uprobes, on this kernel; kept by the attaching thread only",
};
/// Kept when present; without them less is seen.
const EXTRA: &[Need] = &[Need {
    capability: Capability::CAP_DAC_READ_SEARCH,
    why: "programs and libraries in directories only their owner may enter",
}];
/// Kept when present, by the thread that attaches probes; without it, requests are missed on a busy machine.
const ATTACHING_SOON: Need = Need {
    capability: Capability::CAP_SYS_NICE,
    why: "attaching before the program goes on; kept by the attaching thread only",
};
/// How long a thread that has ended may take to disappear. Microseconds, on a machine that is not overloaded.
const ENDING: Duration = Duration::from_secs(2);
/// A probed file has one descriptor of its own and one per function.
const MAX_DESCRIPTORS: u64 = 65_536;
/// CAP_BPF, by number: the newest this agent knows of and older kernels do not.
const CAP_BPF: u8 = 39;

#[derive(Debug, thiserror::Error)]
pub enum PrivilegeError {
    #[error("missing {missing}; run `sudo keymoat agent`, or once `sudo setcap {set}=ep {program}`")]
    Missing { missing: String, set: String, program: String },
    #[error("capabilities must be given up before other threads start, and there are {0}")]
    TooLate(usize),
    #[error("cannot {step}: {error}")]
    Kernel { step: &'static str, error: String },
}

/// What will be kept.
#[derive(Clone, Debug)]
pub struct Plan {
    keep: Vec<Need>,
    /// Kept by the thread that attaches probes.
    attaching: Vec<Need>,
    /// Wanted, but not held: less will be seen.
    pub lacking: Vec<Need>,
}

/// What is left after [`restrict`], as the kernel tells it.
#[derive(Clone, Debug)]
pub struct Remaining {
    pub capabilities: Vec<Need>,
    pub lacking: Vec<Need>,
    /// False: there was no right to empty it; with `no_new_privileges` nothing can be regained from it.
    pub bounding_set_reduced: bool,
    pub no_new_privileges: bool,
    pub core_dumps: bool,
}

/// Is everything needed there? Needs no privileges to find out.
pub fn plan() -> Result<Plan, PrivilegeError> {
    let held = read(CapSet::Permitted)?;
    let program = std::env::current_exe().ok().map(|path| path.display().to_string());
    plan_with(&held, last_capability(), kernel::uprobe::needs_admin(), program)
}

fn plan_with(
    held: &CapsHashSet,
    last: u8,
    uprobes_need_admin: bool,
    program: Option<String>,
) -> Result<Plan, PrivilegeError> {
    let is_known = |need: &&Need| need.capability.index() <= last;
    let instead = (last < CAP_BPF).then_some(&INSTEAD);
    let needed: Vec<Need> = NEEDED.iter().filter(is_known).chain(instead).copied().collect();
    let mut attaching: Vec<Need> = if uprobes_need_admin { vec![ATTACHING] } else { Vec::new() };
    let missing: Vec<Need> =
        needed.iter().chain(&attaching).filter(|n| !held.contains(&n.capability)).copied().collect();
    if !missing.is_empty() {
        let all: Vec<Need> =
            needed.iter().chain(&attaching).chain(EXTRA).chain([&ATTACHING_SOON]).copied().collect();
        return Err(PrivilegeError::Missing {
            missing: names(&missing, ", "),
            set: names(&all, ",").to_lowercase(),
            program: program.unwrap_or_else(|| "keymoat".to_owned()),
        });
    }
    let (extra, mut lacking): (Vec<Need>, Vec<Need>) =
        EXTRA.iter().partition(|n| held.contains(&n.capability));
    match held.contains(&ATTACHING_SOON.capability) {
        true => attaching.push(ATTACHING_SOON),
        false => lacking.push(ATTACHING_SOON),
    }
    Ok(Plan { keep: needed.into_iter().chain(extra).collect(), attaching, lacking })
}

/// Gives up every capability that is not planned to be kept, for good, and keeps memory out of core files.
pub fn restrict(plan: &Plan) -> Result<Remaining, PrivilegeError> {
    alone()?;
    no_core_dumps()?;
    restrict_thread(plan)
}

/// Waits until the calling thread is the only one. A thread that was joined is still listed for a moment: whoever joins
/// is woken before the kernel takes it off the list.
fn alone() -> Result<(), PrivilegeError> {
    let deadline = Instant::now() + ENDING;
    loop {
        let threads = procfs::process::Process::myself()
            .and_then(|me| me.tasks())
            .map_err(failed("count threads"))?
            .count();
        match threads {
            0 | 1 => return Ok(()),
            _ if Instant::now() > deadline => return Err(PrivilegeError::TooLate(threads)),
            _ => std::thread::sleep(Duration::from_millis(1)),
        }
    }
}

/// Runs `start` on a thread that can attach nothing, and so do all threads it starts.
pub fn without_attaching<T: Send>(
    plan: &Plan,
    start: impl FnOnce() -> T + Send,
) -> Result<T, PrivilegeError> {
    std::thread::scope(|scope| {
        let reduced = scope.spawn(|| {
            stop_attaching(plan)?;
            Ok(start())
        });
        let gone = |_| PrivilegeError::Kernel {
            step: "start threads",
            error: "the starting thread panicked".to_owned(),
        };
        reduced.join().map_err(gone)?
    })
}

/// Gives up, on this thread, what only attaching needs.
pub fn stop_attaching(plan: &Plan) -> Result<(), PrivilegeError> {
    let keep: CapsHashSet = plan.keep.iter().map(|need| need.capability).collect();
    reduce_bounding_set(&keep)?;
    caps::set(None, CapSet::Effective, &keep).map_err(failed("reduce the effective set"))?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed("reduce the permitted set"))
}

fn restrict_thread(plan: &Plan) -> Result<Remaining, PrivilegeError> {
    let kept = || plan.keep.iter().chain(&plan.attaching);
    let keep: CapsHashSet = kept().map(|need| need.capability).collect();
    // The bounding set first: emptying it is itself a privilege.
    let bounding_set_reduced = reduce_bounding_set(&keep)?;
    caps::clear(None, CapSet::Ambient).map_err(failed("clear the ambient set"))?;
    caps::set(None, CapSet::Effective, &keep).map_err(failed("reduce the effective set"))?;
    caps::set(None, CapSet::Permitted, &keep).map_err(failed("reduce the permitted set"))?;
    caps::clear(None, CapSet::Inheritable).map_err(failed("clear the inheritable set"))?;
    rustix::thread::set_no_new_privs(true).map_err(failed("set no_new_privs"))?;

    let left = read(CapSet::Permitted)?;
    Ok(Remaining {
        capabilities: kept().filter(|need| left.contains(&need.capability)).copied().collect(),
        lacking: plan.lacking.clone(),
        bounding_set_reduced,
        no_new_privileges: rustix::thread::no_new_privs().map_err(failed("read no_new_privs"))?,
        core_dumps: rustix::process::getrlimit(Resource::Core).current != Some(0),
    })
}

fn reduce_bounding_set(keep: &CapsHashSet) -> Result<bool, PrivilegeError> {
    if !read(CapSet::Effective)?.contains(&Capability::CAP_SETPCAP) {
        return Ok(false);
    }
    for capability in read(CapSet::Bounding)?.difference(keep) {
        caps::drop(None, CapSet::Bounding, *capability).map_err(failed("reduce the bounding set"))?;
    }
    Ok(true)
}

/// Memory holds what programs sent: it must not reach a core file, nor a debugger of the same user.
pub fn no_core_dumps() -> Result<(), PrivilegeError> {
    let none = Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(Resource::Core, none).map_err(failed("forbid core files"))?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed("forbid core dumps"))
}

/// Every probed file and every probe is an open descriptor. Needs CAP_SYS_RESOURCE to go beyond the hard limit, so it
/// comes before [`restrict`].
pub fn lift_descriptor_limit() -> Result<(), PrivilegeError> {
    let had = rustix::process::getrlimit(Resource::Nofile);
    let wanted = |maximum| Rlimit { current: maximum, maximum };
    rustix::process::setrlimit(Resource::Nofile, wanted(Some(MAX_DESCRIPTORS)))
        .or_else(|_| rustix::process::setrlimit(Resource::Nofile, wanted(had.maximum)))
        .map_err(failed("lift the limit of open files"))
}

/// Kernels before 5.11 count BPF maps as locked memory. Needs CAP_SYS_RESOURCE, so it comes before [`restrict`].
pub fn lift_memlock_limit() -> Result<(), PrivilegeError> {
    let unlimited = Rlimit { current: None, maximum: None };
    rustix::process::setrlimit(Resource::Memlock, unlimited)
        .map_err(failed("lift the limit of locked memory"))
}

fn read(set: CapSet) -> Result<CapsHashSet, PrivilegeError> {
    caps::read(None, set).map_err(failed("read capabilities"))
}

fn failed<E: fmt::Display>(step: &'static str) -> impl Fn(E) -> PrivilegeError {
    move |error| PrivilegeError::Kernel { step, error: error.to_string() }
}

/// Number of the last capability this kernel knows; unreadable: a kernel like today's.
fn last_capability() -> u8 {
    let text = std::fs::read_to_string("/proc/sys/kernel/cap_last_cap").unwrap_or_default();
    text.trim().parse().unwrap_or(u8::MAX)
}

fn names(needs: &[Need], separator: &str) -> String {
    needs.iter().map(|need| need.capability.to_string()).collect::<Vec<_>>().join(separator)
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.capability, self.why)
    }
}

/// For a person who asks what the agent can still do.
impl fmt::Display for Remaining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "capabilities kept: {}", names(&self.capabilities, ", "))?;
        // The only one that is far more than keymoat wants: say why it is kept.
        for need in self.capabilities.iter().filter(|need| need.capability == Capability::CAP_SYS_ADMIN) {
            write!(f, "; {need}")?;
        }
        for need in &self.lacking {
            write!(f, "; without {need} less is seen")?;
        }
        if !self.bounding_set_reduced {
            write!(f, "; the bounding set stays as it was (no CAP_SETPCAP)")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown};

    fn set(capabilities: &[Capability]) -> CapsHashSet {
        capabilities.iter().copied().collect()
    }

    #[test]
    fn what_is_missing_is_named_with_the_command_that_helps() {
        let held = set(&[Capability::CAP_BPF, Capability::CAP_SYS_PTRACE]);
        let error = plan_with(&held, 40, false, Some("/opt/keymoat".to_owned())).unwrap_err().to_string();
        assert_eq!(
            error,
            "missing CAP_PERFMON, CAP_NET_ADMIN; run `sudo keymoat agent`, or once `sudo setcap \
             cap_bpf,cap_perfmon,cap_net_admin,cap_sys_ptrace,cap_dac_read_search,cap_sys_nice=ep /opt/keymoat`"
        );
    }

    #[test]
    fn old_kernels_need_one_for_two() {
        let held = set(&[Capability::CAP_SYS_ADMIN, Capability::CAP_NET_ADMIN, Capability::CAP_SYS_PTRACE]);
        let plan = plan_with(&held, 37, false, None).unwrap();
        assert_eq!(names(&plan.keep, " "), "CAP_NET_ADMIN CAP_SYS_PTRACE CAP_SYS_ADMIN");
        assert_eq!(names(&plan.lacking, " "), "CAP_DAC_READ_SEARCH CAP_SYS_NICE");
        assert!(matches!(plan_with(&held, 40, false, None), Err(PrivilegeError::Missing { .. })));
        let remaining = Remaining {
            capabilities: plan.keep,
            lacking: plan.lacking,
            bounding_set_reduced: false,
            no_new_privileges: true,
            core_dumps: false,
        };
        let text = remaining.to_string();
        assert!(text.contains("older than 5.8") && text.contains("without CAP_DAC_READ_SEARCH"), "{text}");
    }

    /// Runs on its own thread, since capabilities are a thread's.
    fn restricted<T: Send + 'static>(
        keep: &[Need],
        then: impl FnOnce(Remaining) -> T + Send + 'static,
    ) -> Option<T> {
        if !read(CapSet::Effective).unwrap().contains(&Capability::CAP_SETPCAP) || plan().is_err() {
            eprintln!("skipped: needs root");
            return None;
        }
        let plan = Plan { keep: keep.to_vec(), attaching: Vec::new(), lacking: Vec::new() };
        Some(std::thread::spawn(move || then(restrict_thread(&plan).unwrap())).join().unwrap())
    }

    #[test]
    fn everything_else_is_gone() {
        restricted(NEEDED, |remaining| {
            let mut left: Vec<u8> = read(CapSet::Permitted).unwrap().iter().map(Capability::index).collect();
            let mut expected: Vec<u8> = NEEDED.iter().map(|need| need.capability.index()).collect();
            left.sort_unstable();
            expected.sort_unstable();
            assert_eq!(left, expected);
            assert_eq!(read(CapSet::Effective).unwrap().len(), expected.len());
            assert_eq!(read(CapSet::Bounding).unwrap().len(), expected.len());
            assert!(
                read(CapSet::Inheritable).unwrap().is_empty() && read(CapSet::Ambient).unwrap().is_empty()
            );
            assert!(remaining.no_new_privileges && remaining.bounding_set_reduced);
            assert_eq!(remaining.capabilities.len(), NEEDED.len());
        });
    }

    /// The proof that CAP_DAC_READ_SEARCH is needed: a program in a directory only its owner may enter.
    #[test]
    fn other_peoples_private_files_need_the_extra_capability() {
        let directory = tempfile::tempdir().unwrap();
        let private = directory.path().join("private");
        std::fs::create_dir(&private).unwrap();
        let program = private.join("program");
        std::fs::write(&program, "x").unwrap();
        std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o700)).unwrap();
        if chown(&private, Some(1000), Some(1000)).is_err() {
            eprintln!("skipped: needs root");
            return;
        }
        let path = program.clone();
        if let Some(without) = restricted(NEEDED, move |_| std::fs::read(path)) {
            assert_eq!(without.unwrap_err().kind(), std::io::ErrorKind::PermissionDenied);
        }
        let all: Vec<Need> = NEEDED.iter().chain(EXTRA).copied().collect();
        if let Some(with) = restricted(&all, move |_| std::fs::read(program)) {
            assert_eq!(with.unwrap(), b"x");
        }
    }

    #[test]
    fn threads_that_run_already_are_an_error() {
        let plan = Plan { keep: Vec::new(), attaching: Vec::new(), lacking: Vec::new() };
        std::thread::scope(|scope| {
            let (stop, wait) = std::sync::mpsc::channel::<()>();
            scope.spawn(move || wait.recv());
            assert!(matches!(restrict(&plan), Err(PrivilegeError::TooLate(n)) if n > 1));
            drop(stop);
        });
    }
}
