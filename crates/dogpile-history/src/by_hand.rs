//! The copies of values that services keep by hand: moka in front of the backend, with a time to
//! live of a second. It promises nothing; the number of old reads says what a near tier is for.

use std::time::Duration;

use dogpile::backend::{AnyBackend, BackendError};
use dogpile::proxy::Proxy;
use dogpile::value::Entry;
use moka::sync::Cache;

/// More than there ever are.
const CAPACITY: u64 = 1_000;

/// A proxy that keeps copies. A process that changes a key drops its own.
pub(crate) struct ByHand(Cache<String, Entry>);

impl ByHand {
    pub(crate) fn new() -> Self {
        let cache = Cache::builder().max_capacity(CAPACITY);
        Self(cache.time_to_live(Duration::from_secs(1)).build())
    }
}

impl Proxy for ByHand {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        if let Some(copy) = self.0.get(key) {
            return Ok(Some(copy));
        }
        let found = next.get(key).await?;
        if let Some(entry) = &found {
            self.0.insert(key.to_owned(), entry.clone());
        }
        Ok(found)
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        let stored = next.set(key, entry).await;
        self.0.invalidate(key);
        stored
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        let deleted = next.delete(key).await;
        self.0.invalidate(key);
        deleted
    }
}
