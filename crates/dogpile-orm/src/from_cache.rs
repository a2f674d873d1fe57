//! A query that is to be answered from a region: what all libraries have in
//! common.

use std::fmt;

use dogpile::region::Always;
use dogpile::{EntryOptions, Expiration};

use crate::options::{FetchPolicy, Options};
use crate::regions::InRegion;
use crate::session::{InSession, Owned, Session};

/// A query with `.from_cache(..)`, or a [relationship](crate::Related), and options for
/// this call. The methods that run it are those of its library; see the modules.
///
/// As anywhere in a region: a database error goes to the caller and is not cached;
/// when the cache is away, the query runs.
///
/// # Within a transaction
///
/// All that share the region get what the query returns. A transaction reads its own changes,
/// which may never be committed, or a snapshot that others have changed since (`MySQL` by default,
/// PostgreSQL from `REPEATABLE READ` on, SQLite). So within one a query goes past the cache: it
/// runs on the transaction, is not answered from the region or a session, and is not stored
/// there. [`cache_only`](Self::cache_only), which never asks the database, is answered as ever;
/// [`refresh`](Self::refresh) is [refused](crate::Error::RefreshInTransaction).
///
/// The libraries tell differently what is within one: see [`sqlx::Source`](crate::sqlx::Source)
/// and [`sea_orm::Source`](crate::sea_orm::Source). A connection of Diesel's or diesel-async's
/// is asked for its depth at each call, which counts the transactions that Diesel began. Where
/// nobody can tell, say so: [`in_transaction`](Self::in_transaction).
#[derive(Clone)]
#[must_use = "a query does nothing until it is run"]
pub struct FromCache<'r, Q, C = Always, S = Owned> {
    pub(crate) query: Q,
    pub(crate) options: Options<'r, C, S>,
}

impl<'r, Q> FromCache<'r, Q> {
    pub(crate) fn of(query: Q, region: InRegion<'r>) -> Self {
        Self { query, options: Options::new(region) }
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

    /// Sets the expiration of this result, instead of the region's.
    pub fn expiration(mut self, expiration: impl Into<Expiration>) -> Self {
        self.options.entry = self.options.entry.expiration(expiration);
        self
    }

    /// Sets the options of the call: how it treats what has expired, a database that fails or is
    /// slow, and others who query at the same time. They replace those that were set before.
    ///
    /// ```
    /// use std::time::Duration;
    /// use dogpile::EntryOptions;
    ///
    /// let options = EntryOptions::new().expiration(Duration::from_secs(60)).resilient();
    /// # let _ = options;
    /// // people.from_cache(&REGION).options(options)
    /// ```
    pub fn options(mut self, options: EntryOptions) -> Self {
        self.options.entry = options;
        self
    }

    /// Answers from the cache only, ignoring expiry. The database is never queried, and a miss is
    /// [`Error::NotCached`](crate::Error::NotCached) (Python's
    /// `ignore_expiration`).
    pub fn cache_only(mut self) -> Self {
        self.options.policy = FetchPolicy::CacheOnly;
        self
    }

    /// Queries the database in any case, and stores its answer for calls like this one:
    /// all rows and one row of a query are results of their own. A creation that
    /// began before is not stored over that, if it is this process's (with Redis and memcached,
    /// anybody's).
    ///
    /// Within a transaction it is an [error](crate::Error::RefreshInTransaction), without asking:
    /// register it for [after the commit](crate::AfterCommit), on a connection of its own.
    pub fn refresh(mut self) -> Self {
        self.options.policy = FetchPolicy::Database;
        self
    }

    /// Says that the query runs within a transaction, so that it goes past the cache: for what
    /// the types do not tell. That is the closure of `load` and `load_blocking` of
    /// [`Related`](crate::Related), a transaction that was begun by a statement of
    /// your own (`sql_query("BEGIN")`), and a connection that is always in one (`MySQL`'s
    /// `autocommit = 0`).
    pub fn in_transaction(self) -> Self {
        self.on(true)
    }

    /// The same by what a connection tells.
    pub(crate) fn on(self, may_be_in_transaction: bool) -> Self {
        let Self { query, options } = self;
        Self { query, options: options.on(may_be_in_transaction) }
    }

    /// Names a table that the result comes from, so that
    /// [`invalidate_tables`](crate::invalidate_tables) reaches it. A query of several
    /// tables names each.
    ///
    /// The tables are a part of what the result is kept under: whoever invalidates or
    /// refreshes this query names the same ones, in any order. It costs another look into
    /// the cache before the query's own: for the versions of the tables, all at once.
    pub fn of_table(mut self, table: impl Into<String>) -> Self {
        self.options.tables.insert(table.into());
        self
    }

    /// Stores a result only if `should_cache` says so; the caller gets it in any
    /// case.
    pub fn should_cache<F>(self, should_cache: F) -> FromCache<'r, Q, F, S> {
        let options = self.options.with(|_| should_cache, |form| form);
        FromCache { query: self.query, options }
    }

    /// Asks `session` before the region. The result comes as an `Arc`, the same one
    /// as long as the session has it. Within a transaction it is an `Arc` of this call's alone.
    pub fn in_session(self, session: &'r Session) -> FromCache<'r, Q, C, InSession<'r>> {
        let options = self.options.with(|should_cache| should_cache, |_| InSession(session));
        FromCache { query: self.query, options }
    }
}

impl<Q, C, S> fmt::Debug for FromCache<'_, Q, C, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FromCache")
            .field("region", &self.options.region)
            .field("key_part", &self.options.key_part)
            .field("policy", &self.options.policy)
            .finish_non_exhaustive()
    }
}
