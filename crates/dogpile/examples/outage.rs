//! A server that is away: plain calls go on, strict ones say what is wrong.
//!
//! `cargo run -p dogpile --features redis --example outage`

use dogpile::backend::Redis;
use dogpile::{Config, CreateError, Region};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rates: Region = Region::new("rates");
    // Nobody listens there.
    rates.configure(Config::new(Redis::open("redis://127.0.0.1:1")?))?;

    let rate: f64 = rates.get_or_create("EUR", || async { 1.08 }).await;
    println!("a plain call runs its creator: {rate}");

    let query = || async { Ok::<_, std::io::Error>(1.08) };
    match rates.entry("EUR").strict().try_get_or_create(query).await {
        Err(CreateError::Cache(error)) => println!("a strict call: {error}"),
        other => panic!("the cache is away: {other:?}"),
    }
    println!("counted: {} errors", rates.statistics().backend_errors);
    Ok(())
}
