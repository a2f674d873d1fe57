//! The time for which a region's invalidation could not be looked at.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::delay::Delay;
use crate::sync::Mutex;

/// A connection that was lost is back within this time. What fails for longer is an outage: then
/// what is known of the invalidation is gone by, without more attempts.
const SHORT: Duration = Duration::from_millis(200);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(10);

/// Whether looks fail now, and since when.
#[derive(Default)]
pub(crate) struct Unseen {
    fails: AtomicBool,
    since: Mutex<Option<Instant>>,
}

impl Unseen {
    /// Notes a look that succeeded.
    pub(super) fn end(&self) {
        if self.fails.load(Ordering::Relaxed) {
            self.fails.store(false, Ordering::Relaxed);
            *self.since.lock() = None;
        }
    }

    /// Notes a look that failed. Returns the wait before another one, if there is to be one.
    pub(super) fn pause(&self) -> Option<Delay> {
        self.fails.store(true, Ordering::Relaxed);
        let since = *self.since.lock().get_or_insert_with(Instant::now);
        (since.elapsed() < SHORT).then(|| Delay::new(PAUSE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_not_waited_for_and_a_new_one_begins_again() {
        let unseen = Unseen::default();
        assert!(unseen.pause().is_some());
        *unseen.since.lock() = Instant::now().checked_sub(SHORT);
        assert!(unseen.pause().is_none());
        unseen.end();
        assert!(unseen.pause().is_some());
    }
}
