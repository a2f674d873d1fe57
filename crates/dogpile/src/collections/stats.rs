//! What a collection counts.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::stats::{Histogram, Recorder};

/// A collection's counts in this process, since it was opened.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct CollectionStatistics {
    /// The revision that readers get now.
    pub revision: u64,
    /// How many entries it has.
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
    /// How long the loader ran.
    pub load_time: Histogram,
    /// How long it took to take a revision from the store and decode it.
    pub pull_time: Histogram,
    /// How long it took to encode a revision and put it into the store.
    pub push_time: Histogram,
}

/// What is counted one by one.
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

/// Where a collection counts.
pub(super) struct Stats {
    counts: [AtomicU64; KINDS],
    in_step: AtomicBool,
    load_time: Recorder,
    pull_time: Recorder,
    push_time: Recorder,
    #[cfg(feature = "metrics")]
    facade: facade::Facade,
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
            #[cfg(feature = "metrics")]
            facade: facade::Facade::new(collection),
        }
    }

    pub(super) fn count(&self, what: Count) {
        self.add(what, 1);
    }

    fn add(&self, what: Count, amount: u64) {
        self.counts[what as usize].fetch_add(amount, Ordering::Relaxed);
        #[cfg(feature = "metrics")]
        self.facade.counters[what as usize].increment(amount);
    }

    pub(super) fn loaded(&self, took: Duration, well: bool) {
        self.count(if well { Count::Loads } else { Count::LoadFailures });
        self.load_time.record(took);
        #[cfg(feature = "metrics")]
        self.facade.load_seconds.record(took);
    }

    pub(super) fn pulled(&self, took: Duration, bytes: u64) {
        self.count(Count::Pulls);
        self.add(Count::BytesRead, bytes);
        self.pull_time.record(took);
        #[cfg(feature = "metrics")]
        self.facade.pull_seconds.record(took);
    }

    pub(super) fn pushed(&self, took: Duration, bytes: u64) {
        self.count(Count::Pushes);
        self.add(Count::BytesWritten, bytes);
        self.push_time.record(took);
        #[cfg(feature = "metrics")]
        self.facade.push_seconds.record(took);
    }

    /// Readers get another revision now.
    #[cfg_attr(
        not(feature = "metrics"),
        expect(unused_variables, clippy::unused_self, reason = "for the facade")
    )]
    pub(super) fn installed(&self, revision: u64, entries: usize) {
        #[cfg(feature = "metrics")]
        {
            self.facade.revision.set(revision as f64);
            self.facade.entries.set(entries as f64);
        }
    }

    /// The store was looked at; true if that has another outcome than before.
    pub(super) fn looked(&self, well: bool) -> bool {
        #[cfg(feature = "metrics")]
        self.facade.in_step.set(f64::from(u8::from(well)));
        self.in_step.swap(well, Ordering::Relaxed) != well
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
    use metrics::{Counter, Gauge, Histogram, SharedString, counter, gauge, histogram};

    use super::KINDS;
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

    pub(super) struct Facade {
        pub(super) counters: [Counter; KINDS],
        pub(super) revision: Gauge,
        pub(super) entries: Gauge,
        pub(super) in_step: Gauge,
        pub(super) load_seconds: Histogram,
        pub(super) pull_seconds: Histogram,
        pub(super) push_seconds: Histogram,
    }

    impl Facade {
        pub(super) fn new(collection: &str) -> Self {
            let name = SharedString::from(collection.to_owned());
            let seconds = |metric: &'static str| histogram!(metric, "collection" => name.clone());
            let level = |metric: &'static str| gauge!(metric, "collection" => name.clone());
            Self {
                counters: COUNTERS.map(|metric| counter!(metric, "collection" => name.clone())),
                revision: level(names::COLLECTION_REVISION),
                entries: level(names::COLLECTION_ENTRIES),
                in_step: level(names::COLLECTION_IN_STEP),
                load_seconds: seconds(names::COLLECTION_LOAD_SECONDS),
                pull_seconds: seconds(names::COLLECTION_PULL_SECONDS),
                push_seconds: seconds(names::COLLECTION_PUSH_SECONDS),
            }
        }
    }
}
