//! Queries of Diesel on the connections of diesel-async 0.9.
//!
//! ```no_run
//! use diesel::prelude::*;
//! use diesel_async::{AsyncConnection, AsyncPgConnection};
//! use dogpile::Region;
//! use dogpile_orm::diesel_async::FromCacheExt;
//!
//! static USERS: Region = Region::new("users");
//!
//! diesel::table! {
//!     users (id) { id -> Integer, name -> Text, }
//! }
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mut connection = AsyncPgConnection::establish("postgres://localhost").await?;
//! let names: Vec<String> = users::table
//!     .select(users::name)
//!     .from_cache(&USERS)
//!     .load(&mut connection)
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Within a transaction
//!
//! As with [Diesel's own connections](crate::diesel), a connection is asked for its depth at each
//! call; a [`Related`](crate::Related) is given it by `load_with`. `&AsyncPgConnection`, which can
//! be shared for pipelining, cannot be asked, and has no cached queries. A
//! `SyncConnectionWrapper` whose last call was dropped and still runs panics when it is asked.

mod related;
mod transaction;

use diesel::query_builder::{AsQuery, QueryFragment};
use diesel::query_dsl::methods::LimitDsl;
use diesel::result::{Error as DieselError, OptionalExtension};
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncConnection, AsyncConnectionCore, RunQueryDsl, TransactionManager};
use dogpile::region::ShouldCache;

use crate::diesel::{Readable, fingerprint, keys};
use crate::error::{Error, Result};
use crate::from_cache::FromCache;
use crate::key::{ALL, ONE};
use crate::options::Options;
use crate::regions::InRegion;
use crate::row::Row;
use crate::session::Form;
use crate::shape;
use crate::stored_result::One;

pub use crate::diesel::OptionalExt;
pub use related::Loading;
pub use transaction::transaction;

/// `.from_cache(region)` for Diesel's queries on async connections.
pub trait FromCacheExt: AsQuery + Sized {
    /// Answers the query from `region`: a reference, or the name of a
    /// [registered](crate::register) one.
    #[expect(clippy::wrong_self_convention, reason = "the word that users of query caches know")]
    fn from_cache<'r>(
        self,
        region: impl Into<InRegion<'r>>,
    ) -> FromCache<'r, DieselAsync<Self::Query>> {
        FromCache::of(DieselAsync(self.as_query()), region.into())
    }
}

impl<Q: AsQuery> FromCacheExt for Q {}

/// A query of Diesel's, for async connections.
#[derive(Debug)]
pub struct DieselAsync<Q>(Q);

/// Returns whether `connection` is within a transaction that Diesel began, or that it cannot
/// tell, as after a `BEGIN` that was given up half-way.
fn is_in_transaction<Conn: AsyncConnection>(connection: &mut Conn) -> bool {
    let is_broken = Conn::TransactionManager::is_broken_transaction_manager(connection);
    let status = Conn::TransactionManager::transaction_manager_status_mut(connection);
    is_broken || !matches!(status.transaction_depth(), Ok(None))
}

/// The row of `query`, known as `key`.
async fn one<'q, C, S, U, Conn, Q>(
    options: Options<'_, C, S>,
    key: &str,
    query: Q,
    connection: &mut Conn,
) -> Result<S::Of<U>, DieselError>
where
    C: ShouldCache<Option<U>>,
    S: Form,
    U: Row,
    Conn: AsyncConnection + Send,
    Q: LoadQuery<'q, Conn, U> + Send + 'q,
{
    let options = options.on(is_in_transaction(connection));
    let run = || async { RunQueryDsl::get_result(query, connection).await.optional().map(One) };
    let found = options.for_one().fetch(key, run, |One(one)| one.map(S::of)).await?;
    found.ok_or(Error::Database(DieselError::NotFound))
}

impl<Q, C, S: Form> FromCache<'_, DieselAsync<Q>, C, S> {
    /// All rows.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn load<'q, U, Conn>(
        self,
        connection: &mut Conn,
    ) -> Result<S::Of<Vec<U>>, DieselError>
    where
        U: Row,
        Conn: AsyncConnection<Backend: Readable> + Send,
        Q: QueryFragment<Conn::Backend> + LoadQuery<'q, Conn, U> + Send + 'q,
        C: ShouldCache<Vec<U>>,
    {
        let Self { query: DieselAsync(query), options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ALL, &shape::of::<U>());
        let options = options.on(is_in_transaction(connection));
        options.fetch(&key, || RunQueryDsl::load(query, connection), S::of).await
    }

    /// The first row of what the query selects. That there is none is remembered too, until it
    /// expires or is invalidated: by whoever inserts one.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, other errors of the database; a miss, if only the
    /// cache is asked.
    pub async fn get_result<'q, U, Conn>(
        self,
        connection: &mut Conn,
    ) -> Result<S::Of<U>, DieselError>
    where
        U: Row,
        Conn: AsyncConnection<Backend: Readable> + Send,
        Q: QueryFragment<Conn::Backend> + LoadQuery<'q, Conn, U> + Send + 'q,
        C: ShouldCache<Option<U>>,
    {
        let Self { query: DieselAsync(query), options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ONE, &shape::of::<U>());
        one(options, &key, query, connection).await
    }

    /// The same with `LIMIT 1` for the database. In the cache they are one.
    ///
    /// # Errors
    ///
    /// As of [`get_result`](Self::get_result).
    pub async fn first<'q, U, Conn, L>(self, connection: &mut Conn) -> Result<S::Of<U>, DieselError>
    where
        U: Row,
        Conn: AsyncConnection<Backend: Readable> + Send,
        Q: QueryFragment<Conn::Backend> + LimitDsl<Output = L>,
        L: LoadQuery<'q, Conn, U> + Send + 'q,
        C: ShouldCache<Option<U>>,
    {
        let Self { query: DieselAsync(query), options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ONE, &shape::of::<U>());
        one(options, &key, query.limit(1), connection).await
    }

    /// Forgets what is cached for this statement with these values, in rows of the
    /// type `U` (and with this key part, of these tables, if it names any):
    /// `invalidate::<User, _>(&mut connection)`. The connection is not used, but its type.
    /// After a change, call it once that is committed: until then others read, and store, what
    /// was before.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub async fn invalidate<U, Conn>(self, _connection: &mut Conn) -> Result<(), DieselError>
    where
        U: Row,
        Conn: AsyncConnectionCore<Backend: Readable>,
        Q: QueryFragment<Conn::Backend>,
    {
        let keys = keys::<Conn::Backend, Q, U>(&self.query.0, self.options.key_part())?;
        self.options.forget(&keys).await
    }
}
