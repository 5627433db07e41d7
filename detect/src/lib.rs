//! Secret detection: rules as data, and the engine that runs them over bytes as they pass.
//!
//! A filter looks at a few bytes of every place in the traffic; where a literal of a rule can stand, one
//! Aho-Corasick automaton over the literals of all rules decides; only where one stands is the rule's own
//! pattern run, anchored, over at most the rule's longest match. Text without secrets costs the filter and
//! little else.
//!
//! **Architecture Invariant:** this crate does no I/O and knows neither eBPF nor gRPC. What hands out a
//! secret's bytes is [`Match::secret`] and [`Exact::secret`], and nothing else; nothing here prints them.

mod check;
pub mod decode;
mod engine;
mod error;
mod fingerprint;
mod inspect;
mod kernel_grade;
pub mod location;
mod pattern;
pub mod policy;
mod redact;
mod registered;
mod rules;
mod validate;

pub use check::Failure;
pub use engine::{Detector, Match, Stream};
pub use error::{Problem, RuleError, UnknownRule};
pub use fingerprint::Fingerprinter;
pub use inspect::text;
pub use inspect::{Fed, Hit, Inspector, Scanner};
pub use kernel_grade::{Grade, KernelRules, Obstacle, RuleTables};
pub use redact::{redact_all, redacted};
pub use registered::{Exact, Form, Refused, Registry, RegistryBuilder, Trail};
pub use rules::{Marker, Mistake, Origin, Rule, RuleSet, Severity, Unsupported, is_home, is_usual};
pub use validate::{Assessment, Confidence, Fact, Suppressed};

/// Longest secret a rule may describe. It bounds what a [`Stream`] can hold, whatever the traffic does.
pub const MAX_SECRET_LEN: usize = 4000;
/// Most bytes a [`Stream`] ever keeps. With keymoat's own rules it is a third of this: a secret, the literal before
/// it, and what decides its boundaries. Rules of gitleaks add what has to be searched around a keyword.
pub const MAX_BYTES_HELD: usize = 12 * 1024;
