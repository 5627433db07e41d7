//! `cargo xtask setup`: installs what is missing, and says what and why. A second run finds nothing to do.

use crate::{
    apt,
    needs::{Group, Need, missing},
    shell::{self, say, which},
    toolchain,
};
use anyhow::{Result, bail};
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// What to prepare for; default: build, test and demo
    groups: Vec<Group>,
}

pub fn run(args: &Args) -> Result<()> {
    let default = [Group::Build, Group::Test, Group::Demo];
    ensure(if args.groups.is_empty() { &default } else { &args.groups })?;
    say("everything is there");
    if let Ok(toolchain) = toolchain::find(BPF_TARGET) {
        say(format!("kernel programs are built with {toolchain}"));
    }
    Ok(())
}

/// What every verb calls first.
pub fn ensure(groups: &[Group]) -> Result<()> {
    let missing = missing(groups);
    let compiler = groups.contains(&Group::Build).then(bpf_compiler).flatten();
    let linker = groups.contains(&Group::Build) && toolchain::linker().is_none();
    if !apt::is_here() {
        return explain(&missing, compiler.as_deref(), linker);
    }
    if !missing.is_empty() || compiler.is_some() {
        refresh(&missing)?;
    }
    install_packages(&missing)?;
    if let Some(reasons) = compiler {
        install_compiler(&reasons)?;
    }
    if linker {
        install_linker()?;
    }
    Ok(())
}

/// Why nothing here can compile kernel programs, if that is so.
fn bpf_compiler() -> Option<Vec<String>> {
    toolchain::find(BPF_TARGET).err()
}

const BPF_TARGET: &str =
    if cfg!(target_endian = "big") { "bpfeb-unknown-none" } else { "bpfel-unknown-none" };

/// Current package lists: those of another day name files that are gone.
fn refresh(missing: &[&Need]) -> Result<()> {
    if shell::as_root("true").is_none() {
        let packages: Vec<_> = missing.iter().map(|need| need.package).collect();
        let all = if packages.is_empty() { &DEBIAN_COMPILER } else { &packages[..] };
        bail!("not root, and there is no sudo; run as root:\n  {}", apt::by_hand(all));
    }
    apt::update()
}

fn install_packages(missing: &[&Need]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    for need in missing {
        say(format!("installing {}: {}", need.package, need.why));
    }
    let mut packages: Vec<_> = missing.iter().map(|need| need.package).collect();
    packages.sort_unstable();
    packages.dedup();
    apt::install(&packages)?;
    match missing.iter().find(|need| !need.proof.holds()) {
        Some(need) => bail!("{} is installed, but {} is not there", need.package, need.proof.describe()),
        None => Ok(()),
    }
}

/// Debian's own Rust comes with a `core` for BPF; where it is not to be had, rustup's nightly with the source.
fn install_compiler(reasons: &[String]) -> Result<()> {
    say(format!("no compiler here can build kernel programs:\n  {}", reasons.join("\n  ")));
    if apt::offers("libstd-rust-web-dev-bpf") {
        say(format!("installing {}: a Rust with `core` for BPF", DEBIAN_COMPILER.join(", ")));
        apt::install(&DEBIAN_COMPILER)?;
    } else if which("rustup").is_some() {
        say("installing rustup's nightly with rust-src: `core` for BPF is built from it");
        run_words(&RUSTUP_NIGHTLY)?;
    }
    match bpf_compiler() {
        Some(reasons) => bail!("still no compiler for kernel programs:\n  {}", reasons.join("\n  ")),
        None => Ok(()),
    }
}

const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "libstd-rust-web-dev-bpf"];
const RUSTUP_NIGHTLY: [&str; 8] =
    ["rustup", "toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"];

fn run_words(words: &[&str]) -> Result<()> {
    let Some((program, args)) = words.split_first() else { return Ok(()) };
    shell::run(Command::new(program).args(args))
}

fn install_linker() -> Result<()> {
    say(format!(
        "installing bpf-linker {}: links kernel programs (about a minute)",
        toolchain::LINKER_VERSION
    ));
    shell::run(shell::cargo().args(linker_install()))?;
    if toolchain::linker().is_none() {
        bail!("bpf-linker is installed, but neither on PATH nor in cargo's bin folder");
    }
    Ok(())
}

fn linker_install() -> [&'static str; 5] {
    ["install", "bpf-linker", "--version", toolchain::LINKER_VERSION, "--locked"]
}

/// Elsewhere than on Debian: names what is missing, and what to do about what is the same everywhere.
fn explain(missing: &[&Need], compiler: Option<&[String]>, linker: bool) -> Result<()> {
    let mut text = String::new();
    for need in missing {
        let line =
            format!("  {} — {} (Debian's package {})\n", need.proof.describe(), need.why, need.package);
        text.push_str(&line);
    }
    if compiler.is_some() {
        text.push_str(&format!("  a Rust for BPF — run: {}\n", RUSTUP_NIGHTLY.join(" ")));
    }
    if linker {
        text.push_str(&format!("  bpf-linker — run: cargo {}\n", linker_install().join(" ")));
    }
    if text.is_empty() {
        return Ok(());
    }
    bail!("this system has no apt; missing here:\n{text}")
}
