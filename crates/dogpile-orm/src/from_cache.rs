//! A query that is to be answered from a region: what all libraries have in
//! common.

use std::fmt;
use std::future::Future;

use dogpile::{Always, Cacheable, Expiration, Serde, ShouldCache};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::regions::{Found, InRegion};

/// A row that can be kept in a region: clonable, owning its data, with serde's traits.
/// Implemented for all that are.
#[diagnostic::on_unimplemented(
    message = "rows of the type `{Self}` can't be cached",
    note = "derive `Clone`, serde's `Serialize` and `Deserialize` for it; it has to be `Send + Sync + 'static` too"
)]
pub trait Row: Clone + Serialize + DeserializeOwned + Send + Sync + 'static {}

impl<T: Clone + Serialize + DeserializeOwned + Send + Sync + 'static> Row for T {}

/// A query with `.from_cache(..)`, and options for this call. The methods that run it
/// are those of its library; see the modules.
///
/// As anywhere in a region: a database error goes to the caller and is not cached;
/// when the cache is away, the query runs.
#[must_use = "a query does nothing until it is run"]
pub struct FromCache<'r, Q, C = Always> {
    pub(crate) query: Q,
    pub(crate) options: Options<'r, C>,
}

pub(crate) struct Options<'r, C> {
    region: InRegion<'r>,
    key_part: Option<String>,
    expiration: Option<Expiration>,
    asks: Asks,
    should_cache: C,
}

/// Whom a call asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asks {
    CacheFirst,
    CacheOnly,
    Database,
}

impl<'r, Q> FromCache<'r, Q> {
    pub(crate) fn new(query: Q, region: InRegion<'r>) -> Self {
        let options = Options {
            region,
            key_part: None,
            expiration: None,
            asks: Asks::CacheFirst,
            should_cache: Always,
        };
        Self { query, options }
    }
}

impl<'r, Q, C> FromCache<'r, Q, C> {
    /// A part of the key of your own, before the hash: for results that depend on more
    /// than statement and values (a tenant, a database, a setting of the session), and
    /// for finding keys with `dogpile keys`.
    pub fn key_part(mut self, part: impl Into<String>) -> Self {
        self.options.key_part = Some(part.into());
        self
    }

    /// How long this result lives, instead of what the region says.
    pub fn expiration(mut self, expiration: impl Into<Expiration>) -> Self {
        self.options.expiration = Some(expiration.into());
        self
    }

    /// Asks the cache only, however old its answer: the database is never asked, and
    /// a miss is [`Error::NotCached`] (Python's `ignore_expiration`).
    pub fn cache_only(mut self) -> Self {
        self.options.asks = Asks::CacheOnly;
        self
    }

    /// Asks the database in any case, and stores what it says. A creation that
    /// began before and ends later overwrites that.
    pub fn refresh(mut self) -> Self {
        self.options.asks = Asks::Database;
        self
    }

    /// Stores a result only if `should_cache` says so; the caller gets it in any
    /// case.
    pub fn should_cache<F>(self, should_cache: F) -> FromCache<'r, Q, F> {
        let Self { query, options } = self;
        let Options { region, key_part, expiration, asks, .. } = options;
        let options = Options { region, key_part, expiration, asks, should_cache };
        FromCache { query, options }
    }
}

impl<C> Options<'_, C> {
    pub(crate) fn key_part(&self) -> Option<&str> {
        self.key_part.as_deref()
    }
}

impl<'r, C> Options<'r, C> {
    fn find<E>(&self) -> Result<Found<'r>, Error<E>> {
        self.region.find()
    }

    /// What is under `key`, made by `run` if need be.
    pub(crate) async fn fetch<T, E, F, R>(self, key: &str, run: R) -> Result<T, Error<E>>
    where
        T: Cacheable<Serde>,
        C: ShouldCache<T>,
        E: Send,
        F: Future<Output = Result<T, E>> + Send,
        R: FnOnce() -> F + Send,
    {
        let region = self.find()?;
        let mut entry = region.entry(key);
        if self.asks == Asks::CacheOnly {
            let found = entry.ignore_expiration().get().await;
            return known(found, region.name(), key);
        }
        if let Some(expiration) = self.expiration {
            entry = entry.expiration(expiration);
        }
        let entry = entry.should_cache(self.should_cache);
        let fetched = match self.asks {
            Asks::Database => entry.try_refresh(run).await,
            _ => entry.try_get_or_create(run).await,
        };
        fetched.map_err(Error::Database)
    }

    /// The same for queries that block.
    #[cfg(feature = "diesel")]
    pub(crate) fn fetch_blocking<T, E, R>(self, key: &str, run: R) -> Result<T, Error<E>>
    where
        T: Cacheable<Serde>,
        C: ShouldCache<T>,
        E: Send,
        R: FnOnce() -> Result<T, E> + Send,
    {
        let region = self.find()?;
        let mut entry = region.blocking().entry(key);
        if self.asks == Asks::CacheOnly {
            return known(entry.ignore_expiration().get(), region.name(), key);
        }
        if let Some(expiration) = self.expiration {
            entry = entry.expiration(expiration);
        }
        let entry = entry.should_cache(self.should_cache);
        let fetched = match self.asks {
            Asks::Database => entry.try_refresh(run),
            _ => entry.try_get_or_create(run),
        };
        fetched.map_err(Error::Database)
    }

    /// Forgets what is under `keys`.
    pub(crate) async fn forget<E>(self, keys: &[String]) -> Result<(), Error<E>> {
        self.find()?.delete_multi(keys).await.map_err(Error::Cache)
    }

    /// The same for code that blocks.
    #[cfg(feature = "diesel")]
    pub(crate) fn forget_blocking<E>(self, keys: &[String]) -> Result<(), Error<E>> {
        self.find()?.blocking().delete_multi(keys).map_err(Error::Cache)
    }
}

fn known<T, E>(found: dogpile::Result<Option<T>>, region: &str, key: &str) -> Result<T, Error<E>> {
    match found {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Error::NotCached { region: region.to_owned(), key: key.to_owned() }),
        Err(fault) => Err(Error::Cache(fault)),
    }
}

impl<Q, C> fmt::Debug for FromCache<'_, Q, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromCache")
            .field("region", &self.options.region)
            .field("key_part", &self.options.key_part)
            .field("asks", &self.options.asks)
            .finish_non_exhaustive()
    }
}
