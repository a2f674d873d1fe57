//! Time: where "now" comes from and how the engine waits for a moment.
//!
//! Creation times are shared between machines, so they are wall-clock epoch
//! seconds. A [`Clock`] is handed to a region at configuration;
//! tests hand in one that they move by hand, and nothing in the crate sleeps
//! or looks at a clock in any other way.

#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
#[expect(unsafe_code, reason = "the kernel's coarse clock makes a hit twice as quick; see there")]
mod coarse;
#[cfg(feature = "near")]
pub(crate) mod ticks;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::sync::Mutex;

/// A point in time as the wire format has it: seconds since the Unix epoch.
pub type Timestamp = f64;

/// A source of time. [`SystemClock`] unless a region was given another.
pub trait Clock: Send + Sync + 'static {
    /// The current time, precisely: creation and invalidation times are taken
    /// from here.
    fn now(&self) -> Timestamp;

    /// The current time, a few milliseconds off at most, if that is cheaper.
    /// Only the age of a value is judged with it.
    fn coarse_now(&self) -> Timestamp {
        self.now()
    }

    /// Completes once `duration` has passed on this clock.
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>>;
}

/// The operating system's wall clock; waiting works on any executor and on
/// none.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        epoch_seconds(SystemTime::now())
    }

    #[cfg(all(target_os = "linux", target_pointer_width = "64"))]
    #[inline]
    fn coarse_now(&self) -> Timestamp {
        coarse::now().unwrap_or_else(|| self.now())
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(crate::delay::Delay::new(duration))
    }
}

/// `time` as seconds since the epoch, negative before it.
pub fn epoch_seconds(time: SystemTime) -> Timestamp {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => since.as_secs_f64(),
        Err(before) => -before.duration().as_secs_f64(),
    }
}

/// The `SystemTime` of an epoch-seconds timestamp; the epoch itself for one
/// that no `SystemTime` can express.
pub fn system_time(at: Timestamp) -> SystemTime {
    let distance = Duration::try_from_secs_f64(at.abs()).unwrap_or_default();
    let time =
        if at < 0.0 { UNIX_EPOCH.checked_sub(distance) } else { UNIX_EPOCH.checked_add(distance) };
    time.unwrap_or(UNIX_EPOCH)
}

/// The order of events in one region: every creation and invalidation gets a
/// later timestamp than the one before, even when the clock stands still or
/// steps back a little between them. Without it a value and an invalidation
/// with the same timestamp could not be told apart.
pub(crate) struct Timeline {
    last: Mutex<Stamp>,
}

/// When something happened. Both are the same number, but for a while after the clock was
/// set back by more than machines' clocks may differ.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stamp {
    /// By the clock: what ages are told by.
    pub(crate) ct: Timestamp,
    /// Later than all that happened before, whatever the clock says: what the order of
    /// creations and invalidations is told by.
    pub(crate) order: Timestamp,
}

impl Stamp {
    pub(crate) const fn at(now: Timestamp) -> Self {
        Self { ct: now, order: now }
    }
}

/// The smallest step that survives being a float of epoch seconds.
pub(crate) const TICK: f64 = 1e-6;

/// A clock that was set back further than this, in seconds, is believed: the
/// timeline follows it instead of running ahead of the wall for hours. Values from
/// a clock that is ahead by no more than this are believed everywhere.
const STEP_BACK: f64 = 60.0;

impl Timeline {
    pub(crate) fn new() -> Self {
        Self { last: Mutex::new(Stamp::at(f64::NEG_INFINITY)) }
    }

    /// The timestamp of an event that happens now.
    pub(crate) fn stamp(&self, now: Stamp) -> Stamp {
        let mut last = self.last.lock();
        *last = next(*last, now);
        *last
    }

    /// A moment after all events so far, and not after any to come.
    pub(crate) fn moment(&self, now: Stamp) -> Stamp {
        next(*self.last.lock(), now)
    }
}

/// Returns a stamp that is later than the last event by a tick at least, although the clock has gone on by less:
/// a [moment](Timeline::moment) in between was a tick later too, and must not be after it.
fn next(last: Stamp, now: Stamp) -> Stamp {
    let after = last.ct + TICK;
    let is_ahead = (0.0..STEP_BACK).contains(&(after - now.ct));
    let ct = if is_ahead { after } else { now.ct };
    Stamp { ct, order: now.order.max(last.order + TICK) }
}

impl fmt::Debug for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Timeline").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standing_clock_still_orders_events() {
        let (timeline, now) = (Timeline::new(), Stamp::at(1_763_700_000.25));
        let first = timeline.stamp(now);
        let second = timeline.stamp(now);
        assert_eq!(first, now);
        assert!(second.ct > first.ct);
        let moment = timeline.moment(now);
        assert!(moment.ct > second.ct && timeline.stamp(now).ct >= moment.ct);
    }

    /// A creation that begins between two invalidations is ended by the second one, however soon that comes.
    #[test]
    fn no_event_is_before_a_moment_that_was_before_it() {
        for nanoseconds in [0, 200, 500, 999, 1_000, 1_500] {
            let (timeline, now) = (Timeline::new(), 1_763_700_000.25);
            timeline.stamp(Stamp::at(now));
            let moment = timeline.moment(Stamp::at(now));
            let next = timeline.stamp(Stamp::at(now + f64::from(nanoseconds) * 1e-9));
            assert!(moment.ct <= next.ct && moment.order <= next.order, "{moment:?} {next:?}");
        }
    }

    #[test]
    fn a_clock_set_back_by_an_hour_is_followed_and_the_order_kept() {
        let timeline = Timeline::new();
        let before = timeline.stamp(Stamp::at(10_000.0));
        let after = timeline.stamp(Stamp::at(6_400.0));
        assert!(after.ct < 6_401.0 && after.order > before.order);
        let later = timeline.stamp(Stamp::at(10_001.0));
        assert_eq!(later, Stamp::at(10_001.0));
    }

    #[test]
    fn a_clock_set_back_by_a_second_gives_one_number() {
        let timeline = Timeline::new();
        timeline.stamp(Stamp::at(10_000.0));
        let after = timeline.stamp(Stamp::at(9_999.0));
        assert_eq!(after, Stamp::at(after.ct));
    }

    #[test]
    fn timestamps_convert_both_ways() {
        for at in [0.0, 1_763_700_000.25, -5.5] {
            assert!((epoch_seconds(system_time(at)) - at).abs() < 1e-6);
        }
        assert_eq!(system_time(f64::MAX), UNIX_EPOCH);
        assert_eq!(system_time(f64::NAN), UNIX_EPOCH);
    }
}
