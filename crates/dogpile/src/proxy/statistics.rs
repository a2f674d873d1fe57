//! Counts the operations that reach a backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Proxy;
use crate::backend::{AnyBackend, BackendError};
use crate::value::Entry;

/// Counts calls to the backend inside it: what a region's own
/// [statistics](crate::Region::statistics) cannot say, since one question to
/// a region can be several to its backend or none. Clones count together.
///
/// ```
/// use dogpile::{Config, Region, backend::Memory, proxy::Operations};
///
/// # pollster::block_on(async {
/// let operations = Operations::default();
/// let region = Region::new("counted");
/// region.configure(Config::new(Memory::new(10)).proxy(operations.clone()))?;
/// region.set("k", &1).await?;
/// assert_eq!(operations.counts().set, 1);
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
#[derive(Debug, Clone, Default)]
pub struct Operations(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    get: AtomicU64,
    set: AtomicU64,
    delete: AtomicU64,
    get_multi: AtomicU64,
    set_multi: AtomicU64,
    delete_multi: AtomicU64,
    failed: AtomicU64,
}

/// The number of times that each operation was called so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OperationCounts {
    /// Calls of `get`, the short cut included.
    pub get: u64,
    /// Calls of `set`.
    pub set: u64,
    /// Calls of `delete`.
    pub delete: u64,
    /// Calls of `get_multi`, whatever the number of keys.
    pub get_multi: u64,
    /// Calls of `set_multi`, whatever the number of entries.
    pub set_multi: u64,
    /// Calls of `delete_multi`, whatever the number of keys.
    pub delete_multi: u64,
    /// Calls of any of them that ended in an error.
    pub failed: u64,
}

impl Operations {
    /// The counts up to now.
    pub fn counts(&self) -> OperationCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        OperationCounts {
            get: read(&self.0.get),
            set: read(&self.0.set),
            delete: read(&self.0.delete),
            get_multi: read(&self.0.get_multi),
            set_multi: read(&self.0.set_multi),
            delete_multi: read(&self.0.delete_multi),
            failed: read(&self.0.failed),
        }
    }

    fn count<T>(
        &self,
        counter: &AtomicU64,
        result: Result<T, BackendError>,
    ) -> Result<T, BackendError> {
        counter.fetch_add(1, Ordering::Relaxed);
        if result.is_err() {
            self.0.failed.fetch_add(1, Ordering::Relaxed);
        }
        result
    }
}

impl Proxy for Operations {
    fn only_observes(&self) -> bool {
        true
    }

    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        self.count(&self.0.get, next.get(key).await)
    }

    fn get_now(&self, next: &AnyBackend, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        Some(self.count(&self.0.get, next.get_now(key)?))
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.count(&self.0.set, next.set(key, entry).await)
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        self.count(&self.0.delete, next.delete(key).await)
    }

    async fn get_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        self.count(&self.0.get_multi, next.get_multi(keys).await)
    }

    async fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> Result<(), BackendError> {
        self.count(&self.0.set_multi, next.set_multi(entries).await)
    }

    async fn delete_multi(&self, next: &AnyBackend, keys: &[&str]) -> Result<(), BackendError> {
        self.count(&self.0.delete_multi, next.delete_multi(keys).await)
    }
}
