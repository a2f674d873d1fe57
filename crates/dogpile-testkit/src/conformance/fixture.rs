//! The fixture of a check.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dogpile::backend::AnyBackend;
use dogpile::value::{Entry, Metadata, Payload};
use dogpile::{Config, Region};

use crate::ManualClock;

/// A backend to be checked, perhaps with a second handle on the same store.
#[derive(Debug)]
pub struct Fixture {
    /// The backend.
    pub backend: AnyBackend,
    /// Another handle on the same store, as another process would have it.
    pub peer: Option<AnyBackend>,
    unique: String,
}

impl From<AnyBackend> for Fixture {
    fn from(backend: AnyBackend) -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let unique = format!("check-{since}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        Self { backend, peer: None, unique }
    }
}

/// The time that values live in the regions of the checks.
pub(super) const EXPIRATION: Duration = Duration::from_secs(60);

impl Fixture {
    /// The same with `peer` as a second handle on the store.
    #[must_use]
    pub fn with_peer(self, peer: AnyBackend) -> Self {
        Self { peer: Some(peer), ..self }
    }

    /// A key that no other check uses.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}:{name}", self.unique)
    }

    /// An entry in the form that the backend keeps.
    pub(super) fn entry(&self, value: &str, ct: f64) -> Entry {
        if self.backend.keeps_objects() {
            Entry::object(value.to_owned(), ct)
        } else {
            let json = serde_json::to_vec(value).expect("a string is JSON");
            Entry::bytes(json, ct)
        }
    }

    /// A region over the backend, by a clock that stands still.
    pub(super) fn region(&self) -> (Arc<Region>, ManualClock) {
        self.region_over(self.backend.clone())
    }

    pub(super) fn region_over(&self, backend: AnyBackend) -> (Arc<Region>, ManualClock) {
        let clock = ManualClock::new();
        let region = Region::named(self.unique.clone());
        let config = Config::over(backend).expiration(EXPIRATION).clock(clock.clone());
        region.configure(config).expect("a new region can be configured");
        (Arc::new(region), clock)
    }
}

/// The string in an entry made by [`Fixture::entry`].
pub(super) fn text(entry: &Entry) -> String {
    match &entry.payload {
        Payload::Object(object) => {
            object.downcast_ref::<String>().expect("the object is a string").clone()
        }
        Payload::Bytes(bytes) => serde_json::from_slice(bytes).expect("the payload is JSON"),
        Payload::Unreadable(why) => panic!("unreadable: {why}"),
    }
}

/// Entries are equal in what matters to readers.
pub(super) fn assert_same(found: Option<&Entry>, value: &str, metadata: &Metadata) {
    let found = found.expect("the entry is there");
    assert_eq!(text(found), value);
    assert_eq!(found.metadata.ct.to_bits(), metadata.ct.to_bits(), "the creation time is exact");
    assert_eq!(found.metadata.v, metadata.v);
}
