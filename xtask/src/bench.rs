//! `cargo xtask bench NAME`: measurements, as ratios within one interleaved run. Absolute times of a noisy machine say
//! little; what is compared ran side by side.

mod detect;
mod footprint;
mod kernel;
mod overhead;
mod scene;
mod stats;

use crate::{build, needs::Group, setup, shell};
use anyhow::{Result, bail};

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(clap::Subcommand)]
enum What {
    /// Requests per second with and without the agent, and with a probe that does nothing
    Overhead(overhead::Args),
    /// Bytes per second of the detector beside other ways to do the same; needs no root
    Detect(detect::Args),
    /// What block mode costs in the kernel, by itself and under load
    Kernel(kernel::Args),
    /// The agent's memory with many open flows, and its processor time when nothing happens
    Footprint(footprint::Args),
}

pub fn run(args: &Args) -> Result<()> {
    match &args.what {
        What::Overhead(args) => {
            under_load()?;
            overhead::run(args)
        }
        What::Kernel(args) => {
            under_load()?;
            kernel::run(args)
        }
        What::Footprint(args) => {
            under_load()?;
            footprint::run(args)
        }
        What::Detect(args) => {
            setup::ensure(&[Group::Compare])?;
            detect::run(args)
        }
    }
}

/// What measuring the agent itself takes.
fn under_load() -> Result<()> {
    setup::ensure(&[Group::Build, Group::Bench])?;
    if !shell::is_root() {
        bail!("benchmarks make a network namespace and load kernel programs: run this as root");
    }
    shell::interrupted(); // from here on, Ctrl-C ends this in order
    build::programs(&[
        "--release".to_owned(),
        "--example".to_owned(),
        "noop_uprobe".to_owned(),
        "--example".to_owned(),
        "kernel_cost".to_owned(),
        "--bins".to_owned(),
    ])
}
