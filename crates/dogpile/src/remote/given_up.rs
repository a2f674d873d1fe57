//! Requests that their callers gave up before the time limit: they find no lost connection by it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::sync::Mutex;

/// The first request that was given up since the last answer.
#[derive(Default)]
pub(super) struct GivenUp {
    first: Mutex<Option<First>>,
    /// Spares those who get an answer the lock.
    is_any: AtomicBool,
}

struct First {
    /// The number of its connection.
    number: u64,
    at: Instant,
}

impl GivenUp {
    /// A request has been answered.
    pub(super) fn note_answer(&self) {
        if self.is_any.load(Ordering::Relaxed) {
            *self.first.lock() = None;
            self.is_any.store(false, Ordering::Relaxed);
        }
    }

    /// A request over connection `number` was given up at `now`. Returns whether that connection
    /// counts as lost: others were given up `limit` ago, and nothing was answered since.
    pub(super) fn note(&self, number: u64, now: Instant, limit: Duration) -> bool {
        let mut first = self.first.lock();
        self.is_any.store(true, Ordering::Relaxed);
        match &*first {
            Some(known) if known.number == number => {
                now.saturating_duration_since(known.at) >= limit
            }
            _ => {
                *first = Some(First { number, at: now });
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_lost_when_all_give_up_for_the_time_limit() {
        let (given_up, began, limit) = (GivenUp::default(), Instant::now(), Duration::from_secs(1));
        let note =
            |number, after| given_up.note(number, began + Duration::from_millis(after), limit);
        assert!(!note(1, 0) && !note(1, 999));
        assert!(note(1, 1_000));
        assert!(!note(2, 1_000), "another connection");
        given_up.note_answer();
        assert!(!note(2, 3_000), "it has answered since");
        assert!(!note(2, 3_500) && note(2, 4_000));
    }
}
