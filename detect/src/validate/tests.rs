use super::*;
use crate::RuleSet;
use regex_syntax::hir::{Class, ClassBytesRange, Hir, HirKind};

/// A text and its checksum, as another implementation computes it (zlib, hashlib, BIP 173's reference code in Python).
/// In pieces, so that no key stands here.
fn known() -> Vec<(&'static str, String, &'static str)> {
    let body = |n: usize| "Kq3".repeat(n);
    vec![
        ("crc32-base62", format!("ghp_{}", body(10)), "4RakAB"),
        ("crc32-base62", format!("npm_{}002", body(9)), "0xZeH6"),
        ("github-pat-sha256", format!("github_pat_1{}_{}Z", body(7), body(14)), "6D4MCJA4"),
        ("atlassian-crc32", format!("ATBB{}", body(8)), "7FDDFBA9"),
        ("atlassian-crc32", format!("ATATT3xFfGF0{}=", body(30)), "E904A5F6"),
        ("atlassian-crc32", format!("ATATT3xFfGF0{}%3D", body(30)), "E904A5F6"),
        ("grafana-crc32", format!("glsa_{}_", "Kq".repeat(16)), "85dce227"),
        ("confluent-crc32", format!("cflt{}", body(18)), "Fqw7mg"),
        ("gitlab-crc32", format!("glpat-{}.01.0r", body(9)), "0w8ufat"),
        ("age-bech32", format!("AGE-SECRET-KEY-1{}Q", "K9X".repeat(17)), "RT6PMG"),
    ]
}

fn said(name: &str, secret: &str) -> Outcome {
    let secret = Secret { whole: secret.as_bytes(), body: secret.as_bytes(), alphabet: 62 };
    Validator::named(name).unwrap().check(&secret, &mut Vec::new())
}

#[test]
fn a_right_checksum_is_proof_and_any_other_is_a_doubt() {
    for (name, text, sum) in known() {
        assert_eq!(Validator::named(name).unwrap().seal(&text).as_deref(), Some(sum), "{name}");
        // Eight characters of a fine-grained token follow.
        let rest = if name == "github-pat-sha256" { "Kq3Kq3Kq" } else { "" };
        assert!(matches!(said(name, &format!("{text}{sum}{rest}")), Outcome::Proven(_)), "{name}");
        for place in 0..sum.len() {
            let mut wrong = sum.as_bytes().to_vec();
            wrong[place] = if wrong[place] == b'2' { b'3' } else { b'2' };
            let wrong = String::from_utf8(wrong).unwrap();
            assert!(matches!(said(name, &format!("{text}{wrong}{rest}")), Outcome::Doubtful(_)), "{name}");
        }
        let other = text.replacen(['K', '9'], "Z", 1);
        assert!(matches!(said(name, &format!("{other}{sum}{rest}")), Outcome::Doubtful(_)), "{name}");
    }
}

#[test]
fn texts_too_short_for_a_checksum_prove_nothing() {
    for validator in VALIDATORS {
        for len in 0..20 {
            let outcome = said(validator.name, "5".repeat(len).as_str());
            assert!(!matches!(outcome, Outcome::Proven(_)), "{} of {len}", validator.name);
        }
    }
}

#[test]
fn tokens_of_the_old_form_have_no_checksum() {
    assert_eq!(said("gitlab-crc32", &format!("glrt-{}", "Kq3".repeat(7))), Outcome::Silent);
}

#[test]
fn the_table_is_sorted_and_its_names_are_unique() {
    assert!(VALIDATORS.is_sorted_by(|a, b| a.name < b.name));
}

/// splitmix64: the same keys in every run.
struct Noise(u64);

impl Noise {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ mixed >> 31) >> 11) as usize % n
    }

    /// A text that the pattern describes, every character of its classes as likely as any other.
    fn key(&mut self, hir: &Hir, key: &mut Vec<u8>) {
        match hir.kind() {
            HirKind::Empty | HirKind::Look(_) => {}
            HirKind::Literal(literal) => key.extend_from_slice(&literal.0),
            HirKind::Class(class) => key.push(self.character(class)),
            HirKind::Repetition(repetition) => {
                let least = repetition.min as usize;
                let spread = repetition.max.unwrap() as usize - least;
                for _ in 0..least + self.below(spread.min(64) + 1) {
                    self.key(&repetition.sub, key);
                }
            }
            HirKind::Capture(capture) => self.key(&capture.sub, key),
            HirKind::Concat(parts) => parts.iter().for_each(|part| self.key(part, key)),
            HirKind::Alternation(parts) => {
                let one = self.below(parts.len());
                self.key(&parts[one], key);
            }
        }
    }

    fn character(&mut self, class: &Class) -> u8 {
        let Class::Bytes(class) = class else { panic!("patterns are over bytes") };
        let size = |range: &ClassBytesRange| usize::from(range.end() - range.start()) + 1;
        let mut nth = self.below(class.iter().map(size).sum());
        for range in class.iter() {
            match nth.checked_sub(size(range)) {
                Some(rest) => nth = rest,
                None => return range.start() + nth as u8,
            }
        }
        unreachable!("the place is below the sum of all sizes")
    }
}

/// With 100,000 keys of each rule (24.7 million) none is suppressed either, and as few are doubted.
const KEYS: usize = 2_000;

#[test]
fn no_random_key_of_any_rule_is_suppressed_and_hardly_one_is_doubted() {
    let rules = RuleSet::builtin().unwrap();
    let mut noise = Noise(1);
    for rule in rules.rules() {
        let hir = regex_syntax::ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .build()
            .parse(&rule.pattern)
            .unwrap();
        // A random key has no checksum that is right.
        let doubted_anyway =
            rule.checks.iter().any(|check| matches!(check.kind, Kind::Checksum(_)) || check.name == "jwt");
        let (mut doubted, mut key) = (0, Vec::new());
        for _ in 0..KEYS {
            key.clear();
            noise.key(&hir, &mut key);
            match assess(rule, &key) {
                Ok(assessment) => doubted += usize::from(assessment.confidence == Confidence::Low),
                Err(why) => panic!("{}: {why}: {}", rule.id, String::from_utf8_lossy(&key)),
            }
        }
        assert!(doubted_anyway || doubted * 1000 <= KEYS, "{}: {doubted} of {KEYS}", rule.id);
    }
}
