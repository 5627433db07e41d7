//! Rules that are searched for around a keyword: which stretches of a stream to search, and when.
//!
//! A keyword opens a region around itself, and others of the same rule soon after it widen it. A region is searched once
//! all of its bytes are there. Where it begins and ends depends on nothing but where the keywords stand, so the
//! matches are the same however the bytes were cut.

use super::literals::Literals;
use super::stream::{Candidate, Fate, Rank};
use super::window::Window;
use crate::pattern::search::Search;
use crate::rules::{Finder, Rule};
use aho_corasick::BuildError;
use aho_corasick::automaton::StateID;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use zeroize::Zeroizing;

/// All rules with keywords. There is none if there are no such rules.
pub(super) struct Searcher {
    keywords: Literals,
    /// By the keyword's number: the rules it is for, as places in `rules`.
    meant: Vec<Vec<u16>>,
    rules: Vec<(Rank, Arc<Search>)>,
    /// Farthest a match can start before the end of its keyword.
    pub(super) before: u64,
    /// Farthest that is looked at before where a match can start.
    pub(super) margin: u64,
}

/// What a stream remembers of keywords.
#[derive(Clone)]
pub(super) struct Searching {
    state: StateID,
    /// By the rule's place in `Searcher::rules` and the end of the first keyword: the end of the last one.
    regions: BTreeMap<(u16, u64), u64>,
    /// Start of the first region; `u64::MAX` without regions.
    first: u64,
    /// Bytes came since the regions were last searched.
    pub(super) unseen: bool,
}

impl Searching {
    pub(super) fn waits(&self) -> bool {
        !self.regions.is_empty()
    }

    /// How far the automaton of the keywords is.
    pub(super) fn state(&self) -> StateID {
        self.state
    }

    /// No match that is still to be found in an open region starts before this.
    pub(super) fn first(&self) -> u64 {
        self.first
    }
}

impl Searcher {
    pub(super) fn new(rules: &[Rule]) -> Result<Option<Searcher>, BuildError> {
        let mut found: Vec<(Rank, Arc<Search>)> = Vec::new();
        for (index, rule) in rules.iter().enumerate().filter(|(_, rule)| rule.on) {
            if let (Finder::Search(search), Ok(index)) = (&rule.finder, u16::try_from(index)) {
                found.push((Rank::searched(index, is_generic(rule)), Arc::clone(search)));
            }
        }
        if found.is_empty() {
            return Ok(None);
        }
        let mut keywords: BTreeMap<&[u8], Vec<u16>> = BTreeMap::new();
        for (place, (_, search)) in (0u16..).zip(&found) {
            for keyword in &search.keywords {
                keywords.entry(keyword.as_bytes()).or_default().push(place);
            }
        }
        let most =
            |of: fn(&Search) -> u64| found.iter().map(|(_, search)| of(search)).max().unwrap_or_default();
        Ok(Some(Searcher {
            keywords: Literals::folded(keywords.keys().copied())?,
            meant: keywords.values().cloned().collect(),
            before: most(|search| search.reach.before),
            margin: most(|search| search.reach.margin),
            rules: found,
        }))
    }

    pub(super) fn begin(&self) -> Searching {
        let state = self.keywords.start();
        Searching { state, regions: BTreeMap::new(), first: u64::MAX, unseen: false }
    }

    /// Goes on over `bytes`, the first of which stands at `at` in the stream.
    pub(super) fn walk(&self, searching: &mut Searching, at: u64, bytes: &[u8]) {
        let Searching { state, regions, first, unseen } = searching;
        *unseen = true;
        *state = self.keywords.walk(*state, bytes, false, |end, state| {
            let end = at + end as u64;
            for &place in self.keywords.ending(state).filter_map(|keyword| self.meant.get(keyword)).flatten()
            {
                let Some((_, search)) = self.rules.get(usize::from(place)) else { continue };
                let latest = regions.range_mut((place, 0)..=(place, end)).next_back();
                match latest {
                    Some((&(_, start), last)) if end <= start + search.reach.spread => *last = end,
                    _ => {
                        regions.insert((place, end), end);
                        *first = (*first).min(end.saturating_sub(search.reach.before));
                    }
                }
            }
        });
    }

    /// Searches every region that is complete; with `ended` all of them, as if nothing came after the window. A
    /// region that is not complete stays.
    pub(super) fn search(
        &self,
        searching: &mut Searching,
        window: &Window<'_>,
        position: u64,
        ended: bool,
        open: &mut Vec<Candidate>,
    ) {
        if searching.regions.is_empty() {
            return;
        }
        searching.unseen &= !ended;
        let mut first = u64::MAX;
        searching.regions.retain(|&(place, start), last| {
            let Some((rank, search)) = self.rules.get(usize::from(place)) else { return false };
            let from = start.saturating_sub(search.reach.before);
            let until = *last + search.reach.after;
            let complete = until + search.reach.margin <= position;
            if complete || ended {
                run(*rank, search, window, from, until, open);
            }
            if !complete {
                first = first.min(from);
            }
            !complete
        });
        searching.first = first;
    }

    /// Offset of the first byte that a later search may need.
    pub(super) fn kept_from(&self, searching: Option<&Searching>, position: u64) -> u64 {
        let next_keyword = (position + 1).saturating_sub(self.before);
        searching.map_or(next_keyword, |s| s.first.min(next_keyword)).saturating_sub(self.margin)
    }
}

/// Searches from `from` until `until` or the window's end.
fn run(rank: Rank, search: &Search, window: &Window<'_>, from: u64, until: u64, open: &mut Vec<Candidate>) {
    let start = from.saturating_sub(search.reach.margin).max(window.base());
    let end = (until + search.reach.margin).min(window.end());
    let index = |offset: u64| usize::try_from(offset.clamp(start, end) - start).unwrap_or(usize::MAX);
    let text = window.span(start, end);
    search.find(&text, index(from)..index(until), |secret| {
        let offset = |index: usize| start + index as u64;
        insert(open, offset(secret.start), rank, offset(secret.end));
    });
    if let Cow::Owned(copy) = text {
        drop(Zeroizing::new(copy));
    }
}

/// Of several rules that found the same bytes only the first counts; regions that overlap find a match twice.
fn insert(open: &mut Vec<Candidate>, start: u64, rank: Rank, end: u64) {
    let candidate = Candidate { start, from: start, rank, fate: Fate::Match { end } };
    let at = open.partition_point(|other| other.key() < candidate.key());
    let same = |other: &Candidate| {
        other.start == start && other.rank.is_searched() && other.end_if_ended() == Some(end)
    };
    let better = open.get(..at).and_then(<[Candidate]>::last).is_some_and(same);
    if better || open.get(at).is_some_and(|other| other.key() == candidate.key()) {
        return;
    }
    match open.get_mut(at) {
        Some(worse) if same(worse) => *worse = candidate,
        _ => open.insert(at, candidate),
    }
}

/// As with gitleaks, a rule that is called generic gives way to every other.
fn is_generic(rule: &Rule) -> bool {
    rule.id.to_ascii_lowercase().contains("generic")
}
