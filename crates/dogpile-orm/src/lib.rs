//! Query caching for SeaORM, Diesel and sqlx, over the regions of [`dogpile`]
//! (contract 10).
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
//! count), and the row's type with the names of its fields; so a struct with a new
//! field finds no old rows. A [part of your own](FromCache::key_part) goes before the
//! hash, where it can be read.
//!
//! Regions are not told apart by the database that they are for: give each database
//! its own, or another key part.
//!
//! # What is not cached
//!
//! Errors; and rows that are streamed, since nobody has all of them: `fetch` and
//! `stream` are not offered here.

mod error;
mod from_cache;
mod key;
mod regions;
mod shape;

#[cfg(feature = "diesel")]
pub mod diesel;
#[cfg(feature = "diesel-async")]
pub mod diesel_async;
#[cfg(feature = "sea-orm")]
pub mod sea_orm;
#[cfg(feature = "sqlx")]
pub mod sqlx;

pub use error::{Error, Result};
pub use from_cache::{FromCache, Row};
pub use regions::{InRegion, configure, region, register};
