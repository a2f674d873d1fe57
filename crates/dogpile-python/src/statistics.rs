//! The crate's counters, as Python has them.

use std::time::Duration;

use dogpile::stats::Statistics;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// The counters by their names.
pub(crate) fn counters<'py>(
    py: Python<'py>,
    statistics: &Statistics,
) -> PyResult<Bound<'py, PyDict>> {
    let counters = PyDict::new(py);
    let numbers = [
        ("hits", statistics.hits),
        ("stale", statistics.stale),
        ("misses", statistics.misses),
        ("creations", statistics.creations),
        ("creator_failures", statistics.creator_failures),
        ("waits", statistics.waits),
        ("vetoed", statistics.vetoed),
        ("uncached", statistics.uncached),
        ("unreadable", statistics.unreadable),
        ("backend_errors", statistics.backend_errors),
        ("not_stored", statistics.not_stored),
        ("leases_lost", statistics.leases_lost),
        ("near_hits", statistics.near_hits),
        ("near_misses", statistics.near_misses),
        ("near_entries", statistics.near_entries),
        ("bytes_read", statistics.bytes_read),
        ("bytes_written", statistics.bytes_written),
    ];
    for (name, number) in numbers {
        counters.set_item(name, number)?;
    }
    counters.set_item("near_age", statistics.near_age.map(|age| Duration::as_secs_f64(&age)))?;
    Ok(counters)
}
