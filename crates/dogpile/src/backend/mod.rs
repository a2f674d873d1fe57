//! Backends: where values are kept.
//!
//! An author of a backend implements [`Backend`] with plain `async fn`s:
//! [`get`](Backend::get), [`set`](Backend::set) and
//! [`delete`](Backend::delete) are enough, everything else has a default made
//! of them. Inside the crate every backend, wrapped in its proxies or not, is
//! an [`AnyBackend`].
//!
//! A backend knows nothing of regions, expiration or who creates; it keeps
//! entries under keys, and may bring a [mutex](crate::lock::KeyedLock) that
//! reaches further than this process.

mod any;
#[cfg(feature = "collections")]
mod collections;
mod erased;
#[cfg(feature = "file")]
mod file;
mod follow;
#[cfg(feature = "serialized")]
pub mod inspect;
mod map;
mod marks;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "memory")]
mod memory;
#[cfg(feature = "config")]
mod named;
mod null;
mod ordered;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "serialized")]
mod serialized;
#[cfg(feature = "memory")]
mod stored_object;
#[cfg(any(feature = "file", all(test, shuttle)))]
mod turns;

use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::sync::Arc;

use crate::clock::Timestamp;
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::process::Owned;
use crate::value::{Entry, Object};

pub use crate::error::backend::{BackendError, ErrorKind};
pub use any::AnyBackend;
#[cfg(feature = "collections")]
pub use collections::{CollectionPlace, CollectionStore, Storing, Upload, revision_number};
pub(crate) use erased::{Boxed, Erased, ErasedBackend};
#[cfg(feature = "file")]
pub use file::{Damage, File, FileBuilder};
use follow::OneKey;
pub use follow::{Follower, IfChanged, Version};
#[cfg(feature = "serialized")]
use inspect::Inspect;
pub use map::{MapBackend, ObjectMap};
#[cfg(all(feature = "memcached", fuzzing))]
#[doc(hidden)]
pub use memcached::read_answers;
#[cfg(feature = "memcached")]
pub use memcached::{Memcached, MemcachedBuilder, Place, Placement};
#[cfg(feature = "memory")]
pub use memory::Memory;
#[cfg(feature = "config")]
pub(crate) use named::Named;
pub use null::Null;
pub(crate) use ordered::Ordered;
#[cfg(feature = "redis")]
pub use redis::{Redis, RedisBuilder};
#[cfg(feature = "serialized")]
pub use serialized::SerializedMemory;
#[cfg(feature = "serialized")]
pub(crate) use serialized::{Said, Taken};
#[cfg(feature = "near")]
pub(crate) use stored_object::{Asked, Looking, Stored};

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

    /// Returns the entry stored under `key`. What cannot be read is an
    /// [unreadable](Entry::unreadable) entry, not an error: errors are for
    /// backends that cannot answer.
    fn get(&self, key: &str) -> impl Future<Output = Result<Option<Entry>, BackendError>> + Send;

    /// Stores `entry` under `key`. If a backend drops values after a while, it spares those that
    /// are [kept](crate::value::Metadata::kept).
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

    /// Shows `look` the object under `key`, if it can at once, and where its moments are all that
    /// is to be known of it. `look` returns whether that is what it looks for. It may be called while
    /// a lock is held: it uses no backend.
    #[doc(hidden)]
    fn look_now(&self, _key: &str, _look: &mut dyn FnMut(&Object) -> bool) -> Looked {
        Looked::UNKNOWN
    }

    /// Returns the entry stored under each of `keys`, in their order.
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

    /// Do `set`, `delete` and their multi forms end the claims of creations that
    /// are going on, in one step with the change and wherever they were made?
    ///
    /// That is what keeps a creation from being stored after a later change. The
    /// answer of a backend that implements [`claim`](Self::claim) and
    /// [`commit`](Self::commit) is yes. For the others, which is the default, the
    /// library does it: by marks in this process, and, where there is a
    /// [`mutex`](Self::mutex), by a mark beside each value that is being created
    /// elsewhere, under a [key of its own](mark_key). That costs a round trip with
    /// each change, and three more with a creation.
    fn orders_changes(&self) -> bool {
        false
    }

    /// Do other processes see what is stored here? Then the invalidation of a
    /// region is [shared](crate::invalidation::SharedInvalidation) unless it is configured
    /// otherwise.
    fn is_shared(&self) -> bool {
        false
    }

    /// Claims keys for creations, in as few round trips as can be: reads each key
    /// again and takes its mutex, as its [mode](ClaimMode) says.
    ///
    /// Called only on a backend that [orders changes](Self::orders_changes).
    fn claim(
        &self,
        _keys: Vec<Wanted<'_>>,
    ) -> impl Future<Output = Result<Vec<Claimed>, BackendError>> + Send {
        async { Err(BackendError::other("this backend does not order changes by itself")) }
    }

    /// Makes each change if its claim is still whole, gives the claim up and wakes
    /// the waiters. False for a change that was not made, because the key was
    /// changed or taken over since it was claimed, or because the lease ended.
    ///
    /// Called only on a backend that [orders changes](Self::orders_changes).
    fn commit(
        &self,
        _changes: Vec<Commit<'_>>,
    ) -> impl Future<Output = Result<Vec<bool>, BackendError>> + Send {
        async { Err(BackendError::other("this backend does not order changes by itself")) }
    }

    /// Gives up claims that nothing is stored for. What fails ends by itself.
    fn release(&self, leases: Vec<Lease>) -> impl Future<Output = ()> + Send {
        async move {
            if let Some(mutex) = self.mutex() {
                mutex.unlock_all(leases).await;
            }
        }
    }

    /// Calls `changed` soon after what is stored under `key` may have changed,
    /// whoever changed it, and once when the watching begins; until the answer
    /// is dropped. `None` from a backend that cannot tell.
    ///
    /// By default it [follows](Self::follow) the changes of this one key. `changed` is called on a
    /// thread of the backend's, and returns at once.
    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        let watch = self.follow(Arc::new(OneKey::new(key, changed.clone())))?;
        // A backend that is to be asked tells nothing.
        watch.state().is_none().then(|| {
            changed();
            watch
        })
    }

    /// Tells `follower` of changes to what is stored, whoever makes them, until the answer is
    /// dropped. `None`, the default, from a backend that cannot tell.
    ///
    /// A [near tier](crate::Near) keeps copies by it. A backend may tell of those keys alone that
    /// were read by [`get_if_changed`](Self::get_if_changed), or be [asked](Watch::asking) before
    /// each use of a copy. Where it cannot do either, copies go by their age; if that is only so here
    /// and now, it answers a watch all the same and says with each read that nobody is told,
    /// which is worth a warning.
    fn follow(&self, _follower: Arc<dyn Follower>) -> Option<Watch> {
        None
    }

    /// Returns the key by which followers are told of changes to `key`: that itself, unless a proxy
    /// changes keys on their way.
    #[doc(hidden)]
    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Cow::Borrowed(key)
    }

    /// Returns what is stored under `key`, unless it is `since`, the version that the caller has.
    ///
    /// By default it is read and compared. A backend that knows versions saves the payload.
    fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> impl Future<Output = Result<IfChanged, BackendError>> + Send {
        async move {
            let entry = self.get(key).await?;
            let version = entry.as_ref().and_then(Version::of);
            Ok(IfChanged::compare(entry, version, since, true))
        }
    }

    /// The mangler that a region uses which names none itself.
    fn recommended_mangler(&self) -> Option<Mangler> {
        None
    }

    /// Its side of [collections](crate::collections), if it can keep them.
    #[cfg(feature = "collections")]
    fn collections(&self) -> Option<Arc<dyn CollectionStore>> {
        None
    }

    /// The way to look into it from outside, if it can list what it holds.
    #[cfg(feature = "serialized")]
    fn inspect(&self) -> Option<Arc<dyn Inspect>> {
        None
    }
}

/// A callback for changes of a [watched](Backend::watch) key.
pub type Changed = Arc<dyn Fn() + Send + Sync>;

/// Watching a key, or following all, until this is dropped.
pub struct Watch {
    _ends: Owned<Box<dyn Any + Send + Sync>>,
    state: Option<StateNow>,
}

/// A function that returns the number of the present state of all that a backend keeps.
pub type StateNow = Arc<dyn Fn() -> Option<u64> + Send + Sync>;

impl Watch {
    /// Wraps what ends the watching when it is dropped.
    pub fn new<T: Send + Sync + 'static>(ends: T) -> Self {
        Self { _ends: Owned::new(Box::new(ends)), state: None }
    }

    /// Follows by asking: where the present state is known at once, its follower is told nothing, and
    /// calls `state` before each use of a copy.
    ///
    /// That returns a positive number, and a greater one once anything was changed, whoever changed it;
    /// also in a process that was forked meanwhile. `None` if it is not known now: then no copy is
    /// used.
    pub fn asking(state: impl Fn() -> Option<u64> + Send + Sync + 'static) -> Self {
        Self { state: Some(Arc::new(state)), ..Self::new(()) }
    }

    /// Returns the function that a follower is to [ask](Self::asking), if it is not told.
    pub fn state(&self) -> Option<&StateNow> {
        self.state.as_ref()
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

/// The value that a reader saw under a key before it tries for the mutex: one with
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
    /// Returns what `entry` looks like to its reader.
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

/// A key that is to be [claimed](Backend::claim).
#[derive(Debug)]
pub struct Wanted<'k> {
    /// The key.
    pub key: &'k str,
    /// The mode of the claim.
    pub mode: ClaimMode,
    /// The mutex of the key, where [waiting](crate::lock::KeyedLock::wait) has
    /// acquired it.
    pub held: Option<Lease>,
    /// The caller has looked, and knows that nothing was created in this process
    /// since. Where no other process sees the backend, it need not read again.
    pub is_current: bool,
}

impl<'k> Wanted<'k> {
    /// A claim to `key`, whose mutex is not held.
    pub fn new(key: &'k str, mode: ClaimMode) -> Self {
        Self { key, mode, held: None, is_current: false }
    }

    /// Returns the value's state, where the caller knows it.
    pub(crate) fn known(&self) -> Option<Seen> {
        match self.mode {
            ClaimMode::Create(seen) if self.is_current => Some(seen),
            _ => None,
        }
    }
}

/// The mode of a claim.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClaimMode {
    /// If the mutex is free, and what is stored is what was seen before.
    Create(Seen),
    /// Whatever is stored, and also from another creation, whose claim ends by
    /// that. Not from another program that holds the mutex.
    TakeOver,
    /// As [`TakeOver`](Self::TakeOver). If the claim ends before the commit, the
    /// commit removes what was stored when the key was claimed, if that is still
    /// there: it is known to be out of date.
    Refresh,
    /// As [`Refresh`](Self::Refresh), but a commit that comes too late leaves what is stored.
    Expire,
}

impl ClaimMode {
    /// Is another creation's claim no obstacle?
    pub fn takes_over(self) -> bool {
        !matches!(self, Self::Create(_))
    }

    /// May a commit follow, where `now` is stored and `then` was when the key was
    /// claimed? Another value is one of a program that ends no claims. What is gone
    /// may have been removed by a refresh that was overtaken by this one.
    pub fn may_follow(self, then: Seen, now: Seen) -> bool {
        now == then || (self.may_find_nothing() && now == Seen::Nothing)
    }

    /// May a commit store where nothing is any more? A created value is newer than whatever took
    /// the one of before away; one that is only marked as expired is not.
    pub(crate) fn may_find_nothing(self) -> bool {
        matches!(self, Self::TakeOver | Self::Refresh)
    }

    /// Does somebody else's value, `entry`, settle the claim?
    pub fn is_settled_by(self, entry: Option<&Entry>) -> bool {
        match self {
            Self::Create(seen) => seen.is_outdated_by(entry),
            Self::TakeOver | Self::Refresh | Self::Expire => false,
        }
    }
}

/// A change to be made under a [claim](Backend::claim).
#[derive(Debug)]
pub struct Commit<'k> {
    /// The key.
    pub key: &'k str,
    /// The entry to store; none removes what is stored.
    pub entry: Option<Entry>,
    /// From the claim.
    pub lease: Lease,
}

/// The outcome of a [claim](Backend::claim) to one key.
#[derive(Debug)]
pub enum Claimed {
    /// The key is the caller's.
    Won(Lease),
    /// There is another value now than was seen; the key was not claimed.
    Changed(Entry),
    /// Somebody else holds the mutex.
    Held,
    /// The key could not be claimed, and others could, since they are kept elsewhere. Where
    /// none could be, [`claim`](Backend::claim) itself is an error.
    Failed(BackendError),
}

/// The key of the mark that a creation of `key` leaves in a backend which does not
/// [order changes](Backend::orders_changes) by itself.
///
/// Servers take it for a key like any other: beneath a proxy with a mutex of its own there may
/// be one that has marks of its own, `_mark{KEY}`, and lets nobody store under those.
pub fn mark_key(key: &str) -> String {
    format!("_claim{{{key}}}")
}

/// The key of the mark that a backend on servers puts beside the value under `key`.
#[cfg(any(feature = "redis", feature = "memcached"))]
pub(crate) fn own_mark_key(key: &str) -> String {
    format!("_mark{{{key}}}")
}

/// The result of a [look](Backend::look_now) at an object: its moments, if it was what is looked for.
///
/// Two words come in registers. From memory, a processor would have to wait for them where it reads
/// them in other pieces than they were written in: that was up to a sixth of a hit.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
pub struct Looked {
    /// Not a number where there are no moments.
    ct: Timestamp,
    begun: Timestamp,
}

impl Looked {
    pub const ABSENT: Self = Self { ct: Timestamp::NAN, begun: Timestamp::NAN };
    /// [`get_now`](Backend::get_now) may tell.
    pub const UNKNOWN: Self = Self { ct: Timestamp::NAN, begun: 0.0 };

    #[cfg(feature = "memory")]
    #[inline]
    pub(crate) const fn object(ct: Timestamp, begun: Timestamp) -> Self {
        if ct.is_nan() { Self::UNKNOWN } else { Self { ct, begun } }
    }

    /// Returns when the object was created, and when that began.
    #[inline]
    pub(crate) const fn moments(self) -> Option<(Timestamp, Timestamp)> {
        if self.ct.is_nan() { None } else { Some((self.ct, self.begun)) }
    }

    #[inline]
    pub(crate) const fn is_absent(self) -> bool {
        self.ct.is_nan() && self.begun.is_nan()
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
#[cfg(feature = "serialized")]
#[derive(Debug, Clone, Copy)]
pub struct KeepsBytes;

impl Keeps for KeepsObjects {
    const OBJECTS: bool = true;
}

#[cfg(feature = "serialized")]
impl Keeps for KeepsBytes {
    const OBJECTS: bool = false;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::KeepsObjects {}
    #[cfg(feature = "serialized")]
    impl Sealed for super::KeepsBytes {}
}
