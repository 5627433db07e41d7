//! `cargo xtask VERB`: the project's chores, one file per verb.

mod apt;
mod bench;
mod build;
mod corpus;
mod demo;
mod needs;
mod network;
mod program;
mod setup;
mod shell;
mod test;
mod threat_model;
mod vm;

/// What can build the kernel object: the agent's build script and `setup` must agree.
#[path = "../../agent/build/toolchain.rs"]
mod toolchain;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "keymoat's chores; each does its own set-up")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Installs what building and testing need and this machine lacks
    Setup(setup::Args),
    /// Builds the agent (kernel programs included) and the collector
    Build(build::Args),
    /// Runs every test; as root the end-to-end tests too
    Test(test::Args),
    /// Runs the end-to-end tests on other kernels, in virtual machines
    Vm(vm::Args),
    /// Measures what the agent costs
    Bench(bench::Args),
    /// Scans published packages with the default rules: do they cry wolf?
    Corpus(corpus::Args),
    /// Writes what the last runs of the tests found into docs/threat-model.md
    ThreatModel(threat_model::Args),
    /// Shows the main job on real traffic: a key leaves, a finding arrives
    Demo(demo::Args),
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup(args) => setup::run(&args),
        Verb::Build(args) => build::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Vm(args) => vm::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Corpus(args) => corpus::run(&args),
        Verb::ThreatModel(args) => threat_model::run(&args),
        Verb::Demo(args) => demo::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
