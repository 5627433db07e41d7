//! `cargo xtask vm`: the end-to-end tests on other kernels, in virtual machines on this machine's root file system.
//!
//! Everything lives in `target/vm`: kernels (kept between runs), virtme-ng, and what the last runs said.

mod kernel;
mod machine;
mod mirror;
mod suite;

use crate::{
    build,
    needs::Group,
    setup,
    shell::{self, say},
};
use anyhow::{Result, bail};
use kernel::{KERNELS, Kernel};
use std::{path::PathBuf, process::Command, time::Duration};

#[derive(clap::Args)]
pub struct Args {
    /// 5.10, 6.1, 6.12, 7.3 or all
    #[arg(long, default_value = "6.1", value_parser = kernel::choice)]
    kernel: String,
    /// Minutes until a machine counts as hanging
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Machines at once, which share the tests
    #[arg(long, default_value_t = 2)]
    machines: usize,
    /// Run this shell command in the machine instead of the tests
    #[arg(long)]
    command: Option<String>,
    /// Leave out what another kernel says little about: requests without a key, and proofs by numbers
    #[arg(long)]
    brief: bool,
    /// Arguments for the test programs, e.g. a part of a test's name
    #[arg(last = true)]
    more: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Group::Build, Group::Test, Group::Vm])?;
    let folder = folder();
    let vng = virtme(&folder)?;
    let script = match &args.command {
        Some(command) => suite::Suite::only(command),
        None => {
            build::programs(&[])?;
            suite::Suite::of_tests(&[args.more.clone(), suite::left_out(args.brief)].concat())?
        }
    };

    let mut failed = Vec::new();
    for kernel in KERNELS.iter().filter(|kernel| args.kernel == "all" || args.kernel == kernel.name) {
        if let Err(error) = one(kernel, &vng, &script, args) {
            say(format!("kernel {}: {error:#}", kernel.name));
            failed.push(kernel.name);
        }
    }
    if !failed.is_empty() {
        bail!("failed on {}", failed.join(", "));
    }
    Ok(())
}

fn one(kernel: &Kernel, vng: &std::path::Path, script: &suite::Suite, args: &Args) -> Result<()> {
    let installed = kernel.obtain(&folder())?;
    say(format!("booting {} (software emulation)", installed.version));
    let folder = folder().join("runs").join(kernel.name);
    let machines = machine::Machines { vng, kernel: &installed, folder, count: args.machines };
    let code = machines.run(script, Duration::from_secs(60 * args.minutes))?;
    if code != 0 {
        bail!("exit code {code}");
    }
    say(format!("kernel {}: passed", installed.version));
    Ok(())
}

fn folder() -> PathBuf {
    shell::target().join("vm")
}

/// virtme-ng, in a Python environment of its own.
fn virtme(folder: &std::path::Path) -> Result<PathBuf> {
    let environment = folder.join("venv");
    let vng = environment.join("bin/vng");
    if !vng.is_file() {
        say("installing virtme-ng into target/vm/venv: boots a kernel on this root file system");
        shell::run(Command::new("/usr/bin/python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
        shell::run(Command::new(environment.join("bin/pip")).args(["install", "--quiet", VIRTME]))?;
    }
    Ok(vng)
}

const VIRTME: &str = "virtme-ng==1.42";
