//! Query caching for SeaORM, Diesel and sqlx, over the regions of [`dogpile`].
//!
//! A query with `.from_cache(region)` takes its whole result from the region. On a
//! miss one caller runs it, among all that share the region, and the rows are
//! stored; the others wait for them or go on with the old ones. The rest of the
//! query stays as it is:
//!
//! ```text
//! sqlx::query_as::<_, User>("SELECT * FROM users WHERE age > $1").bind(40)
//!     .from_cache(&USERS).fetch_all(&pool).await?;
//! User::find().filter(user::Column::Age.gt(40)).from_cache(&USERS).all(&db).await?;
//! users.filter(age.gt(40)).from_cache(&USERS).load(&mut connection)?;
//! ```
//!
//! Each library has a module, behind a feature of its name, with an extension trait
//! to import and runnable examples. What they have in common is [`FromCache`].
//!
//! # What a result is kept under
//!
//! A hash of the statement's text, the bound values with their types, as they are
//! sent to the database, the kind of database, what is asked for (all rows, one, a
//! count), and the row's type with the names of its fields, and of those of structs in it; so
//! a struct with a new field finds no old rows. (What `#[serde(flatten)]` brings in cannot
//! be seen: change a key part, if that changes.) A [part of your own](FromCache::key_part) goes before the
//! hash, where it can be read.
//!
//! What changes a result and is neither text nor value is not part of it: the database,
//! its `search_path`, the role and what row-level security shows it, the time zone and other
//! settings of the session. **Where they differ between callers, as between tenants, give each its
//! own region or [key part](FromCache::key_part)**; otherwise one is given another's rows. Values
//! that a database cannot tell apart (SQLite has no booleans) share an entry.
//!
//! # Statements that must run
//!
//! A statement that is more than a read, such as `SELECT .. FOR UPDATE` or an `INSERT` within a
//! `WITH`, is an error ([`Error::NotARead`]): on a hit it would not run. What functions do cannot be
//! seen from the text: on a hit `nextval` and `pg_advisory_lock` do nothing, and `now` and `random`
//! return what they returned when the rows were stored. Run such statements without `from_cache`.
//!
//! # After a write
//!
//! By expiration alone, rows are as old as the region allows. `invalidate` forgets one
//! statement's (with the same key part and tables, in the same type of row), [`invalidate_tables`] what was read from a table by the queries that
//! name it; [`AfterCommit`] is for what has to happen once a transaction is
//! committed: each library's module has a transaction that carries one. What is
//! registered there runs in the background, on a connection of its own, and not at all if the
//! transaction is rolled back or dropped. If the process dies between the commit and
//! the refresh, the old rows live until they expire.
//!
//! # Within a transaction
//!
//! A query on a transaction goes past the cache: it reads the transaction's own changes and
//! snapshot, which are for nobody else. See [`FromCache`] for how each library tells.
//!
//! # Related rows
//!
//! [`Related`] loads what belongs to many parents through the cache, per parent, with
//! one query for all that are missing. It is a cached query too, with the same options.
//!
//! # Within a session
//!
//! [`Session`] is a cache before the region that lives as long as a request or a job:
//! the second load of a query in it is the same object.
//!
//! # What is not cached
//!
//! Errors; and rows that are streamed, since nobody has all of them: `fetch` and
//! `stream` are not offered here.

#![forbid(unsafe_code)]
// Without a library there are relationships, sessions and work after commits, but no
// queries.
#![cfg_attr(not(any(feature = "diesel", feature = "sea-orm", feature = "sqlx")), allow(dead_code))]

mod after_commit;
mod bridge;
mod error;
mod from_cache;
mod key;
mod options;
mod regions;
mod related;
mod row;
mod schema;
mod session;
mod shape;
mod statement;
mod stored_result;
mod tables;

#[cfg(feature = "diesel")]
pub mod diesel;
#[cfg(feature = "diesel-async")]
pub mod diesel_async;
#[cfg(feature = "sea-orm")]
pub mod sea_orm;
#[cfg(feature = "sqlx")]
pub mod sqlx;

pub use after_commit::AfterCommit;
pub use error::{Error, Result};
pub use from_cache::FromCache;
pub use regions::{AnyRegion, InRegion, configure, region, register};
pub use related::{Related, Relationship};
pub use row::Row;
pub use session::{Form, InSession, Owned, Session};
pub use tables::{invalidate_tables, invalidate_tables_blocking};

#[cfg(all(doctest, feature = "sqlx"))]
#[doc = include_str!("../README.md")]
struct ReadmeExamples;
