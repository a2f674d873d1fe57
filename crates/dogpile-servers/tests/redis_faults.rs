//! Redis behind a bad network, after a failover, and under a soak: no stuck
//! key, no wrong value, no wait without end.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::faults::{self, LIMIT, eventually, load, region};
use dogpile::backend::{AnyBackend, ClaimMode, Claimed, Commit, Redis, Seen, Wanted};
use dogpile::lock::Lease;
use dogpile::value::Entry;
use dogpile::{Config, Region, Status};
use dogpile_servers::{RedisCluster, RedisSentinels, RedisServer};
use dogpile_testkit::tcp::{Condition, Proxy};
use tokio::task::JoinHandle;

fn at(url: &str) -> Config {
    let builder = Redis::builder(url).unwrap().lock_lease(Duration::from_secs(1));
    Config::new(builder.response_timeout(LIMIT).connect_timeout(LIMIT).open().unwrap())
}

fn reach(port: u16) -> Config {
    at(&format!("redis://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn no_network_fault_leaves_a_wrong_value_or_a_stuck_key() {
    let server = RedisServer::start();
    faults::no_network_fault_leaves_a_wrong_value_or_a_stuck_key(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn impatient_callers_get_another_connection() {
    let server = RedisServer::start();
    faults::impatient_callers_get_another_connection(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_creator_behind_a_partition_is_succeeded() {
    let server = RedisServer::start();
    faults::a_creator_behind_a_partition_is_succeeded(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failover_is_followed() {
    let mut sentinels = RedisSentinels::start();
    let (region, created) = (region(at(&sentinels.url())), Arc::new(AtomicU64::new(0)));
    load(&region, &created, 10, 10).await;
    let before = sentinels.master_port();
    sentinels.kill_master();
    load(&region, &created, 10, 20).await;
    eventually("a new master", async || sentinels.master_port() != before).await;
    eventually("writing again", async || region.set("after", &1).await.is_ok()).await;
    assert_eq!(region.get::<u32>("after").await.unwrap(), Some(1));
    let made: String = region.get_or_create("new", async || "made".to_owned()).await;
    assert_eq!((made, region.get("new").await.unwrap()), ("made".into(), Some("made".to_owned())));
}

/// A server that hangs costs a call one time-out, whatever the call asks of it, and the calls
/// after it nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_counts_as_down() {
    const TIME_OUT: Duration = Duration::from_secs(2);
    let server = RedisServer::start();
    let builder = Redis::builder(&server.url()).unwrap();
    let redis = builder.response_timeout(TIME_OUT).connect_timeout(TIME_OUT).open().unwrap();
    let region = Arc::new(Region::new("hangs"));
    let config = Config::new(redis).shared_invalidation(Duration::ZERO);
    region.configure(config.keep_when_down(Duration::ZERO)).unwrap();
    region.set("k", &1).await.unwrap();
    server.pause();
    let began = Instant::now();
    let calls = (0..50).map(|n| {
        let region = region.clone();
        tokio::spawn(async move { region.get_or_create(&format!("k{n}"), async || n).await })
    });
    for (n, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(call.await.unwrap(), n);
    }
    assert!(began.elapsed() < TIME_OUT.mul_f64(1.8), "{:?}", began.elapsed());
    let began = Instant::now();
    for n in 0..20 {
        assert_eq!(region.get_or_create("k", async || n).await, n);
    }
    assert!(began.elapsed() < TIME_OUT, "{:?}", began.elapsed());
    server.resume();
    let found = async || matches!(region.get::<u32>("k").await, Ok(Some(_)));
    eventually("recovery", found).await;
}

/// Slots with values in them move from node to node under load: values stay, and nobody notices.
#[tokio::test(flavor = "multi_thread")]
async fn moving_slots_are_followed() {
    let cluster = Arc::new(RedisCluster::start());
    let region = Region::new("moving");
    region.configure(Config::new(Redis::open(&cluster.url()).unwrap())).unwrap();
    let (region, created) = (Arc::new(region), Arc::new(AtomicU64::new(0)));
    load(&region, &created, 200, 200).await;
    assert_eq!(created.load(Ordering::Relaxed), 200);
    let mover = cluster.clone();
    let moving = tokio::task::spawn_blocking(move || {
        (0..50).for_each(|n| mover.move_slot_of(&format!("moving:k{n}"), n));
    });
    while !moving.is_finished() {
        load(&region, &created, 200, 50).await;
    }
    moving.await.unwrap();
    assert!(cluster.count_commands("migrate") > 20, "the slots have moved");
    load(&region, &created, 200, 200).await;
    let errors = region.statistics().backend_errors;
    let created = created.load(Ordering::Relaxed);
    assert_eq!(created, 200, "what was stored is still there ({errors} backend errors)");
}

#[tokio::test(flavor = "multi_thread")]
async fn soak() {
    let server = RedisServer::start();
    faults::soak(server.port(), reach).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_with_corruption() {
    let server = RedisServer::start();
    faults::soak_with_corruption(server.port(), reach).await;
}

/// A server on which nobody may run scripts, reached directly and from far away.
struct Plain {
    server: RedisServer,
    far: Proxy,
}

impl Plain {
    fn start() -> Self {
        let server = RedisServer::start();
        assert!(server.ask("ACL SETUSER default -@scripting").contains("OK"));
        let far = Proxy::to(server.port());
        Self { server, far }
    }

    fn open(port: u16, locks: bool) -> AnyBackend {
        let builder = Redis::builder(&format!("redis://127.0.0.1:{port}")).unwrap();
        AnyBackend::new(builder.creation_locks(locks).open().unwrap())
    }

    fn near(&self, locks: bool) -> AnyBackend {
        Self::open(self.server.port(), locks)
    }

    /// A commit of a claim to `k`, made from far away, that has looked whether that is whole
    /// and is about to store.
    async fn commit(&self, locks: bool) -> JoinHandle<bool> {
        let far = Self::open(self.far.port(), locks);
        let lease = win(&far).await;
        self.far.set(Condition::Slow(Duration::from_millis(200)));
        let looked = self.server.count_commands("get") + 3;
        let committing = tokio::spawn(async move {
            let entry = Some(Entry::bytes("old", 1_763_700_000.5));
            far.commit(vec![Commit { key: "k", entry, lease }]).await.unwrap() == [true]
        });
        common::wait_for_async(async || self.server.count_commands("get") >= looked).await;
        committing
    }
}

async fn win(backend: &AnyBackend) -> Lease {
    let wanted = Wanted::new("k", ClaimMode::Create(Seen::Nothing));
    match backend.claim(vec![wanted]).await.unwrap().pop() {
        Some(Claimed::Won(lease)) => lease,
        other => panic!("{other:?}"),
    }
}

/// Its own mark has gone by then, and there is that of a creation without a lock.
#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_nothing_is_stored_under_anothers_mark() {
    let plain = Plain::start();
    let (near, lockless) = (plain.near(true), plain.near(false));
    let committing = plain.commit(true).await;
    near.delete("k").await.unwrap();
    let _other = win(&lockless).await;
    assert!(!committing.await.unwrap());
    assert!(near.get("k").await.unwrap().is_none());
}

/// Who leaves between storing and looking leaves nothing of before a change.
#[tokio::test(flavor = "multi_thread")]
async fn without_scripts_a_dropped_commit_withdraws_what_it_has_stored() {
    let plain = Plain::start();
    let near = plain.near(false);
    let committing = plain.commit(false).await;
    near.delete("k").await.unwrap();
    common::wait_for_async(async || near.get("k").await.unwrap().is_some()).await;
    committing.abort();
    eventually("the withdrawal", async || near.get("k").await.unwrap().is_none()).await;
}

/// A server that is read and takes no changes: it has no memory left, or too few replicas. Each
/// process keeps what it creates.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_takes_no_changes_costs_one_creation() {
    let server = RedisServer::start();
    let set = async |name: &str, value: &str| {
        let client = redis::Client::open(server.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd("CONFIG");
        command.arg("SET").arg(name).arg(value);
        command.query_async::<()>(&mut connection).await.unwrap();
    };
    for (name, refuses, takes) in [("min-replicas-to-write", "1", "0"), ("maxmemory", "1", "0")] {
        let region = Region::new("refused");
        let config = reach(server.port()).keep_when_down(Duration::from_secs(1));
        region.configure(config).unwrap();
        region.set("stored", &7).await.unwrap();
        set(name, refuses).await;
        assert_eq!(region.get("stored").await.unwrap(), Some(7), "{name}");
        assert_eq!(region.get_or_create(name, async || 1).await, 1);
        for _ in 0..5 {
            let found = region.entry(name).lookup(async || 2).await;
            assert_eq!((found.value, found.status), (1, Status::Kept), "{name}");
        }
        set(name, takes).await;
        // It takes changes again, and has not got this one.
        eventually("creating again", async || region.get_or_create(name, async || 3).await == 3)
            .await;
        assert_eq!(region.get::<i32>(name).await.unwrap(), Some(3));
    }
}

/// A full server still says which keys are held: their callers wait for a value, and create none.
#[tokio::test]
async fn a_full_server_says_which_keys_are_held() {
    let server = RedisServer::start();
    let backend = AnyBackend::new(Redis::open(&server.url()).unwrap());
    let claim = async |key| {
        let wanted = Wanted::new(key, ClaimMode::Create(Seen::Nothing));
        backend.claim(vec![wanted]).await.map(|mut claims| claims.remove(0))
    };
    let Ok(Claimed::Won(_lease)) = claim("held").await else { panic!("it was not won") };
    server.ask("CONFIG SET maxmemory 1");
    assert!(matches!(claim("held").await, Ok(Claimed::Held)));
    assert!(claim("free").await.unwrap_err().to_string().contains("OOM"));
}

/// A server that does not know a command repeats what it was sent, in part.
#[tokio::test(flavor = "multi_thread")]
async fn no_error_says_a_password() {
    let server = RedisServer::with(&["--rename-command", "AUTH", ""]);
    for password in ["hushhush".to_owned(), "hush".repeat(100)] {
        let url = format!("redis://app:{password}@127.0.0.1:{}", server.port());
        let error = region(at(&url)).get::<String>("k").await.unwrap_err().to_string();
        assert!(error.contains("AUTH") && !error.contains("hush"), "{error}");
    }
}
