//! Related rows by a connection of Diesel's, which can be asked for its transaction.

use std::fmt;

use diesel::Connection;
use dogpile::region::ShouldCache;

use super::is_in_transaction;
use crate::error::Result;
use crate::related::Related;
use crate::row::Row;
use crate::session::Form;

impl<C, S: Form> Related<'_, C, S> {
    /// Loads what belongs to each of `parents` by a query on `connection`, as
    /// [`load_blocking`](Self::load_blocking) does; within a transaction, past the cache.
    ///
    /// ```
    /// use diesel::prelude::*;
    /// use dogpile::{Config, Region, backend::Memory};
    /// use dogpile_orm::Related;
    ///
    /// static RELATED: Region = Region::new("related");
    ///
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// RELATED.configure(Config::new(Memory::new(1_000)))?;
    /// let mut connection = SqliteConnection::establish(":memory:")?;
    /// let squares = Related::new(&RELATED, "number.square").load_blocking_with(
    ///     [1, 2, 3],
    ///     &mut connection,
    ///     |connection, numbers| {
    ///         let square = |n: i32| (n * n).into_sql::<diesel::sql_types::Integer>();
    ///         let squares = numbers.into_iter().map(|n| diesel::select(square(n)));
    ///         squares.map(|query| query.get_result::<i32>(connection)).collect::<QueryResult<_>>()
    ///     },
    /// )?;
    /// assert_eq!(squares, [1, 4, 9]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub fn load_blocking_with<Conn, P, T, E>(
        self,
        parents: impl IntoIterator<Item = P>,
        connection: &mut Conn,
        mut query: impl FnMut(&mut Conn, Vec<P>) -> std::result::Result<Vec<T>, E> + Send,
    ) -> Result<Vec<S::Of<T>>, E>
    where
        Conn: Connection + Send,
        P: fmt::Display + Clone + Send + Sync,
        T: Row,
        C: ShouldCache<T>,
        E: Send,
    {
        let call = self.on(is_in_transaction(connection));
        call.load_blocking(parents, |missing| query(connection, missing))
    }
}
