//! Looks that found nothing, one after the other: the next one is likely to find nothing either, as while a
//! cache fills. Then a creating call claims its key at once, where a claim reads what is stored.

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of looks since the last one that found something, up to the length of a streak.
#[derive(Default)]
pub(crate) struct Streak(AtomicU32);

impl Streak {
    /// If half of the calls are misses, one in a hundred thousand claims a key that has a value.
    const LENGTH: u32 = 16;

    /// A look has found nothing. What other threads note meanwhile may be lost.
    pub(super) fn note_missing(&self) {
        let before = self.0.load(Ordering::Relaxed);
        if before < Self::LENGTH {
            self.0.store(before + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Have so many looks found nothing that the next one can be left out?
    pub(super) fn is_on(&self) -> bool {
        self.0.load(Ordering::Relaxed) >= Self::LENGTH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_value_ends_a_streak() {
        let streak = Streak::default();
        for _ in 0..Streak::LENGTH {
            assert!(!streak.is_on());
            streak.note_missing();
        }
        streak.note_missing();
        assert!(streak.is_on());
        streak.end();
        assert!(!streak.is_on());
    }
}
