//! The rules in use: those keymoat comes with, and the files the configuration names.

use keymoat_detect::{RuleError, RuleSet};
use std::path::{Path, PathBuf};

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
}

/// Built-in rules and those of `files`, in this order.
pub fn load(files: &[PathBuf]) -> Result<RuleSet, RulesError> {
    let mut rules = RuleSet::builtin()?;
    for file in files {
        rules.merge(read(file)?)?;
    }
    Ok(rules)
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
