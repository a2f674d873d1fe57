//! Queries that a closure builds: those of sqlx's macros.

use dogpile::region::ShouldCache;
use sqlx::Database;

use super::macros::BuiltQuery;
use super::source::Source;
use crate::error::{Error, Result};
use crate::from_cache::FromCache;
use crate::key::{ALL, Fingerprint, ONE};
use crate::regions::InRegion;
use crate::row::Row;
use crate::session::Form;
use crate::shape;
use crate::stored_result::One;

/// A query that is built once for its key, and once more to run it.
#[derive(Debug, Clone)]
pub struct Built<F>(F);

/// Answers a query of sqlx's macros from `region`: a reference, or the name of a
/// [registered](crate::register) one.
///
/// `query` builds the query, by `query_as!`, `query_scalar!`, or by `query!` and `map`: the
/// record of a plain `query!` has a type without a name, which cannot be stored. The closure is
/// called once for the key, and again where the database is asked, so it must build the same
/// query each time.
///
/// ```
/// use dogpile::{Config, Region, backend::Memory};
/// use dogpile_orm::sqlx::from_cache;
/// use sqlx::Row;
///
/// static USERS: Region = Region::new("users");
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// USERS.configure(Config::new(Memory::new(1_000)))?;
/// let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
/// # sqlx::raw_sql("CREATE TABLE users (id INTEGER, name TEXT); INSERT INTO users VALUES (1, 'Ada')")
/// #     .execute(&pool).await?;
/// // As `query_scalar!("SELECT name FROM users WHERE id = ?", 1)` would be.
/// let query = || {
///     sqlx::query("SELECT name FROM users WHERE id = ?")
///         .bind(1)
///         .try_map(|row: sqlx::sqlite::SqliteRow| row.try_get::<String, _>(0))
/// };
/// assert_eq!(from_cache(&USERS, query).fetch_one(&pool).await?, "Ada");
/// # sqlx::raw_sql("DELETE FROM users").execute(&pool).await?;
/// assert_eq!(from_cache(&USERS, query).fetch_one(&pool).await?, "Ada");
/// # Ok(())
/// # }
/// ```
pub fn from_cache<'r, F>(region: impl Into<InRegion<'r>>, query: F) -> FromCache<'r, Built<F>> {
    FromCache::of(Built(query), region.into())
}

impl<Q, F, C, S> FromCache<'_, Built<F>, C, S>
where
    Q: BuiltQuery,
    Q::Output: Row,
    F: Fn() -> Q + Send,
    S: Form,
{
    /// Returns all rows.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn fetch_all<'e, E>(self, executor: E) -> Result<S::Of<Vec<Q::Output>>, sqlx::Error>
    where
        E: Source<'e, Database = Q::Database>,
        C: ShouldCache<Vec<Q::Output>>,
    {
        let (Built(query), options) = (self.query, self.options);
        let key = key(query(), options.key_part(), ALL)?;
        let options = options.on(executor.may_be_in_transaction());
        let query = query();
        let run = || async { query.all(executor).await };
        options.fetch(&key, run, S::of).await
    }

    /// Returns the only row, or the first one, if there is any. That there is none is cached
    /// too, until it expires or is invalidated: by whoever inserts one.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn fetch_optional<'e, E>(
        self,
        executor: E,
    ) -> Result<Option<S::Of<Q::Output>>, sqlx::Error>
    where
        E: Source<'e, Database = Q::Database>,
        C: ShouldCache<Option<Q::Output>>,
    {
        let (Built(query), options) = (self.query, self.options);
        let key = key(query(), options.key_part(), ONE)?;
        let options = options.on(executor.may_be_in_transaction());
        let query = query();
        let run = || async { query.optional(executor).await.map(One) };
        options.for_one().fetch(&key, run, |One(one)| one.map(S::of)).await
    }

    /// Returns the only row, or the first one; see [`fetch_optional`](Self::fetch_optional).
    ///
    /// # Errors
    ///
    /// `RowNotFound` if there is none, other errors of the database; a miss, if only the
    /// cache is asked.
    pub async fn fetch_one<'e, E>(self, executor: E) -> Result<S::Of<Q::Output>, sqlx::Error>
    where
        E: Source<'e, Database = Q::Database>,
        C: ShouldCache<Option<Q::Output>>,
    {
        let found = self.fetch_optional(executor).await?;
        found.ok_or(Error::Database(sqlx::Error::RowNotFound))
    }

    /// Forgets what is cached for this statement with these values, in rows of this type. After
    /// a change, call it once that is committed.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub async fn invalidate(self) -> Result<(), sqlx::Error> {
        let (Built(query), options) = (self.query, self.options);
        let part = options.key_part();
        let all = key(query(), part, ALL)?;
        let one = key(query(), part, ONE)?;
        options.forget(&[all, one]).await
    }
}

fn key<Q>(query: Q, part: Option<&str>, asked: &str) -> Result<String, sqlx::Error>
where
    Q: BuiltQuery,
    Q::Output: Row,
{
    let (text, values) = query.statement().map_err(Error::Database)?;
    let fingerprint = Fingerprint::new(Q::Database::NAME, &text, &values).map_err(Error::widen)?;
    Ok(fingerprint.key(part, asked, &shape::of::<Q::Output>()))
}
