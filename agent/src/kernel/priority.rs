//! Who runs first when processors are short.
//!
//! A program with a library of its own sends its first request a few milliseconds after mapping it. Only if the thread
//! that attaches probes gets a processor before that program goes on is the request seen.

use rustix::process::setpriority_process;
use rustix::thread::gettid;
use std::io;

/// The lowest of the priorities that come before every ordinary program. The kernel keeps 5 % of the time for those
/// (`sched_rt_runtime_us`), so a thread that ran wild could not stop the machine.
const REALTIME: u8 = 1;
/// Where there is no real-time scheduling (a cgroup without a share of it, for instance).
const NICE: i8 = -15;

/// The calling thread runs before ordinary programs; threads it starts do not. Needs CAP_SYS_NICE.
pub fn raise() -> io::Result<()> {
    realtime().or_else(|_| Ok(setpriority_process(Some(gettid()), NICE.into())?))
}

fn realtime() -> io::Result<()> {
    let parameters = libc::sched_param { sched_priority: REALTIME.into() };
    let policy = libc::SCHED_RR | libc::SCHED_RESET_ON_FORK;
    // SAFETY: the call reads `parameters`, which outlives it; 0 is the calling thread.
    match unsafe { libc::sched_setscheduler(0, policy, &raw const parameters) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raised_thread_comes_first_and_the_threads_it_starts_do_not() {
        let raised = || {
            // SAFETY: takes no pointer; 0 is the calling thread.
            let policy = unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
            policy == libc::SCHED_RR || rustix::process::getpriority_process(None).unwrap() == i32::from(NICE)
        };
        let thread = std::thread::spawn(move || {
            let held = caps::has_cap(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_NICE).unwrap();
            assert_eq!(raise().is_ok(), held);
            assert_eq!(raised(), held);
            // SAFETY: as above.
            let child = std::thread::spawn(|| unsafe { libc::sched_getscheduler(0) });
            assert_eq!(child.join().unwrap(), libc::SCHED_OTHER);
        });
        thread.join().unwrap();
    }
}
