//! A tier over a backend that tells of changes, or does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Near, Observer, Tier};
use crate::backend::{
    AnyBackend, Backend, BackendError, Follower, IfChanged, KeepsBytes, SerializedMemory, Version,
    Watch,
};
use crate::stats::Count;
use crate::value::Entry;

/// A backend that is followed or not, and then tells of what is read or not.
struct Telling {
    values: SerializedMemory,
    is_followed: bool,
    tells: bool,
}

impl Backend for Telling {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Backend::get(&self.values, key).await
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        Backend::set(&self.values, key, entry).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        Backend::delete(&self.values, key).await
    }

    fn follow(&self, _follower: Arc<dyn Follower>) -> Option<Watch> {
        self.is_followed.then(|| Watch::new(()))
    }

    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        let entry = self.get(key).await?;
        let version = entry.as_ref().and_then(Version::of);
        Ok(IfChanged::compare(entry, version, since, self.tells))
    }
}

#[derive(Default)]
struct Warnings(AtomicUsize);

impl Observer for Warnings {
    fn count(&self, _what: Count) {}

    fn measured(&self, _copies: usize, _age: Duration) {}

    fn is_unfollowed(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn a_backend_that_should_tell_and_does_not_is_worth_one_warning() {
    for (is_followed, tells, expected) in
        [(true, true, 0), (true, false, 1), (false, false, 0), (false, true, 0)]
    {
        let values = SerializedMemory::new(10);
        let backend = AnyBackend::new(Telling { values, is_followed, tells });
        let warnings = Arc::new(Warnings::default());
        let tier = Tier::new(Near::entries(10), backend, "", warnings.clone());
        for key in ["a", "b"] {
            tier.backend().set(key, Entry::bytes("1", 10.0)).await.unwrap();
            for _ in 0..3 {
                tier.read(key, |_| true).await.unwrap();
            }
            assert!(tier.at_hand(key).is_some(), "it is kept all the same");
        }
        assert_eq!(warnings.0.load(Ordering::SeqCst), expected, "{is_followed} {tells}");
    }
}
