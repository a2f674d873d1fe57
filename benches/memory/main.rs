//! Bytes per entry, beside the caches that ours is compared with: what is
//! allocated after filling each with the same entries.

use std::sync::Arc;

use dogpile::backend::{MapBackend, Memory};
use dogpile::{Config, Local, Region};

const ENTRIES: usize = 200_000;

fn key(n: usize) -> String {
    format!("user:{n:08}")
}

/// What one entry costs in the cache that `fill` returns. The value is one
/// `Arc` for all, so that it costs nothing.
fn bytes_per_entry<C>(fill: impl FnOnce(&Arc<[u8; 64]>) -> C) -> f64 {
    let value = Arc::new([0_u8; 64]);
    let mut cache = None;
    let info = allocation_counter::measure(|| cache = Some(fill(&value)));
    drop(cache);
    info.bytes_current as f64 / ENTRIES as f64
}

fn region(config: Config<Local>) -> impl FnOnce(&Arc<[u8; 64]>) -> Region<Local> {
    |value| {
        let region = Region::local("memory");
        region.configure(config).expect("a new region");
        for n in 0..ENTRIES {
            region.blocking().set(&key(n), value).expect("memory does not fail");
        }
        region
    }
}

fn main() {
    let capacity = ENTRIES * 2;
    let rows = [
        ("dogpile Memory", bytes_per_entry(region(Config::new(Memory::new(capacity))))),
        ("dogpile MapBackend", bytes_per_entry(region(Config::new(MapBackend::unbounded())))),
        (
            "quick_cache",
            bytes_per_entry(|value| {
                let cache = quick_cache::sync::Cache::<String, _>::new(capacity);
                (0..ENTRIES).for_each(|n| cache.insert(key(n), value.clone()));
                cache
            }),
        ),
        (
            "moka sync",
            bytes_per_entry(|value| {
                let cache = moka::sync::Cache::new(capacity as u64);
                (0..ENTRIES).for_each(|n| cache.insert(key(n), value.clone()));
                cache.run_pending_tasks();
                cache
            }),
        ),
    ];
    println!("\nbytes per entry, of {ENTRIES} (13-byte keys included, one shared value not):");
    let ours = rows[0].1;
    for (name, bytes) in rows {
        println!("  {name:20} {bytes:8.1}   ours is {:4.2} of it", ours / bytes);
    }
}
