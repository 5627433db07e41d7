//! Something is done again and again while something else happens.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

/// Says that it is over, whatever happened.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Repeats `again` while `once` runs; says how often.
pub fn meanwhile(again: impl Fn() + Sync, once: impl FnOnce()) -> usize {
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let repeated = scope.spawn(|| {
            let mut times = 0;
            while !done.load(Ordering::Relaxed) {
                again();
                times += 1;
            }
            times
        });
        {
            let _at_the_end = Done(&done);
            once();
        }
        repeated.join().expect("what is repeated")
    })
}
