//! Calls on very many keys take as long for each key as calls on a few.

use std::time::{Duration, Instant};

use dogpile::backend::{AnyBackend, File, Memcached, Memory, Redis, SerializedMemory};
use dogpile::{Config, Region};
use dogpile_servers::{MemcachedServer, RedisServer};

const FEW: usize = 1_000;
const MANY: usize = 30_000;

/// Time that grows with the square of the number would be thirty times as long for each.
const MOST: f64 = 12.0;

/// The time of a call on so many keys, of which the creator is given `missing`.
async fn call(region: &Region, keys: &[String], missing: usize) -> Duration {
    let mut created = 0;
    let began = Instant::now();
    let values = region.get_or_create_multi(keys, |keys: Vec<String>| {
        created += keys.len();
        async move { keys }
    });
    let values = values.await.unwrap();
    let took = began.elapsed();
    assert!(values == keys, "each has its value");
    assert_eq!(created, missing, "of {}", keys.len());
    took
}

/// Returns the seconds that a key takes, missing and found: the best of three calls each.
async fn times(region: &Region, count: usize) -> [f64; 2] {
    let mut best = [f64::INFINITY; 2];
    for round in 0..3 {
        let keys: Vec<String> = (0..count).map(|n| format!("{count}:{round}:{n}")).collect();
        for (best, missing) in best.iter_mut().zip([count, 0]) {
            let took = call(region, &keys, missing).await;
            *best = best.min(took.as_secs_f64() / count as f64);
        }
    }
    best
}

async fn grows_with_the_number_of_keys(backend: AnyBackend) {
    let region = Region::named(backend.name());
    region.configure(Config::over(backend)).unwrap();
    let few = times(&region, FEW).await;
    let many = times(&region, MANY).await;
    for (what, few, many) in [("missing", few[0], many[0]), ("found", few[1], many[1])] {
        let ratio = many / few;
        assert!(ratio < MOST, "{what} in {}: {ratio:.1} times as long", region.name());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_memory() {
    grows_with_the_number_of_keys(AnyBackend::new(Memory::new(1_000_000))).await;
    grows_with_the_number_of_keys(AnyBackend::new(SerializedMemory::new(1_000_000))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_file() {
    let directory = tempfile::TempDir::new().unwrap();
    let file = File::open(directory.path().join("cache.db")).unwrap();
    grows_with_the_number_of_keys(AnyBackend::new(file)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_redis() {
    let server = RedisServer::start();
    grows_with_the_number_of_keys(AnyBackend::new(Redis::open(&server.url()).unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn on_memcached() {
    let server = MemcachedServer::start();
    let backend = Memcached::open(&server.url()).unwrap();
    grows_with_the_number_of_keys(AnyBackend::new(backend)).await;
}
