//! The command line. One file per verb: its arguments, and what it does with them.

pub mod agent;
pub mod agent_args;
pub mod allow;
pub mod doctor;
pub mod rules;
pub mod run;
mod running;
pub mod scan;

use crate::config::{Config, ConfigError};
use crate::terminal::escape;
use clap::{Args, Parser, Subcommand};
use std::path::Path;
use std::process::ExitCode;

pub use agent_args::AgentArgs;
pub use allow::AllowArgs;
pub use rules::RulesArgs;
pub use run::{KeepArgs, LaunchArgs, RunArgs};
pub use scan::ScanArgs;

/// Sees API keys and other secrets leave this machine.
#[derive(Debug, Parser)]
#[command(name = "keymoat", version, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Watch this host and report what leaves (needs privileges)
    Agent(AgentArgs),
    /// Watch one command and what it starts, and nothing else (needs privileges)
    Run(RunArgs),
    /// Let keys of one rule pass for a while, where they would be refused
    Allow(AllowArgs),
    /// Look for secrets in files or a stream (needs none)
    Scan(ScanArgs),
    /// What keymoat can and cannot see on this host
    Doctor(DoctorArgs),
    /// The rules in use
    Rules(RulesArgs),
    /// What `run` starts the command with
    #[command(name = crate::tree::launch::VERB, hide = true)]
    Launch(LaunchArgs),
    /// What keeps its rights while `run` gives up its own
    #[command(name = crate::tree::keeper::VERB, hide = true)]
    Keep(KeepArgs),
}

#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    /// One JSON object instead of text for people
    #[arg(long)]
    pub json: bool,
}

/// How a verb that checks something ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Clean = 0,
    /// What was looked for was found.
    Findings = 1,
    Error = 2,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// Configuration for verbs that need no privileges: a default file they may not read is no reason to fail.
fn config_for_anyone(named: Option<&Path>) -> Result<Config, ConfigError> {
    match Config::load(named) {
        Err(ConfigError::Unreadable { path, source })
            if named.is_none() && source.kind() == std::io::ErrorKind::PermissionDenied =>
        {
            complain(&format!("{}: {source}; going on with the defaults", path.display()));
            Ok(Config::default())
        }
        other => other,
    }
}

/// One line on standard error.
fn complain(message: &str) {
    eprintln!("keymoat: {}", escape(message));
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definitions_hold_together() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_contract_parses() {
        for line in [
            "agent",
            "agent --config f --mode block --jsonl - --collector http://c:1 --include-loopback",
            "run -- curl -sS https://example.com",
            "run --mode block --jsonl - --include-loopback -- sh -c true",
            "run --user nobody -- id",
            "scan",
            "allow anthropic-api-key --to hook.example.com --for 30m",
            "allow anthropic-api-key --once",
            "allow --list",
            "scan a b - --json --destination api.example.com",
            "scan --destination api.example.com --location header:x-api-key --policy p.toml",
            "scan --enable a --enable b --disable c -",
            "doctor --json",
            "rules list",
            "rules show anthropic-api-key",
            "rules check f.toml",
            "rules check --strict gitleaks.toml",
        ] {
            let words = std::iter::once("keymoat").chain(line.split(' '));
            assert!(Cli::try_parse_from(words).is_ok(), "{line}");
        }
        for line in [
            "",
            "agent --mode off",
            "agent --collector c",
            "rules show",
            "watch",
            "run",
            "run curl",
            "scan --policy p.toml",
            "scan --destination d --location nowhere",
        ] {
            let words = std::iter::once("keymoat").chain(line.split_terminator(' '));
            assert!(Cli::try_parse_from(words).is_err(), "{line}");
        }
    }
}
