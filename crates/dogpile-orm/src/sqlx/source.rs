//! Executors of sqlx's, and whether they may be within a transaction.

use sqlx::{Database, Executor, Pool};

/// An executor for cached queries, which tells by its type whether it may be within a
/// transaction.
///
/// A pool runs each query on a connection that is not in one: the query is answered from the
/// region, and its rows are stored. A `&mut` connection may be in one, by sqlx's `begin` or by a
/// `BEGIN` of its user's, which nobody sees: the query goes past the cache. So give cached
/// queries the pool, also where the program has a connection at hand.
///
/// Functions that are generic over executors bound them by this trait. An executor of your own
/// implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not tell whether it may be within a transaction",
    note = "cached queries run on `&Pool` or on `&mut` connections; implement `dogpile_orm::sqlx::Source` for an executor of your own"
)]
pub trait Source<'e>: Executor<'e> {
    /// Returns whether queries may run within a transaction. If so, they go past the cache.
    fn may_be_in_transaction(&self) -> bool;
}

impl<'e, DB: Database> Source<'e> for &Pool<DB>
where
    Self: Executor<'e>,
{
    fn may_be_in_transaction(&self) -> bool {
        false
    }
}

impl<'e, C> Source<'e> for &mut C
where
    Self: Executor<'e>,
{
    fn may_be_in_transaction(&self) -> bool {
        true
    }
}
