//! The near tier over Redis: what other processes change is seen within the bound, whatever becomes of
//! the server and of the connection that tells of changes.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::faults::eventually;
use common::near::{self, BOUND, LONG, Two, holding, tier};
use dogpile::backend::{AnyBackend, Redis};
use dogpile::proxy::{Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix, Layer};
use dogpile::{Config, Near, Status};
use dogpile_servers::{RedisCluster, RedisSentinels, RedisServer};
use dogpile_testkit::conformance;
use dogpile_testkit::tcp::{Condition, Proxy};

fn redis(url: &str) -> Redis {
    let limit = Duration::from_millis(500);
    Redis::builder(url).unwrap().response_timeout(limit).connect_timeout(limit).open().unwrap()
}

fn at(url: &str, near: Near) -> Two {
    Two::over(Config::new(redis(url)), Config::new(redis(url)), near)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_read_is_answered_here_and_changes_are_told() {
    let server = RedisServer::start();
    let two = at(&server.url(), holding());
    two.other.set("k", &1_u32).await.unwrap();
    for hits in [0, 0, 1, 2] {
        assert_eq!((two.get("k").await, two.near_hits()), (Some(1), hits));
    }
    let found = two.near.entry("k").lookup(async || 7_u32).await;
    assert_eq!((found.value, found.status), (1, Status::Hit));
    let counted = two.near.statistics();
    assert_eq!((counted.near_misses, counted.near_entries, counted.hits), (2, 1, 5));
    assert_eq!(counted.bytes_read, 2, "it is decoded when it is read from the server only");
    two.changes_are_seen("k", 2).await;
    two.other.delete("k").await.unwrap();
    eventually("the deletion", async || two.get("k").await.is_none()).await;
    assert!(two.near.statistics().near_changed >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_changes_are_seen_at_once() {
    let server = RedisServer::start();
    let two = at(&server.url(), holding());
    near::own_changes_are_seen_at_once(&two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_at_once_and_a_flush_are_told() {
    let server = RedisServer::start();
    let two = at(&server.url(), holding());
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    for round in 1..=3_u32 {
        let values: Vec<u32> = vec![round; keys.len()];
        two.other.entries(&keys).set(&values).await.unwrap();
        eventually("the changes", async || {
            let read = two.near.get_multi::<u32, _>(&keys).await.unwrap();
            read == vec![Some(round); keys.len()]
        })
        .await;
        for _ in 0..3 {
            two.near.get_multi::<u32, _>(&keys).await.unwrap();
        }
        assert_eq!(two.near.statistics().near_entries, 100);
        let before = two.near_hits();
        two.near.get_multi::<u32, _>(&keys).await.unwrap();
        assert_eq!(two.near_hits() - before, 100);
    }
    server.ask("FLUSHALL");
    eventually("the flush", async || {
        two.near.get_multi::<u32, _>(&keys).await.unwrap() == vec![None; keys.len()]
    })
    .await;
    assert!(two.near.statistics().near_flushed >= 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_killed_tells_nothing_of_what_was_read_over_it() {
    let server = RedisServer::start();
    let two = at(&server.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    for value in 2..6 {
        server.kill_tracking();
        let began = Instant::now();
        two.other.set("k", &value).await.unwrap();
        eventually("the change", async || two.get("k").await == Some(value)).await;
        assert!(began.elapsed() < BOUND * 25, "{:?}", began.elapsed());
        two.warm("k").await;
    }
    assert!(two.near.statistics().near_lost >= 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_paused_proves_nothing() {
    let server = RedisServer::start();
    let two = at(&server.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    server.pause();
    let began = Instant::now();
    eventually("the end of the copy", async || two.near.get::<u32>("k").await.is_err()).await;
    assert!(began.elapsed() < BOUND * 25, "{:?}", began.elapsed());
    server.resume();
    eventually("an answer", async || two.near.get::<u32>("k").await.is_ok()).await;
    two.changes_are_seen("k", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_swallows_proves_nothing() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let ours = Config::new(redis(&format!("redis://127.0.0.1:{}", proxy.port())));
    let two = Two::over(ours, Config::new(redis(&server.url())), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    proxy.set(Condition::Held);
    two.other.set("k", &2_u32).await.unwrap();
    let began = Instant::now();
    eventually("the end of the copy", async || two.near.get::<u32>("k").await.is_err()).await;
    assert!(began.elapsed() < BOUND * 25, "{:?}", began.elapsed());
    proxy.set(Condition::Normal);
    eventually("the change", async || two.near.get("k").await.ok() == Some(Some(2))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_stands_in_while_the_server_is_away_if_it_may() {
    let mut server = RedisServer::start();
    let two = at(&server.url(), tier().serve_when_down(LONG));
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    server.kill();
    eventually("a copy that is not verified", async || {
        let found = two.near.entry("k").lookup(async || 7_u32).await;
        assert_eq!(found.value, 1);
        found.status == Status::Stale
    })
    .await;
    assert!(two.near.statistics().near_unverified > 0);
    let background = two.near.entry("k").get_or_create_in_background(async || 7_u32);
    assert_eq!(background.await, 1);
    assert_eq!(two.near.statistics().creations, 0);
    server.restart();
    eventually("a new value", async || {
        two.near.entry("k").get_or_create(async || 8_u32).await == 8
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed_by_copies_too() {
    let mut sentinels = RedisSentinels::start();
    let two = at(&sentinels.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    sentinels.kill_master();
    eventually("writing again", async || two.other.set("k", &2_u32).await.is_ok()).await;
    eventually("the change", async || two.near.get("k").await.ok() == Some(Some(2))).await;
    for value in 3..6 {
        two.changes_are_seen("k", value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_takes_its_copies_with_it() {
    let cluster = RedisCluster::start();
    let two = at(&cluster.url(), tier());
    let mut value = 0;
    for to in [1, 2, 0, 1] {
        for key in ["k", "another"] {
            value += 1;
            two.changes_are_seen(key, value).await;
        }
        cluster.move_slot_of("r:k", to);
        eventually("a change after the move", async || {
            two.other.set("k", &(1_000 + value)).await.is_ok()
        })
        .await;
        let began = Instant::now();
        eventually("it", async || two.near.get("k").await.ok() == Some(Some(1_000 + value))).await;
        assert!(began.elapsed() < BOUND * 25, "{:?}", began.elapsed());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_table_of_the_server_drops_copies_with_a_word() {
    let server = RedisServer::with(&["--tracking-table-max-keys", "100"]);
    let two = at(&server.url(), holding());
    let keys: Vec<String> = (0..1_000).map(|n| format!("k{n}")).collect();
    two.other.entries(&keys).set(&vec![1_u32; keys.len()]).await.unwrap();
    for _ in 0..3 {
        for key in &keys {
            two.get(key).await;
        }
    }
    eventually("the server's word", async || two.near.statistics().near_changed > 500).await;
    two.other.entries(&keys).set(&vec![2_u32; keys.len()]).await.unwrap();
    eventually("all changes", async || {
        two.near.get_multi::<u32, _>(&keys).await.unwrap() == vec![Some(2); keys.len()]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_tracking_is_refused_copies_go_by_their_age() {
    let server = RedisServer::start();
    server.ask("ACL SETUSER plain on >secret ~* +@all -client|tracking");
    let url = format!("redis://plain:secret@127.0.0.1:{}", server.port());
    let two = Two::over(Config::new(redis(&url)), Config::new(redis(&server.url())), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    let began = Instant::now();
    two.other.set("k", &2_u32).await.unwrap();
    eventually("the change", async || two.get("k").await == Some(2)).await;
    assert!(began.elapsed() < BOUND * 25, "{:?}", began.elapsed());
    assert_eq!(two.near.statistics().near_changed, 1, "it was found by comparing");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scan_leaves_nothing() {
    let server = RedisServer::start();
    let two = at(&server.url(), holding());
    let keys: Vec<String> = (0..20_000).map(|n| format!("k{n}")).collect();
    two.near.get_multi::<u32, _>(&keys).await.unwrap();
    assert_eq!(two.near.statistics().near_entries, 0);
    let tracked = server.ask("INFO stats");
    let tracked = tracked.lines().find_map(|line| line.strip_prefix("tracking_total_keys:"));
    // The moments of invalidations are watched.
    assert!(tracked.is_some_and(|tracked| matches!(tracked.trim(), "0" | "1")), "{tracked:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_can_be_told_by_prefix() {
    let server = RedisServer::start();
    let two = at(&server.url(), holding().broadcast());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    eventually("a proof", async || two.near.statistics().near_age.is_some()).await;
    for value in 2..20 {
        two.changes_are_seen("k", value).await;
    }
    let keys: Vec<String> = (0..100).map(|n| format!("k{n}")).collect();
    two.other.entries(&keys).set(&vec![1_u32; keys.len()]).await.unwrap();
    for _ in 0..3 {
        two.near.get_multi::<u32, _>(&keys).await.unwrap();
    }
    assert!(two.near.statistics().near_entries >= 100);
    let tracked = server.ask("INFO stats");
    let tracked = tracked.lines().find_map(|line| line.strip_prefix("tracking_total_keys:"));
    let tracked: u32 = tracked.expect("Redis counts them").trim().parse().unwrap();
    assert!(tracked < 10, "the server remembers {tracked} keys that were read");
    server.ask("FLUSHALL");
    eventually("the flush", async || two.get("k").await.is_none()).await;
    let two = at(&server.url(), tier().broadcast());
    for value in 20..23 {
        server.kill_tracking();
        two.changes_are_seen("k", value).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_told_by_prefix_in_a_cluster_too() {
    let cluster = RedisCluster::start();
    let two = at(&cluster.url(), tier().broadcast());
    for value in 0..5 {
        for key in ["k", "another", "third"] {
            two.changes_are_seen(key, value).await;
        }
    }
    cluster.move_slot_of("r:k", 1);
    eventually("a change", async || two.other.set("k", &100_u32).await.is_ok()).await;
    eventually("it", async || two.near.get("k").await.ok() == Some(Some(100_u32))).await;
}

/// Our proof needs it: the client hands on what the server tells before the answer to any later command
/// of the same connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_client_hands_news_on_before_later_answers() {
    let server = RedisServer::start();
    let client = redis::Client::open(format!("{}?protocol=resp3", server.url())).unwrap();
    let told = Arc::new(AtomicU64::new(0));
    let heard = told.clone();
    let hear = move |push: redis::PushInfo| {
        if push.kind == redis::PushKind::Invalidate {
            heard.fetch_add(1, Ordering::SeqCst);
        }
        Ok::<(), redis::aio::SendError>(())
    };
    let config = redis::AsyncConnectionConfig::new().set_push_sender(hear);
    let tracking = client.get_multiplexed_async_connection_with_config(&config).await.unwrap();
    let mut writing = client.get_multiplexed_async_connection().await.unwrap();
    let run = async |connection: &redis::aio::MultiplexedConnection, command: &str| {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        for word in words {
            command.arg(word);
        }
        command.exec_async(&mut connection.clone()).await.unwrap();
    };
    run(&tracking, "CLIENT TRACKING ON").await;
    let is_over = Arc::new(AtomicBool::new(false));
    let beside = tokio::spawn({
        let (tracking, is_over) = (tracking.clone(), is_over.clone());
        async move {
            while !is_over.load(Ordering::Relaxed) {
                run(&tracking, "ECHO other-traffic").await;
            }
        }
    });
    for round in 1..=2_000 {
        run(&tracking, "GET k").await;
        redis::cmd("INCR").arg("k").exec_async(&mut writing).await.unwrap();
        run(&tracking, "PING").await;
        assert_eq!(told.load(Ordering::SeqCst), round);
    }
    is_over.store(true, Ordering::Relaxed);
    beside.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_copy_is_older_than_the_bound_under_writes() {
    let server = RedisServer::start();
    near::no_copy_is_older_under_writes(at(&server.url(), tier()), BOUND).await;
}

fn within_proxies(url: &str) -> AnyBackend {
    let backend = KeyPrefix::new("inner:").layer(AnyBackend::new(redis(url)));
    let backend = Encryption::new(EncryptionKey::new("test", &[7; 32])).layer(backend);
    Compression::new(Algorithm::Zstd(3)).min_size(0).layer(backend)
}

#[test]
fn versions_and_news_reach_through_proxies() {
    let server = RedisServer::start();
    let open = async || conformance::Fixture::from(within_proxies(&server.url()));
    conformance::run(open, conformance::a_version_tells_states_apart);
    conformance::run(open, conformance::followers_learn_of_changes);
}
