//! The metrics: their names, and what a recorder gets of them.

use metrics::{Recorder, Unit};

enum Kind {
    Counter,
    Gauge,
    Histogram,
}

struct Metric {
    name: &'static str,
    kind: Kind,
    unit: Unit,
    /// As the documentation of its name.
    help: &'static str,
}

macro_rules! metrics {
    ($($(#[doc = $help:literal])+ $name:ident: $kind:ident of $unit:ident = $text:literal;)+) => {
        /// The names of all metrics. Those of regions have one label, `region`, those of
        /// collections `collection`.
        pub mod names {
            $($(#[doc = $help])+ pub const $name: &str = $text;)+
        }

        const METRICS: &[Metric] = &[$(Metric {
            name: $text,
            kind: Kind::$kind,
            unit: Unit::$unit,
            help: concat!($($help),+),
        }),+];
    };
}

metrics! {
    /// Keys answered with a fresh value.
    HITS: Counter of Count = "dogpile_hits_total";
    /// Of the hits, keys answered with a value that could not be stored and was kept.
    KEPT: Counter of Count = "dogpile_kept_total";
    /// Keys answered with a stale value.
    STALE: Counter of Count = "dogpile_stale_total";
    /// Keys answered with a stale value that stands in for a creation which failed.
    STALE_ON_ERROR: Counter of Count = "dogpile_stale_on_error_total";
    /// Keys for which there was nothing.
    MISSES: Counter of Count = "dogpile_misses_total";
    /// Values that creators returned.
    CREATIONS: Counter of Count = "dogpile_creations_total";
    /// Creators that returned an error.
    CREATOR_FAILURES: Counter of Count = "dogpile_creator_failures_total";
    /// Keys whose value another caller created meanwhile.
    WAITS: Counter of Count = "dogpile_waits_total";
    /// Creations handed to the background runner.
    BACKGROUND: Counter of Count = "dogpile_background_creations_total";
    /// Values kept out by `should_cache`.
    VETOED: Counter of Count = "dogpile_vetoed_total";
    /// Values created past the cache.
    UNCACHED: Counter of Count = "dogpile_uncached_total";
    /// Stored values that could not be read.
    UNREADABLE: Counter of Count = "dogpile_unreadable_total";
    /// Failures of the backend or its mutex.
    BACKEND_ERRORS: Counter of Count = "dogpile_backend_errors_total";
    /// Values that could not be stored.
    NOT_STORED: Counter of Count = "dogpile_not_stored_total";
    /// Values not stored because their lease was lost.
    LEASES_LOST: Counter of Count = "dogpile_leases_lost_total";
    /// Values not stored because what they replace was changed meanwhile.
    OUTDATED: Counter of Count = "dogpile_outdated_total";
    /// Keys that were changed and are still to be deleted.
    PENDING_DELETIONS: Gauge of Count = "dogpile_pending_deletions";
    /// Payload bytes read.
    BYTES_READ: Counter of Bytes = "dogpile_read_bytes_total";
    /// Payload bytes written.
    BYTES_WRITTEN: Counter of Bytes = "dogpile_written_bytes_total";
    /// Keys that a copy in the near tier answered: hits, and values that have expired.
    NEAR_HITS: Counter of Count = "dogpile_near_hits_total";
    /// Keys that the near tier had no copy for that was new enough.
    NEAR_MISSES: Counter of Count = "dogpile_near_misses_total";
    /// Copies that ended because the backend told of a change, or had another value when it was asked.
    NEAR_CHANGED: Counter of Count = "dogpile_near_changed_total";
    /// Times that the backend told of a change to all values.
    NEAR_FLUSHED: Counter of Count = "dogpile_near_flushed_total";
    /// Times that the link on which changes are told was lost.
    NEAR_LOST: Counter of Count = "dogpile_near_lost_total";
    /// Keys answered with a copy that could not be verified, while the backend was away.
    NEAR_UNVERIFIED: Counter of Count = "dogpile_near_unverified_total";
    /// Copies in the near tier.
    NEAR_ENTRIES: Gauge of Count = "dogpile_near_entries";
    /// The age in seconds of the last moment up to which all changes are known to have been told.
    NEAR_AGE_SECONDS: Gauge of Seconds = "dogpile_near_age_seconds";
    /// Seconds that creators ran.
    CREATION_SECONDS: Histogram of Seconds = "dogpile_creation_seconds";
    /// Seconds that callers waited for another's creation.
    WAIT_SECONDS: Histogram of Seconds = "dogpile_wait_seconds";
    /// Looks at the number of a collection's revision.
    COLLECTION_CHECKS: Counter of Count = "dogpile_collection_checks_total";
    /// Revisions taken from the store.
    COLLECTION_PULLS: Counter of Count = "dogpile_collection_pulls_total";
    /// Revisions put into the store.
    COLLECTION_PUSHES: Counter of Count = "dogpile_collection_pushes_total";
    /// Runs of a loader that ended well.
    COLLECTION_LOADS: Counter of Count = "dogpile_collection_loads_total";
    /// Runs of a loader that ended in its error.
    COLLECTION_LOAD_FAILURES: Counter of Count = "dogpile_collection_load_failures_total";
    /// Operations that the store failed.
    COLLECTION_FAILURES: Counter of Count = "dogpile_collection_failures_total";
    /// Revisions in the store that could not be read.
    COLLECTION_UNREADABLE: Counter of Count = "dogpile_collection_unreadable_total";
    /// Bytes of data taken from the store.
    COLLECTION_BYTES_READ: Counter of Bytes = "dogpile_collection_read_bytes_total";
    /// Bytes of data put into the store.
    COLLECTION_BYTES_WRITTEN: Counter of Bytes = "dogpile_collection_written_bytes_total";
    /// The revision that readers get.
    COLLECTION_REVISION: Gauge of Count = "dogpile_collection_revision";
    /// The number of entries.
    COLLECTION_ENTRIES: Gauge of Count = "dogpile_collection_entries";
    /// 1 if the last look at the store was a success, 0 if not.
    COLLECTION_IN_STEP: Gauge of Count = "dogpile_collection_in_step";
    /// Seconds that loaders ran.
    COLLECTION_LOAD_SECONDS: Histogram of Seconds = "dogpile_collection_load_seconds";
    /// Seconds that it took to take a revision from the store.
    COLLECTION_PULL_SECONDS: Histogram of Seconds = "dogpile_collection_pull_seconds";
    /// Seconds that it took to put a revision into the store.
    COLLECTION_PUSH_SECONDS: Histogram of Seconds = "dogpile_collection_push_seconds";
}

/// Tells `recorder` the units and help texts of all metrics.
pub(super) fn describe(recorder: &dyn Recorder) {
    for Metric { name, kind, unit, help } in METRICS {
        let (name, unit, help) = ((*name).into(), Some(*unit), help.trim().into());
        match kind {
            Kind::Counter => recorder.describe_counter(name, unit, help),
            Kind::Gauge => recorder.describe_gauge(name, unit, help),
            Kind::Histogram => recorder.describe_histogram(name, unit, help),
        }
    }
}
