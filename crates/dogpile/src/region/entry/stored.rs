//! Reading, storing and deleting one key.

use std::borrow::Cow;
use std::pin::Pin;
use std::sync::Arc;

use super::super::Region;
use super::super::core::Core;
use super::super::create::Creation;
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Answer, CachedValue, Lookup, Shape, age};
use super::super::object_now::Code;
use super::super::options::Options;
use super::Entry;
use crate::backend::BackendError;
use crate::clock::{Stamp, Timestamp};
use crate::error::{Error, Result, Unencodable, shown};
use crate::lock::KeyedLock;
use crate::stats::Count;
use crate::value::{Entry as StoredEntry, Object};

impl<K: Kind, S: Shape, C, V> Entry<'_, K, S, C, V> {
    /// The value, if it is present, not expired and not invalidated.
    ///
    /// What cannot be read counts as absent (and is logged and counted);
    /// [`Error::WrongType`] if a live object of another type is there.
    pub async fn get<T: Cacheable<K>>(self) -> Result<Option<T>>
    where
        V: Takes<T>,
    {
        match self.region.get_now(&self.key, &self.options, Code::Shared) {
            Some(found) => Ok(found),
            None => Box::pin(self.get_slowly()).await,
        }
    }

    pub(in crate::region) async fn get_slowly<T: Cacheable<K>>(self) -> Result<Option<T>>
    where
        V: Takes<T>,
    {
        Ok(self.get_with_metadata().await?.map(|stored| stored.value))
    }

    /// Returns the value if it is fresh and at hand: in memory, or in a near tier. Nothing is asked of
    /// a server, and nobody is waited for: `None` means that one has to [`get`](Self::get) it.
    ///
    /// Code with an event loop of its own begins so, since most calls end here. It counts as a
    /// hit where it is one; nothing else is counted.
    pub fn peek<T: Cacheable<K>>(self) -> Option<Lookup<T>>
    where
        V: Takes<T>,
    {
        self.hit_now().map(Answer::into_lookup)
    }

    /// As [`get`](Self::get), with the value's creation time and age.
    #[doc(alias = "get_value_metadata")]
    pub async fn get_with_metadata<T: Cacheable<K>>(self) -> Result<Option<CachedValue<T>>>
    where
        V: Takes<T>,
    {
        let core = self.region.configured()?;
        let looked = core.refresh_invalidation().await;
        let fits = |object: &Object| object.downcast_ref::<T>().is_some();
        let entry = core.read_one(&core.stored_key(&self.key), fits).await;
        let entry = core.judged(looked, entry).await;
        core.read(&self.key, entry, &self.options)
    }

    /// Stores `value` as created now.
    ///
    /// A creation of the key that is going on, anywhere, is not stored over it.
    #[doc(alias = "insert")]
    pub async fn set<T: Cacheable<K>>(self, value: &T) -> Result<()>
    where
        V: Takes<T>,
    {
        let core = self.region.configured()?;
        core.keep(&self.key, value, core.stamp(), self.options).await
    }

    /// Removes the value; that there is none is fine.
    ///
    /// If that fails, since the backend does not answer, the value counts as missing in this
    /// process from now on, and is deleted as soon as the backend takes it; of up to 10,000 keys.
    /// So it is with [`set`](Self::set), and with calls for several keys.
    ///
    /// A creation of the key that is going on, anywhere, is not stored after it: it may
    /// have begun before what the deletion is about.
    #[doc(alias("invalidate", "remove"))]
    pub async fn delete(self) -> Result<()> {
        let core = self.region.configured()?;
        let key = core.stored_key(&self.key);
        core.note_change(&key);
        let deleted = core.backend.delete(&key).await;
        core.told("delete", [&*key], deleted)
    }

    /// Expires the value: it is stale from now on, whatever its age, and served as that while the
    /// next caller creates it again. That there is none is fine.
    ///
    /// It is a soft change, as [`Region::expire_all`](crate::Region::expire_all) is for all keys.
    /// A creation of the key that is going on, anywhere, is not stored after it; who waits for
    /// it gets its value. A key that a Python process has locked is waited for, at most for the
    /// wait timeout. Python reads the value by its age alone.
    ///
    /// A server keeps it for what is left of its time by the options of this call, so they
    /// are to be those that the value was stored with.
    ///
    /// ```
    /// use dogpile::{Config, Region, Status, backend::Memory};
    ///
    /// # pollster::block_on(async {
    /// let prices = Region::new("prices");
    /// prices.configure(Config::new(Memory::new(100)))?;
    /// prices.set("gold", &4_062_u32).await?;
    /// prices.entry("gold").expire().await?;
    /// assert_eq!(prices.get::<u32>("gold").await?, None);
    /// let created = prices.entry("gold").lookup(async || 4_063_u32).await;
    /// assert_eq!((created.value, created.status), (4_063, Status::Created));
    /// # Ok::<(), dogpile::Error>(())
    /// # }).unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// Those of the backend, and [`Error::WaitTimeout`] for Python's lock. Then the value may
    /// still be fresh.
    #[doc(alias("invalidate", "soft"))]
    pub async fn expire(self) -> Result<()> {
        let core = self.region.configured()?;
        Creation::of_keys(core, vec![self.key.into_owned()], self.options).expire().await
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
                mutex.is_locked(&key).await.map_err(|error| core.failed("is_locked", error))
            }
        }
    }
}

impl<K: Kind> Region<K> {
    /// Returns the future of a `get` that is no hit. Where the future of one that is has nothing of it,
    /// it is small enough to become a part of its caller, and its wide result is not copied.
    #[cold]
    pub(in crate::region) fn get_boxed<'r, T: Cacheable<K>>(
        &'r self,
        key: Cow<'r, str>,
    ) -> Pin<Box<dyn Future<Output = Result<Option<T>>> + Send + 'r>> {
        Box::pin(self.entry(key).get_slowly())
    }
}

impl Core {
    /// A `get`'s answer from what the backend said.
    #[inline]
    pub(in crate::region) fn read<K, T: Cacheable<K>>(
        &self,
        key: &str,
        found: Result<Option<StoredEntry>, BackendError>,
        options: &Options,
    ) -> Result<Option<CachedValue<T>>> {
        let now = self.clock.coarse_now();
        let is_owed = self.owed.are_any() && self.owed.has(&self.stored_key(key));
        if self.kept.are_any()
            && let Ok(found) = &found
        {
            self.kept_instead_of(&self.stored_key(key), found.as_ref());
        }
        if let Ok(Some(entry)) = &found
            && !is_owed
            && self.freshness(key, &entry.metadata, options, now).is_fresh()
        {
            return self.read_fresh(key, entry, now);
        }
        self.stats().count(Count::Misses);
        match found {
            Ok(_) => Ok(None),
            Err(error) => Err(self.failed("get", error)),
        }
    }

    #[inline]
    fn read_fresh<K, T: Cacheable<K>>(
        &self,
        key: &str,
        entry: &StoredEntry,
        now: Timestamp,
    ) -> Result<Option<CachedValue<T>>> {
        let ct = entry.metadata.ct;
        let why = match self.decode_entry::<K, T>(entry) {
            Ok(value) => {
                self.stats().count(Count::Hits);
                if self.has_near() {
                    let stored = self.stored_key(key);
                    self.note_decoded(&stored, &entry.payload, || Object::new(value.clone()));
                }
                return Ok(Some(CachedValue { value, ct, age: age(now, ct) }));
            }
            Err(why) => why,
        };
        self.stats().count(Count::Misses);
        let asked = std::any::type_name::<T>();
        if let Some(error) = self.wrong_type(key, &why, asked) {
            return Err(error);
        }
        self.note_undecodable(key, &why, asked);
        Ok(None)
    }

    /// Stores a value.
    pub(in crate::region) async fn keep<K, T: Cacheable<K>>(
        self: &Arc<Self>,
        key: &str,
        value: &T,
        stamp: Stamp,
        options: Options,
    ) -> Result<()> {
        let options = options.or(&self.defaults);
        let (entry, key) = (self.entry_for(key, value, stamp, &options)?, self.stored_key(key));
        self.note_change(&key);
        let _alone = self.no_late_deletion([&*key]).await;
        let stored = self.backend.set(&key, entry).await;
        self.told("set", [&*key], stored)
    }

    /// The entry to store for an explicit `set`.
    pub(in crate::region) fn entry_for<K, T: Cacheable<K>>(
        &self,
        key: &str,
        value: &T,
        Stamp { ct, order }: Stamp,
        options: &Options,
    ) -> Result<StoredEntry> {
        let mut entry = self.encode_entry(value, ct, options).map_err(|source| {
            self.stats().count(Count::NotStored);
            Error::Encode(
                Unencodable { region: self.name().to_owned(), key: shown(key), source }.into(),
            )
        })?;
        entry.metadata.begun = order;
        Ok(entry)
    }
}
