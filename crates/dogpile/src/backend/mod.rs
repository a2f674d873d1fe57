//! Backends: where values are kept.
//!
//! An author of a backend implements [`Backend`] with plain `async fn`s:
//! [`get`](Backend::get), [`set`](Backend::set) and
//! [`delete`](Backend::delete) are enough, everything else has a default made
//! of them. Inside the crate every backend, wrapped in its proxies or not, is
//! an [`AnyBackend`].
//!
//! A backend knows nothing of regions, expiration or who creates; it keeps
//! entries under keys, and may bring a [mutex](crate::lock::Mutex) that
//! reaches further than this process.

mod any;
#[cfg(feature = "collections")]
mod collections;
#[cfg(feature = "file")]
mod file;
pub mod inspect;
mod map;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "memory")]
mod memory;
mod null;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "memory")]
mod serialized;

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease, Mutex};
use crate::value::Entry;

pub use crate::error::{BackendError, FaultKind};
pub use any::AnyBackend;
pub(crate) use any::{Boxed, ErasedBackend};
#[cfg(feature = "collections")]
pub use collections::{CollectionPlace, CollectionStore, Storing, Upload, revision_number};
#[cfg(feature = "file")]
pub use file::{Damage, File, FileBuilder};
use inspect::Inspect;
pub use map::{MapBackend, ObjectMap};
#[cfg(all(feature = "memcached", fuzzing))]
#[doc(hidden)]
pub use memcached::read_answers;
#[cfg(feature = "memcached")]
pub use memcached::{Memcached, MemcachedBuilder, Place, Placement};
#[cfg(feature = "memory")]
pub use memory::Memory;
pub use null::Null;
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisBuilder};
#[cfg(feature = "memory")]
pub use serialized::SerializedMemory;

/// A place to keep entries.
///
/// ```
/// use std::collections::HashMap;
/// use std::sync::Mutex;
/// use dogpile::backend::{Backend, BackendError, KeepsBytes};
/// use dogpile::value::Entry;
///
/// #[derive(Default)]
/// struct Shelf(Mutex<HashMap<String, bytes::Bytes>>);
///
/// impl Backend for Shelf {
///     type Keeps = KeepsBytes;
///
///     async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
///         Ok(self.0.lock().unwrap().get(key).map(Entry::from_frame))
///     }
///
///     async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
///         let frame = entry.to_frame().ok_or_else(|| BackendError::refused("an object"))?;
///         self.0.lock().unwrap().insert(key.to_owned(), frame);
///         Ok(())
///     }
///
///     async fn delete(&self, key: &str) -> Result<(), BackendError> {
///         self.0.lock().unwrap().remove(key);
///         Ok(())
///     }
/// }
///
/// # pollster::block_on(async {
/// let region = dogpile::Region::new("shelf");
/// region.configure(dogpile::Config::new(Shelf::default()))?;
/// region.set("answer", &42).await?;
/// assert_eq!(region.get("answer").await?, Some(42));
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
///
/// Keys arrive mangled. A backend refuses keys that it cannot hold with
/// [`BackendError::refused`]. Futures must be cancel safe: dropped half way,
/// an operation has happened or not, and what is stored is whole.
pub trait Backend: Send + Sync + 'static {
    /// [`KeepsObjects`] or [`KeepsBytes`].
    type Keeps: Keeps;

    /// Its name in messages and logs.
    fn name(&self) -> &str {
        let name = std::any::type_name::<Self>();
        name.split('<').next().and_then(|path| path.rsplit("::").next()).unwrap_or(name)
    }

    /// What is stored under `key`. What cannot be read is an
    /// [unreadable](Entry::unreadable) entry, not an error: errors are for
    /// backends that cannot answer.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, BackendError>> + Send;

    /// Stores `entry` under `key`.
    fn set(&self, key: &str, entry: Entry)
    -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Removes what is stored under `key`, if anything is.
    fn delete(&self, key: &str) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// The same answer as [`get`](Self::get), if it can be given at once,
    /// without waiting for anything: the short cut that makes a hit in memory
    /// cheap. `None` from a backend that must wait.
    fn get_now(&self, _key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        None
    }

    /// What is stored under each of `keys`, in their order.
    fn get_multi(
        &self,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, BackendError>> + Send {
        async move {
            let mut entries = Vec::with_capacity(keys.len());
            for key in keys {
                entries.push(self.get(key).await?);
            }
            Ok(entries)
        }
    }

    /// Stores all of `entries`.
    fn set_multi(
        &self,
        entries: &[(&str, Entry)],
    ) -> impl Future<Output = Result<(), BackendError>> + Send {
        async move {
            for (key, entry) in entries {
                self.set(key, entry.clone()).await?;
            }
            Ok(())
        }
    }

    /// Removes what is stored under each of `keys`.
    fn delete_multi(&self, keys: &[&str]) -> impl Future<Output = Result<(), BackendError>> + Send {
        async move {
            for key in keys {
                self.delete(key).await?;
            }
            Ok(())
        }
    }

    /// The mutex that reaches as far as the backend does, if there is one and
    /// it is switched on. Asked for once, when a region is configured.
    fn mutex(&self) -> Option<AnyMutex> {
        None
    }

    /// Reads each key again and takes its mutex, unless its value is another
    /// than was [seen](Seen) before, in as few round trips as can be.
    ///
    /// Called only on a backend with a [`mutex`](Self::mutex).
    fn claim(
        &self,
        keys: &[(&str, Seen)],
    ) -> impl Future<Output = Result<Vec<Claimed>, BackendError>> + Send {
        async move {
            let Some(mutex) = self.mutex() else {
                return Err(BackendError::other("this backend has no mutex"));
            };
            let mut claims = Vec::with_capacity(keys.len());
            for (key, seen) in keys {
                claims.push(claim_one(&mutex, key, *seen, || self.get(key)).await?);
            }
            Ok(claims)
        }
    }

    /// Stores each entry if its lease is still held, gives the lease up and
    /// wakes those who wait; false for entries that were not stored because
    /// their lease was lost, or, where the backend can tell, because what lay under the
    /// key when it was claimed was changed by others.
    ///
    /// Called only on a backend with a [`mutex`](Self::mutex). The default
    /// cannot know whether a lease was lost: it stores, then unlocks.
    fn commit(
        &self,
        entries: Vec<(&str, Entry, Lease)>,
    ) -> impl Future<Output = Result<Vec<bool>, BackendError>> + Send {
        async move {
            let Some(mutex) = self.mutex() else {
                return Err(BackendError::other("this backend has no mutex"));
            };
            let (values, leases): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|(key, entry, lease)| ((key, entry), lease)).unzip();
            let stored = match &values[..] {
                [(key, entry)] => self.set(key, entry.clone()).await,
                _ => self.set_multi(&values).await,
            };
            unlock_all(&mutex, leases).await;
            stored.map(|()| vec![true; values.len()])
        }
    }

    /// Calls `changed` soon after what is stored under `key` may have changed,
    /// whoever changed it, and once when the watching begins; until the answer
    /// is dropped. `None`, the default, from a backend that cannot tell.
    ///
    /// `changed` is called on a thread of the backend's, and returns at once.
    fn watch(&self, _key: &str, _changed: Changed) -> Option<Watch> {
        None
    }

    /// The mangler that a region uses which names none itself (contract 5).
    fn recommended_mangler(&self) -> Option<Mangler> {
        None
    }

    /// Its side of [collections](crate::collections), if it can keep them.
    #[cfg(feature = "collections")]
    fn collections(&self) -> Option<Arc<dyn CollectionStore>> {
        None
    }

    /// The way to look into it from outside, if it can list what it holds.
    fn inspect(&self) -> Option<Arc<dyn Inspect>> {
        None
    }
}

/// What is to be called when a [watched](Backend::watch) key changes.
pub type Changed = Arc<dyn Fn() + Send + Sync>;

/// Watching a key, until this is dropped.
pub struct Watch(
    #[expect(dead_code, reason = "it is there to be dropped")] Box<dyn Any + Send + Sync>,
);

impl Watch {
    /// Wraps what ends the watching when it is dropped.
    pub fn new<T: Send + Sync + 'static>(ends: T) -> Self {
        Self(Box::new(ends))
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// What a reader saw under a key before it tries for the mutex: a value with
/// this creation time, or nothing that it could use.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Seen {
    /// There was nothing.
    Nothing,
    /// There was a value, created then (epoch seconds).
    Created(f64),
    /// There was something whose header could not be read.
    Unreadable,
}

impl Seen {
    /// What `entry` looks like to its reader.
    pub fn of(entry: Option<&Entry>) -> Self {
        match entry {
            None => Self::Nothing,
            Some(entry) if entry.metadata.ct.is_nan() => Self::Unreadable,
            Some(entry) => Self::Created(entry.metadata.ct),
        }
    }

    /// Did somebody store a value since? That it vanished does not count.
    pub fn is_outdated_by(&self, entry: Option<&Entry>) -> bool {
        let now = Self::of(entry);
        now != Self::Nothing && now != *self
    }
}

/// What became of a [claim](Backend::claim) to one key.
#[derive(Debug)]
pub enum Claimed {
    /// The mutex is the caller's, and the value is still as it was seen.
    Won(Lease),
    /// There is another value now; the mutex was not taken.
    Changed(Entry),
    /// Somebody else holds the mutex.
    Held,
}

/// A claim made of the plain operations: lock, then read again.
pub(crate) async fn claim_one<F>(
    mutex: &AnyMutex,
    key: &str,
    seen: Seen,
    get: impl FnOnce() -> F + Send,
) -> Result<Claimed, BackendError>
where
    F: Future<Output = Result<Option<Entry>, BackendError>> + Send,
{
    let Some(lease) = mutex.try_lock(key).await? else { return Ok(Claimed::Held) };
    match get().await {
        Ok(Some(entry)) if seen.is_outdated_by(Some(&entry)) => {
            mutex.unlock(lease).await?;
            Ok(Claimed::Changed(entry))
        }
        Ok(_) => Ok(Claimed::Won(lease)),
        Err(fault) => {
            unlock_all(mutex, vec![lease]).await;
            Err(fault)
        }
    }
}

/// Unlocks on the way to another answer, which a mutex that fails now must
/// not replace: it ends by itself.
pub(crate) async fn unlock_all(mutex: &AnyMutex, leases: Vec<Lease>) {
    for lease in leases {
        let _ = mutex.unlock(lease).await;
    }
}

/// Says in which form a backend keeps values.
pub trait Keeps: sealed::Sealed + Send + Sync + 'static {
    /// Does it keep live objects?
    const OBJECTS: bool;
}

/// Live objects of this process: nothing is serialized.
#[derive(Debug, Clone, Copy)]
pub struct KeepsObjects;

/// Bytes, in the wire format of [`Entry::to_frame`].
#[derive(Debug, Clone, Copy)]
pub struct KeepsBytes;

impl Keeps for KeepsObjects {
    const OBJECTS: bool = true;
}

impl Keeps for KeepsBytes {
    const OBJECTS: bool = false;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::KeepsObjects {}
    impl Sealed for super::KeepsBytes {}
}
