//! The worth of a stored value: its age, the clocks' skew, and the region's invalidations, in
//! one pure function. It reads no clock and does no I/O, so it is tested over its whole domain.

use std::time::Duration;

use crate::clock::Timestamp;

/// The modes of invalidation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Values created before now count as missing: everyone waits for the new
    /// one.
    Hard,
    /// Values created before now count as expired: the stale value is served
    /// while one caller regenerates it.
    Soft,
}

/// The result of a look into the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// A value that may be used as it is.
    Fresh,
    /// A value that is expired or soft-invalidated: good enough to be served
    /// while one caller makes the new one.
    Stale,
    /// Nothing usable: no value, another format version, undecodable, or
    /// hard-invalidated.
    Nothing,
}

/// A value from a peer whose clock is ahead by more than this counts as
/// expired: its creation time says nothing, and it must not live for ever.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The time until values expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Lifetime {
    /// An older value is expired; `None`: values never expire.
    pub max_age: Option<Duration>,
    /// The time for which an expired value may still be served; after that it counts as
    /// missing. `None`: as long as there is no other.
    pub stale_limit: Option<Duration>,
}

impl From<Option<Duration>> for Lifetime {
    fn from(max_age: Option<Duration>) -> Self {
        Self { max_age, stale_limit: None }
    }
}

/// Judges a value created at `ct` at `now` (both epoch seconds), where
/// values live for so long and `invalidated` is the region's verdict on `ct`.
///
/// A `ct` slightly in the future, as machines' clocks differ, is age zero;
/// one further ahead than [`CLOCK_SKEW`] is expired.
#[inline]
pub fn judge(
    ct: Timestamp,
    now: Timestamp,
    lifetime: Lifetime,
    invalidated: Option<Mode>,
) -> Found {
    let Lifetime { max_age, stale_limit } = lifetime;
    let age = now - ct;
    // A creation time that is not a number passes neither of these.
    let believable = age >= -CLOCK_SKEW.as_secs_f64();
    let young_enough = max_age.is_none_or(|max_age| age <= max_age.as_secs_f64());
    let expired = !(believable && young_enough);
    let past_serving = || match (max_age, stale_limit) {
        (Some(max_age), Some(limit)) => age > max_age.as_secs_f64() + limit.as_secs_f64(),
        _ => false,
    };
    match invalidated {
        Some(Mode::Hard) => Found::Nothing,
        _ if expired && past_serving() => Found::Nothing,
        Some(Mode::Soft) => Found::Stale,
        None if expired => Found::Stale,
        None => Found::Fresh,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_as_old_as_the_expiration_is_still_fresh() {
        let ten = Lifetime::from(Some(Duration::from_secs(10)));
        let never = Lifetime::default();
        assert_eq!(judge(100.0, 110.0, ten, None), Found::Fresh);
        assert_eq!(judge(100.0, 110.001, ten, None), Found::Stale);
        assert_eq!(judge(100.0, 1e12, ten, None), Found::Stale);
        assert_eq!(judge(100.0, 1e12, never, None), Found::Fresh);
        assert_eq!(judge(f64::NAN, 110.0, never, None), Found::Stale);
    }

    #[test]
    fn past_its_stale_limit_an_expired_value_is_missing() {
        let seconds = |n| Some(Duration::from_secs(n));
        let limited = Lifetime { max_age: seconds(10), stale_limit: seconds(5) };
        for (now, found) in [(110.0, Found::Fresh), (115.0, Found::Stale), (115.1, Found::Nothing)]
        {
            assert_eq!(judge(100.0, now, limited, None), found, "at {now}");
        }
        assert_eq!(judge(100.0, 112.0, limited, Some(Mode::Soft)), Found::Stale);
        assert_eq!(judge(100.0, 116.0, limited, Some(Mode::Soft)), Found::Nothing);
        let never_expires = Lifetime { max_age: None, stale_limit: seconds(0) };
        assert_eq!(judge(100.0, 1e9, never_expires, None), Found::Fresh);
    }

    #[test]
    fn invalidation_outranks_age() {
        let max_age = Lifetime::from(Some(Duration::from_secs(10)));
        for now in [100.0, 200.0] {
            assert_eq!(judge(100.0, now, max_age, Some(Mode::Hard)), Found::Nothing);
            assert_eq!(judge(100.0, now, max_age, Some(Mode::Soft)), Found::Stale);
        }
    }

    proptest! {
        #[test]
        fn no_creation_time_makes_a_value_immortal(
            ct in 0.0..4e9_f64, expiration in 0u64..1_000_000, now in 1e9..2e9_f64,
        ) {
            let max_age = Duration::from_secs(expiration);
            // However far ahead `ct` claims to be, once it counts as fresh it
            // stops doing so within its expiration and the skew.
            let later = now + expiration as f64 + CLOCK_SKEW.as_secs_f64() + 1.0;
            if judge(ct, now, Some(max_age).into(), None) == Found::Fresh {
                prop_assert_eq!(judge(ct, later, Some(max_age).into(), None), Found::Stale);
            }
        }
    }
}
