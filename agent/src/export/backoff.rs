//! When to try again: soon at first, later and later, and never all agents of a fleet at the same moment.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);

pub(super) struct Backoff {
    next: Duration,
    /// The standard library's own source of randomness is random enough to spread agents out.
    random: RandomState,
    draws: u64,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST, random: RandomState::new(), draws: 0 }
    }
}

impl Backoff {
    /// It worked: the next failure is a new one.
    pub(super) fn reset(&mut self) {
        self.next = FIRST;
    }

    /// How long to wait now: between half of the present step and the whole of it.
    pub(super) fn wait(&mut self) -> Duration {
        let half = self.next / 2;
        self.next = (self.next * 2).min(LONGEST);
        half + half.mul_f64(self.draw())
    }

    /// From 0 to 1.
    fn draw(&mut self) -> f64 {
        self.draws += 1;
        let mut hasher = self.random.build_hasher();
        hasher.write_u64(self.draws);
        hasher.finish() as f64 / u64::MAX as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_a_limit_and_starts_again() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..10).map(|_| backoff.wait()).collect();
        for (n, wait) in waits.iter().enumerate() {
            let step = FIRST.saturating_mul(1 << n).min(LONGEST);
            assert!(*wait >= step / 2 && *wait <= step, "{n}: {wait:?}");
        }
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }

    #[test]
    fn two_agents_do_not_move_in_step() {
        let waits = |mut backoff: Backoff| (0..8).map(|_| backoff.wait()).collect::<Vec<_>>();
        assert_ne!(waits(Backoff::default()), waits(Backoff::default()));
    }
}
