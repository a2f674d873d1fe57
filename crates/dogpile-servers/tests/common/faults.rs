//! Servers behind a bad network and under a soak: no stuck key, no wrong value,
//! no wait without end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use dogpile::proxy::{Encryption, EncryptionKey};
use dogpile::{Config, Region};
use dogpile_testkit::tcp::{Condition, Proxy};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinSet;

/// Returns the configuration for a server at a port of this machine: with time-outs of
/// [`LIMIT`], and locks whose lease is a second.
pub(crate) type Reach = fn(u16) -> Config;

pub(crate) const LIMIT: Duration = Duration::from_millis(250);

pub(crate) fn region(config: Config) -> Arc<Region> {
    let region = Region::new("faulty");
    region.configure(config.shared_keys()).unwrap();
    Arc::new(region)
}

/// Values are sealed, since on a plain connection nothing tells a corrupted
/// byte of a value from another value.
fn sealed(config: Config) -> Config {
    config.proxy(Encryption::new(EncryptionKey::new("test", &[7; 32])))
}

pub(crate) async fn eventually(what: &str, condition: impl AsyncFn() -> bool) {
    let began = Instant::now();
    while !condition().await {
        assert!(began.elapsed() < Duration::from_secs(30), "{what} never happens");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A value that says which key it belongs to, so that a mix-up shows.
fn value_of(key: &str, number: u64) -> String {
    format!("{key} {number}")
}

/// Some callers on some keys for a while; each value must be its key's.
pub(crate) async fn load(region: &Arc<Region>, created: &Arc<AtomicU64>, keys: u64, rounds: u64) {
    let mut tasks = JoinSet::new();
    for task in 0..20 {
        let (region, created) = (region.clone(), created.clone());
        tasks.spawn(async move {
            for round in 0..rounds {
                let key = format!("k{}", (task + round) % keys);
                let creator = async || value_of(&key, created.fetch_add(1, Ordering::Relaxed));
                let value: String = region.get_or_create(&key, creator).await;
                assert!(value.starts_with(&format!("{key} ")), "{key} got {value}");
            }
        });
    }
    let ended = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await;
    ended.expect("nobody waits for ever");
}

/// Whatever becomes of the bytes between us and the server at `port`.
pub(crate) async fn no_network_fault_leaves_a_wrong_value_or_a_stuck_key(port: u16, reach: Reach) {
    let proxy = Proxy::to(port);
    let region = region(sealed(reach(proxy.port())));
    let created = Arc::new(AtomicU64::new(0));
    for condition in [
        Condition::Slow(Duration::from_millis(20)),
        Condition::Held,
        Condition::Cut,
        Condition::CutShort,
        Condition::Corrupt,
        Condition::Slow(Duration::from_millis(400)),
    ] {
        load(&region, &created, 10, 20).await;
        proxy.set(condition);
        load(&region, &created, 10, 20).await;
        proxy.set(Condition::Normal);
        // Requests of an earlier attempt may still be on their way, and come after this one.
        let probe = async || {
            region.set("probe", &1).await.is_ok()
                && region.get::<u32>("probe").await.ok() == Some(Some(1))
        };
        eventually("recovery", probe).await;
        for n in 0..10 {
            let key = format!("k{n}");
            eventually("the lock's end", async || {
                region.key_is_locked(&key).await.is_ok_and(|locked| !locked)
            })
            .await;
        }
    }
}

/// Nobody waits as long as the time limit, so nobody finds by it that the connection is dead.
pub(crate) async fn impatient_callers_get_another_connection(port: u16, reach: Reach) {
    let proxy = Proxy::to(port);
    let region = region(reach(proxy.port()));
    region.set("k", &1).await.unwrap();
    proxy.abandon();
    let get = async || {
        let soon = tokio::time::timeout(LIMIT / 5, region.get::<u32>("k")).await;
        soon.is_ok_and(|found| found.unwrap() == Some(1))
    };
    eventually("an answer", get).await;
}

/// The lock is on the other side of a partition: its creator stores nothing
/// after another has taken over.
pub(crate) async fn a_creator_behind_a_partition_is_succeeded(port: u16, reach: Reach) {
    let proxy = Proxy::to(port);
    let (cut_off, connected) = (region(reach(proxy.port())), region(reach(port)));
    let go = Arc::new(AtomicBool::new(false));
    let creating = tokio::spawn({
        let (cut_off, go) = (cut_off.clone(), go.clone());
        async move {
            let creator = async || {
                while !go.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                "late".to_owned()
            };
            cut_off.get_or_create::<String, _, _>("k", creator).await
        }
    });
    eventually("the lock", async || connected.key_is_locked("k").await.unwrap()).await;
    proxy.set(Condition::Held);
    let successor: String = connected.get_or_create("k", async || "in time".to_owned()).await;
    assert_eq!(successor, "in time");
    go.store(true, Ordering::Relaxed);
    assert_eq!(creating.await.unwrap(), "late", "its own caller gets what it made");
    proxy.set(Condition::Normal);
    eventually("recovery", async || cut_off.get::<String>("k").await.is_ok()).await;
    assert_eq!(cut_off.get::<String>("k").await.unwrap().unwrap(), "in time");
}

/// Mixed load with faults at random moments, from a fixed seed. Two seconds,
/// or as many as `DOGPILE_SOAK_SECONDS` says.
pub(crate) async fn soak(port: u16, reach: Reach) {
    soak_of(port, reach, &[Condition::Cut, Condition::CutShort, Condition::Held]).await;
}

/// The same with bytes that are corrupted on their way.
pub(crate) async fn soak_with_corruption(port: u16, reach: Reach) {
    let faults = [Condition::Cut, Condition::Held, Condition::Corrupt];
    soak_of(port, |port| sealed(reach(port)), &faults).await;
}

async fn soak_of(port: u16, reach: impl Fn(u16) -> Config, faults: &[Condition]) {
    let seconds = std::env::var("DOGPILE_SOAK_SECONDS").ok().and_then(|s| s.parse().ok());
    let until = Instant::now() + Duration::from_secs(seconds.unwrap_or(2));
    let proxy = Proxy::to(port);
    let (region, created) = (region(reach(proxy.port())), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    for task in 0..16_u64 {
        let (region, created) = (region.clone(), created.clone());
        tasks.spawn(mixed_load(task, region, created, until));
    }
    let mut random = StdRng::seed_from_u64(7);
    let start = memory_in_use();
    while Instant::now() < until {
        let condition = match random.random_range(0..8) {
            7 => Condition::Slow(Duration::from_millis(random.random_range(1..50))),
            fault => faults.get(fault).copied().unwrap_or(Condition::Normal),
        };
        proxy.set(condition);
        tokio::time::sleep(Duration::from_millis(random.random_range(20..300))).await;
    }
    proxy.set(Condition::Normal);
    let ended = tokio::time::timeout(Duration::from_secs(60), tasks.join_all()).await;
    ended.expect("nobody waits for ever");
    let statistics = region.statistics();
    assert_eq!(statistics.creations, created.load(Ordering::Relaxed), "every creation is counted");
    let grown = memory_in_use().saturating_sub(start);
    println!("{} creations, memory grown by {} KiB", statistics.creations, grown / 1024);
    assert!(grown < 64 << 20, "{grown} bytes more than at the start");
}

async fn mixed_load(task: u64, region: Arc<Region>, created: Arc<AtomicU64>, until: Instant) {
    let mut random = StdRng::seed_from_u64(task);
    while Instant::now() < until {
        let key = format!("soak-{}", random.random_range(0..50));
        match random.random_range(0..10) {
            0 => drop(region.delete(&key).await),
            1 => drop(region.set(&key, &value_of(&key, 0)).await),
            2 => {
                let keys: Vec<String> = (0..5).map(|n| format!("soak-{n}")).collect();
                let many = async |wanted: Vec<String>| {
                    created.fetch_add(wanted.len() as u64, Ordering::Relaxed);
                    wanted.iter().map(|key| value_of(key, 1)).collect()
                };
                let values = region.get_or_create_multi::<String, _, _, _>(&keys, many).await;
                let found: HashMap<_, _> = keys.iter().zip(values.unwrap_or_default()).collect();
                assert!(found.iter().all(|(key, value)| value.starts_with(&format!("{key} "))));
            }
            _ => {
                let creator = async || value_of(&key, created.fetch_add(1, Ordering::Relaxed));
                let value: String = region.get_or_create(&key, creator).await;
                assert!(value.starts_with(&format!("{key} ")), "{key} got {value}");
            }
        }
    }
}

/// Resident memory of this process, in bytes.
fn memory_in_use() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kib.unwrap_or(0) * 1024
}
