//! From the file's fields to rules.

use super::parse::{Allow, Entry, Extend, File, List, Text};
use super::{Mistake, Unsupported};
use crate::error::{Problem, RuleError};
use crate::pattern::search::{Allowlist, Fault, Refusal, SIZE_LIMIT, Search, Settings, Target, parse};
use crate::rules::rule::{Finder, Origin, Rule, Severity};
use regex_syntax::hir::Hir;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use toml::Spanned;

/// Most rules of one file. A stream remembers a few numbers for each whose keyword was just seen.
const MAX_RULES: usize = 1024;
/// Bytes of one file's keywords, and of its stopwords, together. Automata grow with them.
const MAX_KEYWORDS: usize = 32 << 10;
const MAX_STOPWORDS: usize = 256 << 10;
/// Bytes of one file's compiled regexes together.
const MAX_MEMORY: usize = 256 << 20;

/// Reads one file's tables and notes what has no effect.
pub(super) struct Reader<'a> {
    origin: &'a str,
    text: &'a str,
    pub(super) unsupported: Vec<RuleError>,
    keywords: usize,
    stopwords: usize,
    memory: usize,
}

/// Allowlists that stand outside of rules.
#[derive(Default)]
struct Global<'a> {
    /// For every rule.
    all: Vec<Arc<Allowlist>>,
    /// For the rules they name.
    targeted: BTreeMap<&'a str, Vec<Arc<Allowlist>>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(origin: &'a str, text: &'a str) -> Reader<'a> {
        Reader { origin, text, unsupported: Vec::new(), keywords: 0, stopwords: 0, memory: 0 }
    }

    pub(super) fn rules(&mut self, file: &File) -> Result<Vec<Rule>, RuleError> {
        if let Some(extra) = file.rules.get(MAX_RULES) {
            return Err(self.at(extra, Problem::TooManyRules(MAX_RULES)));
        }
        self.extend(file.extend.as_ref());
        let global = self.global(file)?;
        let mut places: BTreeMap<&str, Origin> = BTreeMap::new();
        let mut rules = Vec::with_capacity(file.rules.len());
        for entry in &file.rules {
            let entry = entry.get_ref();
            let id = entry.id.get_ref().as_str();
            let place = self.place(&entry.id);
            if let Some(old) = places.get(id) {
                let problem = Problem::DuplicateId { id: id.to_owned(), other: old.to_string() };
                return Err(self.at(&entry.id, problem));
            }
            places.insert(id, place);
            rules.extend(self.rule(entry, &global)?);
        }
        self.check_targets(file, &rules);
        self.unsupported.sort_by_key(|problem| (problem.line, problem.column));
        Ok(rules)
    }

    fn extend(&mut self, extend: Option<&Extend>) {
        let Some(Extend { use_default, path, url, disabled_rules }) = extend else { return };
        if let Some(place) = use_default.as_ref().filter(|on| *on.get_ref()) {
            self.note(place, Unsupported::ExtendDefault);
        }
        for place in [path, url].into_iter().flatten() {
            self.note(place, Unsupported::ExtendOther);
        }
        if let Some(place) = disabled_rules {
            self.note(place, Unsupported::DisabledRules);
        }
    }

    fn global<'f>(&mut self, file: &'f File) -> Result<Global<'f>, RuleError> {
        let mut global = Global::default();
        for allow in self.either(file.allowlist.as_ref(), &file.allowlists)? {
            let Some(list) = self.allowlist(allow)? else { continue };
            match &allow.get_ref().target_rules {
                Some(targets) if !targets.get_ref().is_empty() => {
                    for target in targets.get_ref() {
                        global.targeted.entry(target.get_ref()).or_default().push(Arc::clone(&list));
                    }
                }
                _ => global.all.push(list),
            }
        }
        Ok(global)
    }

    fn check_targets(&mut self, file: &File, rules: &[Rule]) {
        let ids: BTreeSet<&str> = rules.iter().map(|rule| rule.id.as_str()).collect();
        let allowlists = file.allowlist.iter().chain(&file.allowlists).map(Spanned::get_ref);
        for target in allowlists.filter_map(|allow| allow.target_rules.as_ref()).flat_map(Spanned::get_ref) {
            if !ids.contains(target.get_ref().as_str()) {
                self.note(target, Unsupported::UnknownTarget(target.get_ref().clone()));
            }
        }
    }

    /// None if the rule cannot work here; why is noted.
    fn rule(&mut self, entry: &Entry, global: &Global<'_>) -> Result<Option<Rule>, RuleError> {
        let id = entry.id.get_ref();
        if id.trim().is_empty() || id.chars().any(char::is_control) {
            return Err(
                self.at(&entry.id, Problem::Empty { field: "id", why: "it names the rule in findings" })
            );
        }
        // Read also where the rule is not used: a mistake stays one.
        let path = given(entry.path.as_ref());
        path.map(|path| self.hir(path)).transpose()?;
        let keywords = self.keywords(entry.keywords.as_ref())?;
        let mut allowlists = self.own_allowlists(entry)?;
        let Some(regex) = given(entry.regex.as_ref()) else {
            match path {
                Some(path) => self.note(path, Unsupported::PathOnly(id.clone())),
                None => self.note(&entry.id, Unsupported::NoRegex(id.clone())),
            }
            return Ok(None);
        };
        let Some(hir) = self.hir(regex)? else {
            self.note(regex, Unsupported::Unicode(id.clone()));
            return Ok(None);
        };
        if self.is_limited(entry, path) {
            return Ok(None);
        }
        allowlists.extend(global.targeted.get(id.as_str()).into_iter().flatten().cloned());
        allowlists.extend(global.all.iter().cloned());
        let group = entry.secret_group.as_ref().map(|group| *group.get_ref()).filter(|group| *group > 0);
        let settings = Settings { group, entropy: entry.entropy, keywords, allowlists };
        match Search::new(&hir, settings) {
            Ok(search) => {
                self.grant(regex, search.memory())?;
                Ok(Some(self.finished(entry, regex, search)))
            }
            Err(Refusal::NoKeyword) => {
                self.note(regex, Unsupported::NoKeyword(id.clone()));
                Ok(None)
            }
            Err(Refusal::NoSuchGroup { groups }) => {
                let group = group.unwrap_or_default();
                let place = entry.secret_group.as_ref().map_or(regex.span(), Spanned::span);
                let problem = Problem::Gitleaks(Mistake::NoSuchGroup { group, groups });
                Err(RuleError::at(self.origin, self.text, place.start, problem))
            }
            Err(Refusal::Fault(fault)) => Err(self.fault(regex, fault)),
        }
    }

    /// Conditions that traffic cannot meet.
    fn is_limited(&mut self, entry: &Entry, path: Option<&Text>) -> bool {
        let id = entry.id.get_ref();
        if let Some(path) = path {
            self.note(path, Unsupported::PathCondition(id.clone()));
        } else if let Some(required) = entry.required.as_ref().filter(|list| !list.get_ref().is_empty()) {
            self.note(required, Unsupported::Required(id.clone()));
        } else if let Some(skip) = entry.skip_report.as_ref().filter(|skip| *skip.get_ref()) {
            self.note(skip, Unsupported::SkipReport(id.clone()));
        } else {
            return false;
        }
        true
    }

    fn finished(&self, entry: &Entry, regex: &Text, search: Search) -> Rule {
        let id = entry.id.get_ref();
        let description = entry.description.trim();
        let origin = self.place(&entry.id);
        let stop = if description.is_empty() || description.ends_with(['.', '!', '?']) { "" } else { "." };
        let space = if description.is_empty() { "" } else { " " };
        let file = &origin.file;
        Rule {
            id: id.clone(),
            name: id.clone(),
            vendor: "gitleaks".to_owned(),
            severity: Severity::High,
            off_by_default: false,
            on: true,
            pattern: regex.get_ref().clone(),
            prefixes: Vec::new(),
            marker: None,
            context: Vec::new(),
            contains: Vec::new(),
            checks: Vec::new(),
            home: Vec::new(),
            usual: Vec::new(),
            explanation: format!("{description}{stop}{space}Matched by your gitleaks rule `{id}`."),
            remediation: format!(
                "Revoke it where it was issued, and keep the next one in a secret manager. If it is no secret, give \
                 the rule `{id}` in {file} an allowlist that says so."
            ),
            attack: Vec::new(),
            positives: Vec::new(),
            negatives: Vec::new(),
            finder: Finder::Search(Arc::new(search)),
            origin,
        }
    }

    fn keywords(&mut self, list: Option<&List>) -> Result<Option<Vec<String>>, RuleError> {
        let Some(list) = list.filter(|list| !list.get_ref().is_empty()) else { return Ok(None) };
        self.filled("keywords", list)?;
        let keywords: BTreeSet<String> =
            list.get_ref().iter().map(|word| word.get_ref().to_ascii_lowercase()).collect();
        self.keywords += keywords.iter().map(String::len).sum::<usize>();
        if self.keywords > MAX_KEYWORDS {
            return Err(self.too_much(list, "keywords", MAX_KEYWORDS));
        }
        Ok(Some(keywords.into_iter().collect()))
    }

    fn own_allowlists(&mut self, entry: &Entry) -> Result<Vec<Arc<Allowlist>>, RuleError> {
        let mut own = Vec::new();
        for allow in self.either(entry.allowlist.as_ref(), &entry.allowlists)? {
            if let Some(targets) = &allow.get_ref().target_rules {
                return Err(self.mistake(targets, Mistake::TargetInRule));
            }
            own.extend(self.allowlist(allow)?);
        }
        Ok(own)
    }

    /// The old way to write allowlists, or the new one.
    fn either<'f>(
        &self,
        old: Option<&'f Spanned<Allow>>,
        new: &'f [Spanned<Allow>],
    ) -> Result<impl Iterator<Item = &'f Spanned<Allow>> + use<'f>, RuleError> {
        match old {
            Some(old) if !new.is_empty() => Err(self.mistake(old, Mistake::BothAllowlists)),
            _ => Ok(old.into_iter().chain(new)),
        }
    }

    /// None if it can allow nothing here.
    fn allowlist(&mut self, allow: &Spanned<Allow>) -> Result<Option<Arc<Allowlist>>, RuleError> {
        let place = allow;
        let allow = allow.get_ref();
        let all = self.condition(allow.condition.as_ref())?;
        let target = self.target(allow.regex_target.as_ref())?;
        for path in allow.paths.iter().flat_map(Spanned::get_ref) {
            self.hir(path)?;
        }
        let regexes = self.regexes(allow.regexes.as_ref())?;
        let stopwords = self.stopwords(allow.stopwords.as_ref())?;
        let given = |list: &Option<List>| list.as_ref().is_some_and(|list| !list.get_ref().is_empty());
        let (paths, commits) = (given(&allow.paths), given(&allow.commits));
        if regexes.is_empty() && stopwords.is_empty() && !paths && !commits {
            return Err(self.mistake(place, Mistake::EmptyAllowlist));
        }
        if all && (paths || commits) {
            let condition = allow.condition.as_ref().map_or(place.span(), Spanned::span);
            self.note_at(condition.start, Unsupported::NeverAllows);
            return Ok(None);
        }
        for (list, noted) in
            [(&allow.paths, Unsupported::AllowedPaths), (&allow.commits, Unsupported::AllowedCommits)]
        {
            if let Some(list) = list.as_ref().filter(|list| !list.get_ref().is_empty()) {
                self.note(list, noted);
            }
        }
        if regexes.is_empty() && stopwords.is_empty() {
            return Ok(None);
        }
        let list =
            Allowlist::new(all, target, &regexes, &stopwords).map_err(|fault| self.fault(place, fault))?;
        self.grant(place, list.memory())?;
        Ok(Some(Arc::new(list)))
    }

    fn condition(&self, condition: Option<&Text>) -> Result<bool, RuleError> {
        let Some(condition) = condition else { return Ok(false) };
        match condition.get_ref().to_ascii_uppercase().as_str() {
            "AND" | "&&" => Ok(true),
            "" | "OR" | "||" => Ok(false),
            _ => Err(self.mistake(condition, Mistake::BadCondition(condition.get_ref().clone()))),
        }
    }

    fn target(&self, target: Option<&Text>) -> Result<Target, RuleError> {
        let Some(target) = target else { return Ok(Target::Secret) };
        match target.get_ref().as_str() {
            "" | "secret" => Ok(Target::Secret),
            "match" => Ok(Target::Match),
            "line" => Ok(Target::Line),
            other => Err(self.mistake(target, Mistake::BadTarget(other.to_owned()))),
        }
    }

    fn regexes(&self, list: Option<&List>) -> Result<Vec<Hir>, RuleError> {
        let Some(list) = list else { return Ok(Vec::new()) };
        let compiled = |regex| self.hir(regex)?.ok_or_else(|| self.fault(regex, Fault::Unicode));
        list.get_ref().iter().map(compiled).collect()
    }

    fn stopwords<'f>(&mut self, list: Option<&'f List>) -> Result<Vec<&'f str>, RuleError> {
        let Some(list) = list else { return Ok(Vec::new()) };
        self.filled("stopwords", list)?;
        let words: Vec<&str> = list.get_ref().iter().map(|word| word.get_ref().as_str()).collect();
        self.stopwords += words.iter().map(|word| word.len()).sum::<usize>();
        if self.stopwords > MAX_STOPWORDS {
            return Err(self.too_much(list, "stopwords", MAX_STOPWORDS));
        }
        Ok(words)
    }

    fn filled(&self, field: &'static str, list: &List) -> Result<(), RuleError> {
        match list.get_ref().iter().find(|word| word.get_ref().is_empty()) {
            Some(empty) => Err(self.at(empty, Problem::Empty { field, why: "it would stand everywhere" })),
            None => Ok(()),
        }
    }

    /// None if it has characters beyond ASCII where only bytes can stand.
    fn hir(&self, regex: &Text) -> Result<Option<Hir>, RuleError> {
        match parse(regex.get_ref()) {
            Ok(hir) => Ok(Some(hir)),
            Err(Fault::Unicode) => Ok(None),
            Err(fault) => Err(self.fault(regex, fault)),
        }
    }

    fn grant<T>(&mut self, place: &Spanned<T>, bytes: usize) -> Result<(), RuleError> {
        self.memory += bytes;
        if self.memory > MAX_MEMORY {
            return Err(self.too_much(place, "compiled regexes", MAX_MEMORY));
        }
        Ok(())
    }

    fn place<T>(&self, place: &Spanned<T>) -> Origin {
        let RuleError { origin, line, column, .. } = self.at(place, Problem::NoAnchor);
        Origin { file: origin, line, column }
    }

    fn note<T>(&mut self, place: &Spanned<T>, what: Unsupported) {
        self.note_at(place.span().start, what);
    }

    fn note_at(&mut self, offset: usize, what: Unsupported) {
        self.unsupported.push(RuleError::at(self.origin, self.text, offset, Problem::Unsupported(what)));
    }

    fn at<T>(&self, place: &Spanned<T>, problem: Problem) -> RuleError {
        RuleError::at(self.origin, self.text, place.span().start, problem)
    }

    fn mistake<T>(&self, place: &Spanned<T>, mistake: Mistake) -> RuleError {
        self.at(place, Problem::Gitleaks(mistake))
    }

    fn too_much<T>(&self, place: &Spanned<T>, field: &'static str, max: usize) -> RuleError {
        self.mistake(place, Mistake::TooMuch { field, max })
    }

    fn fault<T>(&self, place: &Spanned<T>, fault: Fault) -> RuleError {
        let mistake = match fault {
            Fault::Syntax(reason) => Mistake::BadRegex(reason),
            Fault::Unicode => Mistake::BadRegex("it has a class of characters beyond ASCII".to_owned()),
            Fault::TooLarge => Mistake::TooLarge { limit: SIZE_LIMIT >> 10 },
        };
        self.mistake(place, mistake)
    }
}

/// To gitleaks an empty text is none.
fn given(text: Option<&Text>) -> Option<&Text> {
    text.filter(|text| !text.get_ref().is_empty())
}
