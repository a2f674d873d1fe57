//! Reading, storing and deleting several keys.

use super::super::Region;
use super::super::core::Core;
use super::super::create::Creation;
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::CachedValue;
use super::super::options::Options;
use super::Entries;
use super::create::without_duplicates;
use crate::error::{Counts, Error, Result};
use crate::stats::Count;
use crate::value::Entry;

impl<K: Kind, C, V, S> Entries<'_, K, C, V, S> {
    /// Stores `values`, one for each key, in one write, as created now.
    ///
    /// # Errors
    ///
    /// [`Error::WrongCount`] if there are more or fewer values than keys.
    pub async fn set<T: Cacheable<K>>(self, values: &[T]) -> Result<()>
    where
        V: Takes<T>,
    {
        if values.len() != self.keys.len() {
            let region = self.region.name().to_owned();
            let counts = Counts { region, asked: self.keys.len(), returned: values.len() };
            return Err(Error::WrongCount(counts.into()));
        }
        let options = self.options;
        self.region.store_multi(self.keys.iter().zip(values), options).await
    }

    /// The values that are present, not expired and not invalidated.
    pub async fn get<T: Cacheable<K>>(self) -> Result<Vec<Option<T>>>
    where
        V: Takes<T>,
    {
        let stored = self.get_with_metadata().await?;
        Ok(stored.into_iter().map(|stored| stored.map(|stored| stored.value)).collect())
    }

    /// As [`get`](Self::get), with the values' creation times and ages.
    pub async fn get_with_metadata<T: Cacheable<K>>(self) -> Result<Vec<Option<CachedValue<T>>>>
    where
        V: Takes<T>,
    {
        let core = self.region.configured()?;
        if self.keys.is_empty() {
            return Ok(Vec::new());
        }
        let stored_keys: Vec<_> = self.keys.iter().map(|key| core.stored_key(key)).collect();
        let stored_keys: Vec<&str> = stored_keys.iter().map(AsRef::as_ref).collect();
        let looked = core.refresh_invalidation().await;
        let entries =
            core.read_all(&stored_keys, |object| object.downcast_ref::<T>().is_some()).await;
        let entries = match core.judged(looked, entries).await {
            Ok(entries) => entries,
            Err(error) => {
                core.stats().add(Count::Misses, self.keys.len() as u64);
                return Err(core.failed("get_multi", error));
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
        stored_keys.iter().for_each(|key| core.note_change(key));
        let deleted = core.backend.delete_multi(&stored_keys).await;
        core.told("delete_multi", stored_keys, deleted)
    }
}

impl<K: Kind, C, V, S> Entries<'_, K, C, V, S> {
    /// Expires the values: each is stale from now on. See [`Entry::expire`](crate::Entry::expire).
    ///
    /// # Errors
    ///
    /// As of [`Entry::expire`](crate::Entry::expire). Then some of them may be fresh still.
    pub async fn expire(self) -> Result<()> {
        let core = self.region.configured()?;
        let keys = without_duplicates(self.keys).0;
        if keys.is_empty() {
            return Ok(());
        }
        Creation::of_keys(core, keys, self.options).expire().await
    }

    /// Removes the values, now or as soon as that can be done, one after the other. See
    /// [`Entry::delete_in_background`](crate::Entry::delete_in_background).
    pub async fn delete_in_background(self) {
        let Some(core) = self.region.core() else { return };
        for key in self.stored_keys(&core) {
            core.clone().delete_surely(key).await;
        }
    }

    pub(in crate::region) fn stored_keys(&self, core: &Core) -> Vec<String> {
        self.keys.iter().map(|key| core.stored_key(key).into_owned()).collect()
    }
}

impl<K: Kind> Region<K> {
    /// Stores each value under its key, in one write.
    pub(in crate::region) async fn store_multi<'v, T, I, Q>(
        &self,
        values: I,
        options: Options,
    ) -> Result<()>
    where
        T: Cacheable<K>,
        I: IntoIterator<Item = (Q, &'v T)>,
        Q: AsRef<str>,
    {
        let core = self.configured()?;
        let stamp = core.stamp();
        let options = options.or(&core.defaults);
        let mut entries = Vec::new();
        for (key, value) in values {
            let key = key.as_ref();
            let entry = core.entry_for(key, value, stamp, &options)?;
            let key = core.stored_key(key).into_owned();
            core.note_change(&key);
            entries.push((key, entry));
        }
        if entries.is_empty() {
            return Ok(());
        }
        let entries: Vec<_> = entries.iter().map(|(key, e)| (key.as_str(), e.clone())).collect();
        let _alone = core.no_late_deletion(entries.iter().map(key_of)).await;
        let stored = core.backend.set_multi(&entries).await;
        core.told("set_multi", entries.iter().map(key_of), stored)
    }
}

/// A closure in its place would keep the future from being `Send` for all lifetimes.
fn key_of<'k>((key, _): &(&'k str, Entry)) -> &'k str {
    key
}
