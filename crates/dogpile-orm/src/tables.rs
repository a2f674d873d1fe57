//! Forgetting all that was read from a table: each table has a version in the region,
//! which is a part of the keys of the queries that name it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::fmt;

use dogpile::Region;

use crate::bridge::blocking;
use crate::error::{Error, forgotten};
use crate::regions::InRegion;

fn key(table: &str) -> String {
    format!("table:{table}")
}

/// A version that nobody has had before.
fn new_version() -> String {
    use std::hash::{BuildHasher, RandomState};
    let random = [1_u8, 2].map(|salt| RandomState::new().hash_one(salt));
    format!("{:016x}{:016x}", random[0], random[1])
}

fn new_versions(missing: &[String]) -> Vec<String> {
    missing.iter().map(|_| new_version()).collect()
}

/// The versions of some tables.
pub(crate) enum Versions {
    /// There are no tables.
    None,
    Known(String),
    /// The cache failed. What is read now goes to its waiters, and is stored by
    /// nobody: it could not be told from what was read before.
    Unknown,
}

impl Versions {
    /// A table without a version gets one, so that what has been lost makes misses, never
    /// old rows.
    pub(crate) async fn of(region: &Region, tables: &BTreeSet<String>) -> Self {
        if tables.is_empty() {
            return Self::None;
        }
        let make = async |missing: Vec<String>| new_versions(&missing);
        let entries = region.entries(tables.iter().map(|table| key(table)));
        Self::found(entries.ignore_expiration().strict().get_or_create(make).await)
    }

    fn found(versions: dogpile::Result<Vec<String>>) -> Self {
        versions.map_or(Self::Unknown, |versions| Self::Known(versions.concat()))
    }

    pub(crate) fn are_known(&self) -> bool {
        !matches!(self, Self::Unknown)
    }

    /// `key`, with the versions behind it.
    pub(crate) fn behind(&self, key: &str) -> String {
        match self {
            Self::None => key.to_owned(),
            Self::Known(versions) => format!("{key}:{versions}"),
            Self::Unknown => format!("{key}:unknown"),
        }
    }

    pub(crate) fn behind_all(&self, keys: &[String]) -> Vec<String> {
        keys.iter().map(|key| self.behind(key)).collect()
    }
}

fn replaced<T: fmt::Display>(tables: impl IntoIterator<Item = T>) -> Vec<(String, String)> {
    tables.into_iter().map(|table| (key(&table.to_string()), new_version())).collect()
}

/// Makes all results count as missing that were stored in `region` by queries that name
/// one of `tables` (see [`of_table`](crate::FromCache::of_table)), in all processes
/// that share it.
///
/// Call it after the commit, or rows of before are stored again:
///
/// ```no_run
/// # use dogpile::Region;
/// # static USERS: Region = Region::new("users");
/// # #[cfg(feature = "sqlx")]
/// # async fn example(pool: sqlx::SqlitePool) -> Result<(), sqlx::Error> {
/// let mut transaction = dogpile_orm::sqlx::Transaction::begin(&pool).await?;
/// sqlx::query("DELETE FROM users").execute(&mut **transaction).await?;
/// transaction.after_commit(dogpile_orm::invalidate_tables(&USERS, ["users"]));
/// transaction.commit().await
/// # }
/// ```
///
/// A [`Session`](crate::Session) goes on with what it has.
///
/// # Errors
///
/// If the cache fails, or there is no such region.
pub async fn invalidate_tables<'r, T: fmt::Display>(
    region: impl Into<InRegion<'r>>,
    tables: impl IntoIterator<Item = T>,
) -> Result<(), Error<Infallible>> {
    let versions = replaced(tables);
    let region = region.into().find()?;
    let versions = versions.iter().map(|(key, version)| (key, version));
    forgotten(region.set_multi(versions).await)
}

/// The same for code that is not async.
///
/// # Errors
///
/// As of [`invalidate_tables`].
pub fn invalidate_tables_blocking<'r, T: fmt::Display>(
    region: impl Into<InRegion<'r>>,
    tables: impl IntoIterator<Item = T>,
) -> Result<(), Error<Infallible>> {
    let region = region.into();
    let found = region.find()?;
    blocking(&found, invalidate_tables(region, tables))
}
