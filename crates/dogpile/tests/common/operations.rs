//! A proxy that counts the operations which reach the backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dogpile::backend::{AnyBackend, BackendError};
use dogpile::proxy::Proxy;
use dogpile::value::Entry;

/// Clones count together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Operations(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    get: AtomicU64,
    set: AtomicU64,
    get_multi: AtomicU64,
    set_multi: AtomicU64,
}

/// The number of times that each operation was called so far.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct OperationCounts {
    pub(crate) get: u64,
    pub(crate) set: u64,
    pub(crate) get_multi: u64,
    pub(crate) set_multi: u64,
}

impl Operations {
    pub(crate) fn counts(&self) -> OperationCounts {
        let read = |counter: &AtomicU64| counter.load(Ordering::SeqCst);
        let Counters { get, set, get_multi, set_multi } = &*self.0;
        OperationCounts {
            get: read(get),
            set: read(set),
            get_multi: read(get_multi),
            set_multi: read(set_multi),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::SeqCst);
}

impl Proxy for Operations {
    fn only_observes(&self) -> bool {
        true
    }

    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        count(&self.0.get);
        next.get(key).await
    }

    fn get_now(&self, next: &AnyBackend, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        let found = next.get_now(key)?;
        count(&self.0.get);
        Some(found)
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        count(&self.0.set);
        next.set(key, entry).await
    }

    async fn get_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> Result<Vec<Option<Entry>>, BackendError> {
        count(&self.0.get_multi);
        next.get_multi(keys).await
    }

    async fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> Result<(), BackendError> {
        count(&self.0.set_multi);
        next.set_multi(entries).await
    }
}
