//! Objects in a map of the caller's own, or in an unbounded one
//! of ours.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Backend, BackendError, KeepsObjects};
use crate::value::Entry;

/// A map that a [`MapBackend`] can keep its objects in. An operation must not
/// wait for anything but the map's own short lock.
pub trait ObjectMap: Send + Sync + 'static {
    /// A clone of what is under `key`; entries are cheap to clone.
    fn get(&self, key: &str) -> Option<Entry>;
    /// Puts `entry` under `key`.
    fn insert(&self, key: &str, entry: Entry);
    /// Removes what is under `key`.
    fn remove(&self, key: &str);
}

impl<S: BuildHasher + Send + Sync + 'static> ObjectMap for RwLock<HashMap<String, Entry, S>> {
    fn get(&self, key: &str) -> Option<Entry> {
        self.read().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn insert(&self, key: &str, entry: Entry) {
        self.write().unwrap_or_else(PoisonError::into_inner).insert(key.to_owned(), entry);
    }

    fn remove(&self, key: &str) {
        self.write().unwrap_or_else(PoisonError::into_inner).remove(key);
    }
}

impl<M: ObjectMap> ObjectMap for Arc<M> {
    fn get(&self, key: &str) -> Option<Entry> {
        M::get(self, key)
    }

    fn insert(&self, key: &str, entry: Entry) {
        M::insert(self, key, entry);
    }

    fn remove(&self, key: &str) {
        M::remove(self, key);
    }
}

/// The in-process backend over any [`ObjectMap`].
///
/// Creations are bound by what is kept beside the map. So regions over one map share one
/// backend, as [`AnyBackend`](super::AnyBackend) (see [`Config::over`](crate::Config::over)):
/// with two, a creation of one is stored over a change by the other, as over one by your own
/// code.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::{Arc, RwLock};
/// use dogpile::backend::MapBackend;
///
/// # pollster::block_on(async {
/// let map = Arc::new(RwLock::new(HashMap::new()));
/// let region = dogpile::Region::new("mine");
/// region.configure(dogpile::Config::new(MapBackend::over(map.clone())))?;
/// region.set("k", &1).await?;
/// assert!(map.read().unwrap().contains_key("k"));
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
pub struct MapBackend<M> {
    map: M,
}

impl<M: ObjectMap> MapBackend<M> {
    /// A backend that keeps its objects in `map`.
    pub fn over(map: M) -> Self {
        Self { map }
    }
}

impl MapBackend<Unbounded> {
    /// A backend that never evicts: it grows with every new key until the
    /// process ends. For key sets known to be small.
    pub fn unbounded() -> Self {
        Self::over(Unbounded::default())
    }
}

impl<M> fmt::Debug for MapBackend<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MapBackend").finish_non_exhaustive()
    }
}

impl<M: ObjectMap> Backend for MapBackend<M> {
    type Keeps = KeepsObjects;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.map.get(key))
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        Some(Ok(self.map.get(key)))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.map.insert(key, entry);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.map.remove(key);
        Ok(())
    }
}

/// A map in shards, so that threads seldom meet at a lock.
pub struct Unbounded {
    shards: Box<[RwLock<HashMap<String, Entry>>]>,
    hasher: RandomState,
}

impl Default for Unbounded {
    fn default() -> Self {
        Self { shards: (0..64).map(|_| RwLock::default()).collect(), hasher: RandomState::new() }
    }
}

impl Unbounded {
    fn shard(&self, key: &str) -> &RwLock<HashMap<String, Entry>> {
        let hash = usize::try_from(self.hasher.hash_one(key) >> 32).unwrap_or(0);
        &self.shards[hash % self.shards.len()]
    }
}

impl fmt::Debug for Unbounded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unbounded").finish_non_exhaustive()
    }
}

impl ObjectMap for Unbounded {
    fn get(&self, key: &str) -> Option<Entry> {
        ObjectMap::get(self.shard(key), key)
    }

    fn insert(&self, key: &str, entry: Entry) {
        ObjectMap::insert(self.shard(key), key, entry);
    }

    fn remove(&self, key: &str) {
        ObjectMap::remove(self.shard(key), key);
    }
}
