//! The worth of a stored value: its age, the clocks' skew, and the region's invalidations, in
//! one pure function. It reads no clock and does no I/O, so it is tested over its whole domain.

use std::sync::OnceLock;
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
pub enum Freshness {
    /// A value that may be used as it is.
    Fresh,
    /// A value that may be used as it is, and is to be created again before it expires.
    Early,
    /// A value that is expired or soft-invalidated: good enough to be served
    /// while one caller creates the new one.
    Stale,
    /// Nothing usable: no value, another format version, undecodable, or
    /// hard-invalidated.
    Missing,
}

impl Freshness {
    /// Returns whether the value may be used as it is.
    pub const fn is_fresh(self) -> bool {
        matches!(self, Self::Fresh | Self::Early)
    }
}

/// A value from a peer whose clock is ahead by more than this counts as
/// expired: its creation time says nothing, and it must not live for ever.
pub const CLOCK_SKEW: Duration = Duration::from_secs(60);

/// The time until values expire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AgeLimits {
    /// An older value is expired; `None`: values never expire.
    pub expiration: Option<Duration>,
    /// A value that is as old is to be created again before it expires. `None`: none is.
    pub early: Option<Duration>,
    /// The time for which an expired value may still be served; after that it counts as
    /// missing. `None`: as long as there is no other.
    pub stale_while_revalidate: Option<Duration>,
    /// The time for which an expired value may stand in for a creation that fails. `None`: it
    /// may not.
    pub stale_if_error: Option<Duration>,
}

impl From<Option<Duration>> for AgeLimits {
    fn from(expiration: Option<Duration>) -> Self {
        Self { expiration, ..Self::default() }
    }
}

/// Judges a value created at `ct` at `now` (both epoch seconds), where
/// values live for so long and `invalidated` is the region's verdict on `ct`.
///
/// A `ct` slightly in the future, as machines' clocks differ, is age zero;
/// one further ahead than [`CLOCK_SKEW`] is expired.
#[inline]
pub fn freshness(
    ct: Timestamp,
    now: Timestamp,
    lifetime: AgeLimits,
    invalidated: Option<Mode>,
) -> Freshness {
    let AgeLimits { expiration, early, stale_while_revalidate, .. } = lifetime;
    let age = now - ct;
    // A creation time that is not a number passes neither of these.
    let believable = age >= -CLOCK_SKEW.as_secs_f64();
    let young_enough = expiration.is_none_or(|expiration| age <= expiration.as_secs_f64());
    let expired = !(believable && young_enough);
    let past_serving = || match (expiration, stale_while_revalidate) {
        (Some(expiration), Some(limit)) => age > expiration.as_secs_f64() + limit.as_secs_f64(),
        _ => false,
    };
    match invalidated {
        Some(Mode::Hard) => Freshness::Missing,
        _ if expired && past_serving() => Freshness::Missing,
        Some(Mode::Soft) => Freshness::Stale,
        None if expired => Freshness::Stale,
        None if early.is_some_and(|early| age >= early.as_secs_f64()) => Freshness::Early,
        None => Freshness::Fresh,
    }
}

/// May a value created at `ct` stand in `now` for a creation that has failed? Arguments are those
/// of [`freshness`].
pub fn fallback_after_failure(
    ct: Timestamp,
    now: Timestamp,
    lifetime: AgeLimits,
    invalidated: Option<Mode>,
) -> bool {
    let Some(limit) = lifetime.stale_if_error else { return false };
    let within = |expiration: Duration| now - ct <= expiration.as_secs_f64() + limit.as_secs_f64();
    invalidated != Some(Mode::Hard) && lifetime.expiration.is_none_or(within)
}

/// Returns the lifetime of one value of many, where each is shorter by up to `share` of it.
///
/// It follows from the key and the creation time alone: processes, releases and platforms agree.
pub(crate) fn jittered(lifetime: Duration, share: f64, key: &str, ct: Timestamp) -> Duration {
    part_of(lifetime, 1.0 - share * part(hash(key, ct)))
}

/// Returns a part of a time; of one that is longer than can be told, all of it.
pub(crate) fn part_of(time: Duration, part: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * part).map_or(time, |it| it.min(time))
}

/// Returns this process's own draw for one value: a number from 0 to 1, without 0.
pub(crate) fn own_draw(key: &str, ct: Timestamp) -> f64 {
    use std::hash::{BuildHasher, RandomState};
    static PROCESS: OnceLock<u64> = OnceLock::new();
    let process = PROCESS.get_or_init(|| RandomState::new().hash_one(std::process::id()));
    1.0 - part(spread(hash(key, ct) ^ process))
}

/// A number from 0 to 1, without 1.
fn part(hash: u64) -> f64 {
    const STEPS: f64 = (1_u64 << 53) as f64;
    (hash >> 11) as f64 / STEPS
}

/// FNV-1a, and then the last step of `SplitMix64`, which spreads what few bytes differ in.
fn hash(key: &str, ct: Timestamp) -> u64 {
    let bytes = key.bytes().chain(ct.to_bits().to_le_bytes());
    spread(bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    }))
}

fn spread(hash: u64) -> u64 {
    let hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_value_as_old_as_the_expiration_is_still_fresh() {
        let ten = AgeLimits::from(Some(Duration::from_secs(10)));
        let never = AgeLimits::default();
        assert_eq!(freshness(100.0, 110.0, ten, None), Freshness::Fresh);
        assert_eq!(freshness(100.0, 110.001, ten, None), Freshness::Stale);
        assert_eq!(freshness(100.0, 1e12, ten, None), Freshness::Stale);
        assert_eq!(freshness(100.0, 1e12, never, None), Freshness::Fresh);
        assert_eq!(freshness(f64::NAN, 110.0, never, None), Freshness::Stale);
    }

    #[test]
    fn past_its_stale_limit_an_expired_value_is_missing() {
        let seconds = |n| Some(Duration::from_secs(n));
        let limited = AgeLimits {
            expiration: seconds(10),
            stale_while_revalidate: seconds(5),
            ..AgeLimits::default()
        };
        for (now, found) in
            [(110.0, Freshness::Fresh), (115.0, Freshness::Stale), (115.1, Freshness::Missing)]
        {
            assert_eq!(freshness(100.0, now, limited, None), found, "at {now}");
        }
        assert_eq!(freshness(100.0, 112.0, limited, Some(Mode::Soft)), Freshness::Stale);
        assert_eq!(freshness(100.0, 116.0, limited, Some(Mode::Soft)), Freshness::Missing);
        let never_expires =
            AgeLimits { stale_while_revalidate: seconds(0), ..AgeLimits::default() };
        assert_eq!(freshness(100.0, 1e9, never_expires, None), Freshness::Fresh);
    }

    /// Both windows begin with the expiration, and neither depends on the other.
    #[test]
    fn a_failure_is_made_up_for_within_its_own_limit() {
        let seconds = |n| Some(Duration::from_secs(n));
        let limits = |stale, spare| AgeLimits {
            expiration: seconds(10),
            stale_while_revalidate: seconds(stale),
            stale_if_error: spare,
            ..AgeLimits::default()
        };
        for (now, stale, spare, found, may) in [
            (105.0, 5, seconds(20), Freshness::Fresh, true),
            (112.0, 5, seconds(20), Freshness::Stale, true),
            (120.0, 5, seconds(20), Freshness::Missing, true),
            (130.1, 5, seconds(20), Freshness::Missing, false),
            (112.0, 20, seconds(1), Freshness::Stale, false),
            (112.0, 5, None, Freshness::Stale, false),
        ] {
            let limits = limits(stale, spare);
            assert_eq!(freshness(100.0, now, limits, None), found, "at {now}");
            for mode in [None, Some(Mode::Soft)] {
                assert_eq!(fallback_after_failure(100.0, now, limits, mode), may, "at {now}");
            }
            assert!(!fallback_after_failure(100.0, now, limits, Some(Mode::Hard)));
        }
    }

    #[test]
    fn a_value_is_early_for_the_rest_of_its_time() {
        let seconds = |n| Some(Duration::from_secs(n));
        let limits =
            AgeLimits { expiration: seconds(10), early: seconds(8), ..AgeLimits::default() };
        for (now, found) in [
            (107.9, Freshness::Fresh),
            (108.0, Freshness::Early),
            (110.0, Freshness::Early),
            (110.1, Freshness::Stale),
        ] {
            assert_eq!(freshness(100.0, now, limits, None), found, "at {now}");
        }
        assert_eq!(freshness(100.0, 109.0, limits, Some(Mode::Soft)), Freshness::Stale);
        assert_eq!(freshness(100.0, 109.0, limits, Some(Mode::Hard)), Freshness::Missing);
    }

    #[test]
    fn invalidation_outranks_age() {
        let expiration = AgeLimits::from(Some(Duration::from_secs(10)));
        for now in [100.0, 200.0] {
            assert_eq!(freshness(100.0, now, expiration, Some(Mode::Hard)), Freshness::Missing);
            assert_eq!(freshness(100.0, now, expiration, Some(Mode::Soft)), Freshness::Stale);
        }
    }

    #[test]
    fn jitter_spreads_values_evenly_over_its_share() {
        let minute = Duration::from_secs(60);
        let of_key = |n: i32| jittered(minute, 0.5, &format!("k{n}"), 1_763_700_000.25);
        let lifetimes: Vec<Duration> = (0..10_000).map(of_key).collect();
        for tenth in 1..=10 {
            let below = Duration::from_secs(30 + 3 * tenth);
            let count = lifetimes.iter().filter(|lifetime| **lifetime <= below).count() as u64;
            assert!(count.abs_diff(1_000 * tenth) < 200, "{count} of the first {tenth} tenths");
        }
        assert_eq!(jittered(minute, 0.0, "k", 1.0), minute);
        assert_ne!(jittered(minute, 0.1, "k", 1.0), jittered(minute, 0.1, "k", 1.5));
    }

    /// Releases agree on it: it must not change.
    #[test]
    fn jitter_is_what_it_always_was() {
        let lifetime = jittered(Duration::from_secs(1_000), 1.0, "users:42", 1_763_700_000.5);
        assert_eq!(lifetime.as_millis(), 676_307);
    }

    proptest! {
        #[test]
        fn jitter_keeps_within_its_share(key: String, ct in 0.0..4e9_f64, share in 0.0..=1.0_f64) {
            let hour = Duration::from_secs(3_600);
            let lifetime = jittered(hour, share, &key, ct);
            prop_assert!(lifetime <= hour && lifetime >= hour.mul_f64((1.0 - share - 1e-9).max(0.0)));
        }

        #[test]
        fn no_creation_time_makes_a_value_immortal(
            ct in 0.0..4e9_f64, expiration in 0u64..1_000_000, now in 1e9..2e9_f64,
        ) {
            let limits = AgeLimits::from(Some(Duration::from_secs(expiration)));
            // However far ahead `ct` claims to be, once it counts as fresh it
            // stops doing so within its expiration and the skew.
            let later = now + expiration as f64 + CLOCK_SKEW.as_secs_f64() + 1.0;
            if freshness(ct, now, limits, None) == Freshness::Fresh {
                prop_assert_eq!(freshness(ct, later, limits, None), Freshness::Stale);
            }
        }
    }
}
