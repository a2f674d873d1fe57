//! Many keys by one call: one read, one query for what is missing, one write.
//!
//! `cargo run -p dogpile --example many_keys`

use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, cached_multi};

static PRICES: Region = Region::new("prices");

#[cached_multi(region = PRICES, expiration = "1m")]
async fn load_prices(ids: &[u32]) -> Result<Vec<f64>, std::io::Error> {
    tokio::time::sleep(Duration::from_millis(20)).await;
    println!("  SELECT .. WHERE id IN {ids:?}");
    Ok(ids.iter().map(|id| f64::from(*id) * 1.5).collect())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    PRICES.configure(Config::new(Memory::new(10_000)))?;
    println!("1, 2, 3:");
    assert_eq!(load_prices(&[1, 2, 3]).await?, [1.5, 3.0, 4.5]);
    println!("3, 4, 1:");
    assert_eq!(load_prices(&[3, 4, 1]).await?, [4.5, 6.0, 1.5]);
    Ok(())
}
