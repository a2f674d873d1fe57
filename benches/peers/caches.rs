//! The contestants' caches, filled alike: the same keys, the same value, room
//! for ten times as many. Where entries can expire they do in an hour, so that
//! each hit is judged.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use cached::macros::cached;
use dogpile::backend::Memory;
use dogpile::{Config, InMemory, Region};

/// Cheap to clone, as cached values should be.
pub(crate) type Value = Arc<[u64; 8]>;

pub(crate) const KEYS: usize = 1_000;
const CAPACITY: usize = KEYS * 10;
const LIFETIME: Duration = Duration::from_secs(3600);

pub(crate) fn value() -> Value {
    Arc::new([7; 8])
}

/// The name of the n-th call's object: all of them in turn, in another order
/// than they were stored in.
pub(crate) fn id(n: usize) -> u64 {
    (n * 389 % KEYS) as u64
}

pub(crate) static REGION: Region<InMemory> = Region::in_memory("bench");

/// The prefix of the keys, as a decorated function of ours would read them.
pub(crate) const PREFIX: &str = "user";

/// A function behind our attribute.
#[dogpile::cached(region = REGION)]
pub(crate) fn decorated(id: u64) -> Value {
    black_box(id);
    value()
}

/// The same for an async function.
#[dogpile::cached(region = REGION)]
pub(crate) async fn decorated_async(id: u64) -> Value {
    std::future::ready(black_box(id)).await;
    value()
}

/// A function behind `cached`'s macro, which hashes its argument itself.
#[cached(max_size = 10_000, ttl_secs = 3600)]
pub(crate) fn by_macro(id: u64) -> Value {
    black_box(id);
    value()
}

/// The same for an async function.
#[cached(max_size = 10_000, ttl_secs = 3600)]
pub(crate) async fn by_async_macro(id: u64) -> Value {
    std::future::ready(black_box(id)).await;
    value()
}

pub(crate) struct Caches {
    keys: Vec<String>,
    pub(crate) quick: quick_cache::sync::Cache<String, Value>,
    pub(crate) moka: moka::future::Cache<String, Value>,
    pub(crate) moka_sync: moka::sync::Cache<String, Value>,
    pub(crate) foyer: foyer::Cache<String, Value>,
    pub(crate) rwlock: RwLock<HashMap<String, Value>>,
    pub(crate) mutex: Mutex<HashMap<String, Value>>,
}

impl Caches {
    /// To be called once: there is one region.
    pub(crate) fn filled() -> Self {
        let size = CAPACITY as u64;
        let moka = moka::future::Cache::builder().max_capacity(size).time_to_live(LIFETIME);
        let moka_sync = moka::sync::Cache::builder().max_capacity(size).time_to_live(LIFETIME);
        let caches = Self {
            keys: (0..KEYS).map(|id| format!("{PREFIX}:{id}")).collect(),
            quick: quick_cache::sync::Cache::new(CAPACITY),
            moka: moka.build(),
            moka_sync: moka_sync.build(),
            foyer: foyer::CacheBuilder::new(CAPACITY).build(),
            rwlock: RwLock::default(),
            mutex: Mutex::default(),
        };
        REGION
            .configure(Config::new(Memory::new(CAPACITY)).expiration(LIFETIME))
            .expect("it is the only time");
        pollster::block_on(caches.fill());
        caches
    }

    async fn fill(&self) {
        for key in &self.keys {
            REGION.set(key, &value()).await.expect("memory does not fail");
            self.quick.insert(key.clone(), value());
            self.moka.insert(key.clone(), value()).await;
            self.moka_sync.insert(key.clone(), value());
            self.foyer.insert(key.clone(), value());
            self.rwlock.write().expect("no panic").insert(key.clone(), value());
            self.mutex.lock().expect("no panic").insert(key.clone(), value());
        }
        self.moka.run_pending_tasks().await;
        self.moka_sync.run_pending_tasks();
    }

    pub(crate) fn keys(&self) -> &[String] {
        &self.keys
    }

    /// The n-th call's key.
    pub(crate) fn key(&self, n: usize) -> &str {
        &self.keys[n * 389 % KEYS]
    }
}
