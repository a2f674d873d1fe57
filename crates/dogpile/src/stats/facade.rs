//! The same counts through the `metrics` facade, for whatever recorder the application
//! has installed, before or after the regions are configured.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use metrics::{Counter, Histogram, Key, Label, Level, Metadata, Recorder, SharedString};

use super::counters::{Count, KINDS};
use super::metrics::{describe, names};

fn name(what: Count) -> &'static str {
    match what {
        Count::Hits => names::HITS,
        Count::Stale => names::STALE,
        Count::Kept => names::KEPT,
        Count::StaleOnError => names::STALE_ON_ERROR,
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
        Count::NearHits => names::NEAR_HITS,
        Count::NearMisses => names::NEAR_MISSES,
        Count::NearChanged => names::NEAR_CHANGED,
        Count::NearFlushed => names::NEAR_FLUSHED,
        Count::NearLost => names::NEAR_LOST,
        Count::NearUnverified => names::NEAR_UNVERIFIED,
    }
}

/// Metrics of one region or collection, registered with a recorder.
pub(crate) trait Handles: Sized {
    /// The label that says which region or collection it is.
    const LABEL: &'static str;

    fn register(with: &Registrar<'_>) -> Self;
}

/// A recorder, and the label of what is registered with it.
pub(crate) struct Registrar<'r> {
    recorder: &'r dyn Recorder,
    label: Label,
}

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Registrar<'_> {
    fn key(&self, name: &'static str) -> Key {
        Key::from_parts(name, vec![self.label.clone()])
    }

    pub(crate) fn counter(&self, name: &'static str) -> Counter {
        self.recorder.register_counter(&self.key(name), &METADATA)
    }

    pub(crate) fn gauge(&self, name: &'static str) -> metrics::Gauge {
        self.recorder.register_gauge(&self.key(name), &METADATA)
    }

    pub(crate) fn histogram(&self, name: &'static str) -> Histogram {
        self.recorder.register_histogram(&self.key(name), &METADATA)
    }
}

/// The metrics of one region or collection, with the recorder that is there at the moment.
pub(crate) struct Facade<H> {
    name: SharedString,
    /// With the recorder of all threads, when it was last seen.
    registered: ArcSwapOption<Registered<H>>,
}

struct Registered<H> {
    recorder: usize,
    handles: H,
}

impl<H: Handles> Facade<H> {
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.to_owned().into(), registered: ArcSwapOption::empty() }
    }

    /// Uses the handles, registered with the recorder of this moment and thread.
    pub(crate) fn with(&self, record: impl FnOnce(&H)) {
        metrics::with_recorder(|recorder| {
            let present = address(recorder);
            match &*self.registered.load() {
                Some(known) if known.recorder == present => record(&known.handles),
                _ => self.register(recorder, record),
            }
        });
    }

    #[cold]
    fn register(&self, recorder: &dyn Recorder, record: impl FnOnce(&H)) {
        describe(recorder);
        let label = Label::new(H::LABEL, self.name.clone());
        let handles = H::register(&Registrar { recorder, label });
        record(&handles);
        let recorder = address(recorder);
        // One of this thread's may be gone at any moment, and another in its place.
        if is_of_all_threads(recorder) {
            self.registered.store(Some(Arc::new(Registered { recorder, handles })));
        }
    }
}

fn address(recorder: &dyn Recorder) -> usize {
    std::ptr::from_ref(recorder).cast::<()>().addr()
}

/// Is the recorder at this address the one that threads have by default? That one is never
/// dropped. A new thread is asked.
fn is_of_all_threads(recorder: usize) -> bool {
    static DEFAULT: AtomicUsize = AtomicUsize::new(0);
    /// The last one found that was a thread's own.
    static OTHER: AtomicUsize = AtomicUsize::new(0);

    if [&DEFAULT, &OTHER].iter().all(|known| known.load(Ordering::Relaxed) != recorder) {
        let ask = || metrics::with_recorder(address);
        let thread = thread::Builder::new().name("dogpile-metrics".into()).spawn(ask);
        let default = thread.ok().and_then(|thread| thread.join().ok());
        let known = if default == Some(recorder) { &DEFAULT } else { &OTHER };
        known.store(recorder, Ordering::Relaxed);
    }
    DEFAULT.load(Ordering::Relaxed) == recorder
}

/// A region's metrics.
pub(super) struct OfRegion {
    counters: [Counter; KINDS],
    creation_seconds: Histogram,
    wait_seconds: Histogram,
    pending_deletions: metrics::Gauge,
    #[cfg(feature = "near")]
    near_entries: metrics::Gauge,
    #[cfg(feature = "near")]
    near_age: metrics::Gauge,
}

impl Handles for OfRegion {
    const LABEL: &'static str = "region";

    fn register(with: &Registrar<'_>) -> Self {
        Self {
            counters: Count::ALL.map(|what| with.counter(name(what))),
            creation_seconds: with.histogram(names::CREATION_SECONDS),
            wait_seconds: with.histogram(names::WAIT_SECONDS),
            pending_deletions: with.gauge(names::PENDING_DELETIONS),
            #[cfg(feature = "near")]
            near_entries: with.gauge(names::NEAR_ENTRIES),
            #[cfg(feature = "near")]
            near_age: with.gauge(names::NEAR_AGE_SECONDS),
        }
    }
}

impl OfRegion {
    pub(super) fn add(&self, what: Count, amount: u64) {
        self.counters[what as usize].increment(amount);
    }

    pub(super) fn creation_took(&self, time: Duration) {
        self.creation_seconds.record(time);
    }

    pub(super) fn note_pending_deletions(&self, count: usize) {
        self.pending_deletions.set(count as f64);
    }

    #[cfg(feature = "near")]
    pub(super) fn note_near(&self, copies: usize, age: Duration) {
        self.near_entries.set(copies as f64);
        self.near_age.set(age.as_secs_f64());
    }

    pub(super) fn waited(&self, time: Duration) {
        self.wait_seconds.record(time);
    }
}
