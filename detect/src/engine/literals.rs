//! Where the rules' literals end in the traffic: an automaton that is exact, behind a filter that is fast.
//!
//! The automaton costs a look-up per byte, each waiting for the one before. Nearly every byte starts no
//! literal, and a few bytes are enough to know that, so the filter judges every place, many at a time and
//! independently of each other; the automaton runs only around the places that are left, and only for as long
//! as [`SHORTEST`] or more bytes of a literal are under way.

use super::filter::{FARTHEST, Filter, Literal, Places, SHORTEST};
use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::{Anchored, BuildError, MatchKind, StartKind, dfa};

pub(crate) struct Literals {
    automaton: dfa::DFA,
    start: StateID,
    /// None if a literal is too short to be filtered, or may stand in either case: the automaton then sees every byte.
    filter: Option<(Filter, Depths)>,
}

impl Literals {
    pub(crate) fn new<'a>(
        literals: impl Iterator<Item = Literal<'a>> + Clone,
    ) -> Result<Literals, BuildError> {
        let (automaton, start) = build(literals.clone().map(|literal| literal.bytes), false)?;
        let filter = Filter::new(literals).map(|filter| (filter, Depths::new(&automaton, start)));
        Ok(Literals { automaton, start, filter })
    }

    /// Literals whose ASCII letters may stand in either case. The automaton sees every byte.
    pub(crate) fn folded<'a>(literals: impl Iterator<Item = &'a [u8]>) -> Result<Literals, BuildError> {
        let (automaton, start) = build(literals, true)?;
        Ok(Literals { automaton, start, filter: None })
    }

    /// The state before any byte was seen.
    pub(crate) fn start(&self) -> StateID {
        self.start
    }

    /// The literals that end where this state was reported, by their place in the list given to `new`.
    pub(crate) fn ending(&self, state: StateID) -> impl Iterator<Item = usize> {
        (0..self.automaton.match_len(state))
            .map(move |index| self.automaton.match_pattern(state, index).as_usize())
    }

    /// Goes on over `bytes`, and returns the state for those that follow. `hit` is called with the end of
    /// each literal, in order, and the state there; of literals that are [bounded](Literal::bounded) perhaps only
    /// where they have to be found. With `last` nothing follows, and the state is of no use.
    pub(crate) fn walk(
        &self,
        mut state: StateID,
        bytes: &[u8],
        last: bool,
        mut hit: impl FnMut(usize, StateID),
    ) -> StateID {
        let Some((filter, depths)) = &self.filter else {
            return self.run(state, bytes, 0, &mut hit);
        };
        // No literal that started before it is still under way.
        let mut at = 0;
        if state != self.start {
            match self.follow(depths, &mut state, bytes, 0, 0, &mut hit) {
                Some(resume) => at = resume,
                None => return state,
            }
        }
        let (mut judged, mut places) = (at, Places::new());
        while judged < Filter::end(bytes) {
            let first = judged;
            judged = filter.judge(bytes, first, &mut places);
            for place in places.iter().map(|place| first + place) {
                if place < at || !filter.confirm(bytes, place) {
                    continue;
                }
                // As far back as a literal could begin that is known by a place behind this one.
                let start = place.saturating_sub(FARTHEST).max(at);
                state = self.start;
                match self.follow(depths, &mut state, bytes, start, place + 1, &mut hit) {
                    Some(resume) => at = resume,
                    None => return state,
                }
            }
        }
        // What starts here may have its window behind the last place that was judged.
        if last { self.start } else { self.run(self.start, bytes, at.max(Filter::settled(bytes)), &mut hit) }
    }

    /// Runs the automaton over everything from `at` on.
    fn run(
        &self,
        mut state: StateID,
        bytes: &[u8],
        at: usize,
        hit: &mut impl FnMut(usize, StateID),
    ) -> StateID {
        for (index, &byte) in bytes.iter().enumerate().skip(at) {
            state = self.automaton.next_state(Anchored::No, state, byte);
            if self.is_hit(state) {
                hit(index + 1, state);
            }
        }
        state
    }

    /// Runs the automaton from `at` until what is under way is so short that the filter may judge it,
    /// and returns where that starts, `floor` or later. None at the end of the bytes.
    fn follow(
        &self,
        depths: &Depths,
        state: &mut StateID,
        bytes: &[u8],
        at: usize,
        floor: usize,
        hit: &mut impl FnMut(usize, StateID),
    ) -> Option<usize> {
        for (index, &byte) in bytes.iter().enumerate().skip(at) {
            *state = self.automaton.next_state(Anchored::No, *state, byte);
            let end = index + 1;
            if self.is_hit(*state) {
                hit(end, *state);
            }
            let under_way = depths.of(*state);
            if under_way < SHORTEST && end >= floor + under_way {
                return Some(end - under_way);
            }
        }
        None
    }

    fn is_hit(&self, state: StateID) -> bool {
        self.automaton.is_special(state) && self.automaton.is_match(state)
    }
}

fn build<'a>(
    literals: impl Iterator<Item = &'a [u8]>,
    fold: bool,
) -> Result<(dfa::DFA, StateID), BuildError> {
    // The crate's own prefilters help with a handful of literals; with hundreds they only cost.
    let automaton = dfa::DFA::builder()
        .match_kind(MatchKind::Standard)
        .start_kind(StartKind::Unanchored)
        .ascii_case_insensitive(fold)
        .prefilter(false)
        .build(literals)?;
    // Cannot fail: unanchored is what was built.
    let start = automaton.start_state(Anchored::No).unwrap_or_default();
    Ok((automaton, start))
}

/// How many bytes of a literal are under way in each state of the automaton, as far as they are fewer than
/// [`SHORTEST`].
struct Depths {
    /// By state. States are numbered in steps, so most slots stand for none; steps that are guessed from the shallow states
    /// could be too wide, and take a deep state for a shallow one.
    depths: Vec<u8>,
}

impl Depths {
    fn new(automaton: &dfa::DFA, start: StateID) -> Depths {
        // In an automaton over literals the shortest way to a state spells what is under way in it.
        let mut layers = vec![vec![start]];
        for depth in 1..SHORTEST {
            let mut layer = Vec::new();
            for &state in layers.get(depth - 1).into_iter().flatten() {
                for byte in 0..=u8::MAX {
                    let next = automaton.next_state(Anchored::No, state, byte);
                    if !layers.iter().flatten().chain(&layer).any(|&seen| seen == next) {
                        layer.push(next);
                    }
                }
            }
            layers.push(layer);
        }
        let len = layers.iter().flatten().map(|state| state.as_usize() + 1).max().unwrap_or(0);
        let mut depths = vec![SHORTEST as u8; len];
        for (depth, layer) in layers.iter().enumerate() {
            for state in layer {
                if let Some(slot) = depths.get_mut(state.as_usize()) {
                    *slot = depth as u8;
                }
            }
        }
        Depths { depths }
    }

    /// At most [`SHORTEST`].
    fn of(&self, state: StateID) -> usize {
        self.depths.get(state.as_usize()).map_or(SHORTEST, |&depth| usize::from(depth))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests assert by panicking")]
mod tests {
    use super::*;
    use crate::RuleSet;
    use crate::pattern::boundary::{ByteSet, left_is_free};
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    /// Every literal's end, as the automaton finds it (`plain`) or behind the filter.
    fn hits(literals: &Literals, chunks: &[&[u8]], plain: bool) -> Vec<(usize, Vec<usize>)> {
        let (mut found, mut state, mut before) = (Vec::new(), literals.start(), 0);
        for (index, chunk) in chunks.iter().enumerate() {
            let last = index + 1 == chunks.len();
            let mut hit = |end, state| found.push((before + end, literals.ending(state).collect()));
            state = match plain {
                true => literals.run(state, chunk, 0, &mut hit),
                false => literals.walk(state, chunk, last, hit),
            };
            before += chunk.len();
        }
        found
    }

    /// With each kernel.
    fn literals(list: &[Literal<'_>]) -> [Literals; 2] {
        let literals = || Literals::new(list.iter().copied()).unwrap();
        let mut portable = literals();
        portable.filter = portable.filter.map(|(filter, depths)| (filter.portable(), depths));
        [literals(), portable]
    }

    fn unbounded(list: &[Vec<u8>]) -> [Literals; 2] {
        literals(&list.iter().map(|bytes| Literal { bytes, bounded: false }).collect::<Vec<_>>())
    }

    fn builtin() -> Vec<Vec<u8>> {
        let rules = RuleSet::builtin().unwrap();
        let all = rules.rules().iter().flat_map(|rule| {
            let markers = rule.marker.iter().flat_map(|marker| &marker.texts);
            rule.prefixes.iter().chain(&rule.context).chain(markers).map(|text| text.clone().into_bytes())
        });
        all.collect::<BTreeSet<_>>().into_iter().collect()
    }

    fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
        at.extend([0, text.len()]);
        at.sort_unstable();
        at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
    }

    fn same(found_by: &[Literals; 2], text: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
        let expected = hits(&found_by[0], &[text], true);
        for found_by in found_by {
            prop_assert_eq!(&hits(found_by, &[text], false), &expected, "in one piece");
            let chunks = cut(text, cuts);
            prop_assert_eq!(&hits(found_by, &chunks, false), &expected, "cut as {:?}", chunks);
        }
        Ok(())
    }

    #[test]
    fn the_built_in_literals_can_all_be_filtered() {
        assert!(unbounded(&builtin())[0].filter.is_some());
    }

    #[test]
    fn every_literal_is_found_at_every_place_and_cut_anywhere() {
        let list = builtin();
        for found_by in unbounded(&list) {
            for literal in &list {
                for lead in [0, 1, 2, 3, 7, 8, 9, 20, 55, 60, 63, 64, 250] {
                    for trail in [0, 1, 9, 80] {
                        let text = [&b" ".repeat(lead)[..], literal, &b"~".repeat(trail)].concat();
                        let expected = hits(&found_by, &[&text], true);
                        assert!(expected.iter().any(|&(end, _)| end == lead + literal.len()));
                        assert_eq!(hits(&found_by, &[&text], false), expected);
                        for cut in (lead..=lead + literal.len()).filter(|_| trail < 80 && lead < 20) {
                            let (first, second) = text.split_at(cut);
                            assert_eq!(hits(&found_by, &[first, second], false), expected);
                        }
                    }
                }
            }
        }
    }

    /// Of a bounded literal every place counts where a token may start, and no other place is made up.
    fn bounded_as_needed(list: &[(Vec<u8>, bool)], text: &[u8], cuts: &[usize]) -> Result<(), TestCaseError> {
        let list: Vec<Literal<'_>> =
            list.iter().map(|(bytes, bounded)| Literal { bytes, bounded: *bounded }).collect();
        let free = |end: usize, literal: Literal<'_>| {
            let start = end - literal.bytes.len();
            let before = |distance: usize| start.checked_sub(distance).map(|at| text[at]);
            !literal.bounded || left_is_free(&ByteSet::alphanumeric(), before)
        };
        for found_by in literals(&list) {
            let flat = |hits: Vec<(usize, Vec<usize>)>| -> BTreeSet<(usize, usize)> {
                hits.into_iter().flat_map(|(end, all)| all.into_iter().map(move |one| (end, one))).collect()
            };
            let all = flat(hits(&found_by, &[text], true));
            for chunks in [vec![text], cut(text, cuts)] {
                let found = flat(hits(&found_by, &chunks, false));
                prop_assert!(found.is_subset(&all));
                let missed = all.difference(&found).find(|&&(end, one)| free(end, list[one]));
                prop_assert_eq!(missed, None, "cut as {:?}", chunks);
            }
        }
        Ok(())
    }

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let list = builtin();
        let (count, whole) = (list.len(), list.clone());
        let piece = prop_oneof![
            4 => (0..count, 0..60usize, 0..60usize).prop_map(move |(index, from, to)| {
                let literal = &list[index];
                let (from, to) = (from % literal.len(), to % literal.len());
                literal[from.min(to)..=from.max(to)].to_vec()
            }),
            1 => (0..count).prop_map(move |index| whole[index].clone()),
            1 => "[A-Za-z0-9+/]{0,12}".prop_map(String::into_bytes),
            1 => prop::collection::vec(any::<u8>(), 0..4),
        ];
        prop::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat())
    }

    fn from(alphabet: &'static [u8], len: std::ops::Range<usize>) -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop::sample::select(alphabet), len)
    }

    /// Pieces of the literals, one after the other.
    fn made_of<T: Clone>(list: &[T], bytes: fn(&T) -> &[u8], picks: &[(usize, usize, usize)]) -> Vec<u8> {
        let piece = |&(index, skip, drop): &(usize, usize, usize)| {
            let literal = bytes(&list[index % list.len()]);
            // Half of them whole at each end.
            let (skip, drop) = ((skip % 8).saturating_sub(4), (drop % 8).saturating_sub(4));
            literal.get(skip..literal.len() - drop.min(literal.len())).unwrap_or(literal).to_vec()
        };
        picks.iter().map(piece).collect::<Vec<_>>().concat()
    }

    fn picks() -> impl Strategy<Value = Vec<(usize, usize, usize)>> {
        prop::collection::vec((any::<usize>(), any::<usize>(), any::<usize>()), 0..40)
    }

    /// The window of the one that begins first stands behind that of the other.
    #[test]
    fn literals_that_overlap_are_found_in_whatever_order_their_windows_stand() {
        let list = [(&b"xxabcd_~efghi"[..], false), (b"abcd", true), (b"cd_", true), (b"bcd_~e", false)];
        let list = list.map(|(bytes, bounded)| (bytes.to_vec(), bounded));
        for text in [&b"xxabcd_~efghi"[..], b"-abcd_~efghi", b"xxabcd_~efghxxabcd_~efghi abcd"] {
            for cut in 0..text.len() {
                bounded_as_needed(&list, text, &[cut]).unwrap();
            }
        }
    }

    /// Found by the property below: with few literals the shallow states' numbers had more zeroes at their end than all
    /// states' have.
    #[test]
    fn a_deep_state_is_not_taken_for_a_shallow_one() {
        for found_by in unbounded(&[b"abacaaa".to_vec(), b"abbc".to_vec()]) {
            for trail in 0..20 {
                let text = [&b"abbc"[..], &b"a".repeat(trail)].concat();
                assert_eq!(hits(&found_by, &[&text], false), [(4, vec![1])]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_filter_changes_nothing(text in text(), cuts in prop::collection::vec(any::<usize>(), 0..8)) {
            static BUILTIN: LazyLock<[Literals; 2]> = LazyLock::new(|| unbounded(&builtin()));
            same(&BUILTIN, &text, &cuts)?;
        }

        /// Few letters, so that literals overlap, contain each other and follow each other; one of them with
        /// its high bit set, which the filter does not see. With a short one there is no filter.
        #[test]
        fn nor_does_it_for_literals_that_overlap(
            list in prop::collection::btree_set(from(b"abc\xe1", 3..14), 1..12),
            short in prop::option::of(from(b"ab", 1..3)),
            noise in from(b"abc\xe1", 0..100),
            picks in picks(),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let filtered = short.is_none();
            let list: BTreeSet<_> = list.into_iter().chain(short).collect();
            let list: Vec<_> = list.into_iter().collect();
            let text = [noise, made_of(&list, |bytes| bytes, &picks)].concat();
            let found_by = unbounded(&list);
            prop_assert_eq!(found_by[0].filter.is_some(), filtered);
            same(&found_by, &text, &cuts)?;
        }

        #[test]
        fn bounded_literals_are_found_where_tokens_start(
            list in prop::collection::btree_map(from(b"abn3_", 3..14), any::<bool>(), 1..12),
            noise in from(b"abn3-%\\u", 0..100),
            picks in picks(),
            cuts in prop::collection::vec(any::<usize>(), 0..8),
        ) {
            let list: Vec<_> = list.into_iter().collect();
            let text = [noise, made_of(&list, |(bytes, _)| bytes, &picks)].concat();
            bounded_as_needed(&list, &text, &cuts)?;
        }
    }
}
