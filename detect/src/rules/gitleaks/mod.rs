//! Rule files of gitleaks, as people have them. `docs/rules.md` says what of them works here.
//!
//! What is wrong in the file is an error. What is right there and cannot work on traffic is noted with its place
//! and handed to whoever loads the file; nothing is passed over in silence.

mod convert;
mod parse;
mod problem;

pub use problem::{Mistake, Unsupported};

use super::Rule;
use crate::error::{Problem, RuleError};
use convert::Reader;

/// Names under which gitleaks itself looks for its configuration.
const NAMES: [&str; 2] = ["gitleaks.toml", ".gitleaks.toml"];

/// Is this a file for gitleaks? Its rules are `[[rules]]`, ours are `[[rule]]` of a vendor.
pub(super) fn is_gitleaks(origin: &str, text: &str) -> bool {
    // What is no TOML is for the parser to complain about.
    let Ok(file) = text.parse::<toml::Table>() else { return false };
    if file.contains_key("rule") || file.contains_key("vendor") {
        return false;
    }
    let tables = |key| match file.get(key) {
        Some(toml::Value::Array(list)) => list.first().is_some_and(toml::Value::is_table),
        Some(value) => value.is_table(),
        None => false,
    };
    ["rules", "allowlist", "allowlists", "extend"].into_iter().any(tables)
        || NAMES.iter().any(|name| origin.rsplit('/').next() == Some(name))
}

/// The rules that work here, and what does not.
pub(super) fn parse(origin: &str, text: &str) -> Result<(Vec<Rule>, Vec<RuleError>), RuleError> {
    let file = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        RuleError::at(origin, text, offset, Problem::Syntax(error.message().replace('\n', "; ")))
    })?;
    let mut reader = Reader::new(origin, text);
    let rules = reader.rules(&file)?;
    Ok((rules, reader.unsupported))
}
