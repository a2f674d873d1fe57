//! memcached behind a bad network, dead, restarted, full, and under a soak: no
//! stuck key, no wrong value, no wait without end.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use common::faults::{self, LIMIT, eventually, load, region};
use dogpile::Config;
use dogpile::backend::{Memcached, MemcachedBuilder};
use dogpile_servers::MemcachedServer;
use dogpile_testkit::tcp::{Condition, Proxy};
use tokio::task::JoinSet;

fn builder(places: &str) -> MemcachedBuilder {
    let builder = Memcached::builder(&format!("memcached://{places}")).unwrap();
    let builder = builder.lock_lease(Duration::from_secs(1));
    builder.response_timeout(LIMIT).connect_timeout(LIMIT)
}

fn at(places: &str) -> Config {
    Config::new(builder(places).open().unwrap())
}

fn reach(port: u16) -> Config {
    at(&format!("127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_network_fault_leaves_a_wrong_value_or_a_stuck_key() {
    let server = MemcachedServer::start();
    faults::no_network_fault_leaves_a_wrong_value_or_a_stuck_key(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impatient_callers_get_another_connection() {
    let server = MemcachedServer::start();
    faults::impatient_callers_get_another_connection(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_behind_a_partition_is_succeeded() {
    let server = MemcachedServer::start();
    faults::a_creator_behind_a_partition_is_succeeded(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak() {
    let server = MemcachedServer::start();
    faults::soak(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_with_corruption() {
    let server = MemcachedServer::start();
    faults::soak_with_corruption(server.port(), reach).await;
}

/// The documented number: while the server is lost, each process creates for
/// itself, once per key at a time. What could not be stored is given to nobody who asked
/// after it began: for those it is created once more.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_comes_back_empty_costs_a_creation_per_process() {
    let mut server = MemcachedServer::start();
    let regions = [0, 1].map(|_| region(reach(server.port())));
    let created = Arc::new(AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..200 {
        let (region, created) = (regions[task % 2].clone(), created.clone());
        tasks.spawn(async move {
            let creator = async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                created.fetch_add(1, Ordering::SeqCst)
            };
            region.get_or_create::<u32, _, _>("k", creator).await
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.kill();
    let all = tokio::time::timeout(Duration::from_secs(20), tasks.join_all()).await;
    assert_eq!(all.expect("nobody waits for ever").len(), 200);
    let created = created.load(Ordering::SeqCst);
    // The one that was under way may be older than a change that nobody could be told of:
    // it is for callers that waited since before it began.
    assert!((1..=4).contains(&created), "{created} creations in two processes");

    // Down: calls fail at once, but for the one that finds it out.
    let _ = regions[0].get::<u32>("other").await.unwrap_err();
    let told = regions[0].get::<u32>("other").await.unwrap_err().to_string();
    assert!(told.contains("is down"), "{told}");
    let made: u32 = regions[0].get_or_create("other", async || 7).await;
    assert_eq!(made, 7);

    server.restart();
    eventually("coming back", async || regions[0].set("back", &1).await.is_ok()).await;
    assert_eq!(regions[0].get::<u32>("back").await.unwrap(), Some(1));
    let made: u32 = regions[0].get_or_create("again", async || 8).await;
    assert_eq!((made, regions[0].get("again").await.unwrap()), (8, Some(8)));
    assert!(!regions[0].key_is_locked("again").await.unwrap());
}

/// A server that hangs costs one time-out, and then nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_counts_as_down() {
    let server = MemcachedServer::start();
    // Or looking for an invalidation finds it out before the call does.
    let region = region(reach(server.port()).local_invalidation());
    region.set("k", &1).await.unwrap();
    server.pause();
    let told = region.get::<u32>("k").await.unwrap_err().to_string();
    assert!(told.contains("did not answer"), "{told}");
    let made: u32 = region.get_or_create("k", async || 2).await;
    assert_eq!(made, 2);
    server.resume();
    // What was sent to it meanwhile may still be carried out.
    let found = async || matches!(region.get::<u32>("k").await, Ok(Some(1 | 2)));
    eventually("recovery", found).await;
}

/// Of two servers one is dead: the keys of the other are served, alone and
/// among others; the dead one's run their creators, which are called for
/// nothing else.
#[tokio::test(flavor = "multi_thread")]
async fn one_dead_server_of_two_costs_its_own_keys_only() {
    let (alive, mut dying) = (MemcachedServer::start(), MemcachedServer::start());
    let places = format!("{},{}", alive.address(), dying.address());
    let region = region(at(&places));
    let keys: Vec<String> = (0..50).map(|n| format!("k{n}")).collect();
    region.set_multi(keys.iter().map(|key| (key, key))).await.unwrap();
    dying.kill();
    let found = region.get_multi::<String, _>(&keys).await.unwrap();
    let left: Vec<&String> =
        keys.iter().zip(&found).filter_map(|(k, v)| v.as_ref().map(|_| k)).collect();
    assert!((5..45).contains(&left.len()), "{} of 50 are left", left.len());
    for key in &left {
        let value: String = region.get_or_create(key, async || "new".to_owned()).await;
        assert_eq!(&&value, key);
    }
    let creator = async |asked: Vec<String>| {
        assert!(asked.iter().all(|key| !left.contains(&key)), "{asked:?}");
        asked.iter().map(|key| format!("{key} anew")).collect()
    };
    let values: Vec<String> = region.get_or_create_multi(&keys, creator).await.unwrap();
    for (key, value) in keys.iter().zip(&values) {
        let expected = if left.contains(&key) { key.clone() } else { format!("{key} anew") };
        assert_eq!(*value, expected);
    }
    dying.restart();
    eventually("recovery", async || {
        region.set_multi(keys.iter().map(|key| (key, key))).await.is_ok()
    })
    .await;
    let found = region.get_multi::<String, _>(&keys).await.unwrap();
    assert!(found.iter().all(Option::is_some));
}

/// The connection ends in the middle of a value: nobody gets half of it.
#[tokio::test(flavor = "multi_thread")]
async fn half_a_value_is_no_value() {
    let server = MemcachedServer::start();
    let proxy = Proxy::to(server.port());
    let region = region(reach(proxy.port()));
    let value = "x".repeat(500_000);
    region.set("k", &value).await.unwrap();
    proxy.set(Condition::CutShort);
    let told = region.get::<String>("k").await.unwrap_err().to_string();
    assert!(told.contains("127.0.0.1"), "{told}");
    let made: String = region.get_or_create("k", async || "made".to_owned()).await;
    assert_eq!(made, "made");
    proxy.set(Condition::Normal);
    eventually("recovery", async || {
        region
            .get::<String>("k")
            .await
            .is_ok_and(|found| found.is_none_or(|v| v == value || v == "made"))
    })
    .await;
}

/// The server is full and evicts values and locks all the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_server_loses_things_and_mixes_nothing_up() {
    let server = MemcachedServer::with(&["-m", "2"]);
    let region = region(reach(server.port()));
    let filler = "x".repeat(10_000);
    let filling = tokio::spawn({
        let region = region.clone();
        async move {
            for n in 0..3_000 {
                region.set(&format!("filler-{n}"), &filler).await.unwrap();
            }
        }
    });
    let created = Arc::new(AtomicU64::new(0));
    while !filling.is_finished() {
        load(&region, &created, 100, 50).await;
    }
    filling.await.unwrap();
    assert!(server.count("evictions") > 0, "it was not full");
    for n in 0..100 {
        assert!(!region.key_is_locked(&format!("k{n}")).await.unwrap());
    }
}

/// What takes connections and answers nothing, as a balancer before dead servers
/// does, counts as down like a closed port, and is not connected to over and
/// over.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_only_takes_connections_counts_as_down() {
    let server = MemcachedServer::start();
    let proxy = Proxy::to(server.port());
    let region = region(reach(proxy.port()));
    region.set("k", &1).await.unwrap();
    proxy.set(Condition::Cut);
    eventually("being down", async || {
        region.get::<u32>("k").await.is_err_and(|error| error.to_string().contains("is down"))
    })
    .await;
    proxy.set(Condition::Normal);
    eventually("recovery", async || region.get::<u32>("k").await.ok() == Some(Some(1))).await;
}
