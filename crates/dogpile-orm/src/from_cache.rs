//! A query that is to be answered from a region: what all libraries have in
//! common.

use std::fmt;
use std::future::Future;

use dogpile::{Always, Cacheable, Expiration, Region, Serde, ShouldCache};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::Error;
use crate::regions::{Found, InRegion};
use crate::session::{Form, InSession, Owned, Session};
use crate::tables;

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
pub struct FromCache<'r, Q, C = Always, S = Owned> {
    pub(crate) query: Q,
    pub(crate) options: Options<'r, C, S>,
}

pub(crate) struct Options<'r, C, S> {
    region: InRegion<'r>,
    key_part: Option<String>,
    expiration: Option<Expiration>,
    asks: Asks,
    should_cache: C,
    form: S,
    tables: Vec<String>,
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
            form: Owned,
            tables: Vec::new(),
        };
        Self { query, options }
    }
}

impl<'r, Q, C, S> FromCache<'r, Q, C, S> {
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

    /// Names a table that the result comes from, so that
    /// [`invalidate_tables`](crate::invalidate_tables) reaches it. A query of several
    /// tables names each.
    ///
    /// It costs another look into the cache before the query's own: for the versions of
    /// the tables, all at once.
    pub fn of_table(mut self, table: impl Into<String>) -> Self {
        self.options.tables.push(table.into());
        self
    }

    /// Stores a result only if `should_cache` says so; the caller gets it in any
    /// case.
    pub fn should_cache<F>(self, should_cache: F) -> FromCache<'r, Q, F, S> {
        let Self { query, options } = self;
        let Options { region, key_part, expiration, asks, form, tables, .. } = options;
        let options = Options { region, key_part, expiration, asks, should_cache, form, tables };
        FromCache { query, options }
    }

    /// Asks `session` before the region. The result comes as an `Arc`, the same one
    /// as long as the session has it.
    pub fn in_session(self, session: &'r Session) -> FromCache<'r, Q, C, InSession<'r>> {
        let Self { query, options } = self;
        let Options { region, key_part, expiration, asks, should_cache, tables, .. } = options;
        let form = InSession(session);
        let options = Options { region, key_part, expiration, asks, should_cache, form, tables };
        FromCache { query, options }
    }
}

impl<C, S> Options<'_, C, S> {
    pub(crate) fn key_part(&self) -> Option<&str> {
        self.key_part.as_deref()
    }
}

impl<'r, C, S: Form> Options<'r, C, S> {
    fn find<E>(&self) -> Result<Found<'r>, Error<E>> {
        self.region.find()
    }

    /// `key`, with the versions of the tables behind it.
    async fn with_versions<E>(&self, region: &Region, key: &str) -> Result<String, Error<E>> {
        if self.tables.is_empty() {
            return Ok(key.to_owned());
        }
        let versions = tables::versions(region, &self.tables).await.map_err(Error::Cache)?;
        Ok(format!("{key}:{versions}"))
    }

    /// The same for code that blocks.
    #[cfg(feature = "diesel")]
    fn with_versions_blocking<E>(&self, region: &Region, key: &str) -> Result<String, Error<E>> {
        if self.tables.is_empty() {
            return Ok(key.to_owned());
        }
        let versions = tables::versions_blocking(region, &self.tables).map_err(Error::Cache)?;
        Ok(format!("{key}:{versions}"))
    }

    /// What is under `key`, made by `run` if need be, in the `form` that it comes in.
    pub(crate) async fn fetch<T, V, E, F, R>(
        self,
        key: &str,
        run: R,
        form: impl FnOnce(T) -> V + Send,
    ) -> Result<V, Error<E>>
    where
        V: Clone + Send + Sync + 'static,
        T: Cacheable<Serde>,
        C: ShouldCache<T>,
        E: Send,
        F: Future<Output = Result<T, E>> + Send,
        R: FnOnce() -> F + Send,
    {
        let region = self.find()?;
        let key = &self.with_versions(&region, key).await?;
        let refreshes = self.asks == Asks::Database;
        if let Some(found) = self.form.find(region.name(), key).filter(|_| !refreshes) {
            return Ok(found);
        }
        let mut entry = region.entry(key.as_str());
        if self.asks == Asks::CacheOnly {
            let found = entry.ignore_expiration().get().await;
            let found = form(known(found, region.name(), key)?);
            return Ok(self.form.keep(region.name(), key, found, false));
        }
        if let Some(expiration) = self.expiration {
            entry = entry.expiration(expiration);
        }
        let entry = entry.should_cache(self.should_cache);
        let fetched = match self.asks {
            Asks::Database => entry.try_refresh(run).await,
            _ => entry.try_get_or_create(run).await,
        };
        let fetched = form(fetched.map_err(Error::Database)?);
        Ok(self.form.keep(region.name(), key, fetched, refreshes))
    }

    /// The same for queries that block.
    #[cfg(feature = "diesel")]
    pub(crate) fn fetch_blocking<T, V, E, R>(
        self,
        key: &str,
        run: R,
        form: impl FnOnce(T) -> V,
    ) -> Result<V, Error<E>>
    where
        V: Clone + Send + Sync + 'static,
        T: Cacheable<Serde>,
        C: ShouldCache<T>,
        E: Send,
        R: FnOnce() -> Result<T, E> + Send,
    {
        let region = self.find()?;
        let key = &self.with_versions_blocking(&region, key)?;
        let refreshes = self.asks == Asks::Database;
        if let Some(found) = self.form.find(region.name(), key).filter(|_| !refreshes) {
            return Ok(found);
        }
        let mut entry = region.blocking().entry(key.as_str());
        if self.asks == Asks::CacheOnly {
            let found = form(known(entry.ignore_expiration().get(), region.name(), key)?);
            return Ok(self.form.keep(region.name(), key, found, false));
        }
        if let Some(expiration) = self.expiration {
            entry = entry.expiration(expiration);
        }
        let entry = entry.should_cache(self.should_cache);
        let fetched = match self.asks {
            Asks::Database => entry.try_refresh(run),
            _ => entry.try_get_or_create(run),
        };
        let fetched = form(fetched.map_err(Error::Database)?);
        Ok(self.form.keep(region.name(), key, fetched, refreshes))
    }

    /// Forgets what is under `keys`.
    pub(crate) async fn forget<E>(self, keys: &[String]) -> Result<(), Error<E>> {
        let region = self.find()?;
        let mut own = Vec::with_capacity(keys.len());
        for key in keys {
            own.push(self.with_versions(&region, key).await?);
        }
        self.form.forget(region.name(), &own);
        region.delete_multi(&own).await.map_err(Error::Cache)
    }

    /// The same for code that blocks.
    #[cfg(feature = "diesel")]
    pub(crate) fn forget_blocking<E>(self, keys: &[String]) -> Result<(), Error<E>> {
        let region = self.find()?;
        let own = keys.iter().map(|key| self.with_versions_blocking(&region, key));
        let own = own.collect::<Result<Vec<_>, _>>()?;
        self.form.forget(region.name(), &own);
        region.blocking().delete_multi(&own).map_err(Error::Cache)
    }
}

fn known<T, E>(found: dogpile::Result<Option<T>>, region: &str, key: &str) -> Result<T, Error<E>> {
    match found {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(Error::NotCached { region: region.to_owned(), key: key.to_owned() }),
        Err(fault) => Err(Error::Cache(fault)),
    }
}

impl<Q, C, S> fmt::Debug for FromCache<'_, Q, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromCache")
            .field("region", &self.options.region)
            .field("key_part", &self.options.key_part)
            .field("asks", &self.options.asks)
            .finish_non_exhaustive()
    }
}
