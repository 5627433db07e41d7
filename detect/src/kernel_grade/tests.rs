use super::*;
use crate::{Detector, Stream};
use keymoat_abi::scan::Flow;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

/// A rule set compiled, and the full engine for each of its rules alone.
struct Both {
    rules: RuleSet,
    kernel: KernelRules,
    engines: Vec<Detector>,
}

impl Both {
    fn new(rules: RuleSet) -> Both {
        let engine = |rule| Detector::new(Arc::new(RuleSet::of(rule))).unwrap();
        Both {
            kernel: KernelRules::compile(&rules),
            engines: rules.rules().iter().map(engine).collect(),
            rules,
        }
    }

    fn id(&self, rule: usize) -> &str {
        &self.rules.rules()[rule].id
    }

    /// After each write: every rule of which a key has ended, or is complete if nothing follows.
    fn kernel_says(&self, writes: &[&[u8]]) -> (Vec<BTreeSet<&str>>, u32) {
        let (mut flow, mut ended) = (Flow::NEW, BTreeSet::new());
        let says = writes.iter().map(|bytes| {
            self.kernel.write(&mut flow, bytes, &mut |rule| {
                ended.insert(rule);
            });
            let all = ended.iter().copied().chain(self.kernel.complete(&flow));
            all.map(|rule| self.id(rule.into())).collect()
        });
        (says.collect(), flow.crowded())
    }

    fn engine_says(&self, writes: &[&[u8]]) -> Vec<BTreeSet<&str>> {
        let mut states: Vec<(Stream, bool)> = self.engines.iter().map(|_| Default::default()).collect();
        let mut says = Vec::new();
        for bytes in writes {
            let mut now = BTreeSet::new();
            for (rule, (engine, (stream, found))) in self.engines.iter().zip(&mut states).enumerate() {
                engine.push(stream, bytes, &mut |_| *found = true);
                if *found || stream.pending() {
                    now.insert(self.id(rule));
                }
            }
            says.push(now);
        }
        says
    }

    /// The kernel never says more than the engine, and, but for what it owns up to, never less.
    fn agree(&self, text: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
        let writes = cut(text, cuts);
        let (kernel, crowded) = self.kernel_says(&writes);
        let engine = self.engine_says(&writes);
        for (kernel, engine) in kernel.iter().zip(&engine) {
            prop_assert!(kernel.is_subset(engine), "{kernel:?} is more than {engine:?}");
        }
        if crowded == 0 {
            prop_assert_eq!(kernel, engine);
        }
        Ok(())
    }
}

/// Cuts `text` where `cuts` say.
fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

static BUILTIN: LazyLock<Both> = LazyLock::new(|| Both::new(RuleSet::builtin().unwrap()));

fn builtin_keys() -> Vec<String> {
    BUILTIN.rules.rules().iter().flat_map(|rule| rule.positives.clone()).collect()
}

fn rule(id: &str, pattern: &str, more: &str) -> String {
    format!(
        "[[rule]]\nid = '{id}'\nname = '{id}'\nseverity = 'low'\npattern = '{pattern}'\n{more}\n\
         explanation = 'x'\nremediation = 'x'\npositives = [['x'], ['y']]\nnegatives = [['x'], ['y']]\n"
    )
}

fn compiled(rules: &[String]) -> Both {
    let text = format!("vendor = 'test'\n{}", rules.concat());
    Both::new(RuleSet::from_toml("test", &text).unwrap())
}

#[test]
fn nearly_all_built_in_rules_are_kernel_grade() {
    let all = BUILTIN.rules.rules().iter().zip(BUILTIN.kernel.grades());
    let (prefixed, other): (Vec<_>, Vec<_>) = all.partition(|(rule, _)| !rule.prefixes.is_empty());
    for (rules, least) in [(&prefixed, 99), (&other, 95)] {
        let kernel = rules.iter().filter(|(_, grade)| **grade == Grade::Kernel).count();
        assert!(100 * kernel >= least * rules.len(), "{kernel} of {}", rules.len());
    }
    let size = BUILTIN.kernel.tables().size();
    assert!(size < 4 << 20, "{size} bytes");
}

#[test]
fn every_sample_is_judged_as_the_engine_judges_it() {
    for rule in BUILTIN.rules.rules() {
        for sample in rule.positives.iter().chain(&rule.negatives) {
            for (before, after) in
                [("", ""), ("key=", "\r\n"), ("{\"a\\u003d", "\"}"), ("x", "x"), ("token%3D", "%26")]
            {
                let text = format!("{before}{sample}{after}");
                BUILTIN.agree(text.as_bytes(), &[]).unwrap();
            }
        }
    }
}

#[test]
fn a_key_cut_anywhere_is_known_by_the_write_that_completes_it() {
    for rule in BUILTIN.rules.rules() {
        let text = format!("x-key: {}", rule.positives[0]);
        for at in 0..text.len() {
            let (says, crowded) = BUILTIN.kernel_says(&cut(text.as_bytes(), &[at]));
            assert_eq!(crowded, 0);
            assert!(says[1].contains(rule.id.as_str()), "{} cut at {at}", rule.id);
        }
        let (says, _) = BUILTIN.kernel_says(&text.as_bytes().chunks(1).collect::<Vec<_>>());
        assert!(says.last().unwrap().contains(rule.id.as_str()), "{} byte by byte", rule.id);
    }
}

#[test]
fn nothing_is_joined_across_a_restart() {
    let key = &builtin_keys()[0];
    let (first, second) = key.as_bytes().split_at(key.len() / 2);
    let (mut flow, mut found) = (Flow::NEW, 0);
    BUILTIN.kernel.write(&mut flow, first, &mut |_| found += 1);
    flow.restart(BUILTIN.kernel.tables().header.generation);
    BUILTIN.kernel.write(&mut flow, second, &mut |_| found += 1);
    BUILTIN.kernel.write(&mut flow, b" ", &mut |_| found += 1);
    assert_eq!(found, 0);
}

#[test]
fn other_tables_begin_anew() {
    let other = compiled(&[rule("a", "aaa[0-9]{8}", "prefixes = ['aaa']")]);
    let (mut flow, mut found) = (Flow::NEW, Vec::new());
    BUILTIN.kernel.write(&mut flow, b"aaa0000", &mut |_| ());
    other.kernel.write(&mut flow, b"0000 ", &mut |rule| found.push(rule));
    assert_eq!(found, []);
    other.kernel.write(&mut flow, b"aaa00000000 ", &mut |rule| found.push(rule));
    assert_eq!(found, [0]);
}

/// What does not fit is left out, said to be, and leaves the others alone.
#[test]
fn a_rule_that_does_not_fit_says_why() {
    let mut rules = vec![
        rule("large", "lar(?:abcdefghijklmnopqrstuvwxyz0123456789){1,100}", "prefixes = ['lar']"),
        rule("far", "[0-9]{110}far[0-9]{3}", "marker = { texts = ['far'], at = 110 }"),
    ];
    rules.extend(
        (0..=SLOTS)
            .map(|n| rule(&format!("same{n}"), &format!("sam[a-z]{{{}}}", 10 + n), "prefixes = ['sam']")),
    );
    let both = compiled(&rules);
    let reasons: Vec<_> = both
        .kernel
        .grades()
        .iter()
        .filter_map(|grade| match grade {
            Grade::Kernel => None,
            Grade::UserOnly(why) => Some(why.to_string()),
        })
        .collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons[0].contains("cells") && reasons[1].contains("behind") && reasons[2].contains("`sam`"),
        "{reasons:?}"
    );
    let (says, _) = both.kernel_says(&[b" samabcdefghij "]);
    assert_eq!(says[0], BTreeSet::from(["same0"]));
}

#[test]
fn a_flow_says_when_it_could_not_follow_all() {
    let rules: Vec<_> = (0..=SLOTS)
        .map(|n| rule(&format!("k{n}"), &format!("k{n}z[a-z0-9=]{{100}}"), &format!("prefixes = ['k{n}z']")))
        .collect();
    let both = compiled(&rules);
    let starts = |count: usize| (0..count).map(|n| format!("=k{n}z")).collect::<String>();
    let text = |count| format!("{}{}", starts(count), "a".repeat(100));
    let (says, crowded) = both.kernel_says(&[text(SLOTS).as_bytes()]);
    assert_eq!((says[0].len(), crowded), (1, 0));
    let (_, crowded) = both.kernel_says(&[text(SLOTS + 1).as_bytes()]);
    assert_eq!(crowded, 1);
}

#[test]
fn a_thousand_rules_fit() {
    let rules: Vec<_> = (0..1000)
        .map(|n| {
            let prefix = format!(
                "{}{}_{n:03}",
                char::from(b'a' + (n % 26) as u8),
                char::from(b'a' + (n / 26 % 26) as u8)
            );
            rule(
                &format!("r{n}"),
                &format!("{prefix}[A-Za-z0-9_-]{{20,120}}"),
                &format!("prefixes = ['{prefix}']"),
            )
        })
        .collect();
    let text = format!("vendor = 'test'\n{}", rules.concat());
    let kernel = KernelRules::compile(&RuleSet::from_toml("test", &text).unwrap());
    assert!(kernel.grades().iter().all(|grade| *grade == Grade::Kernel));
    assert!(kernel.tables().size() < 4 << 20, "{}", kernel.tables().size());
}

/// No rule at all finds nothing, and ends.
#[test]
fn no_rules_find_nothing() {
    let both = Both::new(RuleSet::default());
    assert_eq!(both.kernel_says(&[&[0; 1000], b"sk-ant-api"]), (vec![BTreeSet::new(), BTreeSet::new()], 0));
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let keys = builtin_keys();
    let (count, near, whole) = (keys.len(), keys.clone(), keys.clone());
    let rules = BUILTIN.rules.rules().iter();
    let literals: Vec<String> = rules
        .flat_map(|rule| {
            let markers = rule.marker.iter().flat_map(|marker| &marker.texts);
            rule.prefixes.iter().chain(&rule.context).chain(markers).cloned()
        })
        .collect();
    prop_oneof![
        3 => (0..count).prop_map(move |i| whole[i].clone().into_bytes()),
        // Incomplete keys, and keys with one byte changed.
        2 => (0..count, 0..60usize).prop_map(move |(i, n)| keys[i].bytes().take(n).collect()),
        2 => (0..count, any::<usize>(), any::<u8>()).prop_map(move |(i, at, byte)| {
            let mut key = near[i].clone().into_bytes();
            let at = at % key.len();
            key[at] = byte;
            key
        }),
        1 => prop::sample::select(literals).prop_map(String::into_bytes),
        2 => "[A-Za-z0-9_+/=-]{0,90}".prop_map(String::into_bytes),
        1 => "[0-9a-f]{0,70}".prop_map(String::into_bytes),
        2 => "[ -~\r\n]{0,20}".prop_map(String::into_bytes),
        4 => prop::sample::select(vec![" ", "\n", "=", "\"", "\\n", "%3D", "\\u003d", "&", "-", "_", "x"])
            .prop_map(|s| s.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..30),
    ]
}

/// Rules that keys do not have, so that small texts meet every corner: alternations, repeats inside repeats, matches inside
/// the prefix, markers at many places, literals that contain each other.
static ODD: LazyLock<Both> = LazyLock::new(|| {
    compiled(&[
        rule("alternation", "aab(?:ab?|b{2,3}){5,8}\\.?", "prefixes = ['aab']"),
        rule("marker", "[ab]{2,6}-a-[ab]{3,5}", "marker = { texts = ['-a-'], at = [2, 6] }"),
        rule(
            "markers",
            "[ab-]{5}(?:a\\.|b-)b[ab.]{1,4}",
            "marker = { texts = ['a.b', 'b-b'], at = 5 }\nleft = 'none'",
        ),
        rule("contains", "bab[ab.-]{5,20}", "prefixes = ['bab']\ncontains = ['aa.', 'a.a', '-a-a-']"),
        rule("context", "[ab]{8,9}", "context = ['a.b', '--=', 'a.b.a', '.ba']"),
        rule("inside", "ab-ab-ab-[ab]{0,3}", "prefixes = ['ab-ab-ab-']\nright = '[b]'"),
        rule("nested", "-ab(?:-b)?[ab]{6,9}(?:\\.[ab]{2}){0,2}", "prefixes = ['-ab', '-ab-b']"),
        rule("open", "b-b[ab-]{5,9}", "prefixes = ['b-b']\nleft = '[.]'\nright = 'none'"),
        rule("wide", "u00[^a]{5,7}a", "prefixes = ['u00']"),
    ])
});

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_kernel_says_what_the_engine_says(
        pieces in prop::collection::vec(piece(), 0..12),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        BUILTIN.agree(&pieces.concat(), &cuts)?;
    }

    #[test]
    fn it_does_so_for_odd_rules(
        text in prop::collection::vec(prop::sample::select(&b"aaaabbbb.--\\n%3Du0="[..]), 0..400),
        cuts in prop::collection::vec(any::<usize>(), 0..8),
    ) {
        ODD.agree(&text, &cuts)?;
    }
}
