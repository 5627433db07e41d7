//! The kernel's matcher beside the full engine.

mod http2;
mod places;
mod properties;

use super::*;
use crate::{Detector, Stream};
use keymoat_abi::scan::Flow;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, LazyLock};

/// A rule set compiled, the full engine for all of its rules, and one for each rule of kernel grade alone.
struct Both {
    rules: RuleSet,
    kernel: KernelRules,
    together: Detector,
    /// By the rule's place in the set. None for rules that only userspace can decide.
    alone: Vec<Option<Detector>>,
}

/// What the kernel says to a number of writes.
struct Kernel<'a> {
    /// After each write: every rule of which a key has ended, or is complete if nothing follows.
    rules: Vec<BTreeSet<&'a str>>,
    /// The rule of each key, and where it was told.
    told: Vec<(usize, u64)>,
    crowded: u32,
}

/// What the full engine says, each rule for itself.
struct Engine<'a> {
    rules: Vec<BTreeSet<&'a str>>,
    found: Vec<(usize, Range<u64>)>,
}

impl Both {
    fn new(rules: RuleSet) -> Both {
        let kernel = KernelRules::compile(&rules);
        let engine = |(rule, grade): (&Rule, &Grade)| {
            grade.obstacle().is_none().then(|| Detector::new(Arc::new(RuleSet::of(rule))).unwrap())
        };
        Both {
            together: Detector::new(Arc::new(rules.clone())).unwrap(),
            alone: rules.rules().iter().zip(kernel.grades()).map(engine).collect(),
            kernel,
            rules,
        }
    }

    fn id(&self, rule: usize) -> &str {
        &self.rules.rules()[rule].id
    }

    /// The rules of kernel grade.
    fn decided(&self) -> impl Iterator<Item = &Rule> {
        self.rules
            .rules()
            .iter()
            .zip(&self.alone)
            .filter_map(|(rule, engine)| engine.is_some().then_some(rule))
    }

    fn kernel_says(&self, writes: &[&[u8]]) -> Kernel<'_> {
        let (mut flow, mut told) = (Flow::NEW, Vec::new());
        let rules = writes.iter().map(|bytes| {
            self.kernel.write(&mut flow, bytes, &mut |rule, at| told.push((usize::from(rule), at)));
            let all = told.iter().map(|&(rule, _)| rule);
            all.chain(self.kernel.complete(&flow).map(usize::from)).map(|rule| self.id(rule)).collect()
        });
        Kernel { rules: rules.collect(), told, crowded: flow.crowded() }
    }

    fn engine_says(&self, writes: &[&[u8]]) -> Engine<'_> {
        let mut says = Engine { rules: vec![BTreeSet::new(); writes.len()], found: Vec::new() };
        for (rule, engine) in self.alone.iter().enumerate() {
            let Some(engine) = engine else { continue };
            let (mut stream, mut found) = (Stream::default(), Vec::new());
            for (bytes, rules) in writes.iter().zip(&mut says.rules) {
                engine.push(&mut stream, bytes, &mut |found_here| found.push(span(&found_here)));
                if !found.is_empty() || stream.pending() {
                    rules.insert(self.id(rule));
                }
            }
            engine.flush(&mut stream, &mut |found_here| found.push(span(&found_here)));
            says.found.extend(found.into_iter().map(|span| (rule, span)));
        }
        says
    }

    /// After each write, the kernel never says more than the engine does rule by rule, and, but for what it owns up to, never
    /// less. Returns whether it followed all.
    fn agree(&self, text: &[u8], cuts: &[usize]) -> Result<bool, TestCaseError> {
        let writes = cut(text, cuts);
        let (kernel, engine) = (self.kernel_says(&writes), self.engine_says(&writes));
        for (kernel, engine) in kernel.rules.iter().zip(&engine.rules) {
            prop_assert!(kernel.is_subset(engine), "{kernel:?} is more than {engine:?}");
        }
        self.nothing_is_made_up(&kernel, &engine)?;
        if kernel.crowded > 0 {
            return Ok(false);
        }
        prop_assert_eq!(&kernel.rules, &engine.rules);
        self.nothing_leaks(text, &kernel)?;
        Ok(true)
    }

    /// Each key that the kernel tells of overlaps one that the engine finds for the same rule.
    fn nothing_is_made_up(&self, kernel: &Kernel<'_>, engine: &Engine<'_>) -> Result<(), TestCaseError> {
        for &(rule, at) in &kernel.told {
            let longest = (self.rules.rules()[rule].length().1 + BETWEEN) as u64;
            let near = |span: &Range<u64>| span.start < at && at <= span.end + longest;
            let found = engine.found.iter().any(|(other, span)| *other == rule && near(span));
            prop_assert!(found, "{} told at {at}, engine: {:?}", self.id(rule), engine.found);
        }
        Ok(())
    }

    /// Each key that the engine finds with all rules is told, by the byte after it at the latest.
    fn nothing_leaks(&self, text: &[u8], kernel: &Kernel<'_>) -> Result<(), TestCaseError> {
        let (mut found, end) = (Vec::new(), text.len() as u64);
        self.together.scan(text, &mut |it| found.push((it.rule.id.clone(), span(&it))));
        for (id, span) in found {
            let place = self.rules.rules().iter().position(|rule| rule.id == id).unwrap();
            if self.alone[place].is_none() {
                continue;
            }
            let reach = found_by(&self.rules.rules()[place]).map(|found_by| found_by.most as u64).max();
            let latest = (span.end + 1).max(span.start + reach.unwrap_or(0));
            let told = kernel.told.iter().any(|&(rule, at)| rule == place && span.start < at && at <= latest);
            let complete = span.end == end && kernel.rules.last().unwrap().contains(id.as_str());
            prop_assert!(told || complete, "{id} at {span:?}, told: {:?}", kernel.told);
        }
        Ok(())
    }
}

/// Bytes that stand between a context and its key at most.
const BETWEEN: usize = 256;

fn span(found: &crate::Match<'_>) -> Range<u64> {
    found.start..found.start + found.secret.len() as u64
}

/// Cuts `text` where `cuts` say.
fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// All built-in rules, also those that are off by default.
static BUILTIN: LazyLock<Both> = LazyLock::new(|| {
    let mut rules = RuleSet::builtin().unwrap();
    rules.rules_mut().iter_mut().for_each(|rule| rule.on = true);
    Both::new(rules)
});

fn builtin_keys() -> Vec<String> {
    BUILTIN.decided().flat_map(|rule| rule.positives.clone()).collect()
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
    for (kind, rules) in [("prefixed", &prefixed), ("other", &other)] {
        let kernel = rules.iter().filter(|(_, grade)| **grade == Grade::Kernel).count();
        println!("{kernel} of {} {kind} rules are kernel grade", rules.len());
        for (rule, why) in rules.iter().filter_map(|(rule, grade)| Some((rule, grade.obstacle()?))) {
            println!("  not {}: {why}", rule.id);
        }
        assert!(10 * kernel >= 9 * rules.len(), "{kernel} of {}", rules.len());
    }
}

#[test]
fn the_tables_of_the_built_in_rules_are_small() {
    let tables = BUILTIN.kernel.tables();
    println!(
        "{} literal states of {} classes: {} bytes; {} tokens, {} bytes of their automata; {} bytes in all",
        tables.literal_states(),
        tables.header.stride,
        size_of_val(tables.literals.as_slice()),
        tables.tokens.len(),
        size_of_val(tables.cells.as_slice()),
        tables.size()
    );
    assert!(tables.size() < 4 << 20);
}

#[test]
fn every_sample_is_judged_as_the_engine_judges_it() {
    for rule in BUILTIN.rules.rules() {
        for sample in rule.positives.iter().chain(&rule.negatives) {
            for (before, after) in
                [("", ""), ("key=", "\r\n"), ("{\"a\\u003d", "\"}"), ("x", "x"), ("token%3D", "%26")]
            {
                let text = format!("{before}{sample}{after}");
                assert!(BUILTIN.agree(text.as_bytes(), &[]).unwrap(), "{} crowds", rule.id);
            }
        }
    }
}

#[test]
fn a_key_cut_anywhere_is_known_by_the_write_that_completes_it() {
    for rule in BUILTIN.decided() {
        let text = format!("x-key: {}", rule.positives[0]);
        for at in 0..text.len() {
            let says = BUILTIN.kernel_says(&cut(text.as_bytes(), &[at]));
            assert_eq!(says.crowded, 0);
            assert!(says.rules[1].contains(rule.id.as_str()), "{} cut at {at}", rule.id);
        }
        let says = BUILTIN.kernel_says(&text.as_bytes().chunks(1).collect::<Vec<_>>());
        assert!(says.rules.last().unwrap().contains(rule.id.as_str()), "{} byte by byte", rule.id);
    }
}

#[test]
fn nothing_is_joined_across_a_restart() {
    let key = &builtin_keys()[0];
    let (first, second) = key.as_bytes().split_at(key.len() / 2);
    let (mut flow, mut found) = (Flow::NEW, 0);
    BUILTIN.kernel.write(&mut flow, first, &mut |_, _| found += 1);
    flow.restart(BUILTIN.kernel.tables().header.generation);
    BUILTIN.kernel.write(&mut flow, second, &mut |_, _| found += 1);
    BUILTIN.kernel.write(&mut flow, b" ", &mut |_, _| found += 1);
    assert_eq!(found, 0);
}

#[test]
fn other_tables_begin_anew() {
    let other = compiled(&[rule("a", "aaa[0-9]{8}", "prefixes = ['aaa']")]);
    let (mut flow, mut found) = (Flow::NEW, Vec::new());
    BUILTIN.kernel.write(&mut flow, b"aaa0000", &mut |_, _| ());
    other.kernel.write(&mut flow, b"0000 ", &mut |rule, _| found.push(rule));
    assert!(found.is_empty(), "{found:?}");
    other.kernel.write(&mut flow, b"aaa00000000 ", &mut |rule, _| found.push(rule));
    assert_eq!(found, [0]);
}

/// What does not fit is left out, said to be, and leaves the others alone.
#[test]
fn a_rule_that_does_not_fit_says_why() {
    let mut rules = vec![
        rule("large", "lar(?:abcdefghijklmnopqrstuvwxyz0123456789){1,100}", "prefixes = ['lar']"),
        rule("far", "[0-9]{240}far[0-9]{3}", "marker = { texts = ['far'], at = 240 }"),
    ];
    rules.extend(
        (0..=SLOTS)
            .map(|n| rule(&format!("same{n}"), &format!("sam[a-z]{{{}}}", 10 + n), "prefixes = ['sam']")),
    );
    let both = compiled(&rules);
    let reasons: Vec<_> =
        both.kernel.grades().iter().filter_map(|grade| Some(grade.obstacle()?.to_string())).collect();
    assert_eq!(reasons.len(), 3, "{reasons:?}");
    assert!(
        reasons[0].contains("cells") && reasons[1].contains("behind") && reasons[2].contains("`sam`"),
        "{reasons:?}"
    );
    let says = both.kernel_says(&[b" samabcdefghij "]);
    assert_eq!(says.rules[0], BTreeSet::from(["same0"]));
}

#[test]
fn a_flow_says_when_it_could_not_follow_all() {
    let rules: Vec<_> = (0..=SLOTS)
        .map(|n| rule(&format!("k{n}"), &format!("k{n}z[a-z0-9=]{{100}}"), &format!("prefixes = ['k{n}z']")))
        .collect();
    let both = compiled(&rules);
    let starts = |count: usize| (0..count).map(|n| format!("=k{n}z")).collect::<String>();
    let text = |count| format!("{}{}", starts(count), "a".repeat(100));
    let says = both.kernel_says(&[text(SLOTS).as_bytes()]);
    assert_eq!((says.rules[0].len(), says.crowded), (1, 0));
    assert_eq!(both.kernel_says(&[text(SLOTS + 1).as_bytes()]).crowded, 1);
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
    assert!(kernel.tables().size() < 8 << 20, "{}", kernel.tables().size());
}

/// No rule at all finds nothing, and ends.
#[test]
fn no_rules_find_nothing() {
    let both = Both::new(RuleSet::default());
    let says = both.kernel_says(&[&[0; 1000], b"sk-ant-api"]);
    assert_eq!((says.rules, says.crowded), (vec![BTreeSet::new(), BTreeSet::new()], 0));
}

/// A rule that is off is graded, but not looked for.
#[test]
fn a_rule_that_is_off_takes_no_room() {
    let rules = RuleSet::builtin().unwrap();
    let kernel = KernelRules::compile(&rules);
    assert_eq!(kernel.grades(), BUILTIN.kernel.grades());
    let off: Vec<usize> = (0..rules.rules().len()).filter(|&rule| !rules.rules()[rule].on).collect();
    assert!(!off.is_empty());
    let token_of = |rule: &usize| kernel.tables().tokens.iter().any(|token| usize::from(token.rule) == *rule);
    assert!(!off.iter().any(token_of));
    for sample in off.iter().flat_map(|&rule| &rules.rules()[rule].positives) {
        let text = format!("key={sample}\r\n");
        let mut flow = Flow::NEW;
        kernel.write(&mut flow, text.as_bytes(), &mut |rule, _| assert!(!off.contains(&rule.into())));
    }
}

#[test]
fn a_rule_of_gitleaks_is_not_and_leaves_the_others_alone() {
    let mut rules = RuleSet::from_toml(
        "own",
        &format!("vendor = 'test'\n{}", rule("aaa", "aaa[0-9]{8}", "prefixes = ['aaa']")),
    );
    let gitleaks = "[[rules]]\nid = 'theirs'\nregex = 'bbb[0-9]{8}'\nkeywords = ['bbb']\n";
    let rules = rules.as_mut().unwrap();
    rules.merge(RuleSet::from_toml("gitleaks.toml", gitleaks).unwrap()).unwrap();
    let kernel = KernelRules::compile(rules);
    assert_eq!(kernel.grades(), [Grade::Kernel, Grade::UserOnly(Obstacle::Searched)]);
    let (mut flow, mut found) = (Flow::NEW, Vec::new());
    kernel.write(&mut flow, b"aaa12345678 bbb12345678 ", &mut |rule, at| found.push((rule, at)));
    assert_eq!(found, [(0, 12)]);
}
