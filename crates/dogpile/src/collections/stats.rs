//! The statistics of a collection.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::{Histogram, Recorder};

/// A collection's counts in this process, since it was opened.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CollectionStatistics {
    /// The revision that readers get now.
    pub revision: u64,
    /// The number of entries.
    pub entries: u64,
    /// Was the last check, pull or push a success, as far as the store goes? If not, what
    /// readers get may be behind. A store that has just gone away is found out by the next
    /// of them, within the check interval.
    pub in_step: bool,
    /// Looks at the number of the revision in the store.
    pub checks: u64,
    /// Revisions taken from the store.
    pub pulls: u64,
    /// Revisions put into the store.
    pub pushes: u64,
    /// Runs of the loader that ended well.
    pub loads: u64,
    /// Runs of the loader that ended in its error.
    pub load_failures: u64,
    /// Operations that the store failed.
    pub failures: u64,
    /// Revisions in the store that could not be read.
    pub unreadable: u64,
    /// Bytes of data taken from the store, as they are stored.
    pub bytes_read: u64,
    /// Bytes of data put into the store, as they are stored.
    pub bytes_written: u64,
    /// The time that the loader ran.
    pub load_time: Histogram,
    /// The time that it took to take a revision from the store and decode it.
    pub pull_time: Histogram,
    /// The time that it took to encode a revision and put it into the store.
    pub push_time: Histogram,
}

/// The events that are counted one by one.
#[derive(Clone, Copy)]
pub(super) enum Count {
    Checks,
    Pulls,
    Pushes,
    Loads,
    LoadFailures,
    Failures,
    Unreadable,
    BytesRead,
    BytesWritten,
}

const KINDS: usize = Count::BytesWritten as usize + 1;

/// The counters of a collection.
pub(super) struct Stats {
    counts: [AtomicU64; KINDS],
    in_step: AtomicBool,
    load_time: Recorder,
    pull_time: Recorder,
    push_time: Recorder,
    /// The revision that readers have, and its entries.
    installed: (AtomicU64, AtomicU64),
    #[cfg(feature = "metrics")]
    facade: crate::stats::facade::Facade<facade::OfCollection>,
}

impl Stats {
    #[cfg_attr(not(feature = "metrics"), expect(unused_variables, reason = "it is the label"))]
    pub(super) fn new(collection: &str) -> Self {
        Self {
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
            in_step: AtomicBool::new(false),
            load_time: Recorder::default(),
            pull_time: Recorder::default(),
            push_time: Recorder::default(),
            installed: (AtomicU64::new(0), AtomicU64::new(0)),
            #[cfg(feature = "metrics")]
            facade: crate::stats::facade::Facade::new(collection),
        }
    }

    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    fn add(&self, what: Count, amount: u64) {
        self.counts[what as usize].fetch_add(amount, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.facade.with(|metrics| metrics.counters[what as usize].increment(amount));
    }

    pub(super) fn loaded(&self, took: Duration, well: bool) {
        self.count(if well { Count::Loads } else { Count::LoadFailures });
        self.load_time.record(took);
        #[cfg(feature = "metrics")]
        self.facade.with(|metrics| metrics.load_seconds.record(took));
    }

    pub(super) fn pulled(&self, took: Duration, bytes: u64) {
        self.count(Count::Pulls);
        self.add(Count::BytesRead, bytes);
        self.pull_time.record(took);
        #[cfg(feature = "metrics")]
        self.facade.with(|metrics| metrics.pull_seconds.record(took));
    }

    pub(super) fn pushed(&self, took: Duration, bytes: u64) {
        self.count(Count::Pushes);
        self.add(Count::BytesWritten, bytes);
        self.push_time.record(took);
        #[cfg(feature = "metrics")]
        self.facade.with(|metrics| metrics.push_seconds.record(took));
    }

    /// Readers get another revision now.
    pub(super) fn installed(&self, revision: u64, entries: usize) {
        self.installed.0.store(revision, Ordering::Relaxed);
        self.installed.1.store(entries as u64, Ordering::Relaxed);
        self.show_levels();
    }

    /// The store was looked at; true if that has another outcome than before.
    pub(super) fn looked(&self, well: bool) -> bool {
        let before = self.in_step.swap(well, Ordering::Relaxed);
        self.show_levels();
        before != well
    }

    /// Tells the recorder all that is a level: it may be another than the last time.
    #[cfg_attr(not(feature = "metrics"), expect(clippy::unused_self, reason = "for the facade"))]
    fn show_levels(&self) {
        #[cfg(feature = "metrics")]
        self.facade.with(|metrics| {
            metrics.revision.set(self.installed.0.load(Ordering::Relaxed) as f64);
            metrics.entries.set(self.installed.1.load(Ordering::Relaxed) as f64);
            metrics.in_step.set(f64::from(u8::from(self.in_step.load(Ordering::Relaxed))));
        });
    }

    pub(super) fn snapshot(&self, revision: u64, entries: usize) -> CollectionStatistics {
        let read = |what: Count| self.counts[what as usize].load(Ordering::Relaxed);
        CollectionStatistics {
            revision,
            entries: entries as u64,
            in_step: self.in_step.load(Ordering::Relaxed),
            checks: read(Count::Checks),
            pulls: read(Count::Pulls),
            pushes: read(Count::Pushes),
            loads: read(Count::Loads),
            load_failures: read(Count::LoadFailures),
            failures: read(Count::Failures),
            unreadable: read(Count::Unreadable),
            bytes_read: read(Count::BytesRead),
            bytes_written: read(Count::BytesWritten),
            load_time: self.load_time.snapshot(),
            pull_time: self.pull_time.snapshot(),
            push_time: self.push_time.snapshot(),
        }
    }
}

/// The same counts through the `metrics` facade.
#[cfg(feature = "metrics")]
mod facade {
    use metrics::{Counter, Gauge, Histogram};

    use super::KINDS;
    use crate::stats::facade::{Handles, Registrar};
    use crate::stats::names;

    const COUNTERS: [&str; KINDS] = [
        names::COLLECTION_CHECKS,
        names::COLLECTION_PULLS,
        names::COLLECTION_PUSHES,
        names::COLLECTION_LOADS,
        names::COLLECTION_LOAD_FAILURES,
        names::COLLECTION_FAILURES,
        names::COLLECTION_UNREADABLE,
        names::COLLECTION_BYTES_READ,
        names::COLLECTION_BYTES_WRITTEN,
    ];

    pub(super) struct OfCollection {
        pub(super) counters: [Counter; KINDS],
        pub(super) revision: Gauge,
        pub(super) entries: Gauge,
        pub(super) in_step: Gauge,
        pub(super) load_seconds: Histogram,
        pub(super) pull_seconds: Histogram,
        pub(super) push_seconds: Histogram,
    }

    impl Handles for OfCollection {
        const LABEL: &'static str = "collection";

        fn register(with: &Registrar<'_>) -> Self {
            Self {
                counters: COUNTERS.map(|metric| with.counter(metric)),
                revision: with.gauge(names::COLLECTION_REVISION),
                entries: with.gauge(names::COLLECTION_ENTRIES),
                in_step: with.gauge(names::COLLECTION_IN_STEP),
                load_seconds: with.histogram(names::COLLECTION_LOAD_SECONDS),
                pull_seconds: with.histogram(names::COLLECTION_PULL_SECONDS),
                push_seconds: with.histogram(names::COLLECTION_PUSH_SECONDS),
            }
        }
    }
}
