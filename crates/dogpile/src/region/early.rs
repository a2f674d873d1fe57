//! The moment from which a value that is still fresh is created again.

use std::time::Duration;

use crate::lock::part_of;

/// The moment at which a value is created again before it expires, so that nobody waits for the new
/// one or gets a stale one. See [`Config::early`](crate::Config::early).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Early(When);

#[derive(Debug, Clone, Copy, PartialEq)]
enum When {
    Adaptive,
    At(f64),
}

impl Early {
    /// Chooses the moment by the time that the last creation took: a value that is slow to create is
    /// created again earlier. Each process draws another moment, so that seldom two of
    /// them come at once; none is in the first half of the expiration.
    ///
    /// It is `XFetch` (Vattani, Chierichetti and Lowenstein, *Optimal Probabilistic Cache Stampede
    /// Prevention*, VLDB 2015) with a lock: of those who draw a moment that has come, one
    /// creates. A value that was [set](crate::Region::set), or written by Python, tells no time
    /// that its creation took, and is never early.
    pub const fn adaptive() -> Self {
        Self(When::Adaptive)
    }

    /// Chooses the moment by the expiration: `at(0.8)` of 60 seconds is 48 seconds after creation.
    ///
    /// # Panics
    ///
    /// If `share` is not between 0 and 1.
    pub const fn at(share: f64) -> Self {
        assert!(0.0 <= share && share <= 1.0, "a share of the expiration is between 0 and 1");
        Self(When::At(share))
    }

    /// Returns the age from which a value is early that expires at the age `expiration`, and whose
    /// creation took `cost`. `draw` is a number from 0 to 1, without 0: the process's own.
    pub(crate) fn age(
        self,
        expiration: Duration,
        cost: Duration,
        draw: impl FnOnce() -> f64,
    ) -> Duration {
        match self.0 {
            When::At(share) => part_of(expiration, share),
            When::Adaptive if cost.is_zero() => expiration,
            When::Adaptive => {
                // Of an exponential distribution with the mean 1.
                let spread = -draw().ln();
                let ahead = cost.as_secs_f64() * (1.0 + spread);
                let half = expiration / 2;
                expiration
                    .saturating_sub(Duration::try_from_secs_f64(ahead).unwrap_or(half))
                    .max(half)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MINUTE: Duration = Duration::from_secs(60);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_share_of_the_expiration_is_one() {
        assert_eq!(Early::at(0.8).age(MINUTE, SECOND, || 1.0), Duration::from_secs(48));
        assert_eq!(Early::at(0.0).age(MINUTE, SECOND, || 1.0), Duration::ZERO);
        assert_eq!(Early::at(1.0).age(MINUTE, SECOND, || 1.0), MINUTE);
    }

    #[test]
    fn what_is_slow_to_create_is_created_earlier() {
        let age = |cost, draw| Early::adaptive().age(MINUTE, cost, || draw);
        assert_eq!(age(SECOND, 1.0), Duration::from_secs(59));
        assert!(age(2 * SECOND, 0.5) < age(SECOND, 0.5));
        assert_eq!(age(Duration::ZERO, 0.5), MINUTE, "nothing is known of its cost");
        assert_eq!(age(2 * MINUTE, 0.5), MINUTE / 2);
        assert_eq!(age(SECOND, f64::MIN_POSITIVE), MINUTE / 2);
    }

    /// The mean of the exponential distribution is the cost, so twice that ahead in the mean.
    #[test]
    fn processes_spread_over_the_time_before_the_expiration() {
        let draws = (1..=10_000).map(|n| f64::from(n) / 10_000.0);
        let age = |draw| Early::adaptive().age(MINUTE, SECOND, || draw);
        let ahead = draws.map(|draw| MINUTE.saturating_sub(age(draw)));
        let mean = ahead.sum::<Duration>() / 10_000;
        assert!(mean.abs_diff(2 * SECOND) < SECOND / 20, "{mean:?}");
    }

    proptest! {
        #[test]
        fn it_is_in_the_second_half(
            expiration in 0u64..1_000_000, cost in 0u64..u64::MAX, draw in 1e-300..=1.0_f64,
        ) {
            let expiration = Duration::from_millis(expiration);
            let cost = Duration::from_millis(cost);
            let age = Early::adaptive().age(expiration, cost, || draw);
            prop_assert!(age >= expiration / 2 && age <= expiration);
        }
    }
}
