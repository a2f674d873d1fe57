//! Queries of Diesel 2.3. For `diesel-async` see the module `diesel_async`.
//!
//! ```
//! use diesel::prelude::*;
//! use dogpile::{Config, Region, backend::Memory};
//! use dogpile_orm::diesel::{FromCacheExt, OptionalExt};
//! use serde::{Deserialize, Serialize};
//!
//! static USERS: Region = Region::new("users");
//!
//! diesel::table! {
//!     users (id) { id -> Integer, name -> Text, }
//! }
//!
//! #[derive(Clone, Debug, PartialEq, Queryable, Serialize, Deserialize)]
//! struct User {
//!     id: i32,
//!     name: String,
//! }
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! USERS.configure(Config::new(Memory::new(1_000)))?;
//! let mut connection = SqliteConnection::establish(":memory:")?;
//! # diesel::sql_query("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT NOT NULL)").execute(&mut connection)?;
//! # diesel::insert_into(users::table).values(users::name.eq("Ada")).execute(&mut connection)?;
//! let query = || users::table.filter(users::name.like("A%"));
//! let found: Vec<User> = query().from_cache(&USERS).load(&mut connection)?;
//! assert_eq!(found[0].name, "Ada");
//! let count: i64 = query().count().from_cache(&USERS).get_result(&mut connection)?;
//! assert_eq!(count, 1);
//!
//! query().from_cache(&USERS).invalidate::<User, _>(&mut connection)?;
//!
//! let nobody = users::table.find(9).from_cache(&USERS).first::<User, _, _>(&mut connection);
//! assert!(nobody.optional()?.is_none());
//! # Ok(())
//! # }
//! ```
//!
//! Anything that Diesel can load has `.from_cache`.
//!
//! The crate asks Diesel for what it keeps for authors of other backends: only so can
//! the values be seen as they are sent. It therefore goes with one minor version of
//! Diesel.
//!
//! # Within a transaction
//!
//! A connection is asked for the depth of its transactions at each call. Within one, queries go
//! past the cache; so nothing is cached in Diesel's test transactions. One that was begun by a
//! statement of your own (`sql_query("BEGIN")`) is not counted by Diesel: say
//! [`in_transaction`](FromCache::in_transaction). So does a [`Related`](crate::Related) whose
//! closure uses a transaction, unless it is given its connection by `load_blocking_with`.

mod related;
mod transaction;

use std::convert::Infallible;
use std::fmt::Debug;

use diesel::backend::Backend;
use diesel::connection::TransactionManager;
use diesel::pg::{PgMetadataLookup, PgTypeMetadata};
use diesel::query_builder::{AsQuery, QueryBuilder, QueryFragment};
use diesel::query_dsl::methods::{LimitDsl, LoadQuery};
use diesel::result::{Error as DieselError, OptionalExtension, QueryResult};
use diesel::{Connection, RunQueryDsl};
use dogpile::region::ShouldCache;

use crate::bridge::blocking;
use crate::error::{Error, Result};
use crate::from_cache::FromCache;
use crate::key::{ALL, Fingerprint, ONE};
use crate::options::Options;
use crate::regions::InRegion;
use crate::row::Row;
use crate::session::Form;
use crate::shape;
use crate::stored_result::One;

pub use transaction::transaction;

/// `.from_cache(region)` for Diesel's queries.
pub trait FromCacheExt: AsQuery + Sized {
    /// Answers the query from `region`: a reference, or the name of a
    /// [registered](crate::register) one.
    #[expect(clippy::wrong_self_convention, reason = "the word that users of query caches know")]
    fn from_cache<'r>(self, region: impl Into<InRegion<'r>>) -> FromCache<'r, Diesel<Self::Query>> {
        FromCache::of(Diesel(self.as_query()), region.into())
    }
}

impl<Q: AsQuery> FromCacheExt for Q {}

/// A query of Diesel's, for connections that block.
#[derive(Debug)]
pub struct Diesel<Q>(Q);

impl From<Error<Infallible>> for DieselError {
    fn from(error: Error<Infallible>) -> Self {
        error.widen::<Self>().into()
    }
}

impl From<Error<Self>> for DieselError {
    fn from(error: Error<Self>) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::QueryBuilderError(Box::new(other)),
        }
    }
}

/// A backend whose statements and values can be read: all of Diesel's own can.
pub trait Readable: Backend<QueryBuilder: Default, MetadataLookup: Offline> + Default {
    #[doc(hidden)]
    fn values<Q: QueryFragment<Self>>(query: &Q) -> QueryResult<String>;
}

impl<DB> Readable for DB
where
    DB: Backend<QueryBuilder: Default, MetadataLookup: Offline> + Default,
    for<'b> DB::BindCollector<'b>: Default + Debug,
{
    fn values<Q: QueryFragment<DB>>(query: &Q) -> QueryResult<String> {
        let backend = DB::default();
        let mut binds = DB::BindCollector::default();
        let mut collected = Ok(());
        DB::MetadataLookup::lend(&mut |lookup| {
            collected = query.collect_binds(&mut binds, lookup, &backend);
        });
        // The bytes as they are sent, or SQLite's values, with their types.
        collected.map(|()| format!("{binds:?}"))
    }
}

/// A database whose values tell their types without a query.
pub trait Offline {
    #[doc(hidden)]
    fn lend(work: &mut dyn FnMut(&mut Self));
}

impl Offline for () {
    fn lend(work: &mut dyn FnMut(&mut ())) {
        work(&mut ());
    }
}

impl Offline for dyn PgMetadataLookup {
    fn lend(work: &mut dyn FnMut(&mut Self)) {
        work(&mut Names);
    }
}

/// Types of the user's database: known by their names, as far as a key goes.
struct Names;

impl PgMetadataLookup for Names {
    fn lookup_type(&mut self, name: &str, schema: Option<&str>) -> PgTypeMetadata {
        let hash = schema.unwrap_or_default().bytes().chain([0]).chain(name.bytes());
        let hash = hash
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        PgTypeMetadata::new(hash, !hash)
    }
}

pub(crate) fn fingerprint<DB, Q>(query: &Q) -> Result<Fingerprint, DieselError>
where
    DB: Readable,
    Q: QueryFragment<DB>,
{
    let mut text = DB::QueryBuilder::default();
    query.to_sql(&mut text, &DB::default()).map_err(Error::Database)?;
    let values = DB::values(query).map_err(Error::Database)?;
    let kind = std::any::type_name::<DB>().rsplit("::").next().unwrap_or_default();
    Fingerprint::new(kind, &text.finish(), &values).map_err(Error::widen)
}

/// The keys of what is cached for `query` in rows of the type `U`.
pub(crate) fn keys<DB, Q, U>(query: &Q, part: Option<&str>) -> Result<[String; 2], DieselError>
where
    DB: Readable,
    Q: QueryFragment<DB>,
    U: Row,
{
    let (fingerprint, shape) = (fingerprint::<DB, Q>(query)?, shape::of::<U>());
    Ok([ALL, ONE].map(|asked| fingerprint.key(part, asked, &shape)))
}

/// Returns whether `connection` is within a transaction that Diesel began, or that it cannot
/// tell.
fn is_in_transaction<Conn: Connection>(connection: &mut Conn) -> bool {
    let status = Conn::TransactionManager::transaction_manager_status_mut(connection);
    !matches!(status.transaction_depth(), Ok(None))
}

/// The row of `query`, known as `key`.
fn one<'q, C, S, U, Conn, Q>(
    options: Options<'_, C, S>,
    key: &str,
    query: Q,
    connection: &mut Conn,
) -> Result<S::Of<U>, DieselError>
where
    C: ShouldCache<Option<U>>,
    S: Form,
    U: Row,
    Conn: Connection + Send,
    Q: LoadQuery<'q, Conn, U> + Send,
{
    let options = options.on(is_in_transaction(connection));
    let run = || RunQueryDsl::get_result(query, connection).optional().map(One);
    let found = options.for_one().fetch_blocking(key, run, |One(one)| one.map(S::of))?;
    found.ok_or(Error::Database(DieselError::NotFound))
}

/// `.optional()` for cached queries, as Diesel has it for others.
pub trait OptionalExt<T> {
    /// No row is `None` instead of `NotFound`.
    ///
    /// # Errors
    ///
    /// All others.
    fn optional(self) -> Result<Option<T>, DieselError>;
}

impl<T> OptionalExt<T> for Result<T, DieselError> {
    fn optional(self) -> Result<Option<T>, DieselError> {
        match self {
            Ok(row) => Ok(Some(row)),
            Err(Error::Database(DieselError::NotFound)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

impl<Q, C, S: Form> FromCache<'_, Diesel<Q>, C, S> {
    /// All rows.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub fn load<'q, U, Conn>(self, connection: &mut Conn) -> Result<S::Of<Vec<U>>, DieselError>
    where
        U: Row,
        Conn: Connection<Backend: Readable> + Send,
        Q: QueryFragment<Conn::Backend> + LoadQuery<'q, Conn, U> + Send,
        C: ShouldCache<Vec<U>>,
    {
        let Self { query: Diesel(query), options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ALL, &shape::of::<U>());
        let options = options.on(is_in_transaction(connection));
        options.fetch_blocking(&key, || RunQueryDsl::load(query, connection), S::of)
    }

    /// The first row of what the query selects. That there is none is remembered too, until it
    /// expires or is invalidated: by whoever inserts one.
    ///
    /// # Errors
    ///
    /// `NotFound` if there is none, other errors of the database; a miss, if only the
    /// cache is asked.
    pub fn get_result<'q, U, Conn>(self, connection: &mut Conn) -> Result<S::Of<U>, DieselError>
    where
        U: Row,
        Conn: Connection<Backend: Readable> + Send,
        Q: QueryFragment<Conn::Backend> + LoadQuery<'q, Conn, U> + Send,
        C: ShouldCache<Option<U>>,
    {
        let Self { query: Diesel(query), options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ONE, &shape::of::<U>());
        one(options, &key, query, connection)
    }

    /// The same with `LIMIT 1` for the database. In the cache they are one.
    ///
    /// # Errors
    ///
    /// As of [`get_result`](Self::get_result).
    pub fn first<'q, U, Conn, L>(self, connection: &mut Conn) -> Result<S::Of<U>, DieselError>
    where
        U: Row,
        Conn: Connection<Backend: Readable> + Send,
        Q: QueryFragment<Conn::Backend> + LimitDsl<Output = L>,
        L: LoadQuery<'q, Conn, U> + Send,
        C: ShouldCache<Option<U>>,
    {
        let Self { query: Diesel(query), options } = self;
        let fingerprint = fingerprint::<Conn::Backend, Q>(&query)?;
        let key = fingerprint.key(options.key_part(), ONE, &shape::of::<U>());
        one(options, &key, query.limit(1), connection)
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
    pub fn invalidate<U, Conn>(self, _connection: &mut Conn) -> Result<(), DieselError>
    where
        U: Row,
        Conn: Connection<Backend: Readable>,
        Q: QueryFragment<Conn::Backend>,
    {
        let keys = keys::<Conn::Backend, Q, U>(&self.query.0, self.options.key_part())?;
        let region = self.options.find()?;
        blocking(&region, self.options.forget(&keys))
    }
}
