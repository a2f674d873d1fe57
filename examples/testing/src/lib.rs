//! A shop: products and their stock are read through a cache. `tests/shop.rs` shows how such a
//! service is tested, each test with a cache of its own, in parallel.
//!
//! Nothing here knows of tests: the regions are statics, and the functions are decorated.

mod database;

use std::sync::Arc;

use dogpile::config::Settings;
use dogpile::{Region, cached, cached_multi};
use serde::{Deserialize, Serialize};

pub use database::{Database, Unreachable};

/// A catalogue that rarely changes.
pub static PRODUCTS: Region = Region::new("products");
/// Numbers that change with each sale.
pub static STOCK: Region = Region::new("stock");

/// Something that can be bought.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Its number.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its price in cents.
    pub cents: u64,
}

/// Gives the regions their backends and settings, as `main` does.
///
/// # Errors
///
/// If the settings are not understood, or the regions are configured already.
pub fn configure_caches(settings: &Settings) -> Result<(), Box<dyn std::error::Error>> {
    PRODUCTS.configure(settings.with_prefix("products.").config()?)?;
    STOCK.configure(settings.with_prefix("stock.").config()?)?;
    Ok(())
}

/// Returns the product with this number, if there is one.
///
/// # Errors
///
/// If the database is unreachable.
#[cached(region = PRODUCTS, expiration = "10m", skip(database))]
pub async fn product(database: Arc<Database>, id: u64) -> Result<Option<Product>, Unreachable> {
    database.product(id).await
}

/// Returns how many pieces there are of each product.
///
/// # Errors
///
/// If the database is unreachable.
#[cached_multi(region = STOCK, expiration = "30s", skip(database))]
pub async fn stock(ids: Vec<u64>, database: Arc<Database>) -> Result<Vec<u64>, Unreachable> {
    database.stock(&ids).await
}

/// Returns the names of all products; while they are read again, the stale ones.
///
/// # Errors
///
/// If the database is unreachable.
#[cached(region = PRODUCTS, expiration = "10m", background, skip(database))]
pub async fn catalogue(database: Arc<Database>) -> Result<Vec<String>, Unreachable> {
    let mut names = Vec::new();
    for id in database.product_ids()? {
        // Decorated functions may call others.
        names.extend(product(database.clone(), id).await?.map(|product| product.name));
    }
    Ok(names)
}

/// Sells one piece. Returns whether there was one.
///
/// # Errors
///
/// If the database is unreachable.
pub async fn sell(database: Arc<Database>, id: u64) -> Result<bool, Unreachable> {
    let is_sold = database.take(id)?;
    if is_sold {
        // Where that fails, the stock is right half a minute later.
        let _ = stock::invalidate(vec![id]).await;
    }
    Ok(is_sold)
}

/// Makes the next call of everybody read all products again.
///
/// # Errors
///
/// If the cache cannot be reached.
pub async fn import_finished() -> dogpile::Result<()> {
    PRODUCTS.invalidate_all().await
}

/// The same stock, for the nightly report, which is not async.
///
/// # Errors
///
/// If the database is unreachable.
#[cached(region = STOCK, expiration = "1h", skip(database))]
pub fn pieces_in_total(database: &Database) -> Result<u64, Unreachable> {
    database.pieces()
}
