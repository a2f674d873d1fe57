//! Several keys of a region and the options of a call on them.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::time::Duration;

use super::Region;
use super::create::{Creation, Creator};
use super::kind::{Cacheable, Kind, Serde};
use super::lookup::Stored;
use super::options::{Always, Expiration, Options, ShouldCache, call_options};
use crate::error::{Error, Failure, Result};
use crate::lock::OnTimeout;
use crate::stats::Count;

/// Keys of a region, and how this call treats them. Made by
/// [`Region::entries`](crate::Region::entries).
///
/// Results come in the order of the keys, duplicates included; no key at all
/// is no call of anything.
#[must_use = "entries do nothing until one of their operations is called"]
pub struct Entries<'r, K = Serde, C = Always> {
    region: &'r Region<K>,
    keys: Vec<String>,
    options: Options,
    should_cache: C,
    strict: bool,
}

impl<'r, K: Kind> Entries<'r, K> {
    pub(super) fn new(region: &'r Region<K>, keys: Vec<String>) -> Self {
        let options = Options::default();
        Self { region, keys, options, should_cache: Always, strict: false }
    }
}

impl<'r, K: Kind, C> Entries<'r, K, C> {
    call_options!();

    /// Stores of the created values those that `should_cache` accepts; the
    /// caller gets all.
    pub fn should_cache<F>(self, should_cache: F) -> Entries<'r, K, F> {
        let Self { region, keys, options, strict, .. } = self;
        Entries { region, keys, options, should_cache, strict }
    }

    /// Makes faults of the backend errors, where the creator would run
    /// otherwise.
    pub fn strict(mut self) -> Self {
        self.strict = true;
        self
    }

    /// The values, those that are missing made by `creator`. See
    /// [`Region::get_or_create_multi`](crate::Region::get_or_create_multi).
    pub async fn get_or_create<T, F, Fut>(self, mut creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        let creator = move |keys| {
            let values = creator(keys);
            async move { Ok::<_, Infallible>(values.await) }
        };
        self.try_get_or_create(creator).await.map_err(|failure| match failure {
            Failure::Cache(error) => error,
        })
    }

    /// The values, those that are missing made by `creator`; its error if it
    /// fails, and then nothing is stored. See
    /// [`Region::get_or_create_multi`](crate::Region::get_or_create_multi).
    pub async fn try_get_or_create<T, E, F, Fut>(self, mut creator: F) -> Result<Vec<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let (keys, order) = without_duplicates(self.keys);
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let Some(core) = self.region.core() else {
            return uncached(self.region, self.strict, keys, &order, creator).await;
        };
        let creation =
            Creation::new(core, keys.clone(), self.options, self.should_cache, self.strict);
        let creator: Creator<'_, T, E> = Box::new(move |indexes: Vec<usize>| {
            Box::pin(creator(indexes.iter().map(|&index| keys[index].clone()).collect()))
        });
        let answers = Box::pin(creation.here(creator)).await?;
        let values: Vec<T> = answers.into_iter().map(|answer| answer.value).collect();
        Ok(order.into_iter().map(|index| values[index].clone()).collect())
    }

    /// Creates all values, whatever is stored, and stores them in one write.
    ///
    /// See [`Entry::refresh`](super::Entry::refresh).
    ///
    /// # Errors
    ///
    /// [`Error::WrongCount`] if `creator` returns another number of values than it was asked
    /// for; backend errors if the call is [strict](Self::strict).
    pub async fn refresh<T, F, Fut>(self, mut creator: F) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Vec<T>> + Send,
    {
        let creator = move |keys| {
            let values = creator(keys);
            async move { Ok::<_, Infallible>(values.await) }
        };
        self.try_refresh(creator).await.map_err(|failure| match failure {
            Failure::Cache(error) => error,
        })
    }

    /// Creates all values, whatever is stored, and stores them in one write.
    ///
    /// See [`Entry::try_refresh`](super::Entry::try_refresh). Where `should_cache` refuses a
    /// value, or it cannot be encoded, the stored one is removed: it is known to be out of date.
    ///
    /// # Errors
    ///
    /// The creator's error, and then everything stays as it was; otherwise as of
    /// [`refresh`](Self::refresh).
    pub async fn try_refresh<T, E, F, Fut>(self, mut creator: F) -> Result<Vec<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
        F: FnMut(Vec<String>) -> Fut + Send,
        Fut: Future<Output = Result<Vec<T>, E>> + Send,
    {
        let (keys, order) = without_duplicates(self.keys);
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let Some(core) = self.region.core() else {
            return uncached(self.region, self.strict, keys, &order, creator).await;
        };
        let creation =
            Creation::new(core, keys.clone(), self.options, self.should_cache, self.strict);
        let creator: Creator<'_, T, E> = Box::new(move |indexes: Vec<usize>| {
            Box::pin(creator(indexes.iter().map(|&index| keys[index].clone()).collect()))
        });
        let answers = Box::pin(creation.anew(creator)).await?;
        let values: Vec<T> = answers.into_iter().map(|answer| answer.value).collect();
        Ok(order.into_iter().map(|index| values[index].clone()).collect())
    }

    /// The values that are present, not expired and not invalidated.
    pub async fn get<T: Cacheable<K>>(self) -> Result<Vec<Option<T>>> {
        let stored = self.get_stored().await?;
        Ok(stored.into_iter().map(|stored| stored.map(|stored| stored.value)).collect())
    }

    /// As [`get`](Self::get), with the values' creation times and ages.
    pub async fn get_stored<T: Cacheable<K>>(self) -> Result<Vec<Option<Stored<T>>>> {
        let core = self.region.configured()?;
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let stored_keys: Vec<_> = self.keys.iter().map(|key| core.stored_key(key)).collect();
        let stored_keys: Vec<&str> = stored_keys.iter().map(AsRef::as_ref).collect();
        let looked = core.refresh_invalidation().await;
        let entries = core.backend.get_multi(&stored_keys).await;
        let entries = match core.judged(looked, entries).await {
            Ok(entries) => entries,
            Err(fault) => {
                core.stats().add(Count::Misses, self.keys.len() as u64);
                return Err(core.failed("get_multi", fault));
            }
        };
        let read = self.keys.iter().zip(entries);
        read.map(|(key, entry)| core.read(key, Ok(entry), &self.options)).collect()
    }

    /// Removes the values; absent ones are fine.
    pub async fn delete(self) -> Result<()> {
        let core = self.region.configured()?;
        if self.keys.is_empty() {
            return Ok(());
        }
        let stored_keys: Vec<_> = self.keys.iter().map(|key| core.stored_key(key)).collect();
        let stored_keys: Vec<&str> = stored_keys.iter().map(AsRef::as_ref).collect();
        stored_keys.iter().for_each(|key| core.shared.keys.note_change(key));
        let deleted = core.backend.delete_multi(&stored_keys).await;
        deleted.map_err(|fault| core.failed("delete_multi", fault))
    }
}

impl<K, C> fmt::Debug for Entries<'_, K, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entries")
            .field("region", &self.region)
            .field("keys", &self.keys.len())
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// Each key once, and for each key asked for where it is among them.
fn without_duplicates(keys: Vec<String>) -> (Vec<String>, Vec<usize>) {
    let mut places: HashMap<String, usize> = HashMap::with_capacity(keys.len());
    let mut unique = Vec::with_capacity(keys.len());
    let order = keys
        .into_iter()
        .map(|key| {
            *places.entry(key).or_insert_with_key(|key| {
                unique.push(key.clone());
                unique.len() - 1
            })
        })
        .collect();
    (unique, order)
}

/// A creating call of a region that has no backend.
async fn uncached<K, T, E, F, Fut>(
    region: &Region<K>,
    strict: bool,
    keys: Vec<String>,
    order: &[usize],
    mut creator: F,
) -> Result<Vec<T>, Failure<E>>
where
    K: Kind,
    T: Clone,
    F: FnMut(Vec<String>) -> Fut,
    Fut: Future<Output = Result<Vec<T>, E>>,
{
    if strict {
        return Err(region.not_configured().into());
    }
    region.note_uncached_use();
    let asked = keys.len();
    let values = creator(keys).await.map_err(Failure::Creator)?;
    if values.len() != asked {
        let region = region.name().to_owned();
        return Err(Error::WrongCount { region, asked, returned: values.len() }.into());
    }
    Ok(order.iter().map(|&index| values[index].clone()).collect())
}
