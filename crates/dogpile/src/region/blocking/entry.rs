//! One key, for code that is not async.

use std::convert::Infallible;
use std::fmt::Display;
use std::future::{Future, ready};
use std::sync::Arc;
use std::time::Duration;

use super::super::background::spawn;
use super::super::early::Early;
use super::super::entry::Entry as AsyncEntry;
use super::super::entry_options::EntryOptions;
use super::super::kind::{AnyValue, Cacheable, Kind, Serialized, Takes};
use super::super::lookup::{Answer, CachedValue, Fails, Lookup, Plain, Shape, Sharing};
use super::super::options::{
    Always, Expiration, ShouldCache, call_options, lifetime_option, serialized_options,
};
use super::starvable::Starvable;
use super::wait;
use crate::bridge::{Starved, block_on, blocking_is_allowed};
use crate::error::{CreateError, Result};
use crate::lock::OnWaitTimeout;
use crate::sync::Mutex;

/// An [`Entry`](crate::Entry) for code that is not async.
#[derive(Debug)]
#[must_use = "an entry does nothing until one of its operations is called"]
pub struct Entry<'r, K = Serialized, S = Plain, C = Always, V = AnyValue> {
    inner: AsyncEntry<'r, K, S, C, V>,
}

impl<'r, K: Kind> Entry<'r, K> {
    pub(super) fn new(inner: AsyncEntry<'r, K>) -> Self {
        Self { inner }
    }
}

impl<'r, K, S, C, V> Entry<'r, K, S, C, V> {
    pub(super) fn into_inner(self) -> AsyncEntry<'r, K, S, C, V> {
        self.inner
    }
}

impl<S: Shape, C, V> Entry<'_, Serialized, S, C, V> {
    serialized_options!(inner.options);
}

impl<'r, K: Kind, S: Shape, C, V> Entry<'r, K, S, C, V> {
    call_options!(inner.options);
    lifetime_option!(inner.options);

    /// Sets all options that `options` has. What was set before stays where it has none.
    pub fn options(mut self, options: &EntryOptions) -> Self {
        let before = std::mem::take(&mut self.inner.options);
        self.inner.options = options.of_call().or(&before);
        self
    }

    /// See [`Entry::should_cache`](crate::Entry::should_cache).
    pub fn should_cache<F>(self, should_cache: F) -> Entry<'r, K, S, F, V> {
        Entry { inner: self.inner.should_cache(should_cache) }
    }

    /// See [`Entry::share_failures`](crate::Entry::share_failures).
    pub fn share_failures(self) -> Entry<'r, K, Sharing<S>, C, V> {
        Entry { inner: self.inner.share_failures() }
    }

    /// See [`Entry::remember_failures`](crate::Entry::remember_failures).
    pub fn remember_failures(self, time: Duration) -> Entry<'r, K, Sharing<S>, C, V> {
        Entry { inner: self.inner.remember_failures(time) }
    }

    /// See [`Entry::strict`](crate::Entry::strict).
    pub fn strict(self) -> Entry<'r, K, S::WithErrors, C, V> {
        Entry { inner: self.inner.strict() }
    }

    /// See [`Entry::peek`](crate::Entry::peek).
    pub fn peek<T: Cacheable<K>>(self) -> Option<Lookup<T>>
    where
        V: Takes<T>,
    {
        self.inner.peek()
    }

    /// See [`Entry::get_or_create`](crate::Entry::get_or_create).
    pub fn get_or_create<T>(self, creator: impl FnOnce() -> T + Send) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let answer = self.answer(|| Ok::<_, Infallible>(creator()));
        S::one(answer.map(Answer::into_value))
    }

    /// See [`Entry::try_get_or_create`](crate::Entry::try_get_or_create).
    pub fn try_get_or_create<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        S::tried(self.answer(creator).map(Answer::into_value))
    }

    /// See [`Entry::lookup`](crate::Entry::lookup).
    pub fn lookup<T>(self, creator: impl FnOnce() -> T + Send) -> S::One<Lookup<T>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let answer = self.answer(|| Ok::<_, Infallible>(creator()));
        S::one(answer.map(Answer::into_lookup))
    }

    /// See [`Entry::try_lookup`](crate::Entry::try_lookup).
    pub fn try_lookup<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> S::Tried<Lookup<T>, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        S::tried(self.answer(creator).map(Answer::into_lookup))
    }

    /// See [`Entry::get_or_update`](crate::Entry::get_or_update).
    pub fn get_or_update<T>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> T + Send,
    ) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let answer = self.update(|before| Ok::<_, Infallible>(creator(before)));
        S::one(answer.map(Answer::into_value))
    }

    /// See [`Entry::try_get_or_update`](crate::Entry::try_get_or_update).
    pub fn try_get_or_update<T, E>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> Result<T, E> + Send,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        S::tried(self.update(creator).map(Answer::into_value))
    }

    /// See [`Entry::refresh`](crate::Entry::refresh).
    pub fn refresh<T>(self, creator: impl FnOnce() -> T + Send) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let refreshed = self.create_anew(|| Ok::<_, Infallible>(creator()));
        S::one(refreshed.map(Answer::into_value))
    }

    /// See [`Entry::try_refresh`](crate::Entry::try_refresh).
    pub fn try_refresh<T, E>(self, creator: impl FnOnce() -> Result<T, E> + Send) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        S::tried(self.create_anew(creator).map(Answer::into_value))
    }

    fn answer<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        match self.inner.hit_now() {
            Some(hit) => Ok(hit),
            None => self.create(creator),
        }
    }

    fn update<T, E>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> Result<T, E> + Send,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        if let Some(hit) = self.inner.hit_now() {
            return Ok(hit);
        }
        let (region, before) = (self.inner.region, self.inner.before());
        let found = Mutex::new(None);
        let creator = Starvable::new(|| creator(found.lock().take()));
        let call = self.inner.create(|| async {
            *found.lock() = before.await;
            creator.run()
        });
        match block_on(call) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }

    fn create_anew<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        let region = self.inner.region;
        let creator = Starvable::new(creator);
        match block_on(self.inner.create_anew(|| ready(creator.run()))) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }

    pub(super) fn create<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send,
        S: Fails<E>,
    {
        let region = self.inner.region;
        let creator = Starvable::new(creator);
        let call = self.inner.create(|| ready(creator.run()));
        match block_on(call) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }

    /// See [`Entry::get`](crate::Entry::get).
    pub fn get<T: Cacheable<K>>(self) -> Result<Option<T>>
    where
        V: Takes<T>,
    {
        wait(self.inner.region, self.inner.get())
    }

    /// See [`Entry::get_with_metadata`](crate::Entry::get_with_metadata).
    pub fn get_with_metadata<T: Cacheable<K>>(self) -> Result<Option<CachedValue<T>>>
    where
        V: Takes<T>,
    {
        wait(self.inner.region, self.inner.get_with_metadata())
    }

    /// See [`Entry::set`](crate::Entry::set).
    pub fn set<T: Cacheable<K>>(self, value: &T) -> Result<()>
    where
        V: Takes<T>,
    {
        wait(self.inner.region, self.inner.set(value))
    }

    /// See [`Entry::delete`](crate::Entry::delete).
    pub fn delete(self) -> Result<()> {
        wait(self.inner.region, self.inner.delete())
    }

    /// See [`Entry::expire`](crate::Entry::expire).
    pub fn expire(self) -> Result<()> {
        wait(self.inner.region, self.inner.expire())
    }

    /// See [`Entry::is_locked`](crate::Entry::is_locked).
    pub fn is_locked(self) -> Result<bool> {
        wait(self.inner.region, self.inner.is_locked())
    }
}

impl<K: Kind, S: Shape, C: 'static, V> Entry<'_, K, S, C, V> {
    /// See [`Entry::get_or_create_in_background`](crate::Entry::get_or_create_in_background).
    ///
    /// The creator runs on the region's [`Runner`](crate::region::Runner): by default on
    /// the runtime the call came from, and outside of one on a thread of its own.
    pub fn get_or_create_in_background<T>(
        self,
        creator: impl FnOnce() -> T + Send + 'static,
    ) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let creator = || Ok::<_, Infallible>(creator());
        let answer = self.answer_in_background(creator, Infallible::to_string);
        S::one(answer.map(Answer::into_value))
    }

    /// See
    /// [`Entry::try_get_or_create_in_background`](crate::Entry::try_get_or_create_in_background).
    pub fn try_get_or_create_in_background<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Display + Send + 'static,
        S: Fails<E>,
    {
        self.try_get_or_create_telling(creator, E::to_string)
    }

    /// Creates in the background, for any error, with the text to log of it.
    #[doc(hidden)]
    pub fn try_get_or_create_telling<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
    {
        S::tried(self.answer_in_background(creator, tell).map(Answer::into_value))
    }

    /// See [`Entry::get_or_update_in_background`](crate::Entry::get_or_update_in_background).
    pub fn get_or_update_in_background<T>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> T + Send + 'static,
    ) -> S::One<T>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let creator = |before| Ok::<_, Infallible>(creator(before));
        let answer = self.update_in_background(creator, Infallible::to_string);
        S::one(answer.map(Answer::into_value))
    }

    /// See
    /// [`Entry::try_get_or_update_in_background`](crate::Entry::try_get_or_update_in_background).
    pub fn try_get_or_update_in_background<T, E>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> Result<T, E> + Send + 'static,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Display + Send + 'static,
        S: Fails<E>,
    {
        self.try_get_or_update_telling(creator, E::to_string)
    }

    /// Updates in the background, for any error, with the text to log of it.
    #[doc(hidden)]
    pub fn try_get_or_update_telling<T, E>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
    {
        S::tried(self.update_in_background(creator, tell).map(Answer::into_value))
    }

    fn answer_in_background<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
    {
        match self.inner.hit_now() {
            Some(hit) => Ok(hit),
            None => self.create_in_background(ready(()), creator, tell),
        }
    }

    fn update_in_background<T, E>(
        self,
        creator: impl FnOnce(Option<CachedValue<T>>) -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
    {
        if let Some(hit) = self.inner.hit_now() {
            return Ok(hit);
        }
        let (before, found) = (self.inner.before(), Arc::new(Mutex::new(None)));
        let for_creator = found.clone();
        let reading = async move { *found.lock() = before.await };
        let creator = move || {
            let before = for_creator.lock().take();
            creator(before)
        };
        self.create_in_background(reading, creator, tell)
    }

    /// Creates in the background, after what is to be done before.
    fn create_in_background<T, E>(
        mut self,
        before: impl Future<Output = ()> + Send + 'static,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> Result<Answer<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
        E: Send + 'static,
        S: Fails<E>,
    {
        let region = self.inner.region;
        self.inner.options.cannot_wait = !blocking_is_allowed();
        let creator = Arc::new(Starvable::new(creator));
        let for_call = creator.clone();
        let creating = move || async move {
            before.await;
            for_call.run()
        };
        match block_on(self.inner.create_in_background(creating, tell)) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }
}

impl<K: Kind, S: Shape, C, V> Entry<'_, K, S, C, V> {
    /// See [`Entry::delete_in_background`](crate::Entry::delete_in_background). Where waiting is
    /// refused, on a current-thread runtime, it is done in the background alone.
    pub fn delete_in_background(self) {
        let Some(core) = self.inner.region.core() else { return };
        let key = core.stored_key(&self.inner.key).into_owned();
        if let Err(Starved) = block_on(core.clone().delete_surely(key.clone())) {
            spawn("dogpile-deletion", Box::pin(core.delete_surely(key)));
        }
    }
}
