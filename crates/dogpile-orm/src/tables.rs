//! Forgetting all that was read from a table: each table has a version in the region,
//! which is a part of the keys of the queries that name it.

use std::fmt;

use dogpile::Region;

use crate::error::Error;
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

/// The versions of `tables`, as a part of a key. A table without one gets one, so
/// that what has been lost makes misses, never old rows.
pub(crate) async fn versions(region: &Region, tables: &[String]) -> dogpile::Result<String> {
    let keys = tables.iter().map(|table| key(table));
    let make = async |missing: Vec<String>| missing.iter().map(|_| new_version()).collect();
    let found = region.entries(keys).ignore_expiration().get_or_create(make).await?;
    Ok(found.concat())
}

/// The same for code that blocks.
#[cfg(feature = "diesel")]
pub(crate) fn versions_blocking(region: &Region, tables: &[String]) -> dogpile::Result<String> {
    let keys: Vec<String> = tables.iter().map(|table| key(table)).collect();
    let make = |missing: Vec<String>| missing.iter().map(|_| new_version()).collect();
    let entries = region.blocking().entries(&keys).ignore_expiration();
    Ok(entries.get_or_create(make)?.concat())
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
/// # Errors
///
/// If the cache fails, or there is no such region.
pub async fn invalidate_tables<'r, T: fmt::Display>(
    region: impl Into<InRegion<'r>>,
    tables: impl IntoIterator<Item = T>,
) -> Result<(), Error<std::convert::Infallible>> {
    let versions: Vec<(String, String)> =
        tables.into_iter().map(|table| (key(&table.to_string()), new_version())).collect();
    let region = region.into().find()?;
    let versions = versions.iter().map(|(key, version)| (key.as_str(), version));
    region.set_multi(versions).await.map_err(Error::Cache)
}
