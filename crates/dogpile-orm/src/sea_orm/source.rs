//! Connections of SeaORM's, and whether they are within a transaction.

use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseExecutor, DatabaseTransaction};

/// A connection for cached queries, which tells whether it is within a transaction.
///
/// A `DatabaseConnection` is not: queries are answered from the region, and their rows are
/// stored. A `DatabaseTransaction` is: queries go past the cache. A `DatabaseExecutor` is one of
/// both. SeaORM's `RestrictedConnection` cannot be used: it checks its user's permissions when a
/// query runs, and a query that is answered from the cache does not run.
///
/// Functions that are generic over connections bound them by this trait. A connection of your
/// own implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell whether it is within a transaction",
    note = "cached queries run on `DatabaseConnection`, `DatabaseTransaction` and `DatabaseExecutor`; implement `dogpile_orm::sea_orm::Source` for a connection of your own"
)]
pub trait Source: ConnectionTrait {
    /// Returns whether queries may run within a transaction. If so, they go past the cache.
    fn may_be_in_transaction(&self) -> bool;
}

impl Source for DatabaseConnection {
    fn may_be_in_transaction(&self) -> bool {
        false
    }
}

impl Source for DatabaseTransaction {
    fn may_be_in_transaction(&self) -> bool {
        true
    }
}

impl Source for DatabaseExecutor<'_> {
    fn may_be_in_transaction(&self) -> bool {
        !matches!(self, Self::Connection(_))
    }
}
