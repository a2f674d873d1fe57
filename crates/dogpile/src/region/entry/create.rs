//! The creating calls on one key.

use std::convert::Infallible;
use std::future::Future;

use super::super::Region;
use super::super::create::Creation;
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Answer, Fails, Lookup, Shape, takes};
use super::super::options::ShouldCache;
use super::super::values::ErrorSlot;
use super::Entry;
use crate::error::{CreateError, Error, Result};

impl<'r, K: Kind, S: Shape, C, V> Entry<'r, K, S, C, V> {
    /// Returns the value, created by `creator` if there is none that is fresh. See
    /// [`Region::get_or_create`](crate::Region::get_or_create).
    #[doc(alias("get_with", "or_insert_with"))]
    pub async fn get_or_create<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(hit.into_value()));
        }
        let created = Box::pin(self.create_infallibly(creator)).await;
        S::one(created.map(Answer::into_value))
    }

    /// Returns the value, created by `creator` if there is none that is fresh; the
    /// creator's error if it fails. See
    /// [`Region::try_get_or_create`](crate::Region::try_get_or_create).
    #[doc(alias("or_try_insert_with", "try_get_with"))]
    pub async fn try_get_or_create<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::tried(Ok(hit.into_value()));
        }
        let created = Box::pin(self.create(creator)).await;
        S::tried(created.map(Answer::into_value))
    }

    /// Returns the value as [`get_or_create`](Self::get_or_create) does, with its origin and age.
    ///
    /// ```
    /// use dogpile::{Config, Region, Status, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let region = Region::new("prices");
    /// region.configure(Config::new(Memory::new(100)))?;
    /// let first = region.entry("gold").lookup(async || 4_062_u32).await;
    /// let second = region.entry("gold").lookup(async || 4_063_u32).await;
    /// assert_eq!((first.value, first.status), (4_062, Status::Created));
    /// assert_eq!((second.value, second.status), (4_062, Status::Hit));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias = "is_fresh")]
    pub async fn lookup<T, F, Fut>(self, creator: F) -> S::One<Lookup<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(hit.into_lookup()));
        }
        let created = Box::pin(self.create_infallibly(creator)).await;
        S::one(created.map(Answer::into_lookup))
    }

    /// Returns the value as [`try_get_or_create`](Self::try_get_or_create) does, with its origin
    /// and age.
    pub async fn try_lookup<T, E, F, Fut>(self, creator: F) -> S::Tried<Lookup<T>, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::tried(Ok(hit.into_lookup()));
        }
        let created = Box::pin(self.create(creator)).await;
        S::tried(created.map(Answer::into_lookup))
    }

    /// Creates the value, whatever is stored, and stores it.
    ///
    /// It takes the key from a creation that is going on, anywhere: of that, the
    /// value goes to those who asked before it began, and is not stored. Of two
    /// refreshes the one that began later is stored. Callers of `get_or_create` get
    /// the stored value meanwhile, or wait for this one. A key that a Python process
    /// has locked is waited for, at most for the wait timeout.
    ///
    /// A value that is not stored, because `should_cache` or the codec refuses it,
    /// leaves nothing: what was stored is out of date. When the cache fails, the
    /// caller gets the value all the same.
    pub async fn refresh<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        let refreshed = self.create_anew(|| async { Ok::<_, Infallible>(creator().await) }).await;
        S::one(refreshed.map(Answer::into_value))
    }

    /// As [`refresh`](Self::refresh), for a creator that can fail; then nothing
    /// is stored, and what was stays.
    pub async fn try_refresh<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        S::tried(self.create_anew(creator).await.map(Answer::into_value))
    }

    pub(in crate::region) async fn create_anew<T, E, F, Fut>(
        self,
        creator: F,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let creation = match self.creation::<T, E>() {
            Ok(creation) => creation,
            Err(unconfigured) => return unconfigured.run(S::STRICT, creator).await,
        };
        let slot = ErrorSlot::of_any::<S>();
        slot.typed(creation.refresh_one(slot.one(creator)).await)
    }

    pub(in crate::region) fn hit_now<T: Cacheable<K>>(&self) -> Option<Answer<T>> {
        self.region.hit_now(&self.key, &self.options)
    }

    pub(in crate::region) async fn create_infallibly<T, F, Fut>(
        self,
        creator: F,
    ) -> Result<Answer<T>, CreateError<Infallible>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        self.create(|| async { Ok(creator().await) }).await
    }

    pub(in crate::region) async fn create<T, E, F, Fut>(
        self,
        creator: F,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        let creation = match self.creation::<T, E>() {
            Ok(creation) => creation,
            Err(unconfigured) => return unconfigured.run(S::STRICT, creator).await,
        };
        let slot = ErrorSlot::of_any::<S>();
        slot.typed(creation.run_one_inline(slot.one(creator)).await)
    }

    pub(super) fn creation<'v, T, E>(mut self) -> Result<Creation<'v>, Unconfigured<'r, K>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T> + 'v,
        S: Fails<E>,
    {
        self.options.takes = takes::<S, E>();
        let Self { region, key, options, should_cache, .. } = self;
        let Some(core) = region.core() else { return Err(Unconfigured(region)) };
        let keys = vec![key.into_owned()];
        Ok(Creation::new::<K, T, C>(core, keys, options, should_cache, S::STRICT))
    }
}

/// A creating call of a region that has no backend.
pub(in crate::region) struct Unconfigured<'r, K>(&'r Region<K>);

impl<K: Kind> Unconfigured<'_, K> {
    pub(super) fn error(&self) -> Error {
        self.0.not_configured()
    }

    pub(super) fn note_use(&self) {
        self.0.note_uncached_use();
    }

    pub(super) async fn run<T, E, F, Fut>(
        self,
        strict: bool,
        creator: F,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>>,
    {
        if strict {
            return Err(self.error().into());
        }
        self.note_use();
        creator().await.map(Answer::uncached).map_err(CreateError::Creator)
    }
}
