//! The command line: one file per verb.

mod findings;
mod serve;

use crate::store;
use clap::{Parser, Subcommand};

/// Collects what keymoat agents find.
#[derive(Debug, Parser)]
#[command(name = "keymoat-collector", version)]
pub struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Takes events from agents, keeps them, and shows them on a web page
    Serve(serve::Serve),
    /// Lists findings, newest first
    Findings(findings::Findings),
}

/// Where events are kept.
#[derive(Debug, clap::Args)]
struct StoreArgs {
    /// The store, as sqlite:PATH
    #[arg(long, value_name = "URL", env = "KEYMOAT_STORE", default_value_t = store::default_address())]
    store: String,
}

impl Cli {
    pub fn run(self) -> anyhow::Result<()> {
        match self.verb {
            Verb::Serve(serve) => serve.run(),
            Verb::Findings(findings) => findings.run(),
        }
    }
}
