//! A region for code that is not async: the same entries, driven to their end
//! on the calling thread.
//!
//! - `entry`: one key;
//! - `begin`: its creations in two halves;
//! - `entries`: several keys;
//! - `starvable`: creators of calls that turn out to be ones that must not wait.

mod begin;
#[cfg(feature = "macros")]
mod decorated;
mod entries;
mod entry;
mod starvable;

use std::borrow::Cow;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;

use super::kind::{Cacheable, Kind, Serialized};
use super::lookup::{Answer, CachedValue, Plain, Shape};
use super::object_now::Code;
use super::options::Options;
use crate::bridge::{Starved, beside_others, block_on};
use crate::error::{CreateError, Error, InRegion, Result};

pub use begin::Creation;
pub use entries::Entries;
pub use entry::Entry;

/// The calls of a [`Region`](crate::Region) for code that is not async. Made by
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
pub struct Region<'r, K = Serialized> {
    region: &'r super::Region<K>,
}

impl<'r, K> Region<'r, K> {
    pub(super) const fn new(region: &'r super::Region<K>) -> Self {
        Self { region }
    }
}

impl<K> Clone for Region<'_, K> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K> Copy for Region<'_, K> {}

/// Runs a call that returns an error where it may not wait.
fn wait<K: Kind, T>(region: &super::Region<K>, call: impl Future<Output = Result<T>>) -> Result<T> {
    block_on(call).unwrap_or_else(|Starved| Err(would_deadlock(region)))
}

fn would_deadlock<K: Kind>(region: &super::Region<K>) -> Error {
    Error::WouldDeadlock(InRegion { region: region.name().to_owned() }.into())
}

impl<'r, K: Kind> Region<'r, K> {
    /// Runs a future on this thread, as the calls here do: for crates with async calls that use the
    /// region and have blocking forms.
    ///
    /// ```
    /// use dogpile::{Config, Region, backend::Memory};
    ///
    /// async fn greeting(region: &Region, id: u64) -> String {
    ///     let name = region.get_or_create(&id.to_string(), async || "Ada".to_owned()).await;
    ///     format!("Hello, {name}")
    /// }
    ///
    /// let users = Region::new("users");
    /// users.configure(Config::new(Memory::new(10)))?;
    /// assert_eq!(users.blocking().block_on(greeting(&users, 42))?, "Hello, Ada");
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::WouldDeadlock`] if it has to wait, on the only thread of a runtime. Then it
    /// was dropped.
    pub fn block_on<F: Future>(self, future: F) -> Result<F::Output> {
        wait(self.region, async { Ok(beside_others(pin!(future)).await) })
    }

    /// One key, for a call with options of its own.
    pub fn entry(self, key: impl Into<Cow<'r, str>>) -> Entry<'r, K> {
        Entry::new(self.region.entry(key))
    }

    /// Several keys, for a call with options of its own.
    pub fn entries<I>(self, keys: I) -> Entries<'r, K>
    where
        I: IntoIterator,
        I::Item: Into<String>,
    {
        Entries::new(self.region, self.region.entries(keys))
    }

    /// See [`Region::get_or_create`](crate::Region::get_or_create).
    pub fn get_or_create<T: Cacheable<K>>(
        self,
        key: &str,
        creator: impl FnOnce() -> T + Send,
    ) -> T {
        // An entry, with its options, would be a fifth of a hit.
        if let Some(hit) = self.region.value_now(key) {
            return hit;
        }
        let created = self.entry(key).create(|| Ok::<_, Infallible>(creator()));
        Plain::one(created.map(Answer::into_value))
    }

    /// See [`Region::try_get_or_create`](crate::Region::try_get_or_create).
    pub fn try_get_or_create<T: Cacheable<K>, E: Send>(
        self,
        key: &str,
        creator: impl FnOnce() -> Result<T, E> + Send,
    ) -> Result<T, E> {
        if let Some(hit) = self.region.value_now(key) {
            return Ok(hit);
        }
        Plain::tried(self.entry(key).create(creator).map(Answer::into_value))
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
    ) -> Result<Vec<T>, CreateError<E>>
    where
        T: Cacheable<K>,
        E: Send,
        I: IntoIterator,
        I::Item: Into<String>,
    {
        self.entries(keys).try_get_or_create(creator)
    }

    /// See [`Region::get`](crate::Region::get).
    #[expect(clippy::inline_always, reason = "measured: a sixth of a hit")]
    #[inline(always)]
    pub fn get<T: Cacheable<K>>(self, key: &str) -> Result<Option<T>> {
        // Not the future of an async call: its result would be copied on the way.
        match self.region.get_now(key, Options::NONE, Code::Caller) {
            Some(found) => Ok(found),
            None => wait(self.region, self.region.get_boxed(key.into())),
        }
    }

    /// See [`Region::get_with_metadata`](crate::Region::get_with_metadata).
    pub fn get_with_metadata<T: Cacheable<K>>(self, key: &str) -> Result<Option<CachedValue<T>>> {
        wait(self.region, self.region.get_with_metadata(key))
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

    /// See [`Region::expire`](crate::Region::expire).
    pub fn expire(self, key: &str) -> Result<()> {
        wait(self.region, self.region.expire(key))
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

    /// See [`Region::invalidate_all`](crate::Region::invalidate_all).
    pub fn invalidate_all(self) -> Result<()> {
        wait(self.region, self.region.invalidate_all())
    }

    /// See [`Region::expire_all`](crate::Region::expire_all).
    pub fn expire_all(self) -> Result<()> {
        wait(self.region, self.region.expire_all())
    }
}
