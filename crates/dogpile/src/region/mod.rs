//! The types behind the calls of a [`Region`]: what it can hold, what its calls return, and
//! who runs creations in the background. The common ones are at the crate's root.
//!
//! | types | about |
//! |---|---|
//! | [`Region`], [`Config`] | a cache, and its configuration |
//! | [`Entry`], [`Entries`], [`Keyspace`] | one key, several keys, the keys of one type |
//! | [`AnyValue`], [`Only`], [`Takes`] | the values that an entry is about |
//! | [`Lookup`], [`CachedValue`], [`Shape`], [`Plain`], [`Strict`], [`Sharing`], [`Fails`] | the results of calls |
//! | [`Kind`], [`Serialized`], [`InMemory`], [`Holds`], [`Cacheable`] | the types that a region can hold |
//! | [`EntryOptions`], [`Expiration`], [`Early`], [`ShouldCache`], [`Always`] | options |
//! | [`Runner`], [`DefaultRunner`], [`Job`] | creations in the background |

// ```text
//   mod            Region: what users call
//   unconfigured   new regions, of each kind of values
//   config         what a region is configured with
//   configuration  the one that it has now
//   choices        what of it depends on the backend in the end
//   options        what a region, or one call of it, can set
//   entry          one key and the options of a call on it
//   entries        the same for several keys
//   entry_options  options of calls, apart from any call
//   early          the moment from which a value is created again
//   keyspace       one function's keys and type
//   decorated      the calls of decorated functions
//   blocking       the same calls for code that is not async
//   lookup         what calls return
//   at_hand        the futures of reads that mostly end at once
//   near           reading through the near tier
//   object_now     the short way to a hit in memory, or of a near copy
//   bytes_now      the same for values that memory keeps as bytes
//   short_way      what that needs of a configuration
//   kind           which types a region can hold
//   state          what a region has of its own in each scope of a test
//   core           a configured region: decoding and storing values
//   judge          judging what is stored
//   kept           values that were created while the store was away
//   owed           changes that a backend has not taken
//   late_deletion  deletes late what it did not take
//   unseen         the time for which an invalidation could not be looked at
//   create         the front door of creating calls
//   streak         misses one after the other, as while a cache fills
//   flight         the dogpile lock's view of a region
//   values         the way of values past the engine, which does not know their type
//   background     runs creations in the background
//   failed         creations that failed a moment ago
//   once           a creator of one value, which runs once
//   fault          the errors of the lock, as errors of a region
// ```

mod at_hand;
pub(crate) mod background;
pub(crate) mod blocking;
#[cfg(feature = "serialized")]
mod bytes_now;
mod choices;
mod config;
mod configuration;
mod core;
mod create;
#[cfg(feature = "macros")]
mod decorated;
mod early;
mod entries;
mod entry;
mod entry_options;
mod failed;
mod fault;
mod flight;
mod judge;
mod kept;
mod keyspace;
mod kind;
mod late_deletion;
mod lookup;
mod near;
mod object_now;
mod once;
mod options;
mod owed;
mod short_way;
mod state;
mod streak;
mod unconfigured;
mod unseen;
mod values;

use std::borrow::Cow;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use self::at_hand::{AtHand, Get};
use self::core::Core;
use self::lookup::Answer;
use self::options::Options;
use self::state::{Current, State};
use crate::backend::AnyBackend;
use crate::error::{CreateError, Error, Result};
use crate::invalidation::Mode;
use crate::log;
use crate::proxy::Layer;
use crate::stats::Statistics;

pub use background::{DefaultRunner, Job, Runner};
#[cfg(feature = "config")]
pub(crate) use choices::{InvalidationChoice, ManglerChoice};
pub use config::Config;
pub use early::Early;
pub use entries::Entries;
pub use entry::{Begun, Creation, Entry};
pub use entry_options::EntryOptions;
pub use keyspace::Keyspace;
#[cfg(feature = "serialized")]
pub use kind::Encoded;
pub use kind::{AnyValue, Cacheable, Holds, InMemory, Kind, Only, Serialized, Takes};
#[doc(hidden)]
pub use kind::{Codec as KindCodec, EncodedValue, Encoding};
pub use lookup::{CachedValue, Fails, Lookup, Plain, Shape, Sharing, Strict};
pub use options::{Always, Expiration, ShouldCache};

/// A cache: one interface over any backend, with one caller elected to create
/// a value that is missing or expired.
///
/// A region is created unconfigured, usually as a `static`, and
/// [configured](Self::configure) once, later, when settings are at hand.
/// Values are typed by the call.
///
/// ```
/// use std::time::Duration;
/// use dogpile::{Config, Region, backend::Memory};
///
/// static USERS: Region = Region::new("users");
///
/// # async fn slow_query(id: u64) -> String { format!("user {id}") }
/// # pollster::block_on(async {
/// USERS.configure(Config::new(Memory::new(10_000)).expiration(Duration::from_secs(300)))?;
///
/// let name: String = USERS.get_or_create("user:42", || slow_query(42)).await;
/// assert_eq!(name, "user 42");
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
///
/// The kind `K` says what it can hold: [`Serialized`], the default, types that can
/// be serialized; [`InMemory`] any type, over backends that keep objects; [`Encoded`] types that
/// are bytes already, over every backend.
pub struct Region<K = Serialized> {
    own: State,
    kind: PhantomData<fn() -> K>,
}

impl<K> Region<K> {
    /// Returns the state of the region: in the scope of a test, another than in the process.
    #[inline]
    fn state(&self) -> Current<'_> {
        Current::of(&self.own)
    }

    fn not_configured(&self) -> Error {
        self.own.not_configured()
    }
}

impl<K: Kind> Region<K> {
    /// Gives the region its backend and settings.
    ///
    /// [`Error::AlreadyConfigured`] the second time, unless the configuration
    /// [asks for replacement](Config::replace_existing);
    /// [`Error::NeedsObjects`] if a region of kind [`InMemory`] gets an erased
    /// backend that keeps bytes; [`Error::NearInMemory`] for a [near tier](Config::near) over a
    /// backend that keeps objects.
    pub fn configure(&self, config: Config<K>) -> Result<()> {
        self.state().configure(config)
    }

    /// Puts `proxy` around the backend and the proxies it has already. Creations that are going on end without it.
    #[doc(alias = "wrap")]
    pub fn add_proxy(&self, proxy: impl Layer) -> Result<()> {
        self.state().change(|core| core.with_backend(proxy.layer(core.beneath().clone())))
    }

    /// The region's name.
    pub fn name(&self) -> &str {
        self.own.name()
    }

    /// Has the region got a backend?
    pub fn is_configured(&self) -> bool {
        self.state().is_configured()
    }

    /// The outermost backend: the proxies, if there are any, around the
    /// [actual](AnyBackend::actual) one.
    pub fn backend(&self) -> Result<AnyBackend> {
        Ok(self.configured()?.beneath().clone())
    }

    /// Returns the counts of the region up to now.
    #[doc(alias = "stats")]
    pub fn statistics(&self) -> Statistics {
        let state = self.state();
        let mut statistics = state.shared().stats.snapshot();
        if let Some(core) = state.core() {
            statistics.pending_deletions = core.owed.count() as u64;
            #[cfg(feature = "near")]
            if let Some(near) = &core.near {
                statistics.near_entries = near.len() as u64;
                statistics.near_age = near.age();
            }
        }
        statistics
    }

    /// The key that `key` is stored under, after mangling.
    pub fn stored_key(&self, key: &str) -> Result<String> {
        Ok(self.configured()?.stored_key(key).into_owned())
    }

    /// Returns the key generator of decorated functions, if it is not the usual one.
    #[cfg(feature = "macros")]
    #[inline]
    pub(crate) fn key_generator(&self) -> Option<crate::key::KeyGenerator> {
        self.state().key_generator()
    }

    /// One key, for a call with options of its own.
    pub fn entry<'r>(&'r self, key: impl Into<Cow<'r, str>>) -> Entry<'r, K> {
        Entry::new(self, key.into())
    }

    /// Several keys, for a call with options of its own.
    pub fn entries<I>(&self, keys: I) -> Entries<'_, K>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Entries::new(self, keys.into_iter().map(Into::into).collect())
    }

    /// A view of the keys that begin with `prefix` and a colon, which hold
    /// values of one type: keys and type of one function, kept together.
    ///
    /// ```
    /// # use dogpile::{Config, Region, backend::Memory};
    /// # pollster::block_on(async {
    /// # let region = Region::new("r");
    /// # region.configure(Config::new(Memory::new(10)))?;
    /// let names = region.keyspace::<u64, String>("name");
    /// let name = names.get_or_create(&42, async || "Ada".to_owned()).await;
    /// assert_eq!(name, "Ada");
    /// assert_eq!(region.get("name:42").await?, Some("Ada".to_owned()));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    pub const fn keyspace<'r, Q, T>(&'r self, prefix: &'r str) -> Keyspace<'r, Q, T, K> {
        Keyspace::new(self, prefix)
    }

    /// The same region for code that is not async.
    ///
    /// A call returns at once where there is nothing to wait for, and parks
    /// the thread otherwise. On a multi-thread tokio runtime the other tasks
    /// of the worker move on first; on a current-thread runtime, where what
    /// it waits for could never go on, waiting is refused: with
    /// [`Error::WouldDeadlock`], and where there is no place for an error by
    /// running the creator uncached.
    #[doc(alias = "sync")]
    pub const fn blocking(&self) -> blocking::Region<'_, K> {
        blocking::Region::new(self)
    }

    /// Returns the value under `key`, created by `creator` if there is none that is fresh.
    ///
    /// Of all callers of a key one is elected to run its creator. While it
    /// runs, the others get the stale value, if there is one, and wait for the
    /// new one if not. The value is stored with the time at which
    /// its creation ended. When the cache fails, the creator runs all the
    /// same: at most one per process and key at a time.
    ///
    /// Cancel safe: dropping the future while it creates passes the creation
    /// on to a waiter. A panic of the creator does the same and
    /// goes on to the caller. A future that is neither polled nor dropped may
    /// hold its key up, as with any lock.
    ///
    /// # Panics
    ///
    /// A creator that asks for its own key would wait for itself; instead the
    /// inner call runs its creator uncached and logs a warning, and if that
    /// asks for the key once more it panics. The
    /// [strict](Entry::strict) form returns [`Error::RecursiveCreation`] at once.
    #[doc(alias("get_or_insert_with", "get_with"))]
    pub async fn get_or_create<T, F, Fut>(&self, key: &str, creator: F) -> T
    where
        T: Cacheable<K>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.value_now(key) {
            return hit;
        }
        let created = Box::pin(self.entry(key).create_infallibly(creator)).await;
        Plain::one(created.map(Answer::into_value))
    }

    /// As [`get_or_create`](Self::get_or_create), for a creator that can
    /// fail. Its error goes to its caller alone and unchanged; nothing is
    /// stored, and a waiter takes over with its own creator.
    #[doc(alias("get_or_try_insert_with", "try_get_with"))]
    pub async fn try_get_or_create<T, E, F, Fut>(&self, key: &str, creator: F) -> Result<T, E>
    where
        T: Cacheable<K>,
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.value_now(key) {
            return Ok(hit);
        }
        let created = Box::pin(self.entry(key).create(creator)).await;
        Plain::tried(created.map(Answer::into_value))
    }

    /// The values under `keys`, in their order; those that are missing or
    /// expired are created by `creator`, which gets only the keys that this
    /// caller was elected for and returns their values in that order.
    ///
    /// One read for all keys, one call of the creator, one write. It is
    /// called again only if a key that somebody else was creating falls to
    /// this caller after all. Callers with overlapping keys in any order do
    /// not block each other: nothing is waited for while a key is held.
    ///
    /// [`Error::WrongCount`] if it returns too few or too many values,
    /// [`Error::RecursiveCreation`] if it asks for what it is creating; nothing is
    /// stored then.
    pub async fn get_or_create_multi<T, I, F, Fut>(&self, keys: I, creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        I: IntoIterator,
        I::Item: Into<String>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        let entries = self.entries(keys);
        entries.get_or_create(creator).await
    }

    /// As [`get_or_create_multi`](Self::get_or_create_multi), for a creator
    /// that can fail.
    pub async fn try_get_or_create_multi<T, E, I, F, Fut>(
        &self,
        keys: I,
        creator: F,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        E: Send,
        I: IntoIterator,
        I::Item: Into<String>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let entries = self.entries(keys);
        entries.try_get_or_create(creator).await
    }

    /// The value under `key`, if it is present, not expired and not
    /// invalidated. See [`Entry::get`].
    pub fn get<'c, T: Cacheable<K>>(
        &'c self,
        key: &'c str,
    ) -> impl Future<Output = Result<Option<T>>> {
        AtHand::new(Get::new(self, key))
    }

    /// Returns the value under `key` if it is fresh and at hand: in memory, or in a near tier.
    /// Nothing is asked of a server, and nobody is waited for. See [`Entry::peek`].
    pub fn peek<T: Cacheable<K>>(&self, key: &str) -> Option<T> {
        self.value_now(key)
    }

    /// As [`get`](Self::get), with the value's creation time and age.
    #[doc(alias = "get_value_metadata")]
    pub async fn get_with_metadata<T: Cacheable<K>>(
        &self,
        key: &str,
    ) -> Result<Option<CachedValue<T>>> {
        self.entry(key).get_with_metadata().await
    }

    /// The values under `keys`, in their order.
    pub async fn get_multi<T, I>(&self, keys: I) -> Result<Vec<Option<T>>>
    where
        T: Cacheable<K>,
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let entries = self.entries(keys);
        entries.get().await
    }

    /// Stores `value` under `key`, as created now.
    #[doc(alias = "insert")]
    pub async fn set<T: Cacheable<K>>(&self, key: &str, value: &T) -> Result<()> {
        self.entry(key).set(value).await
    }

    /// Stores each value under its key, as created now, in one write.
    pub async fn set_multi<'v, T, I, Q>(&self, values: I) -> Result<()>
    where
        T: Cacheable<K>,
        I: IntoIterator<Item = (Q, &'v T)>,
        Q: AsRef<str>,
    {
        self.store_multi(values, Options::default()).await
    }

    /// Removes the value under `key`; that there is none is fine.
    ///
    /// An error means that the stale value may still be there. Where that must not fail the
    /// caller, after a commit say, there is [`Entry::delete_in_background`].
    #[doc(alias("invalidate", "remove"))]
    pub async fn delete(&self, key: &str) -> Result<()> {
        self.entry(key).delete().await
    }

    /// Expires the value under `key`: it is stale from now on, and created again by the next
    /// caller. See [`Entry::expire`].
    pub async fn expire(&self, key: &str) -> Result<()> {
        self.entry(key).expire().await
    }

    /// Removes the values under `keys`.
    pub async fn delete_multi<I>(&self, keys: I) -> Result<()>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        let entries = self.entries(keys);
        entries.delete().await
    }

    /// Is the value under `key` being created right now, anywhere that the
    /// mutex reaches?
    pub async fn key_is_locked(&self, key: &str) -> Result<bool> {
        self.entry(key).is_locked().await
    }

    /// Invalidates all values created up to now, and those that are being created: they count as
    /// missing, and callers wait for new ones (a hard invalidation).
    ///
    /// The values stay where they are and are overwritten one by one. Over a backend
    /// that processes share it reaches all of them, by default within a second; see
    /// [`Config::shared_invalidation`].
    ///
    /// ```
    /// # use dogpile::{Config, Region, backend::Memory};
    /// # pollster::block_on(async {
    /// # let users = Region::new("users");
    /// # users.configure(Config::new(Memory::new(10)))?;
    /// users.set("42", &"Ada".to_owned()).await?;
    /// users.invalidate_all().await?;
    /// assert_eq!(users.get::<String>("42").await?, None);
    /// # Ok::<(), dogpile::Error>(()) }).unwrap();
    /// ```
    #[doc(alias = "invalidate")]
    pub async fn invalidate_all(&self) -> Result<()> {
        self.end_all(Mode::Hard).await
    }

    /// Expires all values created up to now, and those that are being created: stale values are
    /// served while each is created again (a soft invalidation). Otherwise as
    /// [`invalidate_all`](Self::invalidate_all).
    #[doc(alias = "invalidate")]
    pub async fn expire_all(&self) -> Result<()> {
        self.end_all(Mode::Soft).await
    }

    async fn end_all(&self, mode: Mode) -> Result<()> {
        let core = self.configured()?;
        if core.invalidates_alone() {
            log::invalidates_alone(core.name());
        }
        core.kept.forget_all();
        let at = core.stamp().order;
        core.invalidation.invalidate(mode, at).await.map_err(|error| {
            core.owe_invalidation(mode, at);
            core.failed("invalidate", error)
        })
    }

    /// The configuration, if there is one.
    fn core(&self) -> Option<Arc<Core>> {
        self.state().core()
    }

    fn configured(&self) -> Result<Arc<Core>> {
        self.state().configured()
    }

    /// A plain creating call before configuration runs its creator uncached;
    /// the first one is warned about.
    fn note_uncached_use(&self) {
        self.count_uncached();
        let warned = &self.own.shared().warned;
        warned.call_once(|| log::running_uncached(self.name(), &self.not_configured()));
    }

    fn count_uncached(&self) {
        self.state().shared().stats.count_uncached();
    }
}

impl<K> fmt::Debug for Region<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let core = self.state().core();
        f.debug_struct("Region")
            .field("name", &self.own.name())
            .field("backend", &core.as_ref().map(|core| &core.backend))
            .finish_non_exhaustive()
    }
}
