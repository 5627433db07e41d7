//! What became of each way out of a process while an agent blocked. A run leaves a file per kernel; `cargo xtask
//! threat-model` makes the table in `docs/threat-model.md` of them, and a run on a kernel that is in the table must agree.

use crate::env;
use rustix::system::uname;
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::path::Path;

/// What became of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver never had it, and a finding says so.
    Refused,
    /// It left, and was found.
    Late,
    /// It left, and nothing was said.
    NotSeen,
    /// The call is not to be had on a connection that is judged (EOPNOTSUPP), with a key or without.
    Unsupported,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused",
            Self::Late => "seen (late)",
            Self::NotSeen => "not seen",
            Self::Unsupported => "not to be had",
        })
    }
}

/// What must become of it. Whatever is not refused has a reason, and what to do about it.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    Refused,
    Otherwise(Outcome, &'static str),
}

impl Expected {
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Refused => Outcome::Refused,
            Self::Otherwise(outcome, _) => outcome,
        }
    }

    fn note(self) -> &'static str {
        match self {
            Self::Refused => "",
            Self::Otherwise(_, note) => note,
        }
    }
}

/// One way out, tried.
#[derive(Debug)]
pub struct Tried {
    pub section: &'static str,
    pub what: &'static str,
    pub came: Outcome,
    pub expected: Expected,
}

/// The kernel that runs, as the table calls it: `6.12`.
pub fn kernel() -> String {
    let release = uname().release().to_string_lossy().into_owned();
    release.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Leaves the results beside the programs that were tested: in a machine, that is what outlives it.
pub fn save(all: &[Tried]) {
    let row = |it: &Tried| {
        serde_json::json!({
            "section": it.section, "what": it.what, "outcome": it.came.to_string(), "note": it.expected.note(),
        })
    };
    let rows: Vec<_> = all.iter().map(row).collect();
    let folder = env::bin_dir().join("threat-model");
    fs::create_dir_all(&folder).expect("a folder for the results");
    let text = serde_json::to_string_pretty(&serde_json::json!({ "kernel": kernel(), "rows": rows }));
    fs::write(folder.join(format!("{}.json", kernel())), text.expect("JSON")).expect("write the results");
}

/// Fails where something came that was not expected.
pub fn assert_as_expected(all: &[Tried]) {
    let wrong = all.iter().filter(|it| it.came != it.expected.outcome());
    let lines: Vec<_> = wrong
        .map(|it| format!("{}, {}: {}, expected: {}", it.section, it.what, it.came, it.expected.outcome()))
        .collect();
    assert!(lines.is_empty(), "not as expected:\n{}", lines.join("\n"));
}

/// Fails where the document says something else of this kernel; it may say nothing of it.
pub fn assert_documented(all: &[Tried]) {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/threat-model.md");
    let text = fs::read_to_string(document).expect("docs/threat-model.md");
    let Some(said) = column(&text, &kernel()) else { return };
    let came: BTreeMap<_, _> = all.iter().map(|it| (it.what.to_owned(), it.came.to_string())).collect();
    let differ: Vec<_> = said.iter().filter(|row| !came.contains_key(row.0)).collect();
    let agrees = |said: &str, came: &str| said == came || said == "not tried";
    let came: Vec<_> =
        came.iter().filter(|(what, cell)| !said.get(*what).is_some_and(|said| agrees(said, cell))).collect();
    assert!(
        differ.is_empty() && came.is_empty(),
        "docs/threat-model.md is not what was measured; run: cargo xtask threat-model\n\
         came: {came:?}\nno longer tried: {differ:?}"
    );
}

/// A column of the tables, by the first cell of each row.
fn column(text: &str, name: &str) -> Option<BTreeMap<String, String>> {
    let mut at = None;
    let mut found = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with("|---")) {
        let Some(row) = line.strip_prefix("| ").and_then(|line| line.strip_suffix(" |")) else {
            at = None;
            continue;
        };
        let cells: Vec<_> = row.split(" | ").collect();
        match at {
            None => at = cells.iter().position(|cell| *cell == name),
            Some(place) => {
                let (what, cell) = (cells.first()?, cells.get(place)?);
                found.insert((*what).to_owned(), (*cell).to_owned());
            }
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_column_is_read_from_every_table() {
        let text = "text\n| call | 6.1 | 6.12 | why |\n|---|---|---|---|\n| `write` | refused | not seen |  |\n\n\
                    | form | 6.1 | 6.12 | why |\n|---|---|---|---|\n| gzip | seen (late) | refused | so |\n";
        let column = |name| column(text, name).map(|it| it.into_values().collect::<Vec<_>>());
        assert_eq!(column("6.12"), Some(vec!["not seen".to_owned(), "refused".to_owned()]));
        assert_eq!(column("6.1"), Some(vec!["refused".to_owned(), "seen (late)".to_owned()]));
        assert_eq!(column("7.3"), None);
    }
}
