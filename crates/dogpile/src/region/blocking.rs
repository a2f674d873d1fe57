//! A region for code that is not async: the same entries, driven to their end
//! on the calling thread.

use std::borrow::Cow;
use std::convert::Infallible;
use std::fmt;
use std::future::{Future, ready};
use std::time::Duration;

use super::background::spawn;
use super::entry::{BackgroundEntry, Entry};
use super::kind::{Cacheable, Kind, Serde};
use super::lookup::{Answer, IntoDetailed, IntoStrict, Plain, Shape, Stored};
use super::options::{Always, Expiration, ShouldCache};
use super::{Entries, Region};
use crate::blocking::{Starved, block_on, blocking_is_allowed};
use crate::error::{Error, Failure, Result};
use crate::invalidation::Mode;
use crate::lock::OnTimeout;
use crate::log;
use crate::sync::Mutex;

/// The calls of a [`Region`] for code that is not async. Made by
/// [`Region::blocking`](crate::Region::blocking), where it says what happens
/// inside a runtime.
///
/// ```
/// use dogpile::{Config, Region, backend::Memory};
///
/// static PRIMES: Region = Region::new("primes");
///
/// PRIMES.configure(Config::new(Memory::new(100)))?;
/// let prime: u64 = PRIMES.blocking().get_or_create("100th", || 541);
/// assert_eq!(PRIMES.blocking().get("100th")?, Some(prime));
/// # Ok::<(), dogpile::Error>(())
/// ```
#[derive(Debug)]
pub struct Blocking<'r, K = Serde> {
    region: &'r Region<K>,
}

impl<'r, K> Blocking<'r, K> {
    pub(super) const fn new(region: &'r Region<K>) -> Self {
        Self { region }
    }
}

impl<K> Clone for Blocking<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Blocking<'_, K> {}

/// Runs a call that returns an error where it may not wait.
fn wait<K: Kind, T>(region: &Region<K>, call: impl Future<Output = Result<T>>) -> Result<T> {
    block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(region)))
}

fn would_deadlock<K: Kind>(region: &Region<K>) -> Error {
    Error::WouldDeadlock { region: region.name().to_owned() }
}

impl<'r, K: Kind> Blocking<'r, K> {
    /// One key, for a call with options of its own.
    pub fn entry(self, key: impl Into<Cow<'r, str>>) -> BlockingEntry<'r, K> {
        BlockingEntry(self.region.entry(key))
    }

    /// Several keys, for a call with options of its own.
    pub fn entries<I>(self, keys: I) -> BlockingEntries<'r, K>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        BlockingEntries { region: self.region, entries: self.region.entries(keys) }
    }

    /// See [`Region::get_or_create`](crate::Region::get_or_create).
    pub fn get_or_create<T: Cacheable<K>>(
        self,
        key: &str,
        creator: impl FnOnce() -> T + Send,
    ) -> T {
        self.entry(key).get_or_create(creator)
    }

    /// See [`Region::try_get_or_create`](crate::Region::try_get_or_create).
    pub fn try_get_or_create<T: Cacheable<K>, E: Send>(
        self,
        key: &str,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        self.entry(key).try_get_or_create(creator)
    }

    /// See [`Region::get_or_create_multi`](crate::Region::get_or_create_multi).
    pub fn get_or_create_multi<T, I>(
        self,
        keys: I,
        creator: impl FnMut(Vec<String>) -> Vec<T> + Send,
    ) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.entries(keys).get_or_create(creator)
    }

    /// See
    /// [`Region::try_get_or_create_multi`](crate::Region::try_get_or_create_multi).
    pub fn try_get_or_create_multi<T, E, I>(
        self,
        keys: I,
        creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, Failure<E>>
    where
        T: Cacheable<K>,
        E: Send,
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.entries(keys).try_get_or_create(creator)
    }

    /// See [`Region::get`](crate::Region::get).
    pub fn get<T: Cacheable<K>>(self, key: &str) -> Result<Option<T>> {
        wait(self.region, self.region.get(key))
    }

    /// See [`Region::get_value_metadata`](crate::Region::get_value_metadata).
    pub fn get_value_metadata<T: Cacheable<K>>(self, key: &str) -> Result<Option<Stored<T>>> {
        wait(self.region, self.region.get_value_metadata(key))
    }

    /// See [`Region::get_multi`](crate::Region::get_multi).
    pub fn get_multi<T, I>(self, keys: I) -> Result<Vec<Option<T>>>
    where
        T: Cacheable<K>,
        I: IntoIterator,
        I::Item: Into<String>,
    {
        wait(self.region, self.region.get_multi(keys))
    }

    /// See [`Region::set`](crate::Region::set).
    pub fn set<T: Cacheable<K>>(self, key: &str, value: &T) -> Result<()> {
        wait(self.region, self.region.set(key, value))
    }

    /// See [`Region::set_multi`](crate::Region::set_multi).
    pub fn set_multi<'v, T, I, Q>(self, values: I) -> Result<()>
    where
        T: Cacheable<K>,
        I: IntoIterator<Item = (Q, &'v T)>,
        Q: AsRef<str>,
    {
        wait(self.region, self.region.set_multi(values))
    }

    /// See [`Region::delete`](crate::Region::delete).
    pub fn delete(self, key: &str) -> Result<()> {
        wait(self.region, self.region.delete(key))
    }

    /// See [`Region::delete_multi`](crate::Region::delete_multi).
    pub fn delete_multi<I>(self, keys: I) -> Result<()>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        wait(self.region, self.region.delete_multi(keys))
    }

    /// See [`Region::key_is_locked`](crate::Region::key_is_locked).
    pub fn key_is_locked(self, key: &str) -> Result<bool> {
        wait(self.region, self.region.key_is_locked(key))
    }

    /// See [`Region::invalidate`](crate::Region::invalidate).
    pub fn invalidate(self, mode: Mode) -> Result<()> {
        wait(self.region, self.region.invalidate(mode))
    }
}

/// An [`Entry`] for code that is not async.
#[derive(Debug)]
#[must_use = "an entry does nothing until one of its operations is called"]
pub struct BlockingEntry<'r, K = Serde, S = Plain, C = Always>(Entry<'r, K, S, C>);

impl<'r, K: Kind, S: Shape, C> BlockingEntry<'r, K, S, C> {
    /// See [`Entry::expiration`].
    pub fn expiration(self, expiration: impl Into<Expiration>) -> Self {
        Self(self.0.expiration(expiration))
    }

    /// See [`Entry::stale_limit`].
    pub fn stale_limit(self, limit: Duration) -> Self {
        Self(self.0.stale_limit(limit))
    }

    /// See [`Entry::ignore_expiration`].
    pub fn ignore_expiration(self) -> Self {
        Self(self.0.ignore_expiration())
    }

    /// See [`Entry::wait_limit`].
    pub fn wait_limit(self, limit: Duration) -> Self {
        Self(self.0.wait_limit(limit))
    }

    /// See [`Entry::on_timeout`].
    pub fn on_timeout(self, then: OnTimeout) -> Self {
        Self(self.0.on_timeout(then))
    }

    /// See [`Entry::should_cache`].
    pub fn should_cache<F>(self, should_cache: F) -> BlockingEntry<'r, K, S, F> {
        BlockingEntry(self.0.should_cache(should_cache))
    }

    /// See [`Entry::strict`].
    pub fn strict(self) -> BlockingEntry<'r, K, S::Strict, C>
    where
        S: IntoStrict,
    {
        BlockingEntry(self.0.strict())
    }

    /// See [`Entry::detailed`].
    pub fn detailed(self) -> BlockingEntry<'r, K, S::Detailed, C>
    where
        S: IntoDetailed,
    {
        BlockingEntry(self.0.detailed())
    }

    /// See [`Entry::background`].
    pub fn background(self) -> BlockingBackgroundEntry<'r, K, S, C> {
        BlockingBackgroundEntry(self.0.background())
    }

    /// See [`Entry::get_or_create`].
    pub fn get_or_create<T>(self, creator: impl FnOnce() -> T + Send) -> S::One<T>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        match self.0.hit_now() {
            Some(hit) => S::one(Ok(hit)),
            None => S::one(self.create(|| Ok::<_, Infallible>(creator()))),
        }
    }

    /// See [`Entry::try_get_or_create`].
    pub fn try_get_or_create<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
    {
        match self.0.hit_now() {
            Some(hit) => S::tried(Ok(hit)),
            None => S::tried(self.create(creator)),
        }
    }

    /// See [`Entry::refresh`].
    pub fn refresh<T>(self, creator: impl FnOnce() -> T + Send) -> S::One<T>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        S::one(self.create_anew(|| Ok::<_, Infallible>(creator())))
    }

    /// See [`Entry::try_refresh`].
    pub fn try_refresh<T, E>(self, creator: impl FnOnce() -> Result<T, E> + Send) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
    {
        S::tried(self.create_anew(creator))
    }

    fn create_anew<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<Answer<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
    {
        let region = self.0.region;
        let creator = Starvable::new(creator);
        match block_on(self.0.create_anew(|| ready(creator.run()))) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }

    fn create<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<Answer<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
    {
        let region = self.0.region;
        let creator = Starvable::new(creator);
        let call = self.0.create(|| ready(creator.run()));
        match block_on(call) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }

    /// See [`Entry::get`].
    pub fn get<T: Cacheable<K>>(self) -> Result<Option<T>> {
        wait(self.0.region, self.0.get())
    }

    /// See [`Entry::get_stored`].
    pub fn get_stored<T: Cacheable<K>>(self) -> Result<Option<Stored<T>>> {
        wait(self.0.region, self.0.get_stored())
    }

    /// See [`Entry::set`].
    pub fn set<T: Cacheable<K>>(self, value: &T) -> Result<()> {
        wait(self.0.region, self.0.set(value))
    }

    /// See [`Entry::delete`].
    pub fn delete(self) -> Result<()> {
        wait(self.0.region, self.0.delete())
    }

    /// See [`Entry::is_locked`].
    pub fn is_locked(self) -> Result<bool> {
        wait(self.0.region, self.0.is_locked())
    }
}

/// A creator whose call may turn out to be one that must not wait: then it
/// runs outside, or what it made before that is saved.
struct Starvable<F, T, E> {
    creator: Mutex<Option<F>>,
    made: Mutex<Option<Result<T, E>>>,
}

impl<F, T, E> Starvable<F, T, E>
where
    F: FnOnce() -> Result<T, E>,
    T: Clone,
{
    fn new(creator: F) -> Self {
        Self { creator: Mutex::new(Some(creator)), made: Mutex::new(None) }
    }

    fn run(&self) -> Result<T, E> {
        let creator = self.creator.lock().take();
        let Some(creator) = creator else { unreachable!("one key is created once") };
        let made = creator();
        if let Ok(value) = &made
            && !blocking_is_allowed()
        {
            *self.made.lock() = Some(Ok(value.clone()));
        }
        made
    }

    fn rescue<K: Kind>(&self, region: &Region<K>, strict: bool) -> Result<Answer<T>, Failure<E>> {
        let fault = would_deadlock(region);
        if strict {
            return Err(Failure::Cache(fault));
        }
        log::running_uncached(region.name(), &fault);
        region.count_uncached();
        let made = self.made.lock().take();
        let creator = self.creator.lock().take();
        match (made, creator) {
            (Some(made), _) => made.map(Answer::uncached).map_err(Failure::Creator),
            (None, Some(creator)) => creator().map(Answer::uncached).map_err(Failure::Creator),
            (None, None) => unreachable!("the creator ran, and what it made was saved"),
        }
    }
}

/// A [`BackgroundEntry`] for code that is not async.
///
/// The creator runs on the region's [`Runner`](super::Runner): by default on
/// the runtime the call came from, and outside of one on a thread of its own.
#[derive(Debug)]
#[must_use = "an entry does nothing until one of its operations is called"]
pub struct BlockingBackgroundEntry<'r, K = Serde, S = Plain, C = Always>(
    BackgroundEntry<'r, K, S, C>,
);

impl<K: Kind, S: Shape, C: 'static> BlockingBackgroundEntry<'_, K, S, C> {
    /// See [`BackgroundEntry::delete`]. Where waiting is refused, on a current-thread runtime,
    /// it is done in the background alone.
    pub fn delete(self) {
        let Entry { region, key, .. } = self.0.entry();
        let Some(core) = region.core() else { return };
        let key = core.stored_key(key).into_owned();
        if let Err(Starved) = block_on(core.clone().delete_surely(key.clone())) {
            spawn("dogpile-deletion", core.delete_surely(key));
        }
    }

    /// See [`BackgroundEntry::get_or_create`].
    pub fn get_or_create<T>(self, creator: impl FnOnce() -> T + Send + 'static) -> S::One<T>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        let creator = || Ok::<_, Infallible>(creator());
        match self.0.entry().hit_now() {
            Some(hit) => S::one(Ok(hit)),
            None => S::one(self.create(creator, Infallible::to_string)),
        }
    }

    /// See [`BackgroundEntry::try_get_or_create`].
    pub fn try_get_or_create<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: fmt::Display + Send + 'static,
    {
        self.try_get_or_create_telling(creator, E::to_string)
    }

    /// The same for any error, with what is to be logged of it.
    #[doc(hidden)]
    pub fn try_get_or_create_telling<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> S::Tried<T, E>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send + 'static,
    {
        match self.0.entry().hit_now() {
            Some(hit) => S::tried(Ok(hit)),
            None => S::tried(self.create(creator, tell)),
        }
    }

    fn create<T, E>(
        self,
        creator: impl FnOnce() -> Result<T, E> + Send + 'static,
        tell: fn(&E) -> String,
    ) -> Result<Answer<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send + 'static,
    {
        let region = self.0.entry().region;
        let creator = std::sync::Arc::new(Starvable::new(creator));
        let for_call = creator.clone();
        let call = self.0.create(move || async move { for_call.run() }, tell);
        match block_on(call) {
            Ok(result) => result,
            Err(Starved) => creator.rescue(region, S::STRICT),
        }
    }
}

/// [`Entries`] for code that is not async.
#[derive(Debug)]
#[must_use = "entries do nothing until one of their operations is called"]
pub struct BlockingEntries<'r, K = Serde, C = Always> {
    region: &'r Region<K>,
    entries: Entries<'r, K, C>,
}

impl<'r, K: Kind, C> BlockingEntries<'r, K, C> {
    fn map(self, change: impl FnOnce(Entries<'r, K, C>) -> Entries<'r, K, C>) -> Self {
        Self { region: self.region, entries: change(self.entries) }
    }

    /// See [`Entries::expiration`].
    pub fn expiration(self, expiration: impl Into<Expiration>) -> Self {
        self.map(|entries| entries.expiration(expiration))
    }

    /// See [`Entries::stale_limit`].
    pub fn stale_limit(self, limit: Duration) -> Self {
        self.map(|entries| entries.stale_limit(limit))
    }

    /// See [`Entries::ignore_expiration`].
    pub fn ignore_expiration(self) -> Self {
        self.map(Entries::ignore_expiration)
    }

    /// See [`Entries::wait_limit`].
    pub fn wait_limit(self, limit: Duration) -> Self {
        self.map(|entries| entries.wait_limit(limit))
    }

    /// See [`Entries::on_timeout`].
    pub fn on_timeout(self, then: OnTimeout) -> Self {
        self.map(|entries| entries.on_timeout(then))
    }

    /// See [`Entries::should_cache`].
    pub fn should_cache<F>(self, should_cache: F) -> BlockingEntries<'r, K, F> {
        let entries = self.entries.should_cache(should_cache);
        BlockingEntries { region: self.region, entries }
    }

    /// See [`Entries::strict`].
    pub fn strict(self) -> Self {
        self.map(Entries::strict)
    }

    /// See [`Entries::get_or_create`].
    pub fn get_or_create<T>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Vec<T> + Send,
    ) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        wait(self.region, self.entries.get_or_create(|keys| ready(creator(keys))))
    }

    /// See [`Entries::try_get_or_create`].
    pub fn try_get_or_create<T, E>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
    {
        let call = self.entries.try_get_or_create(|keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::refresh`].
    pub fn refresh<T>(self, mut creator: impl FnMut(Vec<String>) -> Vec<T> + Send) -> Result<Vec<T>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
    {
        wait(self.region, self.entries.refresh(|keys| ready(creator(keys))))
    }

    /// See [`Entries::try_refresh`].
    pub fn try_refresh<T, E>(
        self,
        mut creator: impl FnMut(Vec<String>) -> Result<Vec<T>, E> + Send,
    ) -> Result<Vec<T>, Failure<E>>
    where
        T: Cacheable<K>,
        C: ShouldCache<T>,
        E: Send,
    {
        let call = self.entries.try_refresh(|keys| ready(creator(keys)));
        block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(self.region).into()))
    }

    /// See [`Entries::get`].
    pub fn get<T: Cacheable<K>>(self) -> Result<Vec<Option<T>>> {
        wait(self.region, self.entries.get())
    }

    /// See [`Entries::get_stored`].
    pub fn get_stored<T: Cacheable<K>>(self) -> Result<Vec<Option<Stored<T>>>> {
        wait(self.region, self.entries.get_stored())
    }

    /// See [`Entries::delete`].
    pub fn delete(self) -> Result<()> {
        wait(self.region, self.entries.delete())
    }
}
