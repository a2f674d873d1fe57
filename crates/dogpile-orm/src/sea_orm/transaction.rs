//! A transaction of SeaORM's that carries what is to happen once it is committed.

use std::ops::Deref;

use sea_orm::{
    DatabaseConnection, DatabaseTransaction, DbErr, TransactionOptions, TransactionTrait,
};

use crate::AfterCommit;

/// A transaction with work for afterwards. It dereferences to SeaORM's.
///
/// ```no_run
/// # use sea_orm::{ConnectionTrait, DatabaseConnection, DbErr};
/// use dogpile_orm::sea_orm::Transaction;
///
/// # async fn example(db: DatabaseConnection) -> Result<(), DbErr> {
/// let mut transaction = Transaction::begin(&db).await?;
/// transaction.execute_unprepared("UPDATE users SET name = 'Alan'").await?;
/// let own = db.clone();
/// transaction.after_commit(async move {
///     // User::find().from_cache(&USERS).refresh().all(&own).await
/// #   own.ping().await
/// });
/// transaction.commit().await
/// # }
/// ```
///
/// It is always the outermost one: `transaction.begin()` makes one of SeaORM's within it,
/// whose commit means nothing yet.
#[derive(Debug)]
#[must_use = "a transaction that is dropped is rolled back"]
pub struct Transaction {
    inner: DatabaseTransaction,
    after: AfterCommit,
}

impl Transaction {
    /// Begins one.
    ///
    /// # Errors
    ///
    /// Those of SeaORM.
    pub async fn begin(db: &DatabaseConnection) -> Result<Self, DbErr> {
        Ok(Self { inner: db.begin().await?, after: AfterCommit::new() })
    }

    /// The same with an isolation level, an access mode and so on.
    ///
    /// # Errors
    ///
    /// Those of SeaORM.
    pub async fn begin_with(
        db: &DatabaseConnection,
        options: TransactionOptions,
    ) -> Result<Self, DbErr> {
        Ok(Self { inner: db.begin_with_options(options).await?, after: AfterCommit::new() })
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
    /// Those of SeaORM. Then what was registered is dropped.
    pub async fn commit(self) -> Result<(), DbErr> {
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
    /// Those of SeaORM. Then what was registered is dropped.
    pub async fn commit_and_wait(self) -> Result<(), DbErr> {
        self.inner.commit().await?;
        self.after.committed_and_done().await;
        Ok(())
    }

    /// Takes back the transaction, and drops what was registered.
    ///
    /// # Errors
    ///
    /// Those of SeaORM.
    pub async fn rollback(self) -> Result<(), DbErr> {
        self.inner.rollback().await
    }
}

impl Deref for Transaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.inner
    }
}
