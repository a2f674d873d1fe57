//! Hits in memory on one thread.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use cached::macros::cached;
use dogpile::backend::{Memory, SerializedMemory};
use dogpile::{Config, Local, Region};

use crate::measure::{Contestant, Effort, Target, race, report};

pub(crate) type Value = Arc<[u64; 8]>;

pub(crate) const KEYS: usize = 1_000;

pub(crate) fn keys() -> Vec<String> {
    (0..KEYS).map(|n| format!("user:{n}")).collect()
}

pub(crate) fn value() -> Value {
    Arc::new([7; 8])
}

/// A region that holds all keys, with an expiration that must be judged.
pub(crate) fn region() -> Region<Local> {
    let region = Region::local("bench");
    let config = Config::new(Memory::new(KEYS * 10)).expiration(Duration::from_secs(3600));
    region.configure(config).expect("a new region");
    for key in keys() {
        region.blocking().set(&key, &value()).expect("memory does not fail");
    }
    region
}

pub(crate) fn quick() -> quick_cache::sync::Cache<String, Value> {
    let cache = quick_cache::sync::Cache::new(KEYS * 10);
    keys().into_iter().for_each(|key| cache.insert(key, value()));
    cache
}

pub(crate) fn moka() -> moka::future::Cache<String, Value> {
    let hour = Duration::from_secs(3600);
    let cache =
        moka::future::Cache::builder().max_capacity(KEYS as u64 * 10).time_to_live(hour).build();
    pollster::block_on(async {
        for key in keys() {
            cache.insert(key, value()).await;
        }
        cache.run_pending_tasks().await;
    });
    cache
}

fn foyer() -> foyer::Cache<String, Value> {
    let cache = foyer::CacheBuilder::new(KEYS * 10).build();
    for key in keys() {
        cache.insert(key, value());
    }
    cache
}

/// `cached`'s macro, with its argument hashed by it.
#[cached(max_size = 10_000, ttl_secs = 3600)]
fn cached_by_macro(id: u64) -> Value {
    black_box(id);
    value()
}

pub(crate) fn run(effort: Effort) {
    let keys = keys();
    let next = |n: usize| keys[n % KEYS].as_str();
    let (region, quick, moka, foyer) = (region(), quick(), moka(), foyer());
    let map: RwLock<HashMap<String, Value>> =
        RwLock::new(keys.iter().map(|key| (key.clone(), value())).collect());
    let view = region.of::<usize, Value>("user");
    let async_hit = |operations| {
        pollster::block_on(async {
            for n in 0..operations {
                black_box(region.get_or_create(next(n), async || value()).await);
            }
        });
    };
    let mut contestants = vec![
        Contestant::new("quick_cache get", |operations| {
            (0..operations).for_each(|n| drop(black_box(quick.get(next(n)))));
        }),
        Contestant::new("RwLock<HashMap> get", |operations| {
            for n in 0..operations {
                drop(black_box(map.read().expect("not poisoned").get(next(n)).cloned()));
            }
        }),
        Contestant::new("dogpile get", |operations| {
            pollster::block_on(async {
                for n in 0..operations {
                    let _ = black_box(region.get::<Value>(next(n)).await);
                }
            });
        }),
        Contestant::new("dogpile get_or_create", async_hit),
        Contestant::new("dogpile blocking get_or_create", |operations| {
            for n in 0..operations {
                black_box(region.blocking().get_or_create(next(n), value));
            }
        }),
        Contestant::new("dogpile of::<u64, _> get_or_create", |operations| {
            pollster::block_on(async {
                for n in 0..operations {
                    black_box(view.get_or_create(&(n % KEYS), async || value()).await);
                }
            });
        }),
        Contestant::new("moka get", |operations| {
            pollster::block_on(async {
                for n in 0..operations {
                    black_box(moka.get(next(n)).await);
                }
            });
        }),
        Contestant::new("moka get_with", |operations| {
            pollster::block_on(async {
                for n in 0..operations {
                    black_box(moka.get_with_by_ref(next(n), async { value() }).await);
                }
            });
        }),
        Contestant::new("foyer get", |operations| {
            for n in 0..operations {
                black_box(foyer.get(next(n)).map(|entry| entry.value().clone()));
            }
        }),
        Contestant::new("cached macro (u64)", |operations| {
            (0..operations).for_each(|n| drop(black_box(cached_by_macro((n % KEYS) as u64))));
        }),
    ];
    let times = race(&mut contestants, effort);
    let target = |ours, peer, at_most| Target { ours, peer, at_most };
    let targets = [
        target("dogpile get", "quick_cache get", 1.8),
        target("dogpile get_or_create", "quick_cache get", 1.8),
        target("dogpile get_or_create", "moka get_with", 0.4),
        target("dogpile blocking get_or_create", "dogpile get_or_create", 1.1),
        target("dogpile of::<u64, _> get_or_create", "cached macro (u64)", 2.0),
    ];
    report("hits in memory, one thread", &contestants, &times, &targets);
    drop(contestants);
    serialized(effort);
}

/// The same through the wire format and JSON, for orientation.
fn serialized(effort: Effort) {
    let region = Region::new("bytes");
    region.configure(Config::new(SerializedMemory::new(KEYS * 10))).expect("a new region");
    let keys = keys();
    for key in &keys {
        region.blocking().set(key, &[7_u64; 8]).expect("memory does not fail");
    }
    let mut contestants = [Contestant::new("dogpile get, JSON", |operations| {
        pollster::block_on(async {
            for n in 0..operations {
                let _ = black_box(region.get::<[u64; 8]>(&keys[n % KEYS]).await);
            }
        });
    })];
    let times = race(&mut contestants, effort);
    report("hits in serialized memory", &contestants, &times, &[]);
}
