//! The time as the kernel noted it at its last tick, a few milliseconds ago at most. Reading
//! it costs a tenth of what the precise time does, which is a good part of a hit.
//!
//! The standard library does not offer it. A crate that does (`libc`, `nix`, `rustix`) takes
//! longer to compile than most of what this one needs, so the one function is declared here.

use std::ffi::{c_int, c_long};

/// `CLOCK_REALTIME_COARSE`: this number on every architecture of Linux.
const REALTIME_COARSE: c_int = 5;

/// `CLOCK_MONOTONIC_COARSE`, likewise.
#[cfg(feature = "near")]
const MONOTONIC_COARSE: c_int = 6;

/// `struct timespec`, as 64-bit Linux has it with every C library.
#[repr(C)]
struct Timespec {
    seconds: i64,
    nanoseconds: c_long,
}

unsafe extern "C" {
    fn clock_gettime(clock: c_int, time: *mut Timespec) -> c_int;
}

/// Returns the coarse time in epoch seconds, if the kernel has it.
#[inline]
pub(super) fn now() -> Option<f64> {
    let time = read(REALTIME_COARSE)?;
    Some(time.seconds as f64 + time.nanoseconds as f64 * 1e-9)
}

/// Returns the coarse time of the clock that never goes back, in nanoseconds, if the kernel has it.
#[cfg(feature = "near")]
#[inline]
pub(super) fn monotonic() -> Option<u64> {
    let time = read(MONOTONIC_COARSE)?;
    let seconds = u64::try_from(time.seconds).ok()?;
    Some(seconds * 1_000_000_000 + u64::try_from(time.nanoseconds).ok()?)
}

#[inline]
fn read(clock: c_int) -> Option<Timespec> {
    let mut time = Timespec { seconds: 0, nanoseconds: 0 };
    // SAFETY: the function writes one `timespec` through a pointer to one, which is alive and
    // ours alone. The standard library links the same function, so its declaration is true.
    let failed = unsafe { clock_gettime(clock, &raw mut time) };
    (failed == 0).then_some(time)
}

#[cfg(test)]
mod tests {
    use super::super::epoch_seconds;
    use super::*;

    /// Run it under Miri, too: `cargo xtask miri`.
    #[test]
    fn the_coarse_time_is_the_time() {
        let before = epoch_seconds(std::time::SystemTime::now());
        let coarse = now().expect("Linux has this clock");
        assert!((coarse - before).abs() < 1.0, "{coarse} {before}");
    }

    #[cfg(feature = "near")]
    #[test]
    fn the_monotonic_time_goes_on_as_the_precise_one_does() {
        let (before, began) =
            (monotonic().expect("Linux has this clock"), std::time::Instant::now());
        while began.elapsed() < std::time::Duration::from_millis(30) {}
        let passed = std::time::Duration::from_nanos(monotonic().unwrap() - before);
        assert!(passed > std::time::Duration::from_millis(10), "{passed:?}");
    }
}
