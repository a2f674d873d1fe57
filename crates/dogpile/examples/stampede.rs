//! A thousand requests for one missing value: one of them runs the query.
//!
//! `cargo run -p dogpile --example stampede`

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region};

static REPORTS: Region = Region::new("reports");
static QUERIES: AtomicU32 = AtomicU32::new(0);

async fn slow_query() -> String {
    QUERIES.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(200)).await;
    "42 orders".to_owned()
}

#[tokio::main]
async fn main() -> Result<(), dogpile::Error> {
    REPORTS.configure(Config::new(Memory::new(1_000)))?;
    let request = || tokio::spawn(REPORTS.get_or_create("today", slow_query));
    let requests: Vec<_> = (0..1_000).map(|_| request()).collect();
    for request in requests {
        let report: String = request.await.expect("no request panics");
        assert_eq!(report, "42 orders");
    }
    println!("1000 requests, {} query", QUERIES.load(Ordering::Relaxed));
    assert_eq!(QUERIES.load(Ordering::Relaxed), 1);
    Ok(())
}
