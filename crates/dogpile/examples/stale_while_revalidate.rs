//! An expired value is served while one caller computes the next one.
//!
//! `cargo run -p dogpile --features testing --example stale_while_revalidate`

use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::clock::Clock;
use dogpile::testing::ManualClock;
use dogpile::{Config, Region, Status};
use tokio::sync::oneshot;

static RATES: Region = Region::new("rates");

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A clock that this program moves. Programs leave it out.
    let clock = ManualClock::new();
    let five_minutes = Duration::from_secs(300);
    RATES.configure(Config::new(Memory::new(100)).expiration(five_minutes).clock(clock.clone()))?;
    RATES.set("EUR", &1.08).await?;
    clock.advance(Duration::from_secs(301));
    println!("{:.0}: the rate is expired", clock.now());

    let (begun, is_begun) = oneshot::channel();
    let (go_on, may_go_on) = oneshot::channel::<()>();
    let one = tokio::spawn(RATES.get_or_create("EUR", || async {
        let _ = begun.send(());
        let _ = may_go_on.await; // a slow query
        1.09
    }));
    is_begun.await?;
    let other = RATES.entry("EUR").lookup(|| async { 0.0 }).await;
    println!("while one caller asks the bank, another gets {} ({:?})", other.value, other.status);
    assert_eq!((other.value, other.status), (1.08, Status::Stale));
    let _ = go_on.send(());
    println!("the one who asked gets {}", one.await?);
    assert_eq!(RATES.get::<f64>("EUR").await?, Some(1.09));
    Ok(())
}
