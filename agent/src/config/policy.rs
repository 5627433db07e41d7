//! The policy in use: keymoat's own judgement, and what the file the configuration names says.

use keymoat_detect::RuleSet;
use keymoat_detect::policy::{Policy, PolicyError};
use std::path::{Path, PathBuf};

/// A policy is written by people; anything larger is a wrong path.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    #[error("{}: {source}; correct or remove this path in `policy`", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than 1 MiB, so this is not a policy file", .0.display())]
    TooLarge(PathBuf),
    #[error(transparent)]
    Invalid(#[from] PolicyError),
}

/// The policy of `file`, or keymoat's own; `rules` are those in use.
pub fn load(file: Option<&Path>, rules: &RuleSet) -> Result<Policy, PolicyFileError> {
    let Some(path) = file else { return Ok(Policy::builtin()?) };
    let unreadable = |source| PolicyFileError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(PolicyFileError::TooLarge(path.to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Ok(Policy::from_toml(&path.display().to_string(), &text, rules)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_file_must_be_there_and_be_right() {
        let rules = RuleSet::builtin().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("policy.toml");
        assert!(load(None, &rules).is_ok());
        let error = load(Some(&path), &rules).unwrap_err().to_string();
        assert!(error.contains("`policy`"), "{error}");

        std::fs::write(&path, "[home]\nno-such-rule = ['a.example']\n").unwrap();
        let error = load(Some(&path), &rules).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{}:2:1: ", path.display())), "{error}");
        std::fs::write(&path, "[home]\nanthropic-api-key = ['a.example']\n").unwrap();
        assert!(load(Some(&path), &rules).is_ok());
        std::fs::write(&path, "#".repeat(2 << 20)).unwrap();
        assert!(matches!(load(Some(&path), &rules), Err(PolicyFileError::TooLarge(_))));
    }
}
