//! A transaction of Diesel's with work for after its commit.

use diesel::Connection;
use diesel::connection::TransactionManager;
use diesel::result::Error as DieselError;

use crate::AfterCommit;

/// Runs `work` in a transaction, as Diesel's own `transaction` does; what it registers
/// is done in the background, once that is committed: on the caller's tokio runtime, or on a thread
/// where there is none.
///
/// ```
/// use diesel::prelude::*;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let mut connection = SqliteConnection::establish(":memory:")?;
/// dogpile_orm::diesel::transaction(&mut connection, |connection, after| {
///     diesel::sql_query("CREATE TABLE users (name TEXT)").execute(connection)?;
///     after.add_blocking(|| {
///         // let mut own = pool.get()?;
///         // query.from_cache(&USERS).refresh().load::<User, _>(&mut own)
///     });
///     Ok::<_, diesel::result::Error>(())
/// })?;
/// # Ok(())
/// # }
/// ```
///
/// # Errors
///
/// Those of `work` and of Diesel; and if the connection is in a transaction already,
/// whose end nobody would tell of. Then what was registered is dropped.
pub fn transaction<Conn, T, E>(
    connection: &mut Conn,
    work: impl FnOnce(&mut Conn, &mut AfterCommit) -> Result<T, E>,
) -> Result<T, E>
where
    Conn: Connection,
    E: From<DieselError>,
{
    let status = Conn::TransactionManager::transaction_manager_status_mut(connection);
    if status.transaction_depth()?.is_some() {
        return Err(DieselError::AlreadyInTransaction.into());
    }
    let mut after = AfterCommit::new();
    let done = connection.transaction(|connection| work(connection, &mut after))?;
    after.committed();
    Ok(done)
}
