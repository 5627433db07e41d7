//! Any text as a policy or as a gitleaks file is an answer, not a panic.

use keymoat_detect::RuleSet;
use keymoat_detect::policy::Policy;
use keymoat_fuzz::DETECTOR;

#[test]
fn policy_file() {
    bolero::check!().for_each(|input: &[u8]| {
        if let Ok(text) = std::str::from_utf8(input) {
            drop(Policy::from_toml("fuzz", text, DETECTOR.rules()));
        }
    });
}

#[test]
fn gitleaks_file() {
    bolero::check!().for_each(|input: &[u8]| {
        if let Ok(text) = std::str::from_utf8(input) {
            drop(RuleSet::from_toml("gitleaks.toml", text));
        }
    });
}
