//! Builds the kernel programs (crate `keymoat-ebpf`) and tells the agent where the object is, in
//! `KEYMOAT_EBPF_OBJECT`, for `aya::include_bytes_aligned!(env!("KEYMOAT_EBPF_OBJECT"))`.

#[path = "build/toolchain.rs"]
mod toolchain;

use object::{Object as _, ObjectSection as _};
use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};
use toolchain::Toolchain;

const PACKAGE: &str = "keymoat-ebpf";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            eprintln!("\nkeymoat's kernel programs cannot be built:\n{reason}\n");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), String> {
    let out = PathBuf::from(variable("OUT_DIR")?);
    let root = PathBuf::from(variable("CARGO_MANIFEST_DIR")?).join("..");
    let bpf_target = match variable("CARGO_CFG_TARGET_ENDIAN")?.as_str() {
        "big" => "bpfeb-unknown-none",
        _ => "bpfel-unknown-none",
    };
    let linker = toolchain::linker().ok_or("  bpf-linker is not installed\n\n  run: cargo xtask setup")?;
    let toolchain = toolchain::find(bpf_target)
        .map_err(|reasons| format!("  {}\n\n  run: cargo xtask setup", reasons.join("\n  ")))?;
    watch(&root, &toolchain, &linker);

    let target_dir = shared_target_dir(&out).join("bpf");
    build(&root, &target_dir, bpf_target, &toolchain, &linker)?;

    // A copy of our own: another build may replace the shared one while this crate is compiled.
    let object = out.join("keymoat-ebpf.o");
    let built = target_dir.join(bpf_target).join("release").join(PACKAGE);
    fs::copy(&built, &object).map_err(|error| format!("  {}: {error}", built.display()))?;
    check(&object)?;
    println!("cargo:rustc-env=KEYMOAT_EBPF_OBJECT={}", object.display());
    Ok(())
}

/// Everything a change of which makes another object.
fn watch(root: &Path, toolchain: &Toolchain, linker: &Path) {
    println!("cargo:rerun-if-env-changed=PATH");
    for file in ["build.rs", "build", "../ebpf", "../abi", "../Cargo.toml", "../Cargo.lock"] {
        println!("cargo:rerun-if-changed={}", root.join("agent").join(file).display());
    }
    for file in [&toolchain.rustc, &toolchain.llvm, linker] {
        println!("cargo:rerun-if-changed={}", file.display());
    }
}

/// Debug, release and clippy builds share one kernel object; cargo's own lock keeps them apart.
fn shared_target_dir(out: &Path) -> PathBuf {
    let tagged = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    tagged.unwrap_or(out).to_path_buf()
}

fn build(
    root: &Path,
    target_dir: &Path,
    bpf_target: &str,
    toolchain: &Toolchain,
    linker: &Path,
) -> Result<(), String> {
    let mut cargo = Command::new(&toolchain.cargo);
    forget_outer_build(&mut cargo);
    let flags = [
        format!("-Clinker={}", linker.display()),
        "-Clink-arg=--btf".to_owned(),
        "-Cdebuginfo=2".to_owned(), // BTF is made from debug info
        format!("--cfg=bpf_target_arch=\"{}\"", variable("CARGO_CFG_TARGET_ARCH")?),
    ];
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--release", "--package", PACKAGE, "--target", bpf_target])
        .arg("--target-dir")
        .arg(target_dir)
        .env("RUSTC", &toolchain.rustc)
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
        .env("LD_LIBRARY_PATH", only_this_llvm(target_dir, &toolchain.llvm)?);
    if toolchain.build_std {
        cargo.arg("-Zbuild-std=core");
    }
    let status = cargo.status().map_err(|error| format!("  {}: {error}", toolchain.cargo.display()))?;
    if status.success() { Ok(()) } else { Err(format!("  it was {toolchain}\n  with {}", linker.display())) }
}

/// bpf-linker loads the first libLLVM of a folder, whichever that is: give it a folder with the right one only.
fn only_this_llvm(target_dir: &Path, llvm: &Path) -> Result<PathBuf, String> {
    let name = llvm.file_name().ok_or("  the LLVM library has no name")?;
    let version = fs::metadata(llvm).and_then(|facts| facts.modified()).ok();
    let stamp = version.and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok()).unwrap_or_default();
    let folder = target_dir.join("llvm").join(stamp.as_secs().to_string());
    let said = |error: std::io::Error| format!("  {}: {error}", folder.display());
    fs::create_dir_all(&folder).map_err(said)?;
    match symlink(llvm, folder.join(name)) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(said(error)),
        _ => Ok(folder),
    }
}

/// What the build around this one says about the host's compiler must not reach the one for the kernel.
fn forget_outer_build(cargo: &mut Command) {
    const OURS: [&str; 4] = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR"];
    for (name, _) in env::vars_os() {
        let Some(text) = name.to_str() else { continue };
        let outer = ["CARGO", "RUST", "DEP_"].iter().any(|prefix| text.starts_with(prefix))
            || ["OUT_DIR", "TARGET", "HOST", "PROFILE", "DEBUG", "OPT_LEVEL", "NUM_JOBS"].contains(&text);
        if outer && text != "RUSTUP_HOME" && !OURS.iter().any(|prefix| text.starts_with(prefix)) {
            cargo.env_remove(&name);
        }
    }
}

/// Programs without BTF load on some kernels and not on others: better to fail here.
fn check(file: &Path) -> Result<(), String> {
    let bytes = fs::read(file).map_err(|error| format!("  {}: {error}", file.display()))?;
    let object = object::File::parse(&*bytes).map_err(|error| format!("  {}: {error}", file.display()))?;
    let has = |wanted: &str| object.sections().any(|section| section.name() == Ok(wanted));
    if has("license") && !has(".BTF") {
        return Err("  the object has no .BTF section: bpf-linker got no debug info".into());
    }
    Ok(())
}

fn variable(name: &str) -> Result<String, String> {
    env::var(name).map_err(|error| format!("  {name}: {error}"))
}
