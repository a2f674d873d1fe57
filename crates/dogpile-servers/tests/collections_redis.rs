//! Collections on Redis when answers are lost, parts vanish, or a machine dies without
//! a word.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use common::wait_for_async;
use dogpile::backend::{AnyBackend, Backend, CollectionPlace, CollectionStore, Redis, Upload};
use dogpile::collections::CachedSequence;
use dogpile::lock::{KeyedLock, Lease};
use dogpile::value::Entry;
use dogpile::{Config, Error, Region};
use dogpile_servers::{RedisCluster, RedisServer};
use dogpile_testkit::tcp::{Condition, Proxy};
use tokio::sync::Notify;

/// A lease longer than any test waits.
const LEASE: Duration = Duration::from_secs(600);
const LIMIT: Duration = Duration::from_millis(250);

const LOAD: Duration = Duration::from_secs(600);

fn redis(url: &str) -> Redis {
    let builder = Redis::builder(url).unwrap().lock_lease(LEASE);
    builder.response_timeout(LIMIT).connect_timeout(LIMIT).open().unwrap()
}

fn behind(proxy: &Proxy) -> Redis {
    redis(&format!("redis://127.0.0.1:{}", proxy.port()))
}

fn store(redis: Redis) -> Arc<dyn CollectionStore> {
    AnyBackend::new(redis).collections().unwrap()
}

async fn hold(store: &dyn CollectionStore, place: &CollectionPlace) -> Lease {
    store.mutex(LOAD).try_lock(&place.revision()).await.unwrap().expect("it is free")
}

async fn is_locked(store: &dyn CollectionStore, place: &CollectionPlace) -> bool {
    store.mutex(LOAD).is_locked(&place.revision()).await.unwrap()
}

/// Returns what a collection of this crate stores where it is empty.
fn data() -> bytes::Bytes {
    Entry::bytes("", 1e9).to_frame().unwrap()
}

/// A server with a user who may use no scripts, by whose URL it is reached.
fn without_scripts() -> (RedisServer, impl Fn(u16) -> String) {
    let server = RedisServer::start();
    let rule = "ACL SETUSER app on >secret ~* &* +@all -@scripting";
    assert!(server.ask(rule).contains("OK"));
    (server, |port| format!("redis://app:secret@127.0.0.1:{port}"))
}

/// A push whose answer was lost is sent again, and has happened once: the new parts are
/// where they belong, and those before are there for who is reading them.
#[tokio::test]
async fn a_push_that_is_sent_twice_happens_once() {
    let (server, plain) = without_scripts();
    let proxy = Proxy::to(server.port());
    let scripts = format!("redis://127.0.0.1:{}", proxy.port());
    let lost: [(_, _, &[u8]); 3] = [
        ("scripts", scripts, b"EVALSHA"),
        ("rename", plain(proxy.port()), b"RENAME"),
        ("plain", plain(proxy.port()), b"EXEC"),
    ];
    for (name, url, lost) in lost {
        let (store, place) = (store(redis(&url)), CollectionPlace::new(name, "1"));
        for (before, id) in (0..).zip(["first", "second", "third"]) {
            let lease = hold(&*store, &place).await;
            store.write_part(&place, id, 0, id.into()).await.unwrap();
            if before > 0 {
                proxy.set(Condition::AnswerLost(lost));
            }
            let upload = Some(Upload { id, parts: 1 });
            let data = Entry::bytes(id, 1e9).to_frame().unwrap();
            let pushed = store.publish(&place, data.clone(), upload, before, lease).await.unwrap();
            assert_eq!(pushed, Some(before + 1), "{name} {id}");
            assert_eq!(store.read(&place).await.unwrap(), Some((before + 1, Some(data))));
            assert_eq!(store.read_part(&place, id, 0).await.unwrap().unwrap(), id);
            assert!(server.ask(&format!("TTL cached.{name}.1.parts")).contains(":-1"));
            assert!(!is_locked(&*store, &place).await);
        }
        assert_eq!(store.read_part(&place, "second", 0).await.unwrap().unwrap(), "second");
        assert_eq!(store.read_part(&place, "first", 0).await.unwrap(), None);
        assert!(!server.ask(&format!("TTL cached.{name}.1.before")).contains(":-"));
    }
}

/// Parts that vanish before they are published: an error at once, nothing is
/// published, and the lock is free.
#[tokio::test]
async fn parts_that_vanished_are_not_published() {
    let (server, plain) = without_scripts();
    for url in [server.url(), plain(server.port())] {
        let (store, place) = (store(redis(&url)), CollectionPlace::new("vanished", "1"));
        for (gone, parts) in [("DEL", 1), ("HDEL", 2)] {
            let lease = hold(&*store, &place).await;
            for index in 0..parts {
                store.write_part(&place, "u", index, "part".into()).await.unwrap();
            }
            let upload = "cached.vanished.1.upload.u";
            assert!(server.ask(&format!("{gone} {upload} u.0")).contains(":1"));
            let upload = Some(Upload { id: "u", parts });
            let refused = store.publish(&place, data(), upload, 0, lease).await.unwrap_err();
            assert!(refused.to_string().contains("parts"), "{refused}");
            wait_for_async(async || !is_locked(&*store, &place).await).await;
            assert_eq!(store.read(&place).await.unwrap(), None);
            server.ask("DEL cached.vanished.1.upload.u");
        }
    }
}

/// A number that is none is no reason not to push: the next one is as ever.
#[tokio::test]
async fn a_number_that_is_none_is_replaced() {
    let server = RedisServer::start();
    let load = || Ok::<_, Error>(vec![1_u8]);
    let builder = CachedSequence::builder_blocking("number", redis(&server.url()), load);
    let numbers = builder.check_interval(Duration::from_millis(50)).open().await.unwrap();
    let store = store(redis(&server.url()));
    for number in ["1000000000000000", "18446744073709551615", "+5", "many"] {
        let before = numbers.revision();
        server.ask(&format!("SET cached.number.0.revision {number}"));
        let pushed = numbers.push().await.unwrap();
        assert!(pushed > before && pushed < 1_000_000_000_000_000, "{pushed} after {number}");
        let place = CollectionPlace::new("number", "0");
        assert_eq!(store.revision(&place).await.unwrap(), Some(numbers.revision()));
        wait_for_async(async || numbers.statistics().in_step).await;
    }
}

/// A loader may take longer than a creation: its lock is renewed for as long as it may.
#[tokio::test]
async fn a_long_load_keeps_its_lock() {
    const SHORT: Duration = Duration::from_secs(1);
    let server = RedisServer::start();
    let builder = Redis::builder(&server.url()).unwrap().lock_lease(SHORT).longest_creation(SHORT);
    let (enough, load) = (Arc::new(Notify::new()), AtomicU32::new(0));
    let load = {
        let enough = enough.clone();
        move || {
            let (enough, load) = (enough.clone(), load.fetch_add(1, Ordering::SeqCst));
            async move {
                enough.notified().await;
                Ok::<_, Error>(vec![load])
            }
        }
    };
    let opening = CachedSequence::builder("long", builder.open().unwrap(), load).open();
    let opening = tokio::spawn(opening);
    // As often as only a lock that lives for many leases is renewed.
    wait_for_async(async || server.count_commands("pexpire") > 5).await;
    enough.notify_one();
    assert_eq!(opening.await.unwrap().unwrap().get(0), Some(0), "the first load was stored");
}

/// Replicas may be behind: of a cluster only values are read from them.
#[tokio::test]
async fn collections_of_a_cluster_are_read_from_masters() {
    let cluster = RedisCluster::start();
    let backend = Redis::builder(&cluster.url()).unwrap().read_from_replicas(true).open().unwrap();
    let (store, load) = (store(backend.clone()), || Ok::<_, Error>(vec![7_u32; 500]));
    let open = || {
        let builder = CachedSequence::builder_blocking("masters", backend.clone(), load);
        builder.part_bytes(512).compression(None).open()
    };
    let (here, there) = (open().await.unwrap(), open().await.unwrap());
    for _ in 0..20 {
        let pushed = here.push().await.unwrap();
        wait_for_async(async || there.revision() == pushed).await;
        there.pull().await.unwrap();
        let place = store.place("masters", "0");
        assert!(is_locked(&*store, &place).await || store.read(&place).await.unwrap().is_some());
    }
    for command in ["get", "mget", "hget", "exists"] {
        assert_eq!(cluster.count_commands_of_replicas(command), 0, "{command}");
    }
    for n in 0..20 {
        backend.get(&format!("value-{n}")).await.unwrap();
    }
    assert_eq!(cluster.count_commands_of_replicas("get"), 20);
}

/// Data that take longer than other answers may: they have a connection of their own, and
/// regions over the same backend do not notice.
#[tokio::test]
async fn large_data_take_their_time() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    // At most 16 KiB pass at a time, so this is 1.6 MB a second.
    proxy.set(Condition::Slow(Duration::from_millis(10)));
    let load = || Ok::<_, Error>(vec!["x".repeat(1 << 20); 2]);
    let behind = || Redis::open(&format!("redis://127.0.0.1:{}", proxy.port())).unwrap();
    let backend = behind();
    let region = Region::new("beside");
    region.configure(Config::new(backend.clone())).unwrap();
    let open = |backend| CachedSequence::builder_blocking("large", backend, load).python().open();
    let ended = &AtomicBool::new(false);
    let opening = async {
        let numbers = open(backend).await.unwrap();
        let pulled = open(behind()).await.unwrap();
        assert_eq!((pulled.revision(), pulled.len()), (numbers.revision(), 2));
        assert_eq!(pulled.statistics().loads, 0);
        ended.store(true, Ordering::SeqCst);
    };
    let beside = async {
        while !ended.load(Ordering::SeqCst) {
            assert_eq!(region.get::<u32>("k").await.unwrap(), None);
        }
    };
    tokio::join!(opening, beside);
}

/// A machine that dies says nothing, not even that its connections have ended: whoever
/// is to be told by it finds out, and is told of what came meanwhile.
#[tokio::test]
async fn a_server_that_dies_without_a_word_is_noticed() {
    let server = RedisServer::start();
    let proxy = Proxy::to(server.port());
    let loads = Arc::new(AtomicU32::new(0));
    let open = async |backend: Redis, name: &str| {
        let loads = loads.clone();
        let load = move || Ok::<_, Error>(vec![loads.fetch_add(1, Ordering::SeqCst)]);
        let builder = CachedSequence::builder_blocking(name, backend, load);
        builder.check_interval(Duration::from_secs(3_600)).open().await.unwrap()
    };
    let far = behind(&proxy);
    let [one, other] = [open(far.clone(), "one").await, open(far, "other").await];
    // Until both are told.
    for (name, far) in [("one", &one), ("other", &other)] {
        let near = open(redis(&server.url()), name).await;
        let pushed = near.push().await.unwrap();
        wait_for_async(async || far.revision() == pushed).await;
    }
    proxy.abandon();
    for (name, far) in [("one", &one), ("other", &other)] {
        let near = open(redis(&server.url()), name).await;
        let pushed = near.push().await.unwrap();
        wait_for_async(async || far.revision() == pushed).await;
    }
}

/// A lock whose answer was lost is given back, not held by nobody until its lease
/// ends.
#[tokio::test]
async fn a_lock_that_nobody_knows_of_is_released() {
    let server = RedisServer::start();
    let (store, place) = (store(redis(&server.url())), CollectionPlace::new("orphan", "1"));
    assert!(!is_locked(&*store, &place).await);
    server.pause();
    let lost = store.mutex(LOAD).try_lock(&place.revision()).await;
    assert!(lost.is_err());
    server.resume();
    // The server takes it when it wakes up, and learns that it is not wanted afterwards.
    wait_for_async(async || server.count_commands("set") > 0).await;
    wait_for_async(async || server.ask("EXISTS _lockcached.orphan.1.revision").contains(":0"))
        .await;
    drop(hold(&*store, &place).await);
}
