//! Code that is not async has the same calls.
//!
//! `cargo run -p dogpile --example blocking`

use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;

use dogpile::backend::Memory;
use dogpile::{Config, Region, cached};

static SQUARES: Region = Region::new("squares");
static RUNS: AtomicU32 = AtomicU32::new(0);

#[cached(region = SQUARES)]
fn square(n: u64) -> u64 {
    RUNS.fetch_add(1, Ordering::Relaxed);
    n * n
}

fn main() -> Result<(), dogpile::Error> {
    SQUARES.configure(Config::new(Memory::new(100)))?;
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| assert_eq!(square(7), 49));
        }
    });
    println!("8 threads, {} run", RUNS.load(Ordering::Relaxed));
    let cube: u64 = SQUARES.blocking().get_or_create("cube:7", || 343);
    assert_eq!((cube, RUNS.load(Ordering::Relaxed)), (343, 1));
    Ok(())
}
