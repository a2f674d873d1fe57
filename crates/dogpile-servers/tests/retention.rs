//! Servers drop values that nobody asks for any more.

use std::time::Duration;

use dogpile::backend::{AnyBackend, Memcached, Redis};
use dogpile::config::Settings;
use dogpile::{Config, Expiration, Region};
use dogpile_servers::{MemcachedServer, RedisCluster, RedisServer};

const HOUR: Duration = Duration::from_secs(3_600);
const DAY: u64 = 24 * 3_600;

fn region(config: Config) -> Region {
    let region = Region::new("kept");
    region.configure(config).unwrap();
    region
}

/// Stores values in all ways, and says under which keys.
async fn store(region: &Region) -> [&'static str; 5] {
    region.set("set", &1).await.unwrap();
    region.set_multi([("one", &1), ("two", &2)]).await.unwrap();
    assert_eq!(region.get_or_create("created", async || 1).await, 1);
    assert_eq!(region.entry("refreshed").refresh(async || 1).await, 1);
    ["set", "one", "two", "created", "refreshed"]
}

/// Nearly `seconds`, since some have passed.
fn is_about(left: Option<u64>, seconds: u64) -> bool {
    left.is_some_and(|left| (seconds - 60..=seconds).contains(&left))
}

fn left_in_redis(server: &RedisServer, key: &str) -> Option<u64> {
    let answer = server.ask(&format!("TTL kept:{key}"));
    answer.trim().trim_start_matches(':').parse().ok()
}

fn left_in_memcached(server: &MemcachedServer, key: &str) -> Option<u64> {
    let answer = server.ask(&format!("mg kept:{key} t"));
    answer.trim().strip_prefix("HD t")?.parse().ok()
}

#[tokio::test]
async fn redis_keeps_a_value_ten_times_as_long_as_it_is_good_for() {
    let server = RedisServer::start();
    let config = || Config::new(Redis::open(&server.url()).unwrap());
    for (expiration, seconds) in [(6 * HOUR, 60 * 3_600), (Duration::from_secs(1), DAY)] {
        let region = region(config().expiration(expiration));
        for key in store(&region).await {
            let left = left_in_redis(&server, key);
            assert!(is_about(left, seconds), "{key} of {expiration:?}: {left:?}");
            region.delete(key).await.unwrap();
        }
    }
    let region = region(config().expiration(HOUR).stale_while_revalidate(6 * HOUR));
    region.set("served", &1).await.unwrap();
    assert!(is_about(left_in_redis(&server, "served"), 70 * 3_600));
    region.entry("own").expiration(20 * HOUR).set(&1).await.unwrap();
    assert!(is_about(left_in_redis(&server, "own"), 260 * 3_600));
    region.entry("own").expiration(20 * HOUR).expire().await.unwrap();
    assert!(is_about(left_in_redis(&server, "own"), 260 * 3_600), "what is expired, too");
    region.entry("own").expiration(Expiration::Never).set(&1).await.unwrap();
    assert_eq!(left_in_redis(&server, "own"), None, "it is -1");
}

#[tokio::test]
async fn what_has_no_end_is_kept_and_what_was_asked_for_comes_first() {
    let server = RedisServer::start();
    let open = || Redis::open(&server.url()).unwrap();
    let minutes = Duration::from_secs(300);
    let limited = Redis::builder(&server.url()).unwrap().retention(2 * HOUR).open().unwrap();
    let computed = Expiration::computed(|| Some(HOUR));
    for (config, seconds) in [
        (Config::new(open()), None),
        (Config::new(open()).expiration(computed), None),
        (Config::new(open()).expiration(HOUR).retention(None), None),
        (Config::new(open()).retention(minutes), Some(300)),
        (Config::new(limited).expiration(HOUR), Some(2 * 3_600)),
    ] {
        let region = region(config);
        for key in store(&region).await {
            let left = left_in_redis(&server, key);
            let is_right = seconds.map_or(left.is_none(), |seconds| is_about(left, seconds));
            assert!(is_right, "{key}: {left:?}, not {seconds:?}");
            region.delete(key).await.unwrap();
        }
    }
}

/// The same by transactions, on a server that refuses scripts.
#[tokio::test]
async fn redis_without_scripts_keeps_values_as_long() {
    let server = RedisServer::start();
    server.ask("ACL SETUSER plain on >secret ~* &* +@all -@scripting");
    let url = format!("redis://plain:secret@127.0.0.1:{}", server.port());
    for locks in [true, false] {
        let builder = Redis::builder(&url).unwrap().creation_locks(locks);
        let region = region(Config::new(builder.open().unwrap()).expiration(6 * HOUR));
        for key in store(&region).await {
            assert!(is_about(left_in_redis(&server, key), 60 * 3_600), "{key}");
            region.delete(key).await.unwrap();
        }
    }
}

#[tokio::test]
async fn memcached_keeps_values_as_long() {
    let server = MemcachedServer::start();
    let open = || Memcached::open(&server.url()).unwrap();
    let region = region(Config::new(open()).expiration(6 * HOUR));
    for key in store(&region).await {
        // What was stored where nothing was gets its time to live a moment later.
        while !is_about(left_in_memcached(&server, key), 60 * 3_600) {
            tokio::task::yield_now().await;
        }
        region.set(key, &2).await.unwrap();
        assert!(is_about(left_in_memcached(&server, key), 60 * 3_600), "{key}");
    }
}

/// A stale value is served for as long as it is kept.
#[tokio::test]
async fn a_cluster_keeps_what_is_expired() {
    let cluster = RedisCluster::start();
    let url = cluster.url();
    let settings = [("backend", "redis"), ("arguments.url", &url), ("expiration_time", "0.001")];
    let settings: Settings = settings.into_iter().chain([("retention", "1h")]).collect();
    let region = region(settings.config().unwrap());
    for key in store(&region).await {
        tokio::time::sleep(Duration::from_millis(20)).await;
        let found = region.entry(key).ignore_expiration().get::<i32>().await.unwrap();
        assert!(found.is_some() && region.get::<i32>(key).await.unwrap().is_none(), "{key}");
    }
    let backend: AnyBackend = region.backend().unwrap();
    let found = backend.get("kept:set").await.unwrap().unwrap();
    assert_eq!(found.metadata.retention(), None, "what is read says nothing of it");
}
