//! One rule's pattern as an automaton, and a walk along it that can stop and go on with the next push.

use crate::error::Problem;
use crate::pattern::boundary::ByteSet;
use regex_automata::dfa::{Automaton as _, StartKind, dense, sparse};
use regex_automata::nfa::thompson;
use regex_automata::util::{primitives::StateID, start};
use regex_automata::{Anchored, MatchKind};
use regex_syntax::hir::Hir;

/// Bytes one automaton may take while it is built. What is kept is far smaller.
const SIZE_LIMIT: usize = 2 << 20;

/// Anchored at the start of the secret. Sparse: a tenth of a dense one's memory, and it only runs where a
/// literal stands.
#[derive(Debug)]
pub(crate) struct Automaton {
    dfa: sparse::DFA<Vec<u8>>,
    start: StateID,
}

impl Automaton {
    /// `MatchKind::All` reports every possible end; the longest one with a boundary after it is taken,
    /// whatever the pattern's greediness says.
    pub(crate) fn new(hir: &Hir) -> Result<Automaton, Problem> {
        let config = thompson::Config::new()
            .utf8(false)
            .nfa_size_limit(Some(SIZE_LIMIT))
            .which_captures(thompson::WhichCaptures::None);
        let nfa = thompson::Compiler::new()
            .configure(config)
            .build_from_hir(hir)
            .map_err(|_| Problem::TooComplex)?;
        let config = dense::Config::new()
            .start_kind(StartKind::Anchored)
            .match_kind(MatchKind::All)
            .accelerate(false)
            .dfa_size_limit(Some(SIZE_LIMIT))
            .determinize_size_limit(Some(2 * SIZE_LIMIT));
        let dense =
            dense::Builder::new().configure(config).build_from_nfa(&nfa).map_err(|_| Problem::TooComplex)?;
        let dfa = dense.to_sparse().map_err(|_| Problem::TooComplex)?;
        let start = dfa
            .start_state(&start::Config::new().anchored(Anchored::Yes))
            .map_err(|error| Problem::BadPattern(error.to_string()))?;
        Ok(Automaton { dfa, start })
    }

    /// Starts a walk at the first byte of a possible match.
    pub(crate) fn walk(&self) -> Walk {
        Walk { state: self.start, best: None }
    }

    /// Can a match start with this literal?
    pub(crate) fn can_start_with(&self, literal: &[u8]) -> bool {
        let mut state = self.start;
        for &byte in literal {
            state = self.dfa.next_state(state, byte);
        }
        !self.dfa.is_dead_state(state)
    }

    /// Where every match starts.
    pub(crate) fn start(&self) -> StateID {
        self.start
    }

    /// One byte further. None: no match can be reached any more. The flag says that a match ends before this byte.
    pub(crate) fn next(&self, state: StateID, byte: u8) -> Option<(StateID, bool)> {
        let next = self.dfa.next_state(state, byte);
        (!self.dfa.is_dead_state(next)).then(|| (next, self.dfa.is_match_state(next)))
    }

    /// Does a match end here if nothing follows?
    pub(crate) fn ends(&self, state: StateID) -> bool {
        self.dfa.is_match_state(self.dfa.next_eoi_state(state))
    }

    /// Takes a walk on over the bytes from offset `at`. A match counts only if the byte after it is not one
    /// of `glue`.
    pub(crate) fn advance(
        &self,
        walk: &mut Walk,
        glue: &ByteSet,
        mut at: u64,
        bytes: impl Iterator<Item = u8>,
    ) -> Progress {
        for byte in bytes {
            walk.state = self.dfa.next_state(walk.state, byte);
            if self.dfa.is_special_state(walk.state) {
                // The automaton reports a match one byte late: that byte is the right neighbour.
                if self.dfa.is_match_state(walk.state) {
                    if !glue.contains(byte) {
                        walk.best = Some(at);
                    }
                } else if self.dfa.is_dead_state(walk.state) {
                    return Progress::Done(walk.best);
                }
            }
            at += 1;
        }
        let end = self.dfa.next_eoi_state(walk.state);
        let if_ended = if self.dfa.is_match_state(end) { Some(at) } else { walk.best };
        Progress::Open { if_ended }
    }
}

/// A match in the making. Survives between pushes: it holds no bytes, only how far it got.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Walk {
    state: StateID,
    /// End of the longest match so far whose right side is a boundary.
    best: Option<u64>,
}

/// What is known once the bytes at hand are used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Progress {
    /// Nothing that follows can change it: the match ends here, or there is none.
    Done(Option<u64>),
    /// More bytes may change it; `if_ended` is the answer should none come.
    Open { if_ended: Option<u64> },
}
