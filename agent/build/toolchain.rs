//! Which compiler can build the kernel object on this machine.
//!
//! Shared by `agent/build.rs`, which uses it, and `cargo xtask setup`, which asks what is missing: std only.
//!
//! A toolchain is a cargo, a rustc of the same release, that rustc's own LLVM, and a `core` for the BPF target:
//! either its source (`rust-src`, built with `-Z build-std`) or ready-made (Debian's `libstd-rust-web-dev-bpf`).

use std::{
    env, fmt, fs,
    path::{Path, PathBuf},
    process::Command,
};

/// The bpf-linker that `cargo xtask setup` installs, and the LLVM its default features are written against.
pub const LINKER_VERSION: &str = "0.10.3";
pub const LINKER_LLVM: u32 = 22;

/// Rustup toolchains worth asking, best first. Both run with `RUSTC_BOOTSTRAP=1`.
const RUSTUP_TOOLCHAINS: [&str; 2] = ["nightly", "stable"];

pub struct Toolchain {
    pub name: String,
    pub cargo: PathBuf,
    pub rustc: PathBuf,
    /// `core` must be built from source.
    pub build_std: bool,
    /// The LLVM library that wrote the bitcode. bpf-linker loads the same one, so it can always read it.
    pub llvm: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = if self.build_std { "built from source" } else { "ready-made" };
        let (cargo, rustc, llvm) = (self.cargo.display(), self.rustc.display(), self.llvm.display());
        write!(f, "{} ({cargo}, {rustc}, {llvm}; core {core})", self.name)
    }
}

/// The first toolchain that has everything, or why each one has not.
pub fn find(bpf_target: &str) -> Result<Toolchain, Vec<String>> {
    let mut reasons = Vec::new();
    for name in RUSTUP_TOOLCHAINS {
        match from_rustup(name) {
            Ok(found) => return Ok(found),
            Err(reason) => reasons.push(format!("rustup's {name}: {reason}")),
        }
    }
    match from_system(bpf_target) {
        Ok(found) => Ok(found),
        Err(reason) => {
            reasons.push(format!("the system's own Rust: {reason}"));
            Err(reasons)
        }
    }
}

/// bpf-linker, from PATH or where `cargo install` puts it.
pub fn linker() -> Option<PathBuf> {
    let on_path =
        env::var_os("PATH").map(|path| env::split_paths(&path).collect::<Vec<_>>()).unwrap_or_default();
    on_path.into_iter().chain(cargo_bin()).map(|folder| folder.join("bpf-linker")).find(|file| file.is_file())
}

fn cargo_bin() -> Option<PathBuf> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    home.map(|home| home.join("bin"))
}

/// The compilers themselves are used, not rustup's proxies: those put a toolchain of their own choice into the
/// environment.
fn from_rustup(name: &str) -> Result<Toolchain, String> {
    let asked = output(Command::new("rustup").args(["run", name, "rustc", "--print", "sysroot"]));
    let sysroot = PathBuf::from(asked.ok_or("not installed")?.trim());
    if !sysroot.join("lib/rustlib/src/rust/library/core").is_dir() {
        return Err("has no rust-src".into());
    }
    let rustc = sysroot.join("bin/rustc");
    let llvm = library_in(&sysroot.join("lib")).ok_or("has no LLVM library of its own")?;
    accept(Toolchain {
        name: format!("rustup's {name}"),
        cargo: sysroot.join("bin/cargo"),
        rustc,
        build_std: true,
        llvm,
    })
}

fn from_system(bpf_target: &str) -> Result<Toolchain, String> {
    let (cargo, rustc) = (PathBuf::from("/usr/bin/cargo"), PathBuf::from("/usr/bin/rustc"));
    if !rustc.is_file() || !cargo.is_file() {
        return Err("no /usr/bin/rustc with /usr/bin/cargo".into());
    }
    let sysroot = output(Command::new(&rustc).args(["--print", "sysroot"])).ok_or("does not run")?;
    if !Path::new(sysroot.trim()).join("lib/rustlib").join(bpf_target).is_dir() {
        return Err(format!("has no core for {bpf_target}"));
    }
    let llvm = linked_llvm(&rustc).ok_or("its LLVM library cannot be found")?;
    accept(Toolchain { name: "the system's own Rust".into(), cargo, rustc, build_std: false, llvm })
}

/// Says no to a compiler whose LLVM the linker was not written for: that ends in a crash, not in a message.
fn accept(toolchain: Toolchain) -> Result<Toolchain, String> {
    let version = output(Command::new(&toolchain.rustc).arg("-vV")).ok_or("does not run")?;
    let llvm = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")).unwrap_or("?");
    let major = llvm.split('.').next().and_then(|major| major.parse::<u32>().ok());
    if is_our_linker() && major != Some(LINKER_LLVM) {
        let release = version.lines().next().unwrap_or("rustc");
        return Err(format!(
            "{release} is built on LLVM {llvm}, bpf-linker {LINKER_VERSION} on LLVM {LINKER_LLVM}; \
             install a rustc built on LLVM {LINKER_LLVM}, or a bpf-linker for this LLVM \
             (cargo install bpf-linker --force --no-default-features --features rust-llvm-{})",
            major.unwrap_or(LINKER_LLVM)
        ));
    }
    Ok(toolchain)
}

/// Another bpf-linker is somebody's choice, made for an LLVM this cannot know.
fn is_our_linker() -> bool {
    let version = linker().and_then(|linker| output(Command::new(linker).arg("--version")));
    version.is_none_or(|version| version.trim().ends_with(LINKER_VERSION))
}

/// A real library of that name; rustup also ships linker scripts beside it.
fn library_in(folder: &Path) -> Option<PathBuf> {
    let files = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    files.into_iter().find(|file| {
        let named = file.file_name().and_then(|name| name.to_str()).is_some_and(|n| n.starts_with("libLLVM"));
        named && fs::metadata(file).is_ok_and(|facts| facts.len() > 1 << 20)
    })
}

/// Which LLVM the dynamic loader gives this compiler: a machine may have several.
fn linked_llvm(rustc: &Path) -> Option<PathBuf> {
    let loaded = output(Command::new("ldd").arg(rustc).env_remove("LD_LIBRARY_PATH"))?;
    let line = loaded.lines().find(|line| line.trim_start().starts_with("libLLVM"))?;
    let path = line.split("=>").nth(1)?.split_whitespace().next()?;
    fs::canonicalize(path).ok()
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.env_remove("RUSTUP_TOOLCHAIN").output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
