//! The same counts through the `metrics` facade, for whatever recorder the
//! application has installed.
//!
//! A region's metrics are registered when it is configured: install the
//! recorder before that.

use std::time::Duration;

use metrics::{Counter, Histogram, SharedString, counter, histogram};

use super::counters::{Count, KINDS};

/// The names of all metrics. Those of regions have one label, `region`.
pub mod names {
    /// Keys answered with a fresh value.
    pub const HITS: &str = "dogpile_hits_total";
    /// Keys answered with an old value.
    pub const STALE: &str = "dogpile_stale_total";
    /// Keys for which there was nothing.
    pub const MISSES: &str = "dogpile_misses_total";
    /// Values made by creators.
    pub const CREATIONS: &str = "dogpile_creations_total";
    /// Creators that returned an error.
    pub const CREATOR_FAILURES: &str = "dogpile_creator_failures_total";
    /// Keys whose value another caller made meanwhile.
    pub const WAITS: &str = "dogpile_waits_total";
    /// Creations handed to the background runner.
    pub const BACKGROUND: &str = "dogpile_background_creations_total";
    /// Values kept out by `should_cache`.
    pub const VETOED: &str = "dogpile_vetoed_total";
    /// Values created past the cache.
    pub const UNCACHED: &str = "dogpile_uncached_total";
    /// Stored values that could not be read.
    pub const UNREADABLE: &str = "dogpile_unreadable_total";
    /// Failures of the backend or its mutex.
    pub const BACKEND_ERRORS: &str = "dogpile_backend_errors_total";
    /// Values that could not be stored.
    pub const NOT_STORED: &str = "dogpile_not_stored_total";
    /// Values not stored because their lease was lost.
    pub const LEASES_LOST: &str = "dogpile_leases_lost_total";
    /// Values not stored because what they replace was changed meanwhile.
    pub const OUTDATED: &str = "dogpile_outdated_total";
    /// Payload bytes read.
    pub const BYTES_READ: &str = "dogpile_read_bytes_total";
    /// Payload bytes written.
    pub const BYTES_WRITTEN: &str = "dogpile_written_bytes_total";
    /// Seconds that creators ran.
    pub const CREATION_SECONDS: &str = "dogpile_creation_seconds";
    /// Seconds that callers waited for another's creation.
    pub const WAIT_SECONDS: &str = "dogpile_wait_seconds";
    /// Looks at the number of a collection's revision. This and what follows has
    /// one label, `collection`.
    pub const COLLECTION_CHECKS: &str = "dogpile_collection_checks_total";
    /// Revisions taken from the store.
    pub const COLLECTION_PULLS: &str = "dogpile_collection_pulls_total";
    /// Revisions put into the store.
    pub const COLLECTION_PUSHES: &str = "dogpile_collection_pushes_total";
    /// Runs of a loader that ended well.
    pub const COLLECTION_LOADS: &str = "dogpile_collection_loads_total";
    /// Runs of a loader that ended in its error.
    pub const COLLECTION_LOAD_FAILURES: &str = "dogpile_collection_load_failures_total";
    /// Operations that the store failed.
    pub const COLLECTION_FAILURES: &str = "dogpile_collection_failures_total";
    /// Revisions in the store that could not be read.
    pub const COLLECTION_UNREADABLE: &str = "dogpile_collection_unreadable_total";
    /// Bytes of data taken from the store.
    pub const COLLECTION_BYTES_READ: &str = "dogpile_collection_read_bytes_total";
    /// Bytes of data put into the store.
    pub const COLLECTION_BYTES_WRITTEN: &str = "dogpile_collection_written_bytes_total";
    /// The revision that readers get.
    pub const COLLECTION_REVISION: &str = "dogpile_collection_revision";
    /// How many entries it has.
    pub const COLLECTION_ENTRIES: &str = "dogpile_collection_entries";
    /// 1 if the last look at the store was a success, 0 if not.
    pub const COLLECTION_IN_STEP: &str = "dogpile_collection_in_step";
    /// Seconds that loaders ran.
    pub const COLLECTION_LOAD_SECONDS: &str = "dogpile_collection_load_seconds";
    /// Seconds that it took to take a revision from the store.
    pub const COLLECTION_PULL_SECONDS: &str = "dogpile_collection_pull_seconds";
    /// Seconds that it took to put a revision into the store.
    pub const COLLECTION_PUSH_SECONDS: &str = "dogpile_collection_push_seconds";
}

fn name(what: Count) -> &'static str {
    match what {
        Count::Hits => names::HITS,
        Count::Stale => names::STALE,
        Count::Misses => names::MISSES,
        Count::Creations => names::CREATIONS,
        Count::CreatorFailures => names::CREATOR_FAILURES,
        Count::Waits => names::WAITS,
        Count::Background => names::BACKGROUND,
        Count::Vetoed => names::VETOED,
        Count::Uncached => names::UNCACHED,
        Count::Unreadable => names::UNREADABLE,
        Count::BackendErrors => names::BACKEND_ERRORS,
        Count::NotStored => names::NOT_STORED,
        Count::LeasesLost => names::LEASES_LOST,
        Count::Outdated => names::OUTDATED,
        Count::BytesRead => names::BYTES_READ,
        Count::BytesWritten => names::BYTES_WRITTEN,
    }
}

/// A region's registered metrics.
pub(super) struct Facade {
    counters: [Counter; KINDS],
    creation_seconds: Histogram,
    wait_seconds: Histogram,
}

impl Facade {
    pub(super) fn new(region: &str) -> Self {
        let region = SharedString::from(region.to_owned());
        Self {
            counters: Count::ALL.map(|what| counter!(name(what), "region" => region.clone())),
            creation_seconds: histogram!(names::CREATION_SECONDS, "region" => region.clone()),
            wait_seconds: histogram!(names::WAIT_SECONDS, "region" => region),
        }
    }

    pub(super) fn add(&self, what: Count, amount: u64) {
        self.counters[what as usize].increment(amount);
    }

    pub(super) fn creation_took(&self, time: Duration) {
        self.creation_seconds.record(time);
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait_seconds.record(time);
    }
}
