//! The course of an outage: what is out of order, and for how long.

use std::time::Duration;

/// A stretch of the run in which the same is out of order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Fine,
    DatabaseFails,
    DatabaseSlow,
    StoreAway,
    FineAgain,
}

impl Phase {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Fine | Self::FineAgain => "fine",
            Self::DatabaseFails => "database fails",
            Self::DatabaseSlow => "database slow",
            Self::StoreAway => "store away",
        }
    }
}

/// All phases, and how long each is, in the unit of a run.
pub(super) const PHASES: [(Phase, u32); 5] = [
    (Phase::Fine, 4),
    (Phase::DatabaseFails, 5),
    (Phase::DatabaseSlow, 5),
    (Phase::StoreAway, 5),
    (Phase::FineAgain, 5),
];

const UNITS: u32 = 24;

/// The times of a run, all in proportion to its length.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    pub(super) total: Duration,
}

impl Times {
    /// For a run of so many seconds.
    pub(super) fn of(seconds: u32) -> Self {
        Self { total: Duration::from_secs(seconds.into()) }
    }

    fn unit(self) -> Duration {
        self.total / UNITS
    }

    /// Returns the time after which a cached value is expired.
    pub(super) fn expiration(self) -> Duration {
        self.unit()
    }

    /// Returns the time that a query takes while the database is slow.
    pub(super) fn slow_query(self) -> Duration {
        self.unit()
    }

    /// Returns the phases, each with its end.
    pub(super) fn ends(self) -> impl Iterator<Item = (Phase, Duration)> {
        let mut end = 0;
        PHASES.into_iter().map(move |(phase, units)| {
            end += units;
            (phase, self.total * end / UNITS)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_fill_the_run() {
        let ends: Vec<_> = Times::of(24).ends().map(|(_, end)| end.as_secs()).collect();
        assert_eq!(ends, [4, 9, 14, 19, 24]);
    }
}
