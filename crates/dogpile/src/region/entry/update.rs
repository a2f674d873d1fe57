//! Creators of one key that are given the value of before.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;
use std::sync::Arc;

use super::super::core::Core;
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Answer, CachedValue, Fails, Shape, age};
use super::super::options::ShouldCache;
use super::Entry;
use crate::error::Result;
use crate::invalidation::Mode;
use crate::value::{Entry as StoredEntry, VERSION};

impl<K: Kind, S: Shape, C, V> Entry<'_, K, S, C, V> {
    /// Returns the value; where none is fresh, `creator` is given the one of before, and may return
    /// that again if it is still right: a conditional creation, as with an `ETag`,
    /// `If-Modified-Since` or a version column. Otherwise as
    /// [`get_or_create`](Self::get_or_create).
    ///
    /// The creator is given none where nothing is stored that can be read, or where it was
    /// [invalidated](crate::Region::invalidate_all). It is read when the creation begins, by a
    /// request of its own. To return it again is to store it again, as created now.
    ///
    /// ```
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// type Page = (String, u32);
    ///
    /// /// The page, if its version is another than this one.
    /// async fn fetch(known: Option<u32>) -> Option<Page> {
    ///     (known != Some(7)).then(|| ("Hello".to_owned(), 7))
    /// }
    ///
    /// # pollster::block_on(async {
    /// let pages = Region::new("pages");
    /// pages.configure(Config::new(Memory::new(100)))?;
    /// for _ in 0..2 {
    ///     let page = pages.entry("/").get_or_update(async |old: Option<dogpile::CachedValue<Page>>| {
    ///         let old = old.map(|old| old.value);
    ///         fetch(old.as_ref().map(|(_, version)| *version)).await.or(old).expect("a page")
    ///     });
    ///     assert_eq!(page.await, ("Hello".to_owned(), 7));
    ///     pages.expire("/").await?;
    /// }
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    #[doc(alias("conditional", "revalidate", "etag", "and_upsert_with"))]
    pub async fn get_or_update<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce(Option<CachedValue<T>>) -> Fut + Send,
        Fut: Future<Output = T> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(hit.into_value()));
        }
        let before = self.before();
        let updated = self.create_infallibly(|| async { creator(before.await).await });
        S::one(Box::pin(updated).await.map(Answer::into_value))
    }

    /// Returns the value as [`get_or_update`](Self::get_or_update) does, or the creator's error if it
    /// fails.
    pub async fn try_get_or_update<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnOnce(Option<CachedValue<T>>) -> Fut + Send,
        Fut: Future<Output = Result<T, E>> + Send,
    {
        if let Some(hit) = self.hit_now() {
            return S::tried(Ok(hit.into_value()));
        }
        let before = self.before();
        let updated = self.create(|| async { creator(before.await).await });
        S::tried(Box::pin(updated).await.map(Answer::into_value))
    }

    /// Returns what is stored, for a creator that may go on from there.
    pub(in crate::region) fn before<T>(
        &self,
    ) -> impl Future<Output = Option<CachedValue<T>>> + Send + 'static + use<K, S, C, V, T>
    where
        T: Cacheable<K>,
    {
        let (core, key) = (self.region.core(), self.key.clone().into_owned());
        async move { core?.before(&key).await }
    }
}

impl<K: Kind, S: Shape, C: 'static, V> Entry<'_, K, S, C, V> {
    /// Returns a stale value at once, and runs the creator in the background, as
    /// [`get_or_create_in_background`](Self::get_or_create_in_background) does; the creator is given
    /// the value of before, as by [`get_or_update`](Self::get_or_update).
    pub async fn get_or_update_in_background<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce(Option<CachedValue<T>>) -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(hit.into_value()));
        }
        let before = self.before();
        let creator = || async { Ok::<_, Infallible>(creator(before.await).await) };
        let updated = self.create_in_background(creator, Infallible::to_string);
        S::one(Box::pin(updated).await.map(Answer::into_value))
    }

    /// Updates in the background as
    /// [`get_or_update_in_background`](Self::get_or_update_in_background) does, by a creator that can
    /// fail. See [`try_get_or_create_in_background`](Self::try_get_or_create_in_background).
    pub async fn try_get_or_update_in_background<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Display + Send + 'static,
        S: Fails<E>,
        F: FnOnce(Option<CachedValue<T>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.try_get_or_update_telling(creator, E::to_string).await
    }

    /// Updates in the background, for any error, with the text to log of it.
    #[doc(hidden)]
    pub async fn try_get_or_update_telling<T, E, F, Fut>(
        self,
        creator: F,
        tell: fn(&E) -> String,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
        F: FnOnce(Option<CachedValue<T>>) -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some(hit) = self.hit_now() {
            return S::tried(Ok(hit.into_value()));
        }
        let before = self.before();
        let updated = self.create_in_background(|| async { creator(before.await).await }, tell);
        S::tried(Box::pin(updated).await.map(Answer::into_value))
    }
}

impl Core {
    /// Returns the stored value, whatever its age, unless it was invalidated.
    async fn before<K, T: Cacheable<K>>(self: Arc<Self>, key: &str) -> Option<CachedValue<T>> {
        let stored = self.stored_key(key);
        self.refresh_invalidation().await;
        let entry = self.backend.get(&stored).await.ok()??;
        self.given(&stored, &entry)
    }

    /// Returns the stored values of several keys, as [`before`](Self::before).
    pub(in crate::region) async fn before_multi<K, T: Cacheable<K>>(
        &self,
        keys: &[String],
    ) -> Vec<Option<CachedValue<T>>> {
        let stored: Vec<_> = keys.iter().map(|key| self.stored_key(key)).collect();
        let stored: Vec<&str> = stored.iter().map(AsRef::as_ref).collect();
        self.refresh_invalidation().await;
        let entries = self.backend.get_multi(&stored).await;
        let entries = entries.unwrap_or_else(|_| vec![None; stored.len()]);
        stored.iter().zip(entries).map(|(key, entry)| self.given(key, &entry?)).collect()
    }

    /// Returns what a creator is given of an entry.
    fn given<K, T: Cacheable<K>>(
        &self,
        stored_key: &str,
        entry: &StoredEntry,
    ) -> Option<CachedValue<T>> {
        let metadata = &entry.metadata;
        let is_gone = self.verdict(metadata) == Some(Mode::Hard) || self.owed.has(stored_key);
        if is_gone || metadata.v != VERSION {
            return None;
        }
        let value = self.decode_entry(entry).ok()?;
        let ct = metadata.ct;
        Some(CachedValue { value, ct, age: age(self.clock.now(), ct) })
    }
}
