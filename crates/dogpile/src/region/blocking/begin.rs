//! Creations in two halves, for code that is not async.

use std::fmt;

use super::super::entry::{Begun, Creation as AsyncCreation};
use super::super::kind::{Cacheable, Kind, Takes};
use super::super::lookup::{Lookup, Plain, Shape};
use super::super::options::ShouldCache;
use super::entry::Entry;
use super::would_deadlock;
use crate::bridge::{Starved, block_on};
use crate::error::{CreateError, Error, InRegion};
use crate::log;

impl<K: Kind, S: Shape, C: 'static, V> Entry<'_, K, S, C, V> {
    /// See [`Entry::begin`](crate::Entry::begin); the creation has a
    /// [blocking form](crate::Creation::blocking) as well.
    ///
    /// ```
    /// use dogpile::{Begun, Config, Region, backend::Memory};
    ///
    /// let pages = Region::new("pages");
    /// pages.configure(Config::new(Memory::new(100)))?;
    /// let page: String = match pages.blocking().entry("/").begin() {
    ///     Begun::Value(found) => found.value,
    ///     Begun::Create(creation) => creation.blocking().finish("<h1>Welcome</h1>".to_owned()),
    /// };
    /// assert_eq!(pages.peek::<String>("/"), Some(page));
    /// # Ok::<(), dogpile::Error>(())
    /// ```
    pub fn begin<T>(self) -> S::One<Begun<T, S>>
    where
        T: Cacheable<K>,
        V: Takes<T>,
        C: ShouldCache<T>,
    {
        let inner = self.into_inner();
        let region = inner.region;
        if let Ok(begun) = block_on(inner.begin()) {
            return begun;
        }
        let error = would_deadlock(region);
        if S::STRICT {
            return S::one(Err(CreateError::Cache(error)));
        }
        log::running_uncached(region.name(), &error);
        region.count_uncached();
        S::one(Ok(Begun::Create(AsyncCreation::uncounted())))
    }
}

/// A [`Creation`](crate::Creation) for code that is not async.
#[derive(Debug)]
#[must_use = "the key is locked until the creation ends"]
pub struct Creation<T, S = Plain> {
    inner: AsyncCreation<T, S>,
}

impl<T, S> AsyncCreation<T, S> {
    /// Returns the same creation for code that is not async.
    pub fn blocking(self) -> Creation<T, S> {
        Creation { inner: self }
    }
}

impl<T: Clone + Send + Sync + 'static, S: Shape> Creation<T, S> {
    /// See [`Creation::meanwhile`](crate::Creation::meanwhile).
    pub fn meanwhile(&self) -> Option<Lookup<T>> {
        self.inner.meanwhile()
    }

    /// See [`Creation::finish`](crate::Creation::finish). Where waiting is refused, on a
    /// current-thread runtime, the value may not be stored.
    pub fn finish(self, value: T) -> S::One<T> {
        let region = self.inner.region().to_owned();
        match block_on(self.inner.finish(value.clone())) {
            Ok(finished) => finished,
            Err(Starved) if S::STRICT => {
                S::one(Err(CreateError::Cache(Error::WouldDeadlock(InRegion { region }.into()))))
            }
            Err(Starved) => S::one(Ok(value)),
        }
    }

    /// See [`Creation::fail`](crate::Creation::fail).
    pub fn fail(self, why: impl fmt::Display) -> Option<Lookup<T>> {
        block_on(self.inner.fail(why)).unwrap_or_default()
    }

    /// See [`Creation::abandon`](crate::Creation::abandon).
    pub fn abandon(self) {
        // Where waiting is refused, it was dropped.
        let _ = block_on(self.inner.abandon());
    }
}
