//! The rule that registered values are findings of.

use crate::rules::{Finder, Origin, Rule, Severity};

/// No file has it: what it finds is not described by a pattern.
pub(crate) fn rule() -> Rule {
    Rule {
        id: "registered-value".to_owned(),
        name: "Registered value".to_owned(),
        vendor: "keymoat".to_owned(),
        severity: Severity::High,
        off_by_default: false,
        on: true,
        pattern: String::new(),
        prefixes: Vec::new(),
        marker: None,
        context: Vec::new(),
        contains: Vec::new(),
        checks: Vec::new(),
        home: Vec::new(),
        usual: Vec::new(),
        explanation: "It is exactly a value that was registered as one that must not leave this machine."
            .to_owned(),
        remediation: "Change the value where it is used, register the new one, and find out what the program that \
                      sent it was doing. If it was meant to be sent there, take it out of the registered values."
            .to_owned(),
        attack: ["T1552", "T1567"].map(str::to_owned).to_vec(),
        positives: Vec::new(),
        negatives: Vec::new(),
        origin: Origin { file: "registered values".to_owned(), line: 0, column: 0 },
        finder: Finder::Exact,
    }
}
