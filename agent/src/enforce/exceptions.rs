//! What a user lets pass while the agent runs: `keymoat allow` writes a file of policy entries, the agent reads it.
//!
//! The file is made anew and renamed into place, so nobody reads half of it. Whoever may write it decides what leaves: the agent
//! takes it only from its own user, and if nobody else may write it.

use jiff::Timestamp;
use keymoat_detect::RuleSet;
use keymoat_detect::policy::{Policy, PolicyError};
use serde::{Deserialize, Serialize};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Exceptions are made by hand; anything larger is no such file.
const MAX_BYTES: u64 = 256 * 1024;
/// How the name of an exception ends that is over once it was used.
const ONCE: &str = "-once";

#[derive(Debug, thiserror::Error)]
pub enum ExceptionsError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{0}: may be written by others than the agent's user; make it again with `keymoat allow`")]
    NotOurs(String),
    #[error("{0}: larger than 256 KiB, so these are no exceptions")]
    TooLarge(String),
    #[error("{path}: {message}; remove it, and allow anew what is needed")]
    Malformed { path: String, message: String },
    #[error(transparent)]
    Invalid(#[from] PolicyError),
}

/// The file: a policy of entries that allow (`docs/policy.md`).
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Exceptions {
    #[serde(default, rename = "entry")]
    pub entries: Vec<Exception>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exception {
    pub name: String,
    action: String,
    /// RFC 3339.
    pub expires: String,
    pub rule: Rules,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<Hosts>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Rules {
    pub ids: Vec<String>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Hosts {
    pub hosts: Vec<String>,
}

impl Exceptions {
    /// What the file holds; nothing if there is none.
    ///
    /// # Errors
    /// When it cannot be read, or is not one that the agent's user alone may write.
    pub fn read(path: &Path) -> Result<Self, ExceptionsError> {
        let shown = || path.display().to_string();
        let failed = |source| ExceptionsError::File { path: shown(), source };
        let text = match std::fs::symlink_metadata(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(failed(error)),
            Ok(file) if file.len() > MAX_BYTES => return Err(ExceptionsError::TooLarge(shown())),
            Ok(file) if !is_ours(&file) => return Err(ExceptionsError::NotOurs(shown())),
            Ok(_) => std::fs::read_to_string(path).map_err(failed)?,
        };
        toml::from_str(&text).map_err(|error| ExceptionsError::Malformed {
            path: shown(),
            message: error.message().replace('\n', "; "),
        })
    }

    /// Puts this in place of the file.
    ///
    /// # Errors
    /// When its folder cannot be written to.
    pub fn write(&self, path: &Path) -> Result<(), ExceptionsError> {
        let failed = |source| ExceptionsError::File { path: path.display().to_string(), source };
        let new = path.with_extension("new");
        let put = || {
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder)?;
            }
            let _left_over = std::fs::remove_file(&new);
            let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(self.text().as_bytes())?;
            std::fs::rename(&new, path)
        };
        put().map_err(failed)
    }

    /// The policy that these make.
    ///
    /// # Errors
    /// When a rule is not known or a host is none.
    pub fn policy(&self, rules: &RuleSet) -> Result<Policy, PolicyError> {
        Policy::from_toml("exceptions", &self.text(), rules)
    }

    /// Adds one. `host`: only for what goes there.
    pub fn allow(&mut self, rule: &str, host: Option<&str>, until: Timestamp, once: bool) -> Exception {
        let number = (1..).find(|number| !self.is_taken(&name(rule, *number))).unwrap_or(0_usize);
        let end = if once { ONCE } else { "" };
        let new = Exception {
            name: format!("{}{end}", name(rule, number)),
            action: "allow".to_owned(),
            expires: until.to_string(),
            rule: Rules { ids: vec![rule.to_owned()] },
            destination: host.map(|host| Hosts { hosts: vec![host.to_ascii_lowercase()] }),
        };
        self.entries.push(new.clone());
        new
    }

    fn is_taken(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.name.strip_suffix(ONCE).unwrap_or(&entry.name) == name)
    }

    /// Drops those whose end has come.
    pub fn forget_expired(&mut self, now: Timestamp) {
        self.entries.retain(|entry| entry.expires.parse::<Timestamp>().is_ok_and(|end| now < end));
    }

    fn text(&self) -> String {
        // Tables of strings: there is nothing in them that TOML could not hold.
        toml::to_string(self).unwrap_or_default()
    }
}

/// Is this entry over once it was used?
pub fn is_for_once(entry: &str) -> bool {
    entry.ends_with(ONCE)
}

fn name(rule: &str, number: usize) -> String {
    format!("allowed-{number}-{rule}")
}

fn is_ours(file: &std::fs::Metadata) -> bool {
    file.is_file() && file.uid() == rustix::process::geteuid().as_raw() && file.mode() & 0o022 == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn what_is_allowed_is_a_policy_and_comes_back() {
        let rules = RuleSet::builtin().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keymoat/exceptions.toml");
        let mut exceptions = Exceptions::read(&path).unwrap();
        exceptions.allow("anthropic-api-key", Some("Hook.example.com"), at(2_000_000_000), false);
        exceptions.allow("anthropic-api-key", None, at(2_000_000_001), true);
        exceptions.write(&path).unwrap();
        let back = Exceptions::read(&path).unwrap();
        let names: Vec<&str> = back.entries.iter().map(|entry| entry.name.as_str()).collect();
        assert_eq!(names, ["allowed-1-anthropic-api-key", "allowed-2-anthropic-api-key-once"]);
        assert!(!is_for_once(names[0]) && is_for_once(names[1]));
        let permits = back.policy(&rules).unwrap().permits(&rules, at(1_900_000_000));
        let number = rules.rules().iter().position(|rule| rule.id == "anthropic-api-key").unwrap();
        assert!(permits.hosts["hook.example.com"].contains(&number));
        assert!(!permits.refused.contains(&number), "the second one knows no host");
    }

    #[test]
    fn the_end_of_an_exception_is_the_end_of_it() {
        let mut exceptions = Exceptions::default();
        exceptions.allow("a", None, at(100), false);
        exceptions.allow("b", None, at(200), false);
        exceptions.forget_expired(at(100));
        assert_eq!(exceptions.entries.len(), 1);
        assert_eq!(exceptions.entries[0].rule.ids, ["b"]);
    }

    #[test]
    fn a_file_that_others_may_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("exceptions.toml");
        Exceptions::default().write(&path).unwrap();
        assert!(Exceptions::read(&path).is_ok());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o622)).unwrap();
        assert!(matches!(Exceptions::read(&path), Err(ExceptionsError::NotOurs(_))));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(
            matches!(Exceptions::read(&link), Err(ExceptionsError::NotOurs(_))),
            "nor is what a link leads to"
        );
    }
}
