//! A transaction of diesel-async's with work for after its commit.

use diesel::result::Error as DieselError;
use diesel_async::{AsyncConnection, TransactionManager};

use crate::AfterCommit;

/// Runs `work` in a transaction, as diesel-async's own `transaction` does; what it
/// registers is done in the background, once that is committed.
///
/// ```no_run
/// use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = AsyncPgConnection::establish("postgres://localhost").await?;
/// dogpile_orm::diesel_async::transaction(&mut connection, async |connection, after| {
///     diesel::sql_query("UPDATE users SET name = 'Alan'").execute(connection).await?;
///     after.add(async {
///         // let mut own = pool.get().await?;
///         // query.from_cache(&USERS).refresh().load::<User, _>(&mut own).await
///     });
///     Ok::<_, diesel::result::Error>(())
/// })
/// .await?;
/// # Ok(())
/// # }
/// ```
///
/// Dropping the future leaves the connection in a broken transaction, as with
/// diesel-async's, and drops what was registered.
///
/// # Errors
///
/// Those of `work` and of Diesel; and if the connection is in a transaction already,
/// whose end nobody would tell of. Then what was registered is dropped.
pub async fn transaction<Conn, T, E>(
    connection: &mut Conn,
    work: impl AsyncFnOnce(&mut Conn, &mut AfterCommit) -> Result<T, E>,
) -> Result<T, E>
where
    Conn: AsyncConnection,
    E: From<DieselError>,
{
    let status = Conn::TransactionManager::transaction_manager_status_mut(connection);
    if status.transaction_depth()?.is_some() {
        return Err(DieselError::AlreadyInTransaction.into());
    }
    let mut after = AfterCommit::new();
    Conn::TransactionManager::begin_transaction(connection).await?;
    match work(connection, &mut after).await {
        Ok(done) => {
            Conn::TransactionManager::commit_transaction(connection).await?;
            after.committed();
            Ok(done)
        }
        Err(error) => {
            // The first error is the one that tells why.
            let _ = Conn::TransactionManager::rollback_transaction(connection).await;
            Err(error)
        }
    }
}
