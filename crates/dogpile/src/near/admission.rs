//! Which keys are asked for often enough to be kept: those that are missed a second time within a
//! while. A scan, which asks for each key once, so costs no room here, and none in the table of a
//! server that tells of changes.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::bound::in_ticks;

/// The last misses, in groups of places. Where more keys share a group than it has places, they hide
/// each other's misses, which costs some more misses.
pub(super) struct Admission {
    /// Of a key's hash the upper part, and the time of its miss in seconds below that; zero for none.
    places: Box<[AtomicU64]>,
}

/// A second miss within this time is worth a copy.
const WINDOW: Duration = Duration::from_secs(60);

/// A key has one of so many places beside each other.
const GROUP: usize = 4;

/// So much of a place is the time, which comes round after nine hours.
const TIME: u64 = (1 << 15) - 1;

impl Admission {
    /// For about so many copies.
    pub(super) fn new(copies: usize) -> Self {
        let places = copies.saturating_mul(4).clamp(1 << 10, 1 << 20).next_power_of_two();
        Self { places: (0..places).map(|_| AtomicU64::new(0)).collect() }
    }

    /// Notes a miss of the key with this hash. Returns whether it is the second of late.
    pub(super) fn is_due(&self, hash: u64, now: u64) -> bool {
        let seconds = (now / in_ticks(Duration::from_secs(1))) & TIME;
        // Never zero: that is a place without a miss.
        let tag = (hash | 1 << 63) & !TIME;
        let since = |miss: u64| seconds.wrapping_sub(miss & TIME) & TIME;
        let group = usize::try_from(hash).unwrap_or(0) % (self.places.len() / GROUP) * GROUP;
        let places = &self.places[group..group + GROUP];
        let misses = places.iter().map(|place| (place, place.load(Ordering::Relaxed)));
        let own = misses.clone().find(|(_, miss)| miss & !TIME == tag);
        let oldest =
            misses.max_by_key(|(_, miss)| if *miss == 0 { u64::MAX } else { since(*miss) });
        let Some((place, miss)) = own.or(oldest) else { return false };
        place.store(tag | seconds, Ordering::Relaxed);
        own.is_some() && since(miss) <= WINDOW.as_secs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn the_second_miss_within_the_window_is_due() {
        let admission = Admission::new(10);
        assert!(!admission.is_due(7 << 20, 100 * SECOND));
        assert!(!admission.is_due(8 << 21, 100 * SECOND), "another key");
        let admission = Admission::new(10);
        assert!(!admission.is_due(7 << 20, 100 * SECOND));
        assert!(admission.is_due(7 << 20, 160 * SECOND));
        assert!(admission.is_due(7 << 20, 161 * SECOND), "and so is the third");
        assert!(!admission.is_due(7 << 20, 222 * SECOND), "that was too long ago");
    }

    #[test]
    fn a_scan_admits_next_to_nothing() {
        let admission = Admission::new(1_000);
        let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let admitted = (0..1_000_000).filter(|key| admission.is_due(hash(*key), SECOND)).count();
        assert_eq!(admitted, 0);
    }

    #[test]
    fn keys_that_are_read_in_turn_are_all_due() {
        let admission = Admission::new(1_000);
        let hash = |key: u64| key.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let due = || (0..1_000).filter(|key| admission.is_due(hash(*key), SECOND)).count();
        assert_eq!(due(), 0);
        assert!(due() > 950);
    }

    #[test]
    fn the_time_comes_round() {
        let admission = Admission::new(10);
        assert!(!admission.is_due(7 << 20, TIME * SECOND));
        assert!(admission.is_due(7 << 20, (TIME + 20) * SECOND));
    }
}
