//! Queries of Diesel on the connections of diesel-async 0.9.
//!
//! ```no_run
//! use diesel::prelude::*;
//! use diesel_async::{AsyncConnection, AsyncPgConnection};
//! use dogpile::Region;
//! use dogpile_orm::diesel_async::{FromCacheExt, LoadFromCache};
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

use diesel::query_builder::QueryFragment;
use diesel::query_dsl::methods::LimitDsl;
use diesel::result::{Error as DieselError, OptionalExtension};
use diesel_async::methods::LoadQuery;
use diesel_async::{AsyncConnectionCore, RunQueryDsl};
use dogpile::ShouldCache;

pub use crate::diesel::FromCacheExt;
use crate::diesel::{Readable, fingerprint, keys};
use crate::error::{Error, Result};
use crate::from_cache::{FromCache, Row};
use crate::key::{ALL, ONE};
use crate::shape;

/// Running a query with `.from_cache(..)` on an async connection.
pub trait LoadFromCache<'q, Conn: AsyncConnectionCore>: Sized {
    #[doc(hidden)]
    type Query;
    #[doc(hidden)]
    type Choice;

    /// All rows.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    fn load<U>(
        self,
        connection: &mut Conn,
    ) -> impl Future<Output = Result<Vec<U>, DieselError>> + Send
    where
        U: Row,
        Self::Query: LoadQuery<'q, Conn, U> + Send + 'q,
        Self::Choice: ShouldCache<Vec<U>> + Send;

    /// The first row of what the query selects. That there is none is remembered too.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, other errors of the database; a miss, if only the
    /// cache is asked.
    fn get_result<U>(
        self,
        connection: &mut Conn,
    ) -> impl Future<Output = Result<U, DieselError>> + Send
    where
        U: Row,
        Self::Query: LoadQuery<'q, Conn, U> + Send + 'q,
        Self::Choice: ShouldCache<Option<U>> + Send;

    /// The same with `LIMIT 1`.
    ///
    /// # Errors
    ///
    /// As of [`get_result`](Self::get_result).
    fn first<U, L>(
        self,
        connection: &mut Conn,
    ) -> impl Future<Output = Result<U, DieselError>> + Send
    where
        U: Row,
        Self::Query: LimitDsl<Output = L> + Send,
        L: LoadQuery<'q, Conn, U> + QueryFragment<Conn::Backend> + Send + 'q,
        Self::Choice: ShouldCache<Option<U>> + Send;

    /// Forgets what is cached for this statement with these values, in rows of the
    /// type `U`: all rows, and the first one. The connection is not used, but its
    /// type.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    fn invalidate<U: Row>(
        self,
        connection: &mut Conn,
    ) -> impl Future<Output = Result<(), DieselError>> + Send
    where
        Self::Query: Send,
        Self::Choice: Send;
}

impl<'q, Conn, Q, C> LoadFromCache<'q, Conn> for FromCache<'_, Q, C>
where
    Conn: AsyncConnectionCore<Backend: Readable> + Send,
    Q: QueryFragment<Conn::Backend>,
{
    type Query = Q;
    type Choice = C;

    async fn load<U>(self, connection: &mut Conn) -> Result<Vec<U>, DieselError>
    where
        U: Row,
        Q: LoadQuery<'q, Conn, U> + Send + 'q,
        C: ShouldCache<Vec<U>> + Send,
    {
        let Self { query, options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ALL, &shape::of::<U>());
        options.fetch(&key, || RunQueryDsl::load(query, connection)).await
    }

    async fn get_result<U>(self, connection: &mut Conn) -> Result<U, DieselError>
    where
        U: Row,
        Q: LoadQuery<'q, Conn, U> + Send + 'q,
        C: ShouldCache<Option<U>> + Send,
    {
        let Self { query, options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ONE, &shape::of::<U>());
        let run = || async { RunQueryDsl::get_result(query, connection).await.optional() };
        options.fetch(&key, run).await?.ok_or(Error::Database(DieselError::NotFound))
    }

    async fn first<U, L>(self, connection: &mut Conn) -> Result<U, DieselError>
    where
        U: Row,
        Q: LimitDsl<Output = L> + Send,
        L: LoadQuery<'q, Conn, U> + QueryFragment<Conn::Backend> + Send + 'q,
        C: ShouldCache<Option<U>> + Send,
    {
        let Self { query, options } = self;
        let limited = FromCache { query: query.limit(1), options };
        LoadFromCache::<'q, Conn>::get_result(limited, connection).await
    }
    async fn invalidate<U: Row>(self, _connection: &mut Conn) -> Result<(), DieselError>
    where
        Q: Send,
        C: Send,
    {
        let keys = keys::<Conn::Backend, Q, U>(&self.query, self.options.key_part())?;
        self.options.forget(&keys).await
    }
}
