//! Does a key leave with these bytes? Decided byte by byte, in the kernel and, with the same code, in userspace.
//!
//! The rules are data ([`Tables`], made by `keymoat_detect::KernelRules`):
//!
//! 1. a **filter**: can a literal of any rule start here? Nearly always not, and nothing more is looked at;
//! 2. one **literal automaton** (Aho-Corasick, dense): which literals end here, and where their keys start ([`Anchor`]);
//! 3. a **token automaton** per pattern ([`Token`]): is what stands there a key, up to the boundary on its right?
//!
//! A [`Flow`] is where a connection's bytes and the matches in the making are kept between writes, so that a key is found
//! however it was cut. Whoever scans gives it bytes ([`Flow::feed`]) and calls [`step`] until nothing is left to do.
//!
//! **Architecture Invariant:** a step does a bounded amount of work, whatever the rules and the bytes are; nothing in here
//! allocates, recurses or can panic. More rules are more data: the verifier sees the same code.

mod boundary;
mod filter;
mod flow;
mod step;
mod stream;
mod tables;

pub use boundary::{LOOK_BEHIND, left_is_free};
pub use filter::{BEGINNING_WORDS, FILTER_WORDS, SHORTEST, WINDOW_WORDS, beginning_place, window_place};
pub use flow::{CHUNK, Flow, MAX_BACK, SLOTS, Slot};
pub use step::{Step, step};
pub use stream::{Source, Stream};
pub use tables::{Anchor, BLOCK, DEAD, GLUE_WORDS, HIT, Half, Header, NO_ANCHOR, START, Tables, Token};
