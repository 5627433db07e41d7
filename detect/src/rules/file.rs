//! The rule file: TOML as people write it, checked field by field. `docs/rules.md` is its manual.

use super::rule::Finder;
use super::sample::{self, Piece};
use super::{Marker, Origin, Rule, Severity, home};
use crate::error::{Problem, RuleError};
use crate::pattern::{self, Shape};
use crate::validate::{self, Validator};
use serde::Deserialize;
use std::sync::Arc;
use toml::Spanned;

/// What stands between a variable's name and its value in shells, .env files, YAML, JSON, JSON inside JSON,
/// and forms.
const ASSIGNMENTS: [&str; 13] = [
    "=",
    "=\"",
    "='",
    " = ",
    " = \"",
    ": ",
    ": \"",
    ": '",
    "\":\"",
    "\": \"",
    "\\\":\\\"",
    "\\\": \\\"",
    "%3D",
];
/// Literals shorter than this are found in every line.
const MIN_LITERAL: usize = 3;
/// The automaton grows with every byte of every literal.
const MAX_LITERAL: usize = 64;
/// Samples of each kind a rule must bring: they are its tests.
const MIN_SAMPLES: usize = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    vendor: Spanned<String>,
    /// For the rules that give none themselves.
    #[serde(default)]
    home: Vec<Spanned<String>>,
    #[serde(default, rename = "rule")]
    rules: Vec<Spanned<Entry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    id: Spanned<String>,
    name: Spanned<String>,
    severity: Severity,
    default: Option<Choice>,
    pattern: Spanned<String>,
    prefixes: Option<Spanned<Vec<Spanned<String>>>>,
    marker: Option<Spanned<MarkerEntry>>,
    context: Option<Spanned<Vec<Spanned<String>>>>,
    variables: Option<Spanned<Vec<Spanned<String>>>>,
    #[serde(default)]
    contains: Vec<Spanned<String>>,
    between: Option<Spanned<String>>,
    #[serde(default)]
    validators: Vec<Spanned<String>>,
    left: Option<Spanned<String>>,
    right: Option<Spanned<String>>,
    home: Option<Vec<Spanned<String>>>,
    #[serde(default)]
    usual: Vec<Spanned<String>>,
    explanation: Spanned<String>,
    remediation: Spanned<String>,
    #[serde(default)]
    attack: Vec<String>,
    positives: Spanned<Vec<Vec<Piece>>>,
    negatives: Spanned<Vec<Vec<Piece>>>,
}

/// The only thing to say: without the field a rule is on.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Choice {
    Off,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MarkerEntry {
    texts: Spanned<Vec<Spanned<String>>>,
    at: Offset,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(untagged, expecting = "expected an offset such as 52, or [least, most]")]
enum Offset {
    Fixed(u16),
    Range([u16; 2]),
}

/// When a pattern is compiled and held against the rule's prefixes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// While reading: what somebody wrote is to be answered for at once.
    Now,
    /// When the rule is first needed.
    Later,
}

/// All rules of one file, or the first thing wrong with it.
pub(crate) fn parse(origin: &str, text: &str, proof: Proof) -> Result<Vec<Rule>, RuleError> {
    let source = Source { origin, text, proof };
    let file: File = toml::from_str(text).map_err(|error| {
        let offset = error.span().map_or(0, |span| span.start);
        source.error(offset, Problem::Syntax(error.message().replace('\n', "; ")))
    })?;
    source.filled("vendor", &file.vendor, "name whose keys these are")?;

    let mut rules: Vec<Rule> = Vec::with_capacity(file.rules.len());
    for entry in &file.rules {
        let rule = source.rule(&file, entry.get_ref())?;
        if let Some(old) = rules.iter().find(|old| old.id == rule.id) {
            let problem = Problem::DuplicateId { id: rule.id.clone(), other: old.origin.to_string() };
            return Err(source.error(entry.get_ref().id.span().start, problem));
        }
        rules.push(rule);
    }
    Ok(rules)
}

/// The text under check: turns offsets into places.
struct Source<'a> {
    origin: &'a str,
    text: &'a str,
    proof: Proof,
}

impl Source<'_> {
    fn error(&self, offset: usize, problem: Problem) -> RuleError {
        RuleError::at(self.origin, self.text, offset, problem)
    }

    fn at<T>(&self, place: &Spanned<T>, problem: Problem) -> RuleError {
        self.error(place.span().start, problem)
    }

    fn filled(
        &self,
        field: &'static str,
        text: &Spanned<String>,
        why: &'static str,
    ) -> Result<(), RuleError> {
        if text.get_ref().trim().is_empty() {
            return Err(self.at(text, Problem::Empty { field, why }));
        }
        Ok(())
    }

    fn rule(&self, file: &File, entry: &Entry) -> Result<Rule, RuleError> {
        self.words(entry)?;
        let after_context = entry.context.is_some() || entry.variables.is_some();
        let left = match (&entry.left, after_context) {
            (Some(left), _) => Some(left.get_ref().as_str()),
            // The context itself is what stands to the left.
            (None, true) => Some("none"),
            (None, false) => None,
        };
        let right = entry.right.as_ref().map(|right| right.get_ref().as_str());
        let mut shape =
            Shape::new(entry.pattern.get_ref(), left, right).map_err(|problem| self.blame(entry, problem))?;
        if let Some(between) = &entry.between {
            if !after_context {
                return Err(self.at(between, Problem::BetweenWithoutContext));
            }
            shape = shape.after(between.get_ref()).map_err(|problem| self.at(between, problem))?;
            if self.proof == Proof::Now {
                shape.between().map_err(|problem| self.at(between, problem))?;
            }
        }
        if self.proof == Proof::Now {
            shape.automaton().map_err(|problem| self.blame(entry, problem))?;
        }
        let anchors = self.anchors(entry, &shape)?;
        let home = entry.home.as_ref().unwrap_or(&file.home);

        let id = RuleError::at(self.origin, self.text, entry.id.span().start, Problem::NoAnchor);
        Ok(Rule {
            id: entry.id.get_ref().clone(),
            name: entry.name.get_ref().clone(),
            vendor: file.vendor.get_ref().clone(),
            severity: entry.severity,
            off_by_default: entry.default.is_some(),
            on: entry.default.is_none(),
            pattern: entry.pattern.get_ref().clone(),
            prefixes: anchors.prefixes,
            marker: anchors.marker,
            context: anchors.context,
            contains: entry.contains.iter().map(|text| text.get_ref().clone()).collect(),
            checks: self.validators(&entry.validators)?,
            home: self.checked(home, home::is_host_pattern, Problem::BadHost)?,
            usual: self.checked(&entry.usual, home::is_location, Problem::BadLocation)?,
            explanation: entry.explanation.get_ref().trim().to_owned(),
            remediation: entry.remediation.get_ref().trim().to_owned(),
            attack: entry.attack.clone(),
            positives: self.samples("positives", &entry.positives)?,
            negatives: self.samples("negatives", &entry.negatives)?,
            origin: Origin { file: id.origin, line: id.line, column: id.column },
            finder: Finder::Shape(Arc::new(shape)),
        })
    }

    fn words(&self, entry: &Entry) -> Result<(), RuleError> {
        if !is_kebab(entry.id.get_ref()) {
            return Err(self.at(&entry.id, Problem::BadId(entry.id.get_ref().clone())));
        }
        self.filled("name", &entry.name, "it is what people read in a finding")?;
        self.filled("explanation", &entry.explanation, "say why it matters that this key left the machine")?;
        self.filled(
            "remediation",
            &entry.remediation,
            "say where to revoke the key and where to keep the next one",
        )?;
        for literal in &entry.contains {
            self.filled(
                "contains",
                literal,
                "name a text that every such key holds, or leave the field out",
            )?;
        }
        Ok(())
    }

    /// Points at the field a problem of the shape comes from.
    fn blame(&self, entry: &Entry, problem: Problem) -> RuleError {
        let side = match &problem {
            Problem::BadSet(set) => [&entry.left, &entry.right]
                .into_iter()
                .flatten()
                .find(|side| side.get_ref() == set)
                .unwrap_or(&entry.pattern),
            _ => &entry.pattern,
        };
        self.at(side, problem)
    }

    fn anchors(&self, entry: &Entry, shape: &Shape) -> Result<Anchors, RuleError> {
        let mut anchors = Anchors::default();
        let context = self.context(entry)?;
        match (&entry.prefixes, &entry.marker, context) {
            (Some(prefixes), None, None) => {
                anchors.prefixes = self.literals("prefixes", prefixes)?;
                if self.proof == Proof::Now {
                    self.check_prefixes(entry, prefixes, &anchors.prefixes, shape)?;
                }
            }
            (None, Some(marker), None) => {
                let MarkerEntry { texts, at } = marker.get_ref();
                let texts = self.literals("texts", texts)?;
                let (least, most) = match *at {
                    Offset::Fixed(at) => (at, at),
                    Offset::Range([least, most]) => (least, most),
                };
                let found = Marker { texts, least: least.into(), most: most.into() };
                pattern::check_marker(shape, &found).map_err(|problem| self.at(marker, problem))?;
                anchors.marker = Some(found);
            }
            (None, None, Some(context)) => anchors.context = context,
            (None, None, None) => return Err(self.at(&entry.id, Problem::NoAnchor)),
            _ => return Err(self.at(&entry.id, Problem::ManyAnchors)),
        }
        Ok(anchors)
    }

    /// `context` as it stands, and every way an assignment to one of `variables` is written.
    fn context(&self, entry: &Entry) -> Result<Option<Vec<String>>, RuleError> {
        if entry.context.is_none() && entry.variables.is_none() {
            return Ok(None);
        }
        let mut context = match &entry.context {
            Some(list) => self.literals("context", list)?,
            None => Vec::new(),
        };
        if let Some(list) = &entry.variables {
            for name in self.literals("variables", list)? {
                context.extend(ASSIGNMENTS.iter().map(|sign| format!("{name}{sign}")));
            }
        }
        Ok(Some(context))
    }

    fn check_prefixes(
        &self,
        entry: &Entry,
        places: &Spanned<Vec<Spanned<String>>>,
        prefixes: &[String],
        shape: &Shape,
    ) -> Result<(), RuleError> {
        let automaton = shape.automaton().map_err(|problem| self.at(&entry.pattern, problem))?;
        for prefix in places.get_ref() {
            if !automaton.can_start_with(prefix.get_ref().as_bytes()) {
                return Err(self.at(prefix, Problem::ForeignPrefix(prefix.get_ref().clone())));
            }
        }
        match pattern::uncovered_start(entry.pattern.get_ref(), prefixes) {
            Some(start) => Err(self.at(places, Problem::UncoveredPrefix(start))),
            None => Ok(()),
        }
    }

    fn literals(
        &self,
        field: &'static str,
        list: &Spanned<Vec<Spanned<String>>>,
    ) -> Result<Vec<String>, RuleError> {
        if list.get_ref().is_empty() {
            return Err(self.at(list, Problem::Empty { field, why: "a key is found by such a text" }));
        }
        for literal in list.get_ref() {
            self.check_literal(literal.span().start, literal.get_ref())?;
        }
        Ok(list.get_ref().iter().map(|literal| literal.get_ref().clone()).collect())
    }

    fn check_literal(&self, offset: usize, literal: &str) -> Result<(), RuleError> {
        match literal.len() {
            0..MIN_LITERAL => Err(self.error(offset, Problem::ShortLiteral(literal.to_owned()))),
            MIN_LITERAL..=MAX_LITERAL => Ok(()),
            len => Err(self.error(offset, Problem::TooLong { len, max: MAX_LITERAL })),
        }
    }

    fn validators(&self, names: &[Spanned<String>]) -> Result<Vec<&'static Validator>, RuleError> {
        let named = |name: &Spanned<String>| {
            let problem =
                || Problem::UnknownValidator { name: name.get_ref().clone(), known: validate::names(false) };
            Validator::named(name.get_ref()).ok_or_else(|| self.at(name, problem()))
        };
        names.iter().map(named).collect()
    }

    fn checked(
        &self,
        list: &[Spanned<String>],
        good: fn(&str) -> bool,
        problem: fn(String) -> Problem,
    ) -> Result<Vec<String>, RuleError> {
        match list.iter().find(|item| !good(item.get_ref())) {
            Some(bad) => Err(self.at(bad, problem(bad.get_ref().clone()))),
            None => Ok(list.iter().map(|item| item.get_ref().clone()).collect()),
        }
    }

    fn samples(
        &self,
        field: &'static str,
        list: &Spanned<Vec<Vec<Piece>>>,
    ) -> Result<Vec<String>, RuleError> {
        let found = list.get_ref().len();
        if found < MIN_SAMPLES {
            return Err(self.at(list, Problem::FewSamples { field, found }));
        }
        let assemble =
            |pieces: &Vec<Piece>| sample::assemble(pieces).map_err(|problem| self.at(list, problem));
        list.get_ref().iter().map(assemble).collect()
    }
}

#[derive(Default)]
struct Anchors {
    prefixes: Vec<String>,
    marker: Option<Marker>,
    context: Vec<String>,
}

pub(crate) fn is_kebab(id: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    id.split('-').all(word)
}
