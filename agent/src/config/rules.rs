//! The rules in use: those keymoat comes with, and the files the configuration names.

use super::{Config, registered};
use keymoat_detect::{Detector, RuleError, RuleSet, UnknownRule};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Rule files are small; anything larger is a wrong path.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    #[error("{}: {source}; correct or remove this path in `rules`", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than 16 MiB, so this is not a rule file", .0.display())]
    TooLarge(PathBuf),
    #[error(transparent)]
    Invalid(#[from] RuleError),
    #[error("`{key}`: {source}")]
    Unknown { key: &'static str, source: UnknownRule },
}

/// The built-in rules and those of the files named, switched on and off as the configuration says. What is both
/// enabled and disabled is off.
pub fn load(config: &Config) -> Result<RuleSet, RulesError> {
    let mut rules = RuleSet::builtin()?;
    for file in &config.rules {
        rules.merge(read(file)?)?;
    }
    if config.registered_values_file.is_some() {
        rules.merge(RuleSet::registered())?;
    }
    let unknown = |key| move |source| RulesError::Unknown { key, source };
    rules.enable(&config.enable_rules).map_err(unknown("enable_rules"))?;
    rules.disable(&config.disable_rules).map_err(unknown("disable_rules"))?;
    Ok(rules)
}

/// What looks for the rules, and for the registered values of the configuration.
pub fn detector(config: &Config, rules: Arc<RuleSet>) -> anyhow::Result<Detector> {
    let detector = Detector::new(rules)?;
    Ok(match &config.registered_values_file {
        Some(path) => detector.with_values(registered::read(path)?),
        None => detector,
    })
}

/// The rules of one file.
pub fn read(path: &Path) -> Result<RuleSet, RulesError> {
    let unreadable = |source| RulesError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(RulesError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(RuleSet::from_toml(&path.display().to_string(), &text)?)
}
