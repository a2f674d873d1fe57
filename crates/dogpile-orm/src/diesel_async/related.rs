//! Related rows by a connection of diesel-async's, which can be asked for its transaction.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use diesel_async::AsyncConnection;
use dogpile::region::ShouldCache;
use tokio::sync::Mutex;

use super::is_in_transaction;
use crate::error::Result;
use crate::related::Related;
use crate::row::Row;
use crate::session::Form;

/// The future of a query for related rows that borrows its connection; see
/// [`Related::load_with`](crate::FromCache::load_with).
pub type Loading<'c, T, E> =
    Pin<Box<dyn Future<Output = std::result::Result<Vec<T>, E>> + Send + 'c>>;

impl<C, S: Form> Related<'_, C, S> {
    /// Loads what belongs to each of `parents` by a query on `connection`, as
    /// [`load`](Self::load) does; within a transaction, past the cache.
    ///
    /// ```no_run
    /// # use diesel_async::AsyncPgConnection;
    /// # use dogpile::Region;
    /// # use dogpile_orm::Related;
    /// # static RELATED: Region = Region::new("related");
    /// # async fn orders(_: &mut AsyncPgConnection, _: Vec<i64>) -> diesel::QueryResult<Vec<Vec<String>>> { Ok(vec![]) }
    /// # async fn example(mut connection: AsyncPgConnection) -> Result<(), dogpile_orm::Error<diesel::result::Error>> {
    /// let orders = Related::new(&RELATED, "customer.orders")
    ///     .load_with([1, 2], &mut connection, |connection, customers| {
    ///         Box::pin(async move { orders(connection, customers).await })
    ///     })
    ///     .await?;
    /// # let _ = orders;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As of [`load`](Self::load).
    pub async fn load_with<Conn, P, T, E>(
        self,
        parents: impl IntoIterator<Item = P>,
        connection: &mut Conn,
        query: impl for<'c> FnMut(&'c mut Conn, Vec<P>) -> Loading<'c, T, E> + Send,
    ) -> Result<Vec<S::Of<T>>, E>
    where
        Conn: AsyncConnection + Send,
        P: fmt::Display + Clone + Send + Sync,
        T: Row,
        C: ShouldCache<T>,
        E: Send,
    {
        let call = self.on(is_in_transaction(connection));
        // Nobody waits for it: one query runs at a time.
        let own = Mutex::new((connection, query));
        let query = |missing| async {
            let (connection, query) = &mut *own.lock().await;
            query(connection, missing).await
        };
        call.load(parents, query).await
    }
}
