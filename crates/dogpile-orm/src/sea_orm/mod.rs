//! Queries of SeaORM 2.
//!
//! ```
//! use dogpile::{Config, Region, backend::Memory};
//! use dogpile_orm::sea_orm::FromCacheExt;
//! use sea_orm::entity::prelude::*;
//!
//! static USERS: Region = Region::new("users");
//!
//! mod user {
//!     use sea_orm::entity::prelude::*;
//!     use serde::{Deserialize, Serialize};
//!
//!     #[derive(Clone, Debug, PartialEq, DeriveEntityModel, Serialize, Deserialize)]
//!     #[sea_orm(table_name = "users")]
//!     pub struct Model {
//!         #[sea_orm(primary_key)]
//!         pub id: i64,
//!         pub name: String,
//!     }
//!
//!     #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
//!     pub enum Relation {}
//!
//!     impl ActiveModelBehavior for ActiveModel {}
//! }
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! USERS.configure(Config::new(Memory::new(1_000)))?;
//! let db = sea_orm::Database::connect("sqlite::memory:").await?;
//! # db.execute_unprepared("CREATE TABLE users (id INTEGER PRIMARY KEY, name TEXT)").await?;
//! # db.execute_unprepared("INSERT INTO users VALUES (1, 'Ada')").await?;
//! let query = || user::Entity::find().filter(user::Column::Name.starts_with("A"));
//! let users = query().from_cache(&USERS).all(&db).await?;
//! assert_eq!(users[0].name, "Ada");
//! assert_eq!(query().from_cache(&USERS).count(&db).await?, 1);
//!
//! query().from_cache(&USERS).invalidate(&db).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Models have to implement serde's traits and `Clone`, and to read back each field that
//! they write: without `skip_deserializing`, which SeaORM's generator can put on primary
//! keys. It works for `find` and what comes of it: `find_also_related`,
//! `find_with_related`, `into_model`, `into_partial_model`, `into_tuple`, `from_raw_sql`; not
//! for the entity loader (`Entity::load()`), whose relations are loaded through
//! [`Related`](crate::Related) instead.
//!
//! # Within a transaction
//!
//! A query on a `DatabaseConnection` goes through the cache; one on a `DatabaseTransaction` goes
//! past it: see [`Source`]. A [`Related::load`](crate::Related) whose closure uses a transaction
//! says [`in_transaction`](FromCache::in_transaction); `load_one` and `load_many` see it.

mod related;
mod source;
mod transaction;

use std::convert::Infallible;
use std::future::Future;

use dogpile::region::ShouldCache;
use sea_orm::{
    ConnectionTrait, DbBackend, DbErr, EntityTrait, PaginatorTrait, QuerySelect, QueryTrait,
    Select, SelectTwo, SelectTwoMany, SelectTwoRequired, Selector, SelectorRaw, SelectorTrait,
    Statement,
};

use crate::error::{Error, Result};
use crate::from_cache::FromCache;
use crate::key::{ALL, COUNT, Fingerprint, ONE};
use crate::regions::InRegion;
use crate::row::Row;
use crate::session::Form;
use crate::shape;
use crate::stored_result::One;

pub use source::Source;
pub use transaction::Transaction;

/// `.from_cache(region)` for SeaORM's queries.
pub trait FromCacheExt: Query {
    /// Answers the query from `region`: a reference, or the name of a
    /// [registered](crate::register) one.
    #[expect(clippy::wrong_self_convention, reason = "the word that users of query caches know")]
    fn from_cache<'r>(self, region: impl Into<InRegion<'r>>) -> FromCache<'r, Self> {
        FromCache::of(self, region.into())
    }
}

impl<Q: Query> FromCacheExt for Q {}

impl From<Error<Infallible>> for DbErr {
    fn from(error: Error<Infallible>) -> Self {
        error.widen::<Self>().into()
    }
}

impl From<Error<DbErr>> for DbErr {
    fn from(error: Error<Self>) -> Self {
        match error {
            Error::Database(error) => error,
            other => Self::Custom(other.to_string()),
        }
    }
}

/// A query of SeaORM's that selects rows.
pub trait Query: Sized + Send + sealed::Sealed {
    /// The type of a row.
    type Item: Send;

    #[doc(hidden)]
    type Ready: Ready<Item = Self::Item>;

    #[doc(hidden)]
    fn prepare(self, backend: DbBackend) -> (Statement, Self::Ready);
}

/// A query that can be run, once its statement is known.
#[doc(hidden)]
pub trait Ready: Send {
    type Item: Send;

    fn all<D: ConnectionTrait>(
        self,
        db: &D,
    ) -> impl Future<Output = std::result::Result<Vec<Self::Item>, DbErr>> + Send;

    fn one<D: ConnectionTrait>(
        self,
        db: &D,
    ) -> impl Future<Output = std::result::Result<Option<Self::Item>, DbErr>> + Send;
}

macro_rules! select {
    ([$($generics:tt)*] $query:ty, $item:ty, |$self:ident, $db:ident| $one:expr) => {
        impl<$($generics)*> sealed::Sealed for $query {}

        impl<$($generics)*> Query for $query {
            type Item = $item;
            type Ready = Self;

            fn prepare(self, backend: DbBackend) -> (Statement, Self) {
                (self.build(backend), self)
            }
        }

        impl<$($generics)*> Ready for $query {
            type Item = $item;

            async fn all<D: ConnectionTrait>(
                self,
                db: &D,
            ) -> std::result::Result<Vec<$item>, DbErr> {
                self.all(db).await
            }

            async fn one<D: ConnectionTrait>(
                $self,
                $db: &D,
            ) -> std::result::Result<Option<$item>, DbErr> {
                $one
            }
        }
    };
    ([$($generics:tt)*] $query:ty, $item:ty) => {
        select!([$($generics)*] $query, $item, |self, db| self.one(db).await);
    };
}

select!([E: EntityTrait<Model: Send>] Select<E>, E::Model);
select!(
    [E: EntityTrait<Model: Send>, F: EntityTrait<Model: Send>]
    SelectTwo<E, F>, (E::Model, Option<F::Model>)
);
select!(
    [E: EntityTrait<Model: Send>, F: EntityTrait<Model: Send>]
    SelectTwoRequired<E, F>, (E::Model, F::Model)
);
// A limit would cut off rows that belong to the first one.
select!(
    [E: EntityTrait<Model: Send>, F: EntityTrait<Model: Send>]
    SelectTwoMany<E, F>, (E::Model, Vec<F::Model>),
    |self, db| Ok(self.all(db).await?.into_iter().next())
);

impl<S: SelectorTrait<Item: Send> + Send> sealed::Sealed for Selector<S> {}

impl<S: SelectorTrait<Item: Send> + Send> Query for Selector<S> {
    type Item = S::Item;
    type Ready = Prepared<S>;

    fn prepare(self, backend: DbBackend) -> (Statement, Prepared<S>) {
        let statement = self.into_statement(backend);
        (statement.clone(), Prepared { statement, rows: std::marker::PhantomData })
    }
}

impl<S: SelectorTrait<Item: Send> + Send> sealed::Sealed for SelectorRaw<S> {}

impl<S: SelectorTrait<Item: Send> + Send> Query for SelectorRaw<S> {
    type Item = S::Item;
    type Ready = Prepared<S>;

    fn prepare(self, _backend: DbBackend) -> (Statement, Prepared<S>) {
        let statement = self.into_statement();
        (statement.clone(), Prepared { statement, rows: std::marker::PhantomData })
    }
}

/// A selector, whose statement can only be had for the whole of it.
#[doc(hidden)]
#[derive(Debug)]
pub struct Prepared<S> {
    statement: Statement,
    rows: std::marker::PhantomData<fn() -> S>,
}

impl<S: SelectorTrait<Item: Send> + Send> Ready for Prepared<S> {
    type Item = S::Item;

    async fn all<D: ConnectionTrait>(self, db: &D) -> std::result::Result<Vec<S::Item>, DbErr> {
        let rows = db.query_all_raw(self.statement).await?;
        rows.into_iter().map(S::from_raw_query_result).collect()
    }

    async fn one<D: ConnectionTrait>(self, db: &D) -> std::result::Result<Option<S::Item>, DbErr> {
        let row = db.query_one_raw(self.statement).await?;
        row.map(S::from_raw_query_result).transpose()
    }
}

fn fingerprint(statement: &Statement) -> Result<Fingerprint, DbErr> {
    let kind = format!("{:?}", statement.db_backend);
    // The values are an enum with a variant for each type; its debug form shows both.
    let values = format!("{:?}", statement.values);
    Fingerprint::new(&kind, &statement.sql, &values).map_err(Error::widen)
}

impl<Q: Query, C, S: Form> FromCache<'_, Q, C, S> {
    /// All rows.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn all<D: Source>(self, db: &D) -> Result<S::Of<Vec<Q::Item>>, DbErr>
    where
        Q::Item: Row,
        C: ShouldCache<Vec<Q::Item>>,
    {
        let (statement, ready) = self.query.prepare(db.get_database_backend());
        let shape = shape::of::<Q::Item>();
        let key = fingerprint(&statement)?.key(self.options.key_part(), ALL, &shape);
        let options = self.options.on(db.may_be_in_transaction());
        options.fetch(&key, || ready.all(db), S::of).await
    }

    /// The first row, if there is any. That there is none is remembered too, until it expires or
    /// is invalidated: by whoever inserts one.
    ///
    /// Of `find_with_related`, and of what `into_model`, `into_tuple` and the like have made,
    /// the database sends all rows; give the latter a `limit(1)` before.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn one<D: Source>(self, db: &D) -> Result<Option<S::Of<Q::Item>>, DbErr>
    where
        Q::Item: Row,
        C: ShouldCache<Option<Q::Item>>,
    {
        let (statement, ready) = self.query.prepare(db.get_database_backend());
        let shape = shape::of::<Q::Item>();
        let key = fingerprint(&statement)?.key(self.options.key_part(), ONE, &shape);
        let options = self.options.on(db.may_be_in_transaction());
        let run = || async { ready.one(db).await.map(One) };
        options.for_one().fetch(&key, run, |One(one)| one.map(S::of)).await
    }

    /// Returns the number of rows.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn count<'d, D>(self, db: &'d D) -> Result<u64, DbErr>
    where
        D: Source,
        Q: PaginatorTrait<'d, D> + QueryTrait + 'd,
        C: ShouldCache<u64>,
    {
        let statement = self.query.build(db.get_database_backend());
        let key = fingerprint(&statement)?.key(self.options.key_part(), COUNT, "");
        let (query, options) = (self.query, self.options.on(db.may_be_in_transaction()));
        options.fetch(&key, || query.count(db), |count: u64| count).await
    }

    /// Page number `page`, from zero, of `size` rows. Each page is an entry of its own,
    /// and is invalidated as such. Order the query, or pages overlap.
    ///
    /// # Errors
    ///
    /// Those of the database; a miss, if only the cache is asked.
    pub async fn page<D>(self, db: &D, size: u64, page: u64) -> Result<S::Of<Vec<Q::Item>>, DbErr>
    where
        D: Source,
        Q: QuerySelect,
        Q::Item: Row,
        C: ShouldCache<Vec<Q::Item>>,
    {
        self.on_page(size, page).all(db).await
    }

    /// The query for one page, to [`invalidate`](Self::invalidate) it.
    pub fn on_page(self, size: u64, page: u64) -> Self
    where
        Q: QuerySelect,
    {
        let query = self.query.limit(size).offset(size.saturating_mul(page));
        Self { query, options: self.options }
    }

    /// Forgets what is cached for this statement with these values: all rows, the
    /// first one, their number (with this key part, of these tables, if it names any). Not its
    /// pages, which are statements of their own: see [`on_page`](Self::on_page). After a change,
    /// call it once that is committed: until then others read, and store, what was before.
    ///
    /// # Errors
    ///
    /// If the cache fails.
    pub async fn invalidate<D: ConnectionTrait>(self, db: &D) -> Result<(), DbErr>
    where
        Q::Item: Row,
    {
        let (statement, _) = self.query.prepare(db.get_database_backend());
        let (part, shape) = (self.options.key_part(), shape::of::<Q::Item>());
        let fingerprint = fingerprint(&statement)?;
        let asked = [(ALL, &*shape), (ONE, &*shape), (COUNT, "")];
        let keys = asked.map(|(asked, shape)| fingerprint.key(part, asked, shape));
        self.options.forget(&keys).await
    }
}

mod sealed {
    pub trait Sealed {}
}
