//! Reading the configuration file. An error says where it is and what to do, and never quotes the line: a
//! secret may stand in it by mistake.

use super::Config;
use std::path::{Path, PathBuf};

/// Read when it exists and no other file was named.
pub const DEFAULT_PATH: &str = "/etc/keymoat/agent.toml";
/// Configuration is small; anything larger is a wrong path.
const MAX_BYTES: u64 = 1024 * 1024;

#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    #[error("{}: {source}; check the path given to --config", path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    #[error("{}: larger than 1 MiB, so this is not a configuration file", .0.display())]
    TooLarge(PathBuf),
    #[error("{}:{line}:{column}: {message}", path.display())]
    Invalid { path: PathBuf, line: usize, column: usize, message: String },
}

impl Config {
    /// `named` must exist; without it the default file is read if there is one.
    pub fn load(named: Option<&Path>) -> Result<Self, ConfigError> {
        let path = named.unwrap_or(Path::new(DEFAULT_PATH));
        match read(path) {
            Ok(text) => Self::parse(path, &text),
            Err(ConfigError::Unreadable { source, .. })
                if named.is_none() && source.kind() == std::io::ErrorKind::NotFound =>
            {
                Ok(Self::default())
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let (line, column) = position(text, error.span().map_or(0, |span| span.start));
            ConfigError::Invalid { path: path.to_owned(), line, column, message: explain(error.message()) }
        })
    }
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), source };
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_BYTES {
        return Err(ConfigError::TooLarge(path.to_owned()));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

/// 1-based; columns count characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..text.floor_char_boundary(offset)).unwrap_or(text);
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// The message without the words from the file: someone may have put a secret in the wrong place. Line and column say
/// where; what the parser expected stays, and so does the name of an unknown field if it looks like one.
fn without_values(message: &str) -> String {
    // The parser's own words; what `values` says repeats nothing.
    if !["unknown ", "invalid ", "duplicate "].iter().any(|start| message.starts_with(start)) {
        return message.to_owned();
    }
    let (said, expected) = message.split_once("expected").map_or((message, None), |(a, b)| (a, Some(b)));
    let mut safe = String::new();
    for (index, part) in said.split(['`', '"']).enumerate() {
        let quoted = index % 2 == 1;
        let plain = part.len() <= 24 && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
        match (quoted, plain) {
            (false, _) => safe.push_str(part),
            (true, true) => safe.push_str(&format!("`{part}`")),
            (true, false) => safe.push_str("(not shown)"),
        }
    }
    match expected {
        Some(expected) => format!("{safe}expected{expected}"),
        None => safe,
    }
}

/// The parser's message, plus what to do about the mistakes that are likely.
fn explain(message: &str) -> String {
    let message = without_values(&message.trim_end().replace('\n', "; "));
    let advice = if message.contains("unknown field `fleet_key`") {
        ". A key in the configuration is readable by everyone who can read the file: put it in a file of mode 0600 and name that with `fleet_key_file`"
    } else if message.contains("unknown field") {
        ". Correct or remove the key; docs/operations.md lists them all"
    } else {
        ""
    };
    format!("{message}{advice}")
}
