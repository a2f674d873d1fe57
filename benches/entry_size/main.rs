//! Bytes per entry of caches that are filled to their bounds, and of some that have evicted twice as
//! many: what is allocated afterwards and was not before. Prints a name, a tab and a number for each,
//! ours before the peers it is compared with.

use std::sync::Arc;

use dogpile::backend::{MapBackend, Memory};
use dogpile::{Config, InMemory, Region};

const ENTRIES: usize = 200_000;

/// As many are put into a cache that is to evict.
const KEYS: usize = 3 * ENTRIES;

/// One `Arc` for all entries, so that it costs nothing itself.
type Value = Arc<[u8; 64]>;

fn key(n: usize) -> String {
    format!("user:{n:08}")
}

/// Returns what one entry costs in the cache that `fill` returns with its number of
/// entries.
fn bytes_per_entry<C>(fill: impl FnOnce(&Value) -> (C, usize)) -> f64 {
    let value = Arc::new([0; 64]);
    let mut filled = None;
    let info = allocation_counter::measure(|| filled = Some(fill(&value)));
    let entries = filled.map_or(0, |(_, entries)| entries);
    info.bytes_current as f64 / entries as f64
}

fn filled(config: Config<InMemory>, keys: usize, value: &Value) -> Region<InMemory> {
    let region = Region::in_memory("bytes");
    region.configure(config).expect("a new region");
    for n in 0..keys {
        region.blocking().set(&key(n), value).expect("memory does not fail");
    }
    region
}

fn memory(keys: usize, value: &Value) -> (Region<InMemory>, usize) {
    let region = filled(Config::new(Memory::new(ENTRIES)), keys, value);
    let backend = region.backend().expect("it is configured");
    let entries = backend.actual::<Memory>().map_or(0, Memory::len);
    (region, entries)
}

fn map(value: &Value) -> (Region<InMemory>, usize) {
    let config = Config::new(MapBackend::unbounded());
    (filled(config, ENTRIES, value), ENTRIES)
}

fn quick(keys: usize, value: &Value) -> (quick_cache::sync::Cache<String, Value>, usize) {
    let cache = quick_cache::sync::Cache::new(ENTRIES);
    (0..keys).for_each(|n| cache.insert(key(n), value.clone()));
    let entries = cache.len();
    (cache, entries)
}

fn moka(keys: usize, value: &Value) -> (moka::sync::Cache<String, Value>, usize) {
    let cache = moka::sync::Cache::new(ENTRIES as u64);
    (0..keys).for_each(|n| cache.insert(key(n), value.clone()));
    cache.run_pending_tasks();
    let entries = cache.iter().count();
    (cache, entries)
}

fn main() {
    for (state, keys) in [("", ENTRIES), (", after evictions", KEYS)] {
        println!("Memory{state}\t{}", bytes_per_entry(|value| memory(keys, value)));
        println!("quick_cache{state}\t{}", bytes_per_entry(|value| quick(keys, value)));
        println!("moka sync{state}\t{}", bytes_per_entry(|value| moka(keys, value)));
    }
    println!("MapBackend\t{}", bytes_per_entry(map));
}
