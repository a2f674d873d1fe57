//! Creators of several keys that are given the values of before.

use std::convert::Infallible;
use std::future::Future;

use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{CachedValue, Fails, Shape};
use super::super::options::ShouldCache;
use super::Entries;
use super::create::{fallible, infallibly};
use crate::error::{CreateError, Result};
use crate::sync::Mutex;

impl<K: Kind, C, V, S: Shape> Entries<'_, K, C, V, S> {
    /// Returns the values; with the keys of those that are not fresh, `creator` is given their values
    /// of before, and may return these again. See
    /// [`Entry::get_or_update`](crate::Entry::get_or_update); otherwise as
    /// [`get_or_create`](Self::get_or_create). The values are read by one more request.
    ///
    /// ```
    /// use dogpile::{CachedValue, Config, Region, backend::Memory};
    ///
    /// /// Returns the rows whose version is another than the known one.
    /// async fn changed(known: &[(String, Option<u32>)]) -> Vec<Option<u32>> {
    ///     known.iter().map(|(_, version)| (*version != Some(7)).then_some(7)).collect()
    /// }
    ///
    /// # pollster::block_on(async {
    /// let rows = Region::new("rows");
    /// rows.configure(Config::new(Memory::new(100)))?;
    /// for _ in 0..2 {
    ///     let found = rows.entries(["a", "b"]).get_or_update(async |old: Vec<(String, Option<CachedValue<u32>>)>| {
    ///         let known: Vec<_> = old.into_iter().map(|(id, old)| (id, old.map(|old| old.value))).collect();
    ///         let rows = changed(&known).await.into_iter().zip(known);
    ///         rows.map(|(row, (_, known))| row.or(known).expect("a row")).collect()
    ///     });
    ///     assert_eq!(found.await?, [7, 7]);
    ///     rows.entries(["a", "b"]).expire().await?;
    /// }
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`get_or_create`](Self::get_or_create).
    #[doc(alias("conditional", "revalidate", "etag"))]
    pub async fn get_or_update<T, F, Fut>(self, creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        F: FnMut(Vec<(String, Option<CachedValue<T>>)>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        infallibly(self.try_get_or_update(fallible!(creator)).await)
    }

    /// Returns the values as [`get_or_update`](Self::get_or_update) does, or the creator's error if
    /// it fails, and then nothing is stored.
    ///
    /// # Errors
    ///
    /// As of [`try_get_or_create`](Self::try_get_or_create).
    pub async fn try_get_or_update<T, E, F, Fut>(self, creator: F) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
        F: FnMut(Vec<(String, Option<CachedValue<T>>)>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        // It may run again, for keys that fall to this caller later, and reads before that.
        let (core, creator) = (self.region.core(), Mutex::new(creator));
        let updating = |keys: Vec<String>| {
            let (core, creator) = (core.clone(), &creator);
            async move {
                let before = match core {
                    Some(core) => core.before_multi::<K, T>(&keys).await,
                    None => keys.iter().map(|_| None).collect(),
                };
                let given = keys.into_iter().zip(before).collect();
                let work = (*creator.lock())(given);
                work.await
            }
        };
        self.try_get_or_create(updating).await
    }
}
