//! `cargo xtask build`: the agent and the collector.

use crate::{needs::Group, setup, shell};
use anyhow::Result;

#[derive(clap::Args)]
pub struct Args {
    /// More for `cargo build`, e.g. --release
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    more: Vec<String>,
}

pub fn run(args: &Args) -> Result<()> {
    setup::ensure(&[Group::Build])?;
    programs(&args.more)
}

/// Both programs. Dev builds: matching is optimised in them too, and the tests use the same ones.
pub fn programs(more: &[String]) -> Result<()> {
    let packages = ["--package", "keymoat-agent", "--package", "keymoat-collector"];
    shell::run(shell::cargo().arg("build").args(packages).args(more))
}
