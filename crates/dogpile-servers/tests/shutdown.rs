//! The end of a process, seen from inside. It concerns every backend that is open, so this
//! is one test.

mod common;

use std::time::Duration;

use common::faults::region;
use common::leases::LONG;
use dogpile::backend::{AnyBackend, ClaimMode, Claimed, Commit, Memcached, Redis, Seen, Wanted};
use dogpile::lock::{KeyedLock, Lease};
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_servers::{MemcachedServer, RedisServer};

#[tokio::test(flavor = "multi_thread")]
async fn who_goes_on_after_a_shutdown_stores_nothing_and_locks_nothing() {
    assert!(dogpile::shutdown(Duration::ZERO).await, "there is nothing to give up");
    let (mut redis, memcached) = (RedisServer::start(), MemcachedServer::start());
    let over_redis = || {
        let builder = Redis::builder(&redis.url()).unwrap().lock_lease(LONG);
        AnyBackend::new(builder.open().unwrap())
    };
    let over_memcached = || {
        let builder = Memcached::builder(&memcached.url()).unwrap().lock_lease(LONG);
        AnyBackend::new(builder.open().unwrap())
    };
    let opens: [&dyn Fn() -> AnyBackend; 2] = [&over_redis, &over_memcached];
    let mut claimed = Vec::new();
    for locks in [true, false] {
        let redis = Redis::builder(&redis.url()).unwrap().creation_locks(locks);
        let memcached = Memcached::builder(&memcached.url()).unwrap().creation_locks(locks);
        for (number, backend) in
            [AnyBackend::new(redis.open().unwrap()), AnyBackend::new(memcached.open().unwrap())]
                .into_iter()
                .enumerate()
        {
            claimed.push(Going::begin(backend, &format!("{locks}-{number}")).await);
        }
    }
    let mut going_on = Vec::new();
    for open in opens {
        let region = region(Config::over(open()));
        let (go, gone) = tokio::sync::oneshot::channel::<()>();
        let creating = tokio::spawn({
            let region = region.clone();
            async move {
                let creator = async || {
                    gone.await.unwrap();
                    "outdated".to_owned()
                };
                region.get_or_create("k", creator).await
            }
        });
        common::wait_for_async(async || region.key_is_locked("k").await.unwrap()).await;
        going_on.push((region, go, creating));
    }
    assert!(dogpile::shutdown(Duration::from_secs(30)).await);
    for going in claimed {
        going.stores_nothing().await;
    }
    for (open, (region, go, creating)) in opens.iter().zip(going_on) {
        // Another process creates at once; a backend that was opened later is as good.
        let successor = self::region(Config::over(open()));
        assert!(!successor.key_is_locked("k").await.unwrap());
        go.send(()).unwrap();
        assert_eq!(creating.await.unwrap(), "outdated", "its own caller has it");
        assert_eq!(successor.get::<String>("k").await.unwrap(), None, "nobody else has");
        let made: String = successor.get_or_create("k", async || "made".to_owned()).await;
        assert_eq!(made, "made");
        assert_eq!(successor.get::<String>("k").await.unwrap(), Some(made));
        locks_nothing(&region, &successor).await;
    }
    // What cannot be given up is told.
    let later = region(Config::over(over_redis()));
    let mutex = later.backend().unwrap().mutex().unwrap();
    let lease = mutex.try_lock("held").await.unwrap().unwrap();
    redis.kill();
    assert!(!dogpile::shutdown(Duration::from_millis(300)).await);
    drop(lease);
}

/// Creations of all kinds that are going on when the process ends.
struct Going {
    backend: AnyBackend,
    keys: [String; 3],
    leases: Vec<Lease>,
}

impl Going {
    async fn begin(backend: AnyBackend, name: &str) -> Self {
        const CT: f64 = 5.5;
        let keys = ["cold", "warm", "refreshed"].map(|key| format!("{key}-{name}"));
        for key in &keys[1..] {
            backend.set(key, Entry::bytes("before", CT)).await.unwrap();
        }
        let modes = [
            ClaimMode::Create(Seen::Nothing),
            ClaimMode::Create(Seen::Created(CT)),
            ClaimMode::Refresh,
        ];
        let wanted = keys.iter().zip(modes).map(|(key, mode)| Wanted::new(key, mode));
        let claims = backend.claim(wanted.collect()).await.unwrap();
        let won = |claim| match claim {
            Claimed::Won(lease) => lease,
            other => panic!("{other:?}"),
        };
        let leases = claims.into_iter().map(won).collect();
        Self { backend, keys, leases }
    }

    async fn stores_nothing(self) {
        let Self { backend, keys, leases } = self;
        let entry = || Some(Entry::bytes("after", 7.5));
        let changes = keys.iter().zip(leases);
        let changes = changes.map(|(key, lease)| Commit { key, entry: entry(), lease });
        assert_eq!(backend.commit(changes.collect()).await.unwrap(), [false; 3], "{keys:?}");
        let mut left = Vec::new();
        for key in &keys {
            left.push(backend.get(key).await.unwrap().map(|entry| entry.metadata.ct));
        }
        // What a refresh was to replace is known to be out of date.
        assert_eq!(left, [None, Some(5.5), None], "{keys:?}");
    }
}

async fn locks_nothing(region: &Region, others: &Region) {
    let made = region.get_or_create("late", async || {
        assert!(!others.key_is_locked("late").await.unwrap());
        1_u32
    });
    assert_eq!(made.await, 1);
    assert_eq!(others.get::<u32>("late").await.unwrap(), None);
    let mutex = region.backend().unwrap().mutex().unwrap();
    let told = mutex.try_lock("late").await.unwrap_err().to_string();
    assert!(told.contains("shutdown"), "{told}");
}
