//! The queries that sqlx's macros and functions return.

use std::fmt::Debug;

use sqlx::database::HasStatementCache;
use sqlx::query::{Map, QueryAs, QueryScalar};
use sqlx::{Database, Error, Execute, Executor, FromRow, IntoArguments, Result};

/// A query with its values, and a type for its rows: what `query_as!`, `query_scalar!`, `query!`
/// with `map`, and the functions of the same names return. sqlx's types implement it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a query with a type for its rows",
    note = "`from_cache` takes a closure that returns `query_as!(..)`, `query_scalar!(..)`, or `query!(..).map(..)`"
)]
pub trait BuiltQuery: Sized + Send {
    /// Its database.
    type Database: Database;
    /// The value that a row becomes.
    type Output: Send + Unpin;

    /// Returns the statement, and its values in their debug form.
    ///
    /// # Errors
    ///
    /// If a value cannot be encoded.
    fn statement(self) -> Result<(String, String)>;

    /// Returns all rows.
    ///
    /// # Errors
    ///
    /// Those of the database.
    fn all<'c, E>(self, executor: E) -> impl Future<Output = Result<Vec<Self::Output>>> + Send
    where
        E: Executor<'c, Database = Self::Database>;

    /// Returns the first row, if there is any.
    ///
    /// # Errors
    ///
    /// Those of the database.
    fn optional<'c, E>(
        self,
        executor: E,
    ) -> impl Future<Output = Result<Option<Self::Output>>> + Send
    where
        E: Executor<'c, Database = Self::Database>;
}

fn statement_of<'q, DB>(mut query: impl Execute<'q, DB>) -> Result<(String, String)>
where
    DB: Database,
    DB::Arguments: Debug,
{
    let arguments = query.take_arguments().map_err(Error::Encode)?.unwrap_or_default();
    Ok((query.sql().as_str().to_owned(), format!("{arguments:?}")))
}

macro_rules! built_query {
    ($query:ident, $output:ident, [$($generic:ident)*], [$($bounds:tt)*]) => {
        impl<'q, DB, O, A, $($generic)*> BuiltQuery for $query<'q, DB, $output, A>
        where
            DB: Database + HasStatementCache,
            DB::Arguments: Debug,
            A: Send + IntoArguments<DB> + 'q,
            O: Send + Unpin,
            $($bounds)*
        {
            type Database = DB;
            type Output = O;

            fn statement(self) -> Result<(String, String)> {
                statement_of(self)
            }

            async fn all<'c, E>(self, executor: E) -> Result<Vec<O>>
            where
                E: Executor<'c, Database = DB>,
            {
                self.fetch_all(executor).await
            }

            async fn optional<'c, E>(self, executor: E) -> Result<Option<O>>
            where
                E: Executor<'c, Database = DB>,
            {
                self.fetch_optional(executor).await
            }
        }
    };
}

built_query!(QueryAs, O, [], [O: for<'r> FromRow<'r, DB::Row>]);
built_query!(QueryScalar, O, [], [(O,): Send + Unpin + for<'r> FromRow<'r, DB::Row>]);
built_query!(Map, M, [M], [M: FnMut(DB::Row) -> Result<O> + Send]);
