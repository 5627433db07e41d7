//! What can be set for the agent on the command line; it wins over the configuration file.

use crate::config::{CollectorUrl, Config, ConfigError, JsonlOutput, Mode};
use crate::enforce::Method;
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Debug, Default, Args)]
pub struct AgentArgs {
    /// Configuration file [default: /etc/keymoat/agent.toml, if it exists]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Report only, or refuse the write that carries a secret
    #[arg(long, value_enum)]
    pub mode: Option<Mode>,
    /// Refuse what cannot be inspected, too, and go on refusing when the agent ends; only with `--mode block`
    #[arg(long)]
    pub strict: bool,
    /// End what an agent with `--strict` left in force, and leave no trace of it in the kernel
    #[arg(long, exclusive = true)]
    pub detach: bool,
    /// What refuses TLS writes with `--mode block` [default: the best that the kernel takes]
    #[arg(long, value_enum, value_name = "METHOD")]
    pub enforcement: Option<Method>,
    /// Write findings as JSON lines to a file, or to standard output with `-`
    #[arg(long, value_name = "FILE|-", allow_hyphen_values = true)]
    pub jsonl: Option<JsonlOutput>,
    /// Send findings to this collector, e.g. http://127.0.0.1:7001
    #[arg(long, value_name = "URL")]
    pub collector: Option<CollectorUrl>,
    /// Count traffic to this very host as leaving
    #[arg(long)]
    pub include_loopback: bool,
}

impl AgentArgs {
    /// The configuration file's settings under those given here.
    pub fn config(&self) -> Result<Config, ConfigError> {
        let mut config = Config::load(self.config.as_deref())?;
        if let Some(mode) = self.mode {
            config.mode = mode;
        }
        config.enforcement = self.enforcement.or(config.enforcement);
        if self.jsonl.is_some() {
            config.jsonl.clone_from(&self.jsonl);
        }
        if self.collector.is_some() {
            config.collector.clone_from(&self.collector);
        }
        config.include_loopback |= self.include_loopback;
        config.strict |= self.strict;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_wins() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("agent.toml");
        std::fs::write(&path, "mode = \"block\"\njsonl = \"f\"\ncollector = \"http://a:1\"\nmax_flows = 99")
            .unwrap();
        let from_file = AgentArgs { config: Some(path), ..AgentArgs::default() };
        let config = from_file.config().unwrap();
        assert_eq!((config.mode, config.include_loopback), (Mode::Block, false));

        let overridden = AgentArgs {
            mode: Some(Mode::Detect),
            jsonl: Some(JsonlOutput::Stdout),
            collector: Some("http://b:2".parse().unwrap()),
            include_loopback: true,
            ..from_file
        };
        let config = overridden.config().unwrap();
        assert_eq!((config.mode, config.include_loopback), (Mode::Detect, true));
        assert_eq!(config.jsonl, Some(JsonlOutput::Stdout));
        assert_eq!(config.collector.unwrap().to_string(), "http://b:2/");
        assert_eq!(config.max_flows.get(), 99);
    }
}
