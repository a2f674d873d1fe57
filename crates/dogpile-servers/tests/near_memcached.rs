//! The near tier over memcached: copies go by their age, and are compared by the server's numbers.

mod common;

use std::time::Instant;

use common::faults::{LIMIT, eventually};
use common::near::{self, BOUND, LONG, Two, holding, tier};
use dogpile::backend::{AnyBackend, Memcached};
use dogpile::proxy::{Algorithm, Compression, Encryption, EncryptionKey, KeyPrefix, Layer};
use dogpile::{Config, Near};
use dogpile_servers::MemcachedServer;
use dogpile_testkit::conformance;

fn memcached(url: &str) -> Memcached {
    Memcached::builder(url).unwrap().response_timeout(LIMIT).connect_timeout(LIMIT).open().unwrap()
}

fn at(url: &str, near: Near) -> Two {
    Two::over(Config::new(memcached(url)), Config::new(memcached(url)), near)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_third_read_is_answered_here() {
    let server = MemcachedServer::start();
    let two = at(&server.url(), holding());
    two.other.set("k", &1_u32).await.unwrap();
    for hits in [0, 0, 1, 2] {
        assert_eq!((two.get("k").await, two.near_hits()), (Some(1), hits));
    }
    two.near.entry("k").delete().await.unwrap();
    assert_eq!(two.get("k").await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn own_changes_are_seen_at_once() {
    let server = MemcachedServer::start();
    near::own_changes_are_seen_at_once(&at(&server.url(), holding())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_others_are_seen_within_the_bound() {
    let server = MemcachedServer::start();
    for url in [server.url(), format!("memcached+binary://{}", server.address())] {
        let two = at(&url, tier());
        two.other.set("k", &0_u32).await.unwrap();
        for value in 1..4 {
            two.warm("k").await;
            let began = Instant::now();
            two.other.set("k", &value).await.unwrap();
            eventually("the change", async || two.get("k").await == Some(value)).await;
            assert!(began.elapsed() < BOUND * 5, "{:?}", began.elapsed());
        }
        two.warm("k").await;
        two.other.delete("k").await.unwrap();
        eventually("the deletion", async || two.get("k").await.is_none()).await;
        assert!(two.near.statistics().near_changed >= 4);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_copy_is_older_than_the_bound_under_writes() {
    let server = MemcachedServer::start();
    near::no_copy_is_older_under_writes(at(&server.url(), tier()), BOUND).await;
}

/// A copy that is too old costs a number, and not its value.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_that_has_not_changed_is_not_sent_again() {
    const BYTES: usize = 500_000;
    let server = MemcachedServer::start();
    let two = at(&server.url(), tier());
    two.other.set("k", &"x".repeat(BYTES)).await.unwrap();
    let read = async || two.near.get::<String>("k").await.unwrap().expect("it is there").len();
    for _ in 0..3 {
        assert_eq!(read().await, BYTES);
    }
    let (written, misses) = (server.count("bytes_written"), two.near.statistics().near_misses);
    eventually("three looks", async || {
        assert_eq!(read().await, BYTES);
        two.near.statistics().near_misses >= misses + 3
    })
    .await;
    let written = server.count("bytes_written") - written;
    assert!(written < BYTES as u64 / 10, "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_paused_is_asked_after_the_bound() {
    let server = MemcachedServer::start();
    let two = at(&server.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    server.pause();
    let began = Instant::now();
    eventually("the end of the copy", async || two.near.get::<u32>("k").await.is_err()).await;
    assert!(began.elapsed() < BOUND * 10, "{:?}", began.elapsed());
    server.resume();
    eventually("an answer", async || two.near.get::<u32>("k").await.is_ok()).await;
    two.changes_are_seen("k", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_stands_in_while_the_server_is_away_if_it_may() {
    let mut server = MemcachedServer::start();
    let two = at(&server.url(), tier().serve_when_down(LONG));
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    server.kill();
    eventually("a copy that is not verified", async || {
        assert_eq!(two.near.entry("k").get_or_create(async || 7_u32).await, 1);
        two.near.statistics().near_unverified > 0
    })
    .await;
}

/// A server that was started again gives its numbers again: the item of the same number is another.
#[tokio::test(flavor = "multi_thread")]
async fn an_item_of_a_server_that_was_started_again_is_another_one() {
    let mut server = MemcachedServer::start();
    let number = |server: &MemcachedServer| server.ask("mg r:k c");
    let two = at(&server.url(), tier());
    two.other.set("k", &1_u32).await.unwrap();
    two.warm("k").await;
    let before = number(&server);
    assert!(before.starts_with("HD c"), "{before}");
    server.restart();
    eventually("storing again", async || two.other.set("k", &2_u32).await.is_ok()).await;
    // So often that the number comes round.
    for _ in 0..100 {
        if number(&server) == before {
            break;
        }
        assert!(server.ask("ms r:x 1\r\n1").starts_with("HD"));
        server.restart();
        eventually("storing again", async || two.other.set("k", &2_u32).await.is_ok()).await;
    }
    assert_eq!(number(&server), before);
    eventually("the change", async || two.near.get("k").await.ok() == Some(Some(2_u32))).await;
}

fn within_proxies(url: &str) -> AnyBackend {
    let backend = KeyPrefix::new("inner:").layer(AnyBackend::new(memcached(url)));
    let backend = Encryption::new(EncryptionKey::new("test", &[7; 32])).layer(backend);
    Compression::new(Algorithm::Zstd(3)).min_size(0).layer(backend)
}

#[test]
fn versions_reach_through_proxies() {
    let server = MemcachedServer::start();
    let open = async || conformance::Fixture::from(within_proxies(&server.url()));
    conformance::run(open, conformance::a_version_tells_states_apart);
}
