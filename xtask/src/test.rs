//! `cargo xtask test`: every test of the workspace.

use crate::{build, needs::Group, setup, shell};
use anyhow::Result;
use std::process::Command;

#[derive(clap::Args)]
pub struct Args {
    /// More for `cargo test`, e.g. --package keymoat-detect, or: -- NAME
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Group::Build, Group::Test])?;
    build::programs(&[])?;
    if shell::is_root() {
        detach()?;
    } else {
        shell::say("not root: the end-to-end tests cannot load kernel programs and will say so");
    }
    // One crate that fails must not hide the others.
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-fail-fast"]).env("KEYMOAT_BIN_DIR", shell::binaries());
    shell::run(cargo.args(&args.more))
}

/// Tests that were killed can leave in force what an agent in `strict` mode attached, and no agent of another mode starts then.
fn detach() -> Result<()> {
    shell::run(Command::new(shell::binaries().join("keymoat")).args(["agent", "--detach"]))
}
