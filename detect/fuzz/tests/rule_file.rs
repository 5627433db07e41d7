//! Any text as a rule file is an answer, not a panic.

use keymoat_detect::RuleSet;

#[test]
fn rule_file() {
    bolero::check!().for_each(|input: &[u8]| {
        if let Ok(text) = std::str::from_utf8(input) {
            drop(RuleSet::from_toml("fuzz", text));
        }
    });
}
