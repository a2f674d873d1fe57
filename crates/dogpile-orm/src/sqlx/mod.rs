//! Queries of sqlx 0.9.
//!
//! ```
//! use dogpile::{Config, Region, backend::Memory};
//! use dogpile_orm::sqlx::FromCacheExt;
//! use serde::{Deserialize, Serialize};
//!
//! static USERS: Region = Region::new("users");
//!
//! #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, sqlx::FromRow)]
//! struct User {
//!     id: i64,
//!     name: String,
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! USERS.configure(Config::new(Memory::new(1_000)))?;
//! let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
//! # sqlx::raw_sql("CREATE TABLE users (id INTEGER, name TEXT); INSERT INTO users VALUES (1, 'Ada')")
//! #     .execute(&pool).await?;
//! let query = || sqlx::query_as::<_, User>("SELECT * FROM users WHERE id = ?").bind(1);
//! let users = query().from_cache(&USERS).fetch_all(&pool).await?;
//! assert_eq!(users[0].name, "Ada");
//!
//! sqlx::query("UPDATE users SET name = 'Alan'").execute(&pool).await?;
//! assert_eq!(query().from_cache(&USERS).fetch_all(&pool).await?, users);
//! query().from_cache(&USERS).invalidate().await?;
//! assert_eq!(query().from_cache(&USERS).fetch_all(&pool).await?[0].name, "Alan");
//! # Ok(())
//! # }
//! ```
//!
//! Values are known by their bytes and by the type that sqlx gives them: an `i32` is another
//! value than an `i64`, and over SQLite an `Arc<str>` another than a `&str`.
//!
//! It works for `query_as` and `query_scalar`, with or without `_with`, on every
//! database that sqlx itself supports. Queries of the macros `query_as!` and
//! `query_scalar!` are built by a closure, which [`from_cache`] takes. `query` and `query!` have
//! no form: their rows cannot be stored.
//!
//! # Within a transaction
//!
//! A query on `&pool` goes through the cache; one on a `&mut` connection goes past it, because
//! that may be within a transaction: see [`Source`]. A [`Related`](crate::Related) whose closure
//! uses a transaction says [`in_transaction`](FromCache::in_transaction).

mod built;
mod macros;
mod source;
mod transaction;

use std::convert::Infallible;
use std::fmt::Debug;

use dogpile::region::ShouldCache;
use sqlx::database::HasStatementCache;
use sqlx::query::{QueryAs, QueryScalar};
use sqlx::{Database, Execute, FromRow, IntoArguments, SqlStr};

use crate::error::{Error, Result};
use crate::from_cache::FromCache;
use crate::key::{ALL, Fingerprint, ONE};
use crate::regions::InRegion;
use crate::row::Row;
use crate::session::Form;
use crate::shape;
use crate::stored_result::One;

pub use built::{Built, from_cache};
pub use macros::BuiltQuery;
pub use source::Source;
pub use transaction::Transaction;

/// `.from_cache(region)` for sqlx's queries.
pub trait FromCacheExt: Sized {
    /// Answers the query from `region`: a reference, or the name of a
    /// [registered](crate::register) one.
    #[expect(clippy::wrong_self_convention, reason = "the word that users of query caches know")]
    fn from_cache<'r>(self, region: impl Into<InRegion<'r>>) -> FromCache<'r, Self> {
        FromCache::of(self, region.into())
    }
}

impl<DB: Database, O, A> FromCacheExt for QueryAs<'_, DB, O, A> {}
impl<DB: Database, O, A> FromCacheExt for QueryScalar<'_, DB, O, A> {}

impl From<Error<Infallible>> for sqlx::Error {
    fn from(error: Error<Infallible>) -> Self {
        error.widen::<Self>().into()
    }
}

impl From<Error<sqlx::Error>> for sqlx::Error {
    fn from(error: Error<Self>) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::Configuration(Box::new(other)),
        }
    }
}

/// A query taken apart: its text, its arguments, and what they are known by.
struct Parts<DB: Database> {
    text: SqlStr,
    arguments: DB::Arguments,
    /// Is the statement to be kept prepared?
    persistent: bool,
    fingerprint: Fingerprint,
}

impl<DB> Parts<DB>
where
    DB: Database,
    DB::Arguments: Debug,
{
    /// sqlx's arguments are the bytes that go to the database, beside their types;
    /// their debug form shows all of both.
    fn of<'q>(mut query: impl Execute<'q, DB>) -> Result<Self, sqlx::Error> {
        let persistent = query.persistent();
        let arguments = query.take_arguments();
        let arguments = arguments.map_err(|why| Error::Database(sqlx::Error::Encode(why)))?;
        let arguments = arguments.unwrap_or_default();
        let text = query.sql();
        let values = format!("{arguments:?}");
        let fingerprint =
            Fingerprint::new(DB::NAME, text.as_str(), &values).map_err(Error::widen)?;
        Ok(Self { text, arguments, persistent, fingerprint })
    }
}

macro_rules! queries {
    ($query:ident, $with:path, [$($row:tt)*]) => {
        impl<DB, O, A, C, S> FromCache<'_, $query<'_, DB, O, A>, C, S>
        where
            DB: Database + HasStatementCache,
            DB::Arguments: Debug + IntoArguments<DB>,
            A: IntoArguments<DB>,
            S: Form,
            $($row)*
        {
            /// All rows.
            ///
            /// # Errors
            ///
            /// Those of the database; a miss, if only the cache is asked.
            pub async fn fetch_all<'e, E>(self, executor: E) -> Result<S::Of<Vec<O>>, sqlx::Error>
            where
                O: Row + Unpin,
                E: Source<'e, Database = DB>,
                C: ShouldCache<Vec<O>>,
            {
                let Parts { text, arguments, persistent, fingerprint } = Parts::of(self.query)?;
                let key = fingerprint.key(self.options.key_part(), ALL, &shape::of::<O>());
                let query = $with(text, arguments).persistent(persistent);
                let options = self.options.on(executor.may_be_in_transaction());
                let run = || query.fetch_all(executor);
                options.fetch(&key, run, S::of).await
            }

            /// The only row, or the first one, if there is any. That there is none is
            /// remembered too, until it expires or is invalidated: by whoever inserts one.
            ///
            /// # Errors
            ///
            /// Those of the database; a miss, if only the cache is asked.
            pub async fn fetch_optional<'e, E>(self, executor: E) -> Result<Option<S::Of<O>>, sqlx::Error>
            where
                O: Row + Unpin,
                E: Source<'e, Database = DB>,
                C: ShouldCache<Option<O>>,
            {
                let Parts { text, arguments, persistent, fingerprint } = Parts::of(self.query)?;
                let key = fingerprint.key(self.options.key_part(), ONE, &shape::of::<O>());
                let query = $with(text, arguments).persistent(persistent);
                let options = self.options.on(executor.may_be_in_transaction());
                let run = || async { query.fetch_optional(executor).await.map(One) };
                options.for_one().fetch(&key, run, |One(one)| one.map(S::of)).await
            }

            /// The only row, or the first one; see [`fetch_optional`](Self::fetch_optional).
            ///
            /// # Errors
            ///
            /// `RowNotFound` if there is none, other errors of the database; a miss,
            /// if only the cache is asked.
            pub async fn fetch_one<'e, E>(self, executor: E) -> Result<S::Of<O>, sqlx::Error>
            where
                O: Row + Unpin,
                E: Source<'e, Database = DB>,
                C: ShouldCache<Option<O>>,
            {
                let found = self.fetch_optional(executor).await?;
                found.ok_or(Error::Database(sqlx::Error::RowNotFound))
            }

            /// Forgets what is cached for this statement with these values, in rows of this
            /// type (and with this key part, of these tables, if it names any).
            /// After a change, call it once that is committed: until then others read, and store,
            /// what was before.
            ///
            /// # Errors
            ///
            /// If the cache fails.
            pub async fn invalidate(self) -> Result<(), sqlx::Error>
            where
                O: Row,
            {
                let Parts { fingerprint, .. } = Parts::of(self.query)?;
                let (part, shape) = (self.options.key_part(), shape::of::<O>());
                let keys = [ALL, ONE].map(|asked| fingerprint.key(part, asked, &shape));
                self.options.forget(&keys).await
            }
        }
    };
}

queries!(QueryAs, sqlx::query_as_with, [O: for<'w> FromRow<'w, DB::Row>]);
queries!(QueryScalar, sqlx::query_scalar_with, [(O,): for<'w> FromRow<'w, DB::Row>]);
