//! Durations in buckets whose bounds double.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// From below a microsecond to above half an hour.
const BUCKETS: usize = 32;

/// A distribution of durations. Bucket `i` holds those below 2^i
/// microseconds that no earlier one holds; the last one all the rest.
#[derive(Clone, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    total: Duration,
    max: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: [0; BUCKETS], total: Duration::ZERO, max: Duration::ZERO }
    }
}

impl Histogram {
    /// Returns the number of recorded durations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// Their sum.
    pub fn total(&self) -> Duration {
        self.total
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        self.max
    }

    /// A duration that the part `quantile` (0 to 1) of all did not exceed, to
    /// a factor of two; zero if nothing was recorded.
    pub fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile.clamp(0.0, 1.0) * self.count() as f64).ceil().max(1.0);
        let mut seen = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen as f64 >= rank {
                return Duration::from_micros(1 << bucket).min(self.max);
            }
        }
        self.max
    }
}

/// Its count, and what is worth knowing of the times.
impl fmt::Debug for Histogram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.count();
        if count == 0 {
            return f.write_str("none");
        }
        let [half, most] = [0.5, 0.99].map(|part| self.quantile(part));
        write!(f, "{count} (median {half:?}, 99% {most:?}, longest {:?})", self.max)
    }
}

/// The histogram while it is being written.
pub(crate) struct Recorder {
    buckets: [AtomicU64; BUCKETS],
    total_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            total_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
        }
    }
}

impl Recorder {
    pub(crate) fn record(&self, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let bucket = (u64::BITS - micros.leading_zeros()) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.total_ns.fetch_add(nanos, Ordering::Relaxed);
        self.max_ns.fetch_max(nanos, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self) -> Histogram {
        Histogram {
            buckets: std::array::from_fn(|i| self.buckets[i].load(Ordering::Relaxed)),
            total: Duration::from_nanos(self.total_ns.load(Ordering::Relaxed)),
            max: Duration::from_nanos(self.max_ns.load(Ordering::Relaxed)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_are_within_a_factor_of_two(mut micros in prop::collection::vec(1u64..10_000_000, 1..200)) {
            let recorder = Recorder::default();
            micros.iter().for_each(|&micros| recorder.record(Duration::from_micros(micros)));
            let histogram = recorder.snapshot();
            micros.sort_unstable();
            prop_assert_eq!(histogram.count(), micros.len() as u64);
            prop_assert_eq!(histogram.max(), Duration::from_micros(micros[micros.len() - 1]));
            for (quantile, index) in [(0.0, 0), (0.5, (micros.len() - 1) / 2), (1.0, micros.len() - 1)] {
                let exact = Duration::from_micros(micros[index]);
                let told = histogram.quantile(quantile);
                prop_assert!(told >= exact && told <= exact * 2, "{told:?} for {exact:?}");
            }
        }
    }

    #[test]
    fn nothing_and_too_much_are_fine() {
        assert_eq!(Histogram::default().quantile(0.99), Duration::ZERO);
        let recorder = Recorder::default();
        recorder.record(Duration::MAX);
        assert_eq!(recorder.snapshot().count(), 1);
    }
}
