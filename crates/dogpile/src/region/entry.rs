//! One key of a region and the options of a call on it.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use super::Region;
use super::core::Core;
use super::create::{Creation, OneCreator};
use super::kind::{Cacheable, Kind, Serde};
use super::lookup::{Answer, IntoDetailed, IntoStrict, Plain, Shape, Stored, age};
use super::options::{Always, Expiration, Options, ShouldCache, call_options};
use crate::backend::BackendError;
use crate::clock::{Stamp, Timestamp};
use crate::error::{Error, Failure, Result};
use crate::lock::{Found, Mutex, OnTimeout};
use crate::stats::Count;
use crate::value::Entry as StoredEntry;

/// A key of a region, and how this call treats it. Made by
/// [`Region::entry`](crate::Region::entry); what is not set here is as the
/// region was configured.
///
/// ```
/// use std::time::Duration;
/// use dogpile::{Config, Region, backend::Memory};
///
/// # pollster::block_on(async {
/// let region = Region::new("prices");
/// region.configure(Config::new(Memory::new(100)).expiration(Duration::from_secs(60)))?;
///
/// let price: u64 = region
///     .entry("gold")
///     .expiration(Duration::from_secs(5))
///     .should_cache(|price: &u64| *price > 0)
///     .get_or_create(async || 4_062)
///     .await;
/// assert_eq!(price, 4_062);
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
#[must_use = "an entry does nothing until one of its operations is called"]
pub struct Entry<'r, K = Serde, S = Plain, C = Always> {
    pub(super) region: &'r Region<K>,
    pub(super) key: Cow<'r, str>,
    pub(super) options: Options,
    pub(super) should_cache: C,
    shape: PhantomData<fn() -> S>,
}

impl<'r, K: Kind> Entry<'r, K> {
    pub(super) fn new(region: &'r Region<K>, key: Cow<'r, str>) -> Self {
        let options = Options::default();
        Self { region, key, options, should_cache: Always, shape: PhantomData }
    }
}

impl<'r, K: Kind, S: Shape, C> Entry<'r, K, S, C> {
    call_options!();

    /// Stores a created value only if `should_cache` says so; the caller gets
    /// it in any case.
    pub fn should_cache<F>(self, should_cache: F) -> Entry<'r, K, S, F> {
        let Self { region, key, options, .. } = self;
        Entry { region, key, options, should_cache, shape: PhantomData }
    }

    /// Makes faults of the cache errors, where a plain call would survive
    /// them; see [`Shape`].
    pub fn strict(self) -> Entry<'r, K, S::Strict, C>
    where
        S: IntoStrict,
    {
        self.shaped()
    }

    /// Makes the call say how the value came about; see [`Shape`].
    pub fn detailed(self) -> Entry<'r, K, S::Detailed, C>
    where
        S: IntoDetailed,
    {
        self.shaped()
    }

    /// Returns a stale value at once where there is one, also to the elected
    /// caller, and runs the creator on the region's
    /// [`Runner`](crate::Runner).
    pub fn background(self) -> BackgroundEntry<'r, K, S, C> {
        BackgroundEntry(self)
    }

    fn shaped<N>(self) -> Entry<'r, K, N, C> {
        let Self { region, key, options, should_cache, .. } = self;
        Entry { region, key, options, should_cache, shape: PhantomData }
    }

    /// The value, made by `creator` if there is none that is fresh. See
    /// [`Region::get_or_create`](crate::Region::get_or_create).
    pub async fn get_or_create<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(hit));
        }
        S::one(Box::pin(self.create_infallibly(creator)).await)
    }

    /// The value, made by `creator` if there is none that is fresh; the
    /// creator's error if it fails. See
    /// [`Region::try_get_or_create`](crate::Region::try_get_or_create).
    pub async fn try_get_or_create<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::tried(Ok(hit));
        }
        S::tried(Box::pin(self.create(creator)).await)
    }

    /// Creates the value, whatever is stored, and stores it.
    ///
    /// It takes the key from a creation that is going on, anywhere: of that, the
    /// value goes to those who asked before it began, and is not stored. Of two
    /// refreshes the one that began later is stored. Callers of `get_or_create` get
    /// the stored value meanwhile, or wait for this one. A key that a Python process
    /// has locked is waited for, at most for the wait limit.
    ///
    /// A value that is not stored, because `should_cache` or the codec refuses it,
    /// leaves nothing: what was stored is out of date. When the cache fails, the
    /// caller gets the value all the same.
    pub async fn refresh<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        S::one(self.create_anew(|| async { Ok::<_, Infallible>(creator().await) }).await)
    }

    /// As [`refresh`](Self::refresh), for a creator that can fail; then nothing
    /// is stored, and what was stays.
    pub async fn try_refresh<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        S::tried(self.create_anew(creator).await)
    }

    pub(super) async fn create_anew<T, E, F, Fut>(self, creator: F) -> Result<Answer<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let creation = match self.creation() {
            Ok(creation) => creation,
            Err(unconfigured) => return unconfigured.run(S::STRICT, creator).await,
        };
        let creator = OneCreator::new(creator);
        let result = creation.anew(creator.for_lock()).await;
        creator.settle(&creation, result, S::STRICT).await
    }

    pub(super) fn hit_now<T: Cacheable<K>>(&self) -> Option<Answer<T>> {
        self.region.hit_now(&self.key, &self.options)
    }

    pub(super) async fn create_infallibly<T, F, Fut>(
        self,
        creator: F,
    ) -> Result<Answer<T>, Failure<Infallible>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        self.create(|| async { Ok(creator().await) }).await
    }

    pub(super) async fn create<T, E, F, Fut>(self, creator: F) -> Result<Answer<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let creation = match self.creation() {
            Ok(creation) => creation,
            Err(unconfigured) => return unconfigured.run(S::STRICT, creator).await,
        };
        let creator = OneCreator::new(creator);
        let result = creation.here(creator.for_lock()).await;
        creator.settle(&creation, result, S::STRICT).await
    }

    fn creation<T>(self) -> Result<Creation<K, T, C>, Unconfigured<'r, K>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        match self.region.core() {
            None => Err(Unconfigured(self.region)),
            Some(core) => {
                let keys = vec![self.key.into_owned()];
                Ok(Creation::new(core, keys, self.options, self.should_cache, S::STRICT))
            }
        }
    }
}

impl<K, S, C> fmt::Debug for Entry<'_, K, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("region", &self.region)
            .field("key", &crate::error::shown(&self.key))
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A creating call of a region that has no backend.
pub(super) struct Unconfigured<'r, K>(pub(super) &'r Region<K>);

impl<K: Kind> Unconfigured<'_, K> {
    async fn run<T, E, F, Fut>(self, strict: bool, creator: F) -> Result<Answer<T>, Failure<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if strict {
            return Err(self.0.not_configured().into());
        }
        self.0.note_uncached_use();
        creator().await.map(Answer::uncached).map_err(Failure::Creator)
    }
}

/// An [`Entry`] whose creations go to the background where they can. The
/// creator is owned then: it may outlive the call.
///
/// Where there is no old value, callers wait for the creation, and it runs on
/// the caller's side.
#[must_use = "an entry does nothing until one of its operations is called"]
pub struct BackgroundEntry<'r, K = Serde, S = Plain, C = Always>(Entry<'r, K, S, C>);

impl<K, S, C> fmt::Debug for BackgroundEntry<'_, K, S, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("BackgroundEntry").field(&self.0).finish()
    }
}

impl<'r, K: Kind, S: Shape, C: 'static> BackgroundEntry<'r, K, S, C> {
    /// As [`Entry::get_or_create`].
    pub async fn get_or_create<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        if let Some(hit) = self.0.hit_now() {
            return S::one(Ok(hit));
        }
        let creator = || async { Ok::<_, Infallible>(creator().await) };
        S::one(Box::pin(self.create(creator, Infallible::to_string)).await)
    }

    /// As [`Entry::try_get_or_create`]. An error of a creator that ran in the
    /// background is counted and logged, by its `Display`; nobody is there to take it.
    pub async fn try_get_or_create<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: fmt::Display + Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.try_get_or_create_telling(creator, E::to_string).await
    }

    /// The same for any error, with what is to be logged of it.
    #[doc(hidden)]
    pub async fn try_get_or_create_telling<T, E, F, Fut>(
        self,
        creator: F,
        tell: fn(&E) -> String,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some(hit) = self.0.hit_now() {
            return S::tried(Ok(hit));
        }
        S::tried(Box::pin(self.create(creator, tell)).await)
    }

    pub(super) async fn create<T, E, F, Fut>(
        self,
        creator: F,
        tell: fn(&E) -> String,
    ) -> Result<Answer<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send + 'static,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let creation = match self.0.creation() {
            Ok(creation) => creation,
            Err(unconfigured) => return unconfigured.run(S::STRICT, creator).await,
        };
        let creator = OneCreator::new(creator);
        let result = creation.behind(creator.for_lock(), tell).await;
        creator.settle(&creation, result, S::STRICT).await
    }

    /// Removes the value, now or as soon as that can be done: for callers that must not fail
    /// because of the cache, such as one whose transaction is committed.
    ///
    /// It tries at once, and returns when that has been answered. If it has failed, which is
    /// logged and counted, the key is deleted again and again in the background until the
    /// backend takes it, with pauses of up to five seconds. Until then the stale value may be
    /// found there. Of a region that is not configured nothing is deleted.
    ///
    /// Up to 10,000 keys of a region wait so; a further one is given up with a warning. So are
    /// all of a process that ends.
    ///
    /// ```
    /// # use dogpile::{Config, Region, backend::Memory};
    /// # pollster::block_on(async {
    /// # let users = Region::new("users");
    /// # users.configure(Config::new(Memory::new(10)))?;
    /// users.set("42", &"Ada".to_owned()).await?;
    /// // transaction.commit().await?;
    /// users.entry("42").background().delete().await;
    /// assert_eq!(users.get::<String>("42").await?, None);
    /// # Ok::<(), dogpile::Error>(()) }).unwrap();
    /// ```
    pub async fn delete(self) {
        if let Some(core) = self.0.region.core() {
            let key = core.stored_key(&self.0.key).into_owned();
            core.delete_surely(key).await;
        }
    }

    pub(super) fn entry(&self) -> &Entry<'r, K, S, C> {
        &self.0
    }
}

impl<K: Kind, S: Shape, C> Entry<'_, K, S, C> {
    /// The value, if it is present, not expired and not invalidated.
    ///
    /// What cannot be read counts as absent (and is logged and counted);
    /// [`Error::WrongType`] if a live object of another type is there.
    pub async fn get<T: Cacheable<K>>(self) -> Result<Option<T>> {
        match self.region.get_now(&self.key, &self.options) {
            Some(found) => Ok(found),
            None => self.get_slowly().await,
        }
    }

    pub(super) async fn get_slowly<T: Cacheable<K>>(self) -> Result<Option<T>> {
        Ok(self.get_stored().await?.map(|stored| stored.value))
    }

    /// As [`get`](Self::get), with the value's creation time and age.
    pub async fn get_stored<T: Cacheable<K>>(self) -> Result<Option<Stored<T>>> {
        let core = self.region.configured()?;
        let looked = core.refresh_invalidation().await;
        let entry = core.backend.get(&core.stored_key(&self.key)).await;
        let entry = core.judged(looked, entry).await;
        core.read(&self.key, entry, &self.options)
    }

    /// Stores `value` as created now.
    ///
    /// A creation of the key that is going on, anywhere, is not stored over it.
    pub async fn set<T: Cacheable<K>>(self, value: &T) -> Result<()> {
        let core = self.region.configured()?;
        core.keep(&self.key, value, core.stamp(), self.options).await
    }

    /// Removes the value; that there is none is fine.
    ///
    /// A creation of the key that is going on, anywhere, is not stored after it: it may
    /// have begun before what the deletion is about.
    pub async fn delete(self) -> Result<()> {
        let core = self.region.configured()?;
        let key = core.stored_key(&self.key);
        core.shared.keys.note_change(&key);
        let deleted = core.backend.delete(&key).await;
        deleted.map_err(|fault| core.failed("delete", fault))
    }

    /// Is the value being created right now, anywhere that the mutex reaches?
    pub async fn is_locked(self) -> Result<bool> {
        let core = self.region.configured()?;
        let key = core.stored_key(&self.key);
        if core.shared.keys.is_held(&key) {
            return Ok(true);
        }
        match &core.mutex {
            None => Ok(false),
            Some(mutex) => {
                mutex.is_locked(&key).await.map_err(|fault| core.failed("is_locked", fault))
            }
        }
    }
}

impl Core {
    /// A `get`'s answer from what the backend said.
    #[inline]
    pub(super) fn read<K, T: Cacheable<K>>(
        &self,
        key: &str,
        found: Result<Option<StoredEntry>, BackendError>,
        options: &Options,
    ) -> Result<Option<Stored<T>>> {
        let now = self.clock.coarse_now();
        if let Ok(Some(entry)) = &found
            && self.judge(&entry.metadata, options, now) == Found::Fresh
        {
            return self.read_fresh(key, entry, now);
        }
        self.stats().count(Count::Misses);
        match found {
            Ok(_) => Ok(None),
            Err(fault) => Err(self.failed("get", fault)),
        }
    }

    #[inline]
    fn read_fresh<K, T: Cacheable<K>>(
        &self,
        key: &str,
        entry: &StoredEntry,
        now: Timestamp,
    ) -> Result<Option<Stored<T>>> {
        let ct = entry.metadata.ct;
        let why = match self.open(entry) {
            Ok(value) => {
                self.stats().count(Count::Hits);
                return Ok(Some(Stored { value, ct, age: age(now, ct) }));
            }
            Err(why) => why,
        };
        self.stats().count(Count::Misses);
        if let Some(error) = self.wrong_type::<T>(key, &why) {
            return Err(error);
        }
        self.note_unopened::<T>(key, &why);
        Ok(None)
    }

    /// Stores a value.
    pub(super) async fn keep<K, T: Cacheable<K>>(
        &self,
        key: &str,
        value: &T,
        stamp: Stamp,
        options: Options,
    ) -> Result<()> {
        let options = options.or(&self.defaults);
        let (entry, key) = (self.entry_for(key, value, stamp, &options)?, self.stored_key(key));
        self.shared.keys.note_change(&key);
        let stored = self.backend.set(&key, entry).await;
        stored.map_err(|fault| self.failed("set", fault))
    }

    /// The entry to store for an explicit `set`.
    pub(super) fn entry_for<K, T: Cacheable<K>>(
        &self,
        key: &str,
        value: &T,
        Stamp { ct, order }: Stamp,
        options: &Options,
    ) -> Result<StoredEntry> {
        let mut entry = self.close(value, ct, options).map_err(|source| {
            self.stats().count(Count::NotStored);
            Error::Encode { region: self.name().to_owned(), key: crate::error::shown(key), source }
        })?;
        entry.metadata.begun = order;
        Ok(entry)
    }
}
