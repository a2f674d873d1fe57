//! Creations and deletions of one key in the background.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::Future;

use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Answer, Fails, Shape};
use super::super::options::ShouldCache;
use super::super::values::ErrorSlot;
use super::Entry;
use crate::error::{CreateError, Result};

impl<K: Kind, S: Shape, C: 'static, V> Entry<'_, K, S, C, V> {
    /// Returns a stale value at once where there is one, also to the elected caller, and runs
    /// the creator on the region's [`Runner`](crate::region::Runner).
    ///
    /// The creator is owned, since it may outlive the call. Where there is no stale value,
    /// callers wait for the creation, and it runs on the caller's side.
    #[doc(alias = "async_creation_runner")]
    pub async fn get_or_create_in_background<T, F, Fut>(self, creator: F) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = T> + Send + 'static,
    {
        if let Some(hit) = self.hit_now() {
            return S::one(Ok(hit.into_value()));
        }
        let creator = || async { Ok::<_, Infallible>(creator().await) };
        let created = Box::pin(self.create_in_background(creator, Infallible::to_string)).await;
        S::one(created.map(Answer::into_value))
    }

    /// Creates in the background as
    /// [`get_or_create_in_background`](Self::get_or_create_in_background) does, by a creator that
    /// can fail. An error of a creator that ran in the background has no caller: it is counted and
    /// logged, by its `Display`.
    pub async fn try_get_or_create_in_background<T, E, F, Fut>(self, creator: F) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Display + Send + 'static,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        self.try_get_or_create_telling(creator, E::to_string).await
    }

    /// Creates in the background, for any error, with the text to log of it.
    #[doc(hidden)]
    pub async fn try_get_or_create_telling<T, E, F, Fut>(
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
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        if let Some(hit) = self.hit_now() {
            return S::tried(Ok(hit.into_value()));
        }
        let created = Box::pin(self.create_in_background(creator, tell)).await;
        S::tried(created.map(Answer::into_value))
    }

    pub(in crate::region) async fn create_in_background<T, E, F, Fut>(
        self,
        creator: F,
        tell: fn(&E) -> String,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
        F: FnOnce() -> Fut + Send + 'static,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let creation = match self.creation::<T, E>() {
            Ok(creation) => creation,
            Err(unconfigured) => return unconfigured.run(S::STRICT, creator).await,
        };
        let slot = ErrorSlot::new::<S>(tell);
        slot.typed(creation.run_one_in_background(slot.one(creator)).await)
    }
}

impl<K: Kind, S: Shape, C, V> Entry<'_, K, S, C, V> {
    /// Removes the value, now or as soon as that can be done: for callers that must not fail
    /// because of the cache, such as one whose transaction is committed.
    ///
    /// It tries at once, and returns when that has been answered. If it has failed, which is
    /// logged and counted, the deletion is retried in the background until the
    /// backend takes it, with pauses of up to a second. Until then the key counts as missing in this
    /// process, and other processes may find the stale value. Of a region that is not configured nothing is deleted.
    ///
    /// Up to 10,000 keys of a region wait so; a further one invalidates the region in their place,
    /// with a warning. Those of a process that ends are given up.
    ///
    /// ```
    /// # use dogpile::{Config, Region, backend::Memory};
    /// # pollster::block_on(async {
    /// # let users = Region::new("users");
    /// # users.configure(Config::new(Memory::new(10)))?;
    /// users.set("42", &"Ada".to_owned()).await?;
    /// // transaction.commit().await?;
    /// users.entry("42").delete_in_background().await;
    /// assert_eq!(users.get::<String>("42").await?, None);
    /// # Ok::<(), dogpile::Error>(()) }).unwrap();
    /// ```
    pub async fn delete_in_background(self) {
        if let Some(core) = self.region.core() {
            let key = core.stored_key(&self.key).into_owned();
            core.delete_surely(key).await;
        }
    }
}
