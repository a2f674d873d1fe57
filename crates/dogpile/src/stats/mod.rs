//! The counters of a region, and the snapshot of them that users read.
//!
//! Counting a hit is a load and a store of a counter that no other thread
//! writes to: counters are striped over threads and summed when read. (Past 32
//! threads, an atomic addition to one that few share.)

mod counters;
#[cfg(feature = "metrics")]
pub(crate) mod facade;
mod histogram;
#[cfg(feature = "metrics")]
mod metrics;

use std::fmt;
use std::time::Duration;

pub(crate) use counters::Count;
pub use histogram::Histogram;

#[cfg(feature = "metrics")]
pub use self::metrics::names;
use counters::Counters;
pub(crate) use histogram::Recorder;

/// A region's counts since the process began. `hits + stale + misses` is how
/// many keys were asked for.
///
/// Read by [`Region::statistics`](crate::Region::statistics); counts of the
/// same moment may be a few operations apart.
#[derive(Clone, Default)]
#[non_exhaustive]
pub struct Statistics {
    /// Keys answered with a fresh value from the cache.
    pub hits: u64,
    /// Of those, keys answered with a value that this process kept, since it could not be stored.
    pub kept: u64,
    /// Keys answered with a stale value, while somebody created the new one, or since that failed.
    pub stale: u64,
    /// Of those, keys whose creation failed.
    pub stale_on_error: u64,
    /// Keys that the cache had no answer for: absent to a `get`, created by
    /// their caller (from nothing, or because it was elected to renew an
    /// expired value), or waited for.
    pub misses: u64,
    /// Values that creators of this process returned, uncached ones included.
    pub creations: u64,
    /// Runs of a creator that ended in its error or panic, or took longer than the creation
    /// timeout. Cancellations are not counted.
    pub creator_failures: u64,
    /// Keys whose value another caller created while this one waited.
    pub waits: u64,
    /// Creations handed to the background runner.
    pub background: u64,
    /// Values that `should_cache` kept out.
    pub vetoed: u64,
    /// Values created past the cache: it was not configured, or failed in a
    /// way that left no other choice.
    pub uncached: u64,
    /// Stored values that could not be read (broken bytes, another type or
    /// format version) and counted as missing.
    pub unreadable: u64,
    /// Operations that the backend or its mutex failed.
    pub backend_errors: u64,
    /// Values that were created and could not be stored.
    pub not_stored: u64,
    /// Values that were not stored because their creator had lost its lease, or (where the
    /// backend tells) another process had changed what they replace.
    pub leases_lost: u64,
    /// Values that were not stored because their key was set, refreshed or deleted, or the
    /// region invalidated, while they were created.
    pub outdated: u64,
    /// Keys that were changed, set or deleted while the backend did not answer: what is stored under
    /// them counts as missing in this process, and is still to be deleted. An invalidation counts as
    /// one. Not a count up to now, but those of now.
    pub pending_deletions: u64,
    /// Keys that a copy in the [near tier](crate::Near) answered. Nearly all of them are hits; a copy
    /// of a value that has expired or was invalidated is not.
    pub near_hits: u64,
    /// Keys that the near tier had no copy for that was new enough.
    pub near_misses: u64,
    /// Copies in the near tier that ended because the backend told of a change, or had another value
    /// when it was asked.
    pub near_changed: u64,
    /// Times that the backend told of a change to all values: a `FLUSHALL`, or keys that moved to
    /// another server.
    pub near_flushed: u64,
    /// Times that the link on which changes are told was lost.
    pub near_lost: u64,
    /// Keys answered with a copy that could not be verified, while the backend did not answer.
    pub near_unverified: u64,
    /// Copies in the near tier now.
    pub near_entries: u64,
    /// The age of the last moment up to which all changes are known to have been told, where that is so
    /// at all. A near hit is of a copy that was read since, or nothing was told of.
    pub near_age: Option<Duration>,
    /// Payload bytes read from a backend that keeps bytes.
    pub bytes_read: u64,
    /// Payload bytes written to a backend that keeps bytes.
    pub bytes_written: u64,
    /// The time that creators ran.
    pub creation_time: Histogram,
    /// The time that callers waited for another's creation.
    pub wait_time: Histogram,
}

impl Statistics {
    /// The part of answers that came from the cache, from 0 to 1; zero if
    /// nothing was asked yet.
    pub fn hit_ratio(&self) -> f64 {
        let asked = self.hits + self.stale + self.misses;
        if asked == 0 { 0.0 } else { (self.hits + self.stale) as f64 / asked as f64 }
    }
}

/// Its hit ratio, and all that is not zero.
impl fmt::Debug for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ratio = format!("{:.1}%", 100.0 * self.hit_ratio());
        let counts = [
            ("hits", self.hits),
            ("kept", self.kept),
            ("stale", self.stale),
            ("stale_on_error", self.stale_on_error),
            ("misses", self.misses),
            ("creations", self.creations),
            ("creator_failures", self.creator_failures),
            ("waits", self.waits),
            ("background", self.background),
            ("vetoed", self.vetoed),
            ("uncached", self.uncached),
            ("unreadable", self.unreadable),
            ("backend_errors", self.backend_errors),
            ("not_stored", self.not_stored),
            ("leases_lost", self.leases_lost),
            ("outdated", self.outdated),
            ("pending_deletions", self.pending_deletions),
            ("near_hits", self.near_hits),
            ("near_misses", self.near_misses),
            ("near_changed", self.near_changed),
            ("near_flushed", self.near_flushed),
            ("near_lost", self.near_lost),
            ("near_unverified", self.near_unverified),
            ("near_entries", self.near_entries),
            ("bytes_read", self.bytes_read),
            ("bytes_written", self.bytes_written),
        ];
        let mut shown = f.debug_struct("Statistics");
        shown.field("hit_ratio", &format_args!("{ratio}"));
        for (name, count) in counts.iter().filter(|(_, count)| *count > 0) {
            shown.field(name, count);
        }
        for (name, time) in [("creation_time", &self.creation_time), ("wait_time", &self.wait_time)]
        {
            if time.count() > 0 {
                shown.field(name, time);
            }
        }
        shown.finish_non_exhaustive()
    }
}

/// The counters of a region.
pub(crate) struct Stats {
    counters: Counters,
    creation_time: Recorder,
    wait_time: Recorder,
    #[cfg(feature = "metrics")]
    facade: std::sync::OnceLock<facade::Facade<facade::OfRegion>>,
}

impl Stats {
    pub(crate) fn new() -> Self {
        Self {
            counters: Counters::new(),
            creation_time: Recorder::default(),
            wait_time: Recorder::default(),
            #[cfg(feature = "metrics")]
            facade: std::sync::OnceLock::new(),
        }
    }

    /// Counts for the recorder of the application too, under the region's name.
    #[cfg(feature = "metrics")]
    pub(crate) fn publish_as(&self, region: &str) {
        // Those that nothing was counted of yet are there as well, if a recorder is.
        self.facade.get_or_init(|| facade::Facade::new(region)).with(|_| {});
    }

    #[inline]
    pub(crate) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    #[inline]
    pub(crate) fn add(&self, what: Count, amount: u64) {
        self.counters.add(what, amount);
        #[cfg(feature = "metrics")]
        if let Some(facade) = self.facade.get() {
            facade.with(|metrics| metrics.add(what, amount));
        }
    }

    /// A value was created past the cache.
    pub(crate) fn count_uncached(&self) {
        for what in [Count::Misses, Count::Creations, Count::Uncached] {
            self.count(what);
        }
    }

    pub(crate) fn creation_took(&self, time: Duration) {
        self.creation_time.record(time);
        #[cfg(feature = "metrics")]
        if let Some(facade) = self.facade.get() {
            facade.with(|metrics| metrics.creation_took(time));
        }
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn note_pending_deletions(&self, count: usize) {
        if let Some(facade) = self.facade.get() {
            facade.with(|metrics| metrics.note_pending_deletions(count));
        }
    }

    #[cfg(all(feature = "metrics", feature = "near"))]
    pub(crate) fn note_near(&self, copies: usize, age: Duration) {
        if let Some(facade) = self.facade.get() {
            facade.with(|metrics| metrics.note_near(copies, age));
        }
    }

    pub(crate) fn waited(&self, time: Duration) {
        self.wait_time.record(time);
        #[cfg(feature = "metrics")]
        if let Some(facade) = self.facade.get() {
            facade.with(|metrics| metrics.waited(time));
        }
    }

    pub(crate) fn snapshot(&self) -> Statistics {
        let read = |what| self.counters.sum(what);
        Statistics {
            hits: read(Count::Hits),
            stale: read(Count::Stale),
            kept: read(Count::Kept),
            stale_on_error: read(Count::StaleOnError),
            misses: read(Count::Misses),
            creations: read(Count::Creations),
            creator_failures: read(Count::CreatorFailures),
            waits: read(Count::Waits),
            background: read(Count::Background),
            vetoed: read(Count::Vetoed),
            uncached: read(Count::Uncached),
            unreadable: read(Count::Unreadable),
            backend_errors: read(Count::BackendErrors),
            not_stored: read(Count::NotStored),
            leases_lost: read(Count::LeasesLost),
            outdated: read(Count::Outdated),
            pending_deletions: 0,
            near_hits: read(Count::NearHits),
            near_misses: read(Count::NearMisses),
            near_changed: read(Count::NearChanged),
            near_flushed: read(Count::NearFlushed),
            near_lost: read(Count::NearLost),
            near_unverified: read(Count::NearUnverified),
            near_entries: 0,
            near_age: None,
            bytes_read: read(Count::BytesRead),
            bytes_written: read(Count::BytesWritten),
            creation_time: self.creation_time.snapshot(),
            wait_time: self.wait_time.snapshot(),
        }
    }
}
