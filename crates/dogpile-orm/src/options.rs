//! The options of a call on cached results, and the call itself.

use std::collections::BTreeSet;

use dogpile::region::ShouldCache;
use dogpile::{EntryOptions, Region};

use crate::error::{Error, forgotten};
use crate::regions::{Found, InRegion};
use crate::session::{Form, Owned};
use crate::stored_result::{One, StoredResult, lost_field};
use crate::tables::Versions;

/// The sources that a call may ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FetchPolicy {
    CacheFirst,
    CacheOnly,
    Database,
}

/// The way of a call to its rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// By the query alone: neither region nor session is read or written.
    Past,
    Through,
    Refresh,
    CacheOnly,
}

#[derive(Clone)]
pub(crate) struct Options<'r, C, S> {
    pub(crate) region: InRegion<'r>,
    pub(crate) key_part: Option<String>,
    pub(crate) entry: EntryOptions,
    pub(crate) policy: FetchPolicy,
    /// The query runs within a transaction, or may.
    pub(crate) in_transaction: bool,
    pub(crate) should_cache: C,
    pub(crate) form: S,
    /// Each once, in one order, so that those who name the same ones share an entry.
    pub(crate) tables: BTreeSet<String>,
}

impl<'r> Options<'r, dogpile::region::Always, Owned> {
    pub(crate) fn new(region: InRegion<'r>) -> Self {
        Self {
            region,
            key_part: None,
            entry: EntryOptions::new(),
            policy: FetchPolicy::CacheFirst,
            in_transaction: false,
            should_cache: dogpile::region::Always,
            form: Owned,
            tables: BTreeSet::new(),
        }
    }
}

impl<'r, C, S> Options<'r, C, S> {
    pub(crate) fn key_part(&self) -> Option<&str> {
        self.key_part.as_deref()
    }

    /// With other rules of what to store, and another form.
    pub(crate) fn with<D, N>(
        self,
        should_cache: impl FnOnce(C) -> D,
        form: impl FnOnce(S) -> N,
    ) -> Options<'r, D, N> {
        let Self { region, key_part, entry, policy, in_transaction, tables, .. } = self;
        let (should_cache, form) = (should_cache(self.should_cache), form(self.form));
        Options { region, key_part, entry, policy, in_transaction, should_cache, form, tables }
    }

    /// The same for a query on a connection that may be within a transaction, or is not.
    pub(crate) fn on(mut self, may_be_in_transaction: bool) -> Self {
        self.in_transaction |= may_be_in_transaction;
        self
    }

    /// A transaction reads a snapshot that others have changed since, or changes of its own that
    /// nobody else may see. Both are right for it alone.
    pub(crate) fn way<E>(&self, region: &Region) -> Result<Way, Error<E>> {
        match (self.policy, self.in_transaction) {
            (FetchPolicy::CacheOnly, _) => Ok(Way::CacheOnly),
            (FetchPolicy::CacheFirst, false) => Ok(Way::Through),
            (FetchPolicy::CacheFirst, true) => Ok(Way::Past),
            (FetchPolicy::Database, false) => Ok(Way::Refresh),
            (FetchPolicy::Database, true) => {
                Err(Error::RefreshInTransaction { region: region.name().to_owned() })
            }
        }
    }

    /// For a row that is kept as [`One`].
    pub(crate) fn for_one<T>(self) -> Options<'r, impl ShouldCache<One<T>>, S>
    where
        C: ShouldCache<Option<T>>,
    {
        self.with(|c| move |one: &One<T>| c.should_cache(&one.0), |form| form)
    }
}

/// Rows that lose a field in the cache are no result.
pub(crate) fn sound<T: StoredResult, E>(made: Result<T, E>) -> Result<T, Error<E>> {
    let made = made.map_err(Error::Database)?;
    match made.sample().and_then(lost_field) {
        None => Ok(made),
        Some(field) => Err(Error::LostField { row: std::any::type_name::<T::Sample>(), field }),
    }
}

pub(crate) fn not_cached<E>(region: &Region, key: &str) -> Error<E> {
    Error::NotCached { region: region.name().to_owned(), key: key.to_owned() }
}

fn known<T, E>(
    found: dogpile::Result<Option<T>>,
    region: &Region,
    key: &str,
) -> Result<T, Error<E>> {
    found.map_err(Error::Cache)?.ok_or_else(|| not_cached(region, key))
}

impl<'r, C, S: Form> Options<'r, C, S> {
    pub(crate) fn find<E>(&self) -> Result<Found<'r>, Error<E>> {
        self.region.find()
    }

    /// Returns the session's value, for calls that it may answer.
    pub(crate) fn in_session<V: Clone + 'static>(
        &self,
        region: &Region,
        way: Way,
        key: &str,
    ) -> Option<V> {
        let may = matches!(way, Way::Through | Way::CacheOnly);
        may.then(|| self.form.find(region.name(), key)).flatten()
    }

    /// From now on the session has `value`, unless another was faster.
    pub(crate) fn keep<V>(&self, region: &Region, key: &str, value: V) -> V
    where
        V: Clone + Send + Sync + 'static,
    {
        self.form.keep(region.name(), key, value, self.policy == FetchPolicy::Database)
    }

    /// Returns the value of `key`, created by `run` if need be, in the `form` that it comes in.
    #[cfg(any(feature = "diesel-async", feature = "sea-orm", feature = "sqlx"))]
    pub(crate) async fn fetch<T, V, E, F, R>(
        self,
        key: &str,
        run: R,
        form: impl FnOnce(T) -> V + Send,
    ) -> Result<V, Error<E>>
    where
        V: Clone + Send + Sync + 'static,
        T: StoredResult,
        C: ShouldCache<T>,
        E: Send,
        F: Future<Output = Result<T, E>> + Send,
        R: FnOnce() -> F + Send,
    {
        let region = self.find()?;
        let way = self.way(&region)?;
        if way == Way::Past {
            return Ok(form(run().await.map_err(Error::Database)?));
        }
        if let Some(found) = self.in_session(&region, way, key) {
            return Ok(found);
        }
        let versions = Versions::of(&region, &self.tables).await;
        let entry = region.entry(versions.behind(key));
        if way == Way::CacheOnly {
            let found = entry.ignore_expiration().get().await;
            return Ok(self.keep(&region, key, form(known(found, &region, key)?)));
        }
        let entry = entry.options(&self.entry);
        let may = |value: &T| versions.are_known() && self.should_cache.should_cache(value);
        let entry = entry.should_cache(may);
        let run = || async { sound(run().await) };
        let fetched = match way {
            Way::Refresh => entry.try_refresh(run).await,
            _ => entry.try_get_or_create(run).await,
        };
        Ok(self.keep(&region, key, form(fetched?)))
    }

    /// The same for queries that block. Where waiting would never end, the entry runs the query
    /// past the cache, or returns what it has read already.
    #[cfg(feature = "diesel")]
    pub(crate) fn fetch_blocking<T, V, E, R>(
        self,
        key: &str,
        run: R,
        form: impl FnOnce(T) -> V,
    ) -> Result<V, Error<E>>
    where
        V: Clone + Send + Sync + 'static,
        T: StoredResult,
        C: ShouldCache<T>,
        E: Send,
        R: FnOnce() -> Result<T, E> + Send,
    {
        let region = self.find()?;
        let way = self.way(&region)?;
        if way == Way::Past {
            return Ok(form(run().map_err(Error::Database)?));
        }
        if let Some(found) = self.in_session(&region, way, key) {
            return Ok(found);
        }
        let versions = region.blocking().block_on(Versions::of(&region, &self.tables));
        let versions = versions.unwrap_or(Versions::Unknown);
        let entry = region.blocking().entry(versions.behind(key));
        if way == Way::CacheOnly {
            let found = entry.ignore_expiration().get();
            return Ok(self.keep(&region, key, form(known(found, &region, key)?)));
        }
        let entry = entry.options(&self.entry);
        let may = |value: &T| versions.are_known() && self.should_cache.should_cache(value);
        let entry = entry.should_cache(may);
        let run = || sound(run());
        let fetched = match way {
            Way::Refresh => entry.try_refresh(run),
            _ => entry.try_get_or_create(run),
        };
        Ok(self.keep(&region, key, form(fetched?)))
    }

    /// Forgets what is under `keys`.
    pub(crate) async fn forget<E>(self, keys: &[String]) -> Result<(), Error<E>> {
        let region = self.find()?;
        self.form.forget(region.name(), keys);
        let versions = Versions::of(&region, &self.tables).await;
        forgotten(region.delete_multi(&versions.behind_all(keys)).await)
    }
}
