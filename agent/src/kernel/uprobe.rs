//! What the running kernel asks of who attaches a uprobe.

use std::io;

const PMU_TYPE: &str = "/sys/bus/event_source/devices/uprobe/type";
/// A path nobody has: the kernel looks at capabilities first, then for the file.
const NOWHERE: &std::ffi::CStr = c"/nonexistent-keymoat-uprobe-probe";

/// Does attaching take CAP_SYS_ADMIN? CAP_PERFMON was enough from 5.8 on; 6.17 went back to CAP_SYS_ADMIN
/// ("perf: Revert to requiring CAP_SYS_ADMIN for uprobes"), and so did stable releases of older series. So the
/// kernel is asked, not its version.
///
/// Runs on a thread of its own that lays the capability down first.
pub fn needs_admin() -> bool {
    let asked = std::thread::spawn(|| {
        // Not held: then it is missing already, which is just as good.
        let _ = caps::drop(None, caps::CapSet::Effective, caps::Capability::CAP_SYS_ADMIN);
        attempt().kind()
    });
    matches!(asked.join(), Ok(io::ErrorKind::PermissionDenied))
}

/// Tries to open a uprobe in a file that does not exist: the error says how far the kernel went.
fn attempt() -> io::Error {
    let pmu = match std::fs::read_to_string(PMU_TYPE).map(|text| text.trim().parse::<u32>()) {
        Ok(Ok(pmu)) => pmu,
        Ok(Err(_)) => return io::Error::other("uprobe event type is not a number"),
        Err(error) => return error,
    };
    let mut attr = perf_event_open_sys::bindings::perf_event_attr::default();
    attr.size = size_of_val(&attr) as u32;
    attr.type_ = pmu;
    attr.__bindgen_anon_3.uprobe_path = NOWHERE.as_ptr() as u64;
    // SAFETY: `attr` is a valid perf_event_attr whose path points to a static C string; the result is an error, as
    // the file does not exist, so there is no descriptor to own.
    let result = unsafe { perf_event_open_sys::perf_event_open(&raw mut attr, -1, 0, -1, 0) };
    if result >= 0 { io::Error::other("a uprobe in no file") } else { io::Error::last_os_error() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_every_capability_the_kernel_gets_as_far_as_the_file() {
        if rustix::process::geteuid().is_root() {
            assert_eq!(attempt().kind(), io::ErrorKind::NotFound);
        }
    }
}
