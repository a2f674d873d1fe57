//! The one clock of a run: all processes of a machine read the same.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds on the monotonic clock of the machine.
pub type Moment = u64;

/// Nanoseconds in a millisecond.
pub const MILLISECOND: u64 = 1_000_000;

/// Returns the present moment.
pub fn now() -> Moment {
    let time = clock_gettime(ClockId::Monotonic);
    let part = |number: i64| u64::try_from(number).unwrap_or(0);
    part(time.tv_sec) * 1_000 * MILLISECOND + part(time.tv_nsec)
}

/// Returns `duration` in nanoseconds.
pub fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Returns `nanoseconds` in milliseconds.
pub fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / MILLISECOND as f64
}
