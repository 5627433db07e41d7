//! Test programs of our own: `km-client` (system calls), `km-rustls` (TLS nobody sees into), and C programs
//! compiled when a test asks for them.

use crate::{env, pki};
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

/// Our client for plain sockets. `call` names the system call, e.g. `sendmmsg`.
pub fn km_client(call: &str, to: SocketAddr, script: &Path) -> Command {
    let mut command = Command::new(env::bin("km-client", "keymoat-tests"));
    command.arg(call).arg(to.to_string()).arg(script);
    command
}

/// Our OpenSSL client: each write of the script is one `SSL_write`.
pub fn openssl_client(linked: Linked, to: SocketAddr, sni: &str, script: &Path) -> Command {
    let mut command = Command::new(compiled("openssl_client", linked, &["-lssl", "-lcrypto"]));
    command.arg(to.ip().to_string()).arg(to.port().to_string()).arg(sni).arg(script);
    command
}

/// Our GnuTLS client; `call` is `send`, `send2` or `range`.
pub fn gnutls_client(call: &str, to: SocketAddr, sni: &str, script: &Path) -> Command {
    let mut command = Command::new(compiled("gnutls_client", Linked::Shared, &["-lgnutls"]));
    command.arg(to.ip().to_string()).arg(to.port().to_string()).arg(sni).arg(script).arg(call);
    command
}

/// Our client on rustls, which is compiled in: there is nothing to put a probe on.
pub fn km_rustls(to: SocketAddr, sni: &str, script: &Path) -> Command {
    let mut command = Command::new(env::bin("km-rustls", "keymoat-tests"));
    command.arg(to.to_string()).arg(sni).arg(pki::authority()).arg(script);
    command
}

/// The file curl loads as OpenSSL's libssl.
pub fn libssl() -> PathBuf {
    let libraries = libraries(&env::tool("curl"));
    let found = libraries.iter().find(|path| path.to_string_lossy().contains("/libssl.so"));
    found
        .and_then(|path| path.canonicalize().ok())
        .unwrap_or_else(|| env::missing("a curl that uses libssl.so"))
}

/// Every file a program loads, the loader included.
pub fn libraries(program: &Path) -> Vec<PathBuf> {
    let output = Command::new(env::tool("ldd")).arg(program).output().expect("run ldd");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    // Lines are `name => /path (address)`, and for the loader `/path (address)`.
    text.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}

/// Copies a file that is going to be run.
///
/// By a process of its own: a file this one writes would be open for writing in every child that another test's
/// thread starts meanwhile, until that child is at its own program, and running it would fail with "text file busy".
pub fn copy_program(from: &Path, to: &Path) {
    let status = Command::new(env::tool("cp")).arg("--").arg(from).arg(to).status().expect("run cp");
    assert!(status.success(), "cp {} {}: {status}", from.display(), to.display());
}

/// A new directory with a new copy of libssl under the name programs ask for.
pub fn fresh_libssl() -> PathBuf {
    let dir = env::fresh_dir("lib");
    fs::copy(libssl(), dir.join("libssl.so.3")).expect("copy libssl");
    dir
}

/// How a C program gets its TLS library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    Shared,
    /// The program carries its own copy.
    Static,
}

/// Compiles `tests/programs/NAME.c` unless an executable newer than the source is there.
fn compiled(name: &str, linked: Linked, libraries: &[&str]) -> PathBuf {
    static COMPILING: Mutex<()> = Mutex::new(());
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("programs").join(format!("{name}.c"));
    let suffix = if linked == Linked::Static { "-static" } else { "" };
    let file = env::bin_dir().join(format!("{name}{suffix}"));

    let _one_at_a_time = COMPILING.lock().unwrap_or_else(PoisonError::into_inner);
    let changed = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    if changed(&file) > changed(&source) {
        return file;
    }
    let mut compiler = Command::new(env::tool("cc"));
    compiler.args(["-O1", "-g", "-Wall", "-pthread"]);
    if linked == Linked::Static {
        compiler.arg("-static");
    }
    compiler.arg("-o").arg(&file).arg(&source).args(libraries);
    let output = compiler.output().expect("run cc");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cc {name}: {error}\nheaders missing? run: cargo xtask setup");
    file
}
