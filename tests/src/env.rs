//! What surrounds a test run: how slow the machine is, where programs are, where temporary files go.

use rustix::process::{Pid, test_kill_process};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::Duration;

/// Marks everything this harness leaves in shared places; the process id follows.
pub const PREFIX: &str = "keymoat-tests-";

/// `KEYMOAT_TEST_SLOW=N` multiplies every deadline; a virtual machine without hardware help needs about 10.
pub fn slow() -> f64 {
    static SLOW: OnceLock<f64> = OnceLock::new();
    *SLOW.get_or_init(|| match env::var("KEYMOAT_TEST_SLOW") {
        Ok(text) => text.parse().expect("KEYMOAT_TEST_SLOW is a number"),
        Err(_) if in_vm() => 10.0,
        Err(_) => 1.0,
    })
}

/// Whether this kernel asks BPF programs what it lets pass.
pub fn has_bpf_lsm() -> bool {
    let modules = std::fs::read_to_string("/sys/kernel/security/lsm").unwrap_or_default();
    modules.trim().split(',').any(|module| module == "bpf")
}

/// Whether this kernel does TLS itself (CONFIG_TLS), as a module that has to be loaded mostly.
pub fn has_kernel_tls() -> bool {
    static HAS: LazyLock<bool> = LazyLock::new(|| {
        // Fails where it is built in, or not there at all.
        let _ = Command::new("modprobe").args(["-q", "tls"]).status();
        let protocols = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_ulp").unwrap_or_default();
        protocols.split_whitespace().any(|protocol| protocol == "tls")
    });
    *HAS
}

/// Whether the tests run in an emulated machine (`cargo xtask vm`).
pub fn in_vm() -> bool {
    env::var_os("KEYMOAT_VM").is_some_and(|value| value == "1")
}

/// A deadline of so many seconds on an ordinary machine.
pub fn seconds(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds * slow())
}

/// How often something is done: `long` times in a run of its own (`KEYMOAT_TEST_LONG=1`), `short` in every other.
pub fn count(short: usize, long: usize) -> usize {
    if env::var_os("KEYMOAT_TEST_LONG").is_some_and(|value| value == "1") { long } else { short }
}

/// The path of a program real users have. A missing one fails the test: a skipped test looks like a passed one.
pub fn tool(name: &str) -> PathBuf {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/bin", "/usr/sbin", "/bin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
        .unwrap_or_else(|| missing(name))
}

/// Fails the test and says what to do about it.
pub fn missing(what: &str) -> ! {
    panic!("{what} is missing; run: cargo xtask setup")
}

/// A program of this workspace, built on demand.
pub fn bin(name: &str, package: &str) -> PathBuf {
    static BUILDING: Mutex<()> = Mutex::new(());
    let file = bin_dir().join(name);
    let _one_at_a_time = BUILDING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if !file.is_file() {
        assert!(env::var_os("KEYMOAT_BIN_DIR").is_none(), "{} is missing", file.display());
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let status = Command::new(cargo).args(["build", "--quiet", "--package", package]).status();
        assert!(status.is_ok_and(|status| status.success()), "cargo build --package {package} failed");
    }
    assert!(file.is_file(), "{} was not built", file.display());
    file
}

/// `KEYMOAT_BIN_DIR`, or the target directory this test itself was built into.
pub fn bin_dir() -> PathBuf {
    if let Some(dir) = env::var_os("KEYMOAT_BIN_DIR") {
        return dir.into();
    }
    let test = env::current_exe().expect("own path");
    let dir = test.parent().expect("a directory");
    let dir = if dir.ends_with("deps") { dir.parent().expect("a directory") } else { dir };
    dir.to_owned()
}

/// This test process's own directory for temporary files, readable by every user.
pub fn run_dir() -> &'static Path {
    static DIR: OnceLock<PathBuf> = OnceLock::new();
    DIR.get_or_init(|| {
        let dir = env::temp_dir().join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir_all(&dir).expect("create a temporary directory");
        sweep();
        at_exit(|| drop(fs::remove_dir_all(run_dir())));
        dir
    })
}

/// A new empty directory under [`run_dir`].
pub fn fresh_dir(name: &str) -> PathBuf {
    let dir = tempfile::Builder::new().prefix(name).tempdir_in(run_dir()).expect("a temporary directory");
    dir.keep()
}

/// Writes a new file under [`run_dir`] and returns its path.
pub fn temp_file(name: &str, bytes: &[u8]) -> PathBuf {
    let file = fresh_dir(name).join(name);
    fs::write(&file, bytes).expect("write a temporary file");
    file
}

/// Whether the process that left `name` behind is gone.
pub fn is_stale(name: &str) -> bool {
    let pid = name.strip_prefix(PREFIX).and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_err())
}

/// Removes directories of test processes that were killed.
fn sweep() {
    for entry in fs::read_dir(env::temp_dir()).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_stale) {
            drop(fs::remove_dir_all(entry.path()));
        }
    }
}

/// Runs `cleanup` when the test process ends; statics are never dropped.
pub fn at_exit(cleanup: fn()) {
    static CLEANUPS: Mutex<Vec<fn()>> = Mutex::new(Vec::new());
    extern "C" fn run() {
        let cleanups = CLEANUPS.lock().map(|list| list.clone()).unwrap_or_default();
        cleanups.iter().rev().for_each(|cleanup| cleanup());
    }
    let mut cleanups = CLEANUPS.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if cleanups.is_empty() {
        // SAFETY: `run` is a plain function that does not unwind: none of the cleanups panics.
        unsafe { libc::atexit(run) };
    }
    cleanups.push(cleanup);
}
