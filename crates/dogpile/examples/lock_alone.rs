//! The dogpile lock without a cache: the value lies where the program keeps it.
//!
//! `cargo run -p dogpile --example lock_alone`

use std::sync::Mutex;
use std::time::Duration;

use dogpile::clock::{Clock, SystemClock};
use dogpile::lock::{KeyedMutex, Lock};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let shelf: Mutex<Option<(String, f64)>> = Mutex::new(None);
    let lock = Lock::new(KeyedMutex::new()).expiration(Duration::from_secs(60));
    for _ in 0..2 {
        let report = lock
            .get_or_create(
                "report",
                async || shelf.lock().unwrap().clone(),
                async || {
                    println!("  the report is written");
                    let report = "42 orders".to_owned();
                    *shelf.lock().unwrap() = Some((report.clone(), SystemClock.now()));
                    Ok::<_, std::io::Error>(report)
                },
            )
            .await?;
        println!("{report}");
    }
    Ok(())
}
