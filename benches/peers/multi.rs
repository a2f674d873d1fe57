//! Calls on many keys: the time of each key, for a hundred keys and for a hundred thousand.

use std::time::Instant;

use dogpile::backend::{AnyBackend, File, Memcached, Memory, Redis, SerializedMemory};
use dogpile::{Config, Region};
use dogpile_servers::{MemcachedServer, RedisServer};
use tokio::runtime::Runtime;

use crate::table::{Row, Section};

const COUNTS: [usize; 4] = [100, 1_000, 10_000, 100_000];

/// As many keys in all for each count, in at least three calls.
const KEYS: usize = 20_000;

/// The most that a key may take beside the number of keys for which it takes least.
const MOST: f64 = 2.0;

pub(crate) fn section() -> Section {
    let (redis, memcached) = (RedisServer::start(), MemcachedServer::start());
    let folder = tempfile::TempDir::new().expect("a temporary directory");
    let file = File::open(folder.path().join("cache.db")).expect("a new file");
    let backends = [
        AnyBackend::new(Memory::new(1_000_000)),
        AnyBackend::new(SerializedMemory::new(1_000_000)),
        AnyBackend::new(file),
        AnyBackend::new(Redis::open(&redis.url()).expect("a good URL")),
        AnyBackend::new(Memcached::open(&memcached.url()).expect("a good URL")),
    ];
    let names = ["memory", "memory, serialized", "file", "redis", "memcached"];
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.expect("a runtime can be started");
    let rows = names.into_iter().zip(backends);
    let rows = rows.flat_map(|(name, backend)| rows_of(&runtime, name, backend)).collect();
    Section { title: "get_or_create_multi, each key, beside its best number of keys", rows }
}

fn rows_of(runtime: &Runtime, name: &str, backend: AnyBackend) -> Vec<Row> {
    let region = Region::named(name);
    region.configure(Config::over(backend)).expect("it is the only time");
    let times = COUNTS.map(|count| times(runtime, &region, count));
    let rows = ["miss", "hit"].into_iter().enumerate().flat_map(|(which, what)| {
        let best = times.iter().map(|times| times[which]).fold(f64::INFINITY, f64::min);
        COUNTS.into_iter().zip(times).map(move |(count, times)| {
            let ours = (format!("{what}, {name}, {count} keys"), times[which]);
            Row::new(ours, ("best", best), "us").ratio_at_most(MOST)
        })
    });
    rows.collect()
}

/// Returns the microseconds of a key, missing and found, in the best of some calls.
fn times(runtime: &Runtime, region: &Region, count: usize) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for round in 0..(KEYS / count).clamp(3, 40) {
        let keys: Vec<String> = (0..count).map(|n| format!("{count}:{round}:{n}")).collect();
        for best in &mut best {
            let lengths = async |keys: Vec<String>| -> Vec<u64> {
                keys.iter().map(|key| key.len() as u64).collect()
            };
            let began = Instant::now();
            let values = runtime.block_on(region.get_or_create_multi(&keys, lengths));
            *best = best.min(began.elapsed().as_secs_f64() * 1e6 / count as f64);
            assert_eq!(values.expect("the creator cannot fail").len(), count);
        }
    }
    best
}
