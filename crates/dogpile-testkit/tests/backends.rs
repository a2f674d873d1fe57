//! The conformance suite on the backends in memory, alone and within proxies, and on an
//! example of each kind of mutex.

use std::sync::Arc;

use dogpile::backend::{
    AnyBackend, Backend, BackendError, KeepsBytes, MapBackend, Memory, SerializedMemory,
};
use dogpile::key::Mangler;
use dogpile::lock::{AnyMutex, KeyedMutex};
use dogpile::proxy::{KeyPrefix, Layer, Logging};
use dogpile::value::Entry;
use dogpile_testkit::conformance;
use dogpile_testkit::conformance::Fixture;

conformance!(memory, async || AnyBackend::new(Memory::new(100_000)).into());

conformance!(memory_by_weight, async || {
    AnyBackend::new(Memory::weighted(1 << 30, |key, _| key.len() as u64)).into()
});

conformance!(unbounded, async || AnyBackend::new(MapBackend::unbounded()).into());

conformance!(serialized, async || AnyBackend::new(SerializedMemory::new(100_000)).into());

conformance!(within_proxies, async || {
    let backend = AnyBackend::new(SerializedMemory::bounded_by_bytes(1 << 30));
    let backend = KeyPrefix::new("prefix:").layer(backend);
    Logging.layer(backend).into()
});

/// A bytes backend that brings a mutex, as remote ones do: every operation
/// waits at least once, and two handles share store and mutex.
#[derive(Clone)]
struct Remote {
    store: Arc<SerializedMemory>,
    mutex: KeyedMutex,
}

impl Remote {
    fn new() -> Self {
        Self { store: Arc::new(SerializedMemory::new(100_000)), mutex: KeyedMutex::new() }
    }
}

impl Backend for Remote {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        tokio::task::yield_now().await;
        Backend::get(&*self.store, key).await
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        tokio::task::yield_now().await;
        Backend::set(&*self.store, key, entry).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        tokio::task::yield_now().await;
        Backend::delete(&*self.store, key).await
    }

    fn mutex(&self) -> Option<AnyMutex> {
        Some(AnyMutex::new(self.mutex.clone()))
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        Some(dogpile::key::prefix("mangled:"))
    }
}

conformance!(with_a_mutex, async || {
    let remote = Remote::new();
    Fixture::from(AnyBackend::new(remote.clone())).with_peer(AnyBackend::new(remote))
});

conformance!(with_a_mutex_within_proxies, async || {
    let remote = Remote::new();
    let wrap = |remote| KeyPrefix::new("p:").layer(Logging.layer(AnyBackend::new(remote)));
    Fixture::from(wrap(remote.clone())).with_peer(wrap(remote))
});
