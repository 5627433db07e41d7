use clap::Parser as _;
use keymoat_agent::cli::{Cli, Command, Exit, agent, allow, doctor, rules, run, scan};
use std::process::ExitCode;

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Agent(args) => agent::run(&args).unwrap_or_else(failed),
        Command::Run(args) => run::run(&args).unwrap_or_else(failed),
        Command::Launch(args) => run::launch(&args),
        Command::Keep(args) => run::keep(&args),
        Command::Allow(args) => allow::run(&args).into(),
        Command::Scan(args) => scan::run(&args).into(),
        Command::Doctor(args) => doctor::run(&args).into(),
        Command::Rules(args) => rules::run(&args).into(),
    }
}

fn failed(error: anyhow::Error) -> ExitCode {
    eprintln!("keymoat: {error:#}");
    Exit::Error.into()
}
