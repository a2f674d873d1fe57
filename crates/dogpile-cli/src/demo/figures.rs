//! Figures of many latencies, and the unit that each is shown in.

use std::time::Duration;

/// The latencies that half, 99 in a hundred, 999 in a thousand and all of the requests did not
/// exceed.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Latencies {
    pub(super) p50: Duration,
    pub(super) p99: Duration,
    pub(super) p999: Duration,
    pub(super) max: Duration,
}

impl Latencies {
    pub(super) fn of(latencies: impl Iterator<Item = Duration>) -> Self {
        let mut sorted: Vec<Duration> = latencies.collect();
        sorted.sort_unstable();
        let [p50, p99, p999, max] =
            [500, 990, 999, 1000].map(|permille| quantile(&sorted, permille));
        Self { p50, p99, p999, max }
    }

    /// Returns them in the order p50, p99, p99.9, max, with their units.
    pub(super) fn shown(&self) -> [String; 4] {
        [self.p50, self.p99, self.p999, self.max].map(with_unit)
    }
}

/// The smallest of `sorted` that `permille` of them do not exceed.
fn quantile(sorted: &[Duration], permille: usize) -> Duration {
    let rank = (sorted.len() * permille).div_ceil(1000);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

pub(super) fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Writes a duration with two or three digits, in the unit that fits it.
pub(super) fn with_unit(duration: Duration) -> String {
    const UNITS: [(f64, &str); 3] = [(1e9, "s"), (1e6, "ms"), (1e3, "µs")];
    let nanoseconds = duration.as_secs_f64() * 1e9;
    // What would be rounded to 1000 of a unit is 1 of the next.
    let unit = UNITS.into_iter().find(|(size, _)| nanoseconds >= size * 0.9995);
    let Some((size, unit)) = unit else { return format!("{nanoseconds:.0} ns") };
    let number = nanoseconds / size;
    if number < 9.95 { format!("{number:.1} {unit}") } else { format!("{number:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_latencies_that_occurred() {
        let latencies = Latencies::of((1..=2000).rev().map(Duration::from_millis));
        assert_eq!(latencies.p50, Duration::from_millis(1000));
        assert_eq!(latencies.p99, Duration::from_millis(1980));
        assert_eq!(latencies.p999, Duration::from_millis(1998));
        assert_eq!(latencies.max, Duration::from_millis(2000));
        assert_eq!(Latencies::of(std::iter::empty()).p50, Duration::ZERO);
    }

    #[test]
    fn each_duration_has_the_unit_that_fits_it() {
        let shown = |nanoseconds| with_unit(Duration::from_nanos(nanoseconds));
        assert_eq!(shown(0), "0 ns");
        assert_eq!(shown(830), "830 ns");
        assert_eq!(shown(4_240), "4.2 µs");
        assert_eq!(shown(9_970), "10 µs");
        assert_eq!(shown(999_400), "999 µs");
        assert_eq!(shown(999_900), "1.0 ms");
        assert_eq!(shown(42_000_000), "42 ms");
        assert_eq!(shown(12_300_000_000), "12 s");
    }
}
