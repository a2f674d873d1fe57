//! Moments of this machine's monotonic clock as numbers, and the present one as the kernel noted it
//! at its last tick: for a bound that is looked at with each hit.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The present of [`now`] is no older than this.
pub(crate) const RESOLUTION: Duration = Duration::from_millis(10);

/// One moment, in both forms.
struct Base {
    nanoseconds: u64,
    instant: Instant,
}

fn base() -> &'static Base {
    static BASE: OnceLock<Base> = OnceLock::new();
    // In this order: a moment must not be taken for a later one.
    BASE.get_or_init(|| Base { nanoseconds: coarse().unwrap_or(0), instant: Instant::now() })
}

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[inline]
fn coarse() -> Option<u64> {
    super::coarse::monotonic()
}

#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn coarse() -> Option<u64> {
    None
}

/// Returns a moment that is the present, or was within the [`RESOLUTION`], in nanoseconds.
#[inline]
pub(crate) fn now() -> u64 {
    coarse().unwrap_or_else(|| of(Instant::now()))
}

/// Returns `moment` in nanoseconds, or a moment before it, within the [`RESOLUTION`].
pub(crate) fn of(moment: Instant) -> u64 {
    let Base { nanoseconds, instant } = base();
    let distance = |time: Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    match moment.checked_duration_since(*instant) {
        Some(since) => nanoseconds.saturating_add(distance(since)),
        None => nanoseconds.saturating_sub(distance(instant.duration_since(moment))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_tell_the_same_time() {
        for _ in 0..1_000 {
            let before = of(Instant::now());
            let now = now();
            let resolution = u64::try_from(RESOLUTION.as_nanos()).unwrap();
            assert!(now + 2 * resolution >= before, "{now} {before}");
            assert!(of(Instant::now()) + resolution >= now);
        }
    }
}
