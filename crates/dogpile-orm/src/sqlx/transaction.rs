//! A transaction of sqlx's that carries what is to happen once it is committed.

use std::fmt;
use std::ops::{Deref, DerefMut};

use sqlx::{Connection, Database, Pool, SqlSafeStr};

use crate::AfterCommit;

/// A transaction with work for afterwards. It dereferences to sqlx's.
///
/// ```
/// # use dogpile::{Config, Region, backend::Memory};
/// # use dogpile_orm::sqlx::FromCacheExt;
/// use dogpile_orm::sqlx::Transaction;
///
/// # static USERS: Region = Region::new("users");
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # USERS.configure(Config::new(Memory::new(1_000)))?;
/// # let pool = sqlx::SqlitePool::connect("sqlite::memory:").await?;
/// # sqlx::raw_sql("CREATE TABLE users (name TEXT); INSERT INTO users VALUES ('Ada')").execute(&pool).await?;
/// let mut transaction = Transaction::begin(&pool).await?;
/// sqlx::query("UPDATE users SET name = 'Alan'").execute(&mut **transaction).await?;
/// let own = pool.clone();
/// transaction.after_commit(async move {
///     let names = sqlx::query_scalar::<_, String>("SELECT name FROM users");
///     names.from_cache(&USERS).refresh().fetch_all(&own).await
/// });
/// transaction.commit().await?;
/// # Ok(())
/// # }
/// ```
///
/// It is always the outermost one: `transaction.begin()` makes one of sqlx's within it,
/// whose commit means nothing yet.
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction<'c, DB: Database> {
    inner: sqlx::Transaction<'c, DB>,
    after: AfterCommit,
}

impl<DB: Database> Transaction<'static, DB> {
    /// Begins one on a connection of the pool.
    ///
    /// # Errors
    ///
    /// Those of sqlx.
    pub async fn begin(pool: &Pool<DB>) -> Result<Self, sqlx::Error> {
        Ok(Self { inner: pool.begin().await?, after: AfterCommit::new() })
    }

    /// The same by a statement that says how (`BEGIN ISOLATION LEVEL SERIALIZABLE`).
    ///
    /// # Errors
    ///
    /// Those of sqlx.
    pub async fn begin_with(
        pool: &Pool<DB>,
        statement: impl SqlSafeStr,
    ) -> Result<Self, sqlx::Error> {
        Ok(Self { inner: pool.begin_with(statement).await?, after: AfterCommit::new() })
    }
}

impl<'c, DB: Database> Transaction<'c, DB> {
    /// Begins one on this connection.
    ///
    /// # Errors
    ///
    /// Those of sqlx; and if the connection is in a transaction already, whose end nobody
    /// would tell of.
    pub async fn begin_on(connection: &'c mut DB::Connection) -> Result<Self, sqlx::Error> {
        if connection.is_in_transaction() {
            return Err(sqlx::Error::InvalidSavePointStatement);
        }
        Ok(Self { inner: connection.begin().await?, after: AfterCommit::new() })
    }

    /// Has `work` done once this is committed: see [`AfterCommit::add`].
    pub fn after_commit<F>(&mut self, work: F)
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.after.add(work);
    }

    /// Commits. The registered work is done in the background.
    ///
    /// # Errors
    ///
    /// Those of sqlx. Then what was registered is dropped.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await?;
        self.after.committed();
        Ok(())
    }

    /// Commits, and waits until what was registered is done: who reads through the cache after
    /// that gets the new rows. After a plain [`commit`](Self::commit) it may take a moment.
    ///
    /// Dropping the future after the commit does not stop the work.
    ///
    /// # Errors
    ///
    /// Those of sqlx. Then what was registered is dropped.
    pub async fn commit_and_wait(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await?;
        self.after.committed_and_done().await;
        Ok(())
    }

    /// Takes back the transaction, and drops what was registered.
    ///
    /// # Errors
    ///
    /// Those of sqlx.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.inner.rollback().await
    }
}

impl<'c, DB: Database> Deref for Transaction<'c, DB> {
    type Target = sqlx::Transaction<'c, DB>;

    fn deref(&self) -> &Self::Target {
        &self.inner
    }
}

impl<DB: Database> DerefMut for Transaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.inner
    }
}

impl<DB: Database> fmt::Debug for Transaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").field("after", &self.after).finish_non_exhaustive()
    }
}
