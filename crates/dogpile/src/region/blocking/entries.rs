//! Several keys, for code that is not async.

use std::fmt::Display;
use std::future::ready;
use std::time::Duration;

use super::super::Region;
use super::super::background::spawn;
use super::super::early::Early;
use super::super::entries::Entries as AsyncEntries;
use super::super::entry_options::EntryOptions;
use super::super::kind::{AnyValue, Cacheable, Kind, Serialized, Takes};
use super::super::lookup::{CachedValue, Fails, Lookup, Plain, Shape, Sharing};
use super::super::options::{
    Always, Expiration, ShouldCache, call_options, lifetime_option, serialized_options,
};
use super::{wait, would_deadlock};
use crate::bridge::{Starved, block_on, blocking_is_allowed};
use crate::error::{CreateError, Result};
use crate::lock::OnWaitTimeout;

/// [`Entries`](crate::Entries) for code that is not async.
#[derive(Debug)]
#[must_use = "entries do nothing until one of their operations is called"]
pub struct Entries<'r, K = Serialized, C = Always, V = AnyValue, S = Plain> {
    region: &'r Region<K>,
    inner: AsyncEntries<'r, K, C, V, S>,
}

impl<'r, K: Kind> Entries<'r, K> {
    pub(super) fn new(region: &'r Region<K>, inner: AsyncEntries<'r, K>) -> Self {
        Self { region, inner }
    }
}

impl<C, V, S> Entries<'_, Serialized, C, V, S> {
    serialized_options!(inner.options);
}

impl<'r, K: Kind, C, V, S: Shape> Entries<'r, K, C, V, S> {
    call_options!(inner.options);
    lifetime_option!(inner.options);

    /// Sets all options that `options` has. What was set before stays where it has none.
    pub fn options(mut self, options: &EntryOptions) -> Self {
        let before = std::mem::take(&mut self.inner.options);
        self.inner.options = options.of_call().or(&before);
        self
    }

    /// See [`Entries::should_cache`](crate::Entries::should_cache).
    pub fn should_cache<F>(self, should_cache: F) -> Entries<'r, K, F, V, S> {
        Entries { region: self.region, inner: self.inner.should_cache(should_cache) }
    }

    /// See [`Entries::share_failures`](crate::Entries::share_failures).
    pub fn share_failures(self) -> Entries<'r, K, C, V, Sharing<Plain>> {
        Entries { region: self.region, inner: self.inner.share_failures() }
    }

    /// See [`Entries::remember_failures`](crate::Entries::remember_failures).
    pub fn remember_failures(self, time: Duration) -> Entries<'r, K, C, V, Sharing<Plain>> {
        Entries { region: self.region, inner: self.inner.remember_failures(time) }
    }

    /// See [`Entries::strict`](crate::Entries::strict).
    pub fn strict(self) -> Self {
        Self { region: self.region, inner: self.inner.strict() }
    }

    /// See [`Entries::get_or_create`](crate::Entries::get_or_create).
    pub fn get_or_create<T>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Vec<T> + Send,
    ) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        wait(self.region, self.inner.get_or_create(|keys| ready(creator(keys))))
    }

    /// See [`Entries::try_get_or_create`](crate::Entries::try_get_or_create).
    pub fn try_get_or_create<T, E>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        let call = self.inner.try_get_or_create(|keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::lookup`](crate::Entries::lookup).
    pub fn lookup<T>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Vec<T> + Send,
    ) -> Result<Vec<Lookup<T>>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        wait(self.region, self.inner.lookup(|keys| ready(creator(keys))))
    }

    /// See [`Entries::try_lookup`](crate::Entries::try_lookup).
    pub fn try_lookup<T, E>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<Lookup<T>>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        let call = self.inner.try_lookup(|keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::get_or_update`](crate::Entries::get_or_update).
    pub fn get_or_update<T>(
        self,
        mut creator: impl FnMut(Vec<(String, Option<CachedValue<T>>)>) -> Vec<T> + Send,
    ) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        wait(self.region, self.inner.get_or_update(|keys| ready(creator(keys))))
    }

    /// See [`Entries::try_get_or_update`](crate::Entries::try_get_or_update).
    pub fn try_get_or_update<T, E>(
        self,
        mut creator: impl FnMut(Vec<(String, Option<CachedValue<T>>)>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        let call = self.inner.try_get_or_update(|keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::get_or_create_in_background`](crate::Entries::get_or_create_in_background).
    pub fn get_or_create_in_background<T>(
        mut self,
        mut creator: impl FnMut(Vec<String>) -> Vec<T> + Send + 'static,
    ) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T> + 'static,
    {
        self.inner.options.cannot_wait = !blocking_is_allowed();
        let creator = move |keys| ready(creator(keys));
        wait(self.region, self.inner.get_or_create_in_background(creator))
    }

    /// See
    /// [`Entries::try_get_or_create_in_background`](crate::Entries::try_get_or_create_in_background).
    pub fn try_get_or_create_in_background<T, E>(
        mut self,
        mut creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send + 'static,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T> + 'static,
        E: Display + Send + 'static,
        S: Fails<E>,
    {
        self.inner.options.cannot_wait = !blocking_is_allowed();
        let call = self.inner.try_get_or_create_in_background(move |keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::refresh`](crate::Entries::refresh).
    pub fn refresh<T>(self, mut creator: impl FnMut(Vec<String>) -> Vec<T> + Send) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        wait(self.region, self.inner.refresh(|keys| ready(creator(keys))))
    }

    /// See [`Entries::try_refresh`](crate::Entries::try_refresh).
    pub fn try_refresh<T, E>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        let call = self.inner.try_refresh(|keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::get`](crate::Entries::get).
    pub fn get<T: Cacheable<K>>(self) -> Result<Vec<Option<T>>>
    where
        V: Takes<T>,
    {
        wait(self.region, self.inner.get())
    }

    /// See [`Entries::get_with_metadata`](crate::Entries::get_with_metadata).
    pub fn get_with_metadata<T: Cacheable<K>>(self) -> Result<Vec<Option<CachedValue<T>>>>
    where
        V: Takes<T>,
    {
        wait(self.region, self.inner.get_with_metadata())
    }

    /// See [`Entries::set`](crate::Entries::set).
    pub fn set<T: Cacheable<K>>(self, values: &[T]) -> Result<()>
    where
        V: Takes<T>,
    {
        wait(self.region, self.inner.set(values))
    }

    /// See [`Entries::delete`](crate::Entries::delete).
    pub fn delete(self) -> Result<()> {
        wait(self.region, self.inner.delete())
    }

    /// See [`Entries::expire`](crate::Entries::expire).
    pub fn expire(self) -> Result<()> {
        wait(self.region, self.inner.expire())
    }

    /// See [`Entries::delete_in_background`](crate::Entries::delete_in_background). Where waiting
    /// is refused, on a current-thread runtime, it is done in the background alone.
    pub fn delete_in_background(self) {
        let Some(core) = self.region.core() else { return };
        for key in self.inner.stored_keys(&core) {
            if let Err(Starved) = block_on(core.clone().delete_surely(key.clone())) {
                spawn("dogpile-deletion", Box::pin(core.clone().delete_surely(key)));
            }
        }
    }
}
