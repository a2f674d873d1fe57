//! Redis shared by processes: races, Python among them, round trips, and what
//! happens when processes and servers die, hang and come back.

mod common;

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use common::{Python, print_lateness, wait_for_async};
use dogpile::backend::Redis;
use dogpile::clock::epoch_seconds;
use dogpile::codec::{MessagePack, Pickle};
use dogpile::{Config, Region};
use dogpile_servers::RedisServer;
use dogpile_servers::fleet::{self, Fleet};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinSet;

static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

fn settings(url: &str, more: &[(&'static str, &str)]) -> Vec<(&'static str, String)> {
    let first = [("backend", "redis".to_owned()), ("arguments.url", url.to_owned())];
    first.into_iter().chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
}

fn fleet(directory: &TempDir, more: &[(&'static str, &str)]) -> Fleet {
    let settings = settings(&SERVER.url(), more);
    Fleet::new(env!("CARGO_BIN_EXE_dogpile-worker"), settings, directory.path())
}

fn region(url: &str) -> Arc<Region> {
    let region = Region::new("parent");
    region.configure(Config::new(Redis::open(url).unwrap()).shared_keys()).unwrap();
    Arc::new(region)
}

fn python() -> Python {
    // dogpile.cache has a backend, and a client, for each of the two.
    let backend = if SERVER.is_valkey() { "valkey" } else { "redis" };
    Python { backend, url: SERVER.url() }
}

fn stored_at(key: &str) -> f64 {
    let region = region(&SERVER.url());
    let stored = region.blocking().get_with_metadata::<String>(key).unwrap();
    epoch_seconds(stored.expect("it was stored").cached_time())
}

#[test]
fn one_creation_in_the_fleet_and_everyone_is_woken() {
    let directory = TempDir::new().unwrap();
    let answers = fleet::one_creation_in_the_fleet(&fleet(&directory, &[]), "cold");
    print_lateness("8 processes of 25 tasks", &answers, stored_at("cold"));
}

#[test]
fn troubled_creators_have_one_successor() {
    let directory = TempDir::new().unwrap();
    fleet::a_failed_creator_has_one_successor(&fleet(&directory, &[]), "failing");
    // The server frees a dead creator's lock when its lease ends.
    let short = fleet(&directory, &[("arguments.lock_timeout", "1")]);
    fleet::a_killed_creator_has_one_successor(&short, "dying");
}

#[test]
fn overlapping_calls_create_each_key_once() {
    let directory = TempDir::new().unwrap();
    fleet::overlapping_calls_create_each_key_once(&fleet(&directory, &[]), "overlap");
}

/// A creator that sleeps through the end of its lease finds that it may not
/// store any more.
#[test]
fn a_paused_creator_does_not_overwrite_its_successor() {
    let directory = TempDir::new().unwrap();
    let fleet = fleet(&directory, &[("arguments.lock_timeout", "1")]);
    let stored = || region(&SERVER.url()).blocking().get::<String>("paused").unwrap();
    fleet::a_paused_creator_does_not_overwrite_its_successor(fleet, "paused", stored);
}

/// Counts round trips: reads of the server's sockets, the counter's own taken
/// off.
struct Trips(redis::Connection);

impl Trips {
    fn to(server: &RedisServer) -> Self {
        Self(redis::Client::open(server.url()).unwrap().get_connection().unwrap())
    }

    fn count(&mut self) -> u64 {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut self.0).unwrap();
        let count = info.lines().find_map(|line| line.strip_prefix("total_reads_processed:"));
        count.and_then(|count| count.trim().parse().ok()).expect("the server counts")
    }

    async fn of(&mut self, work: impl Future<Output = ()>) -> u64 {
        let before = self.count();
        work.await;
        self.count() - before - 1
    }
}

#[tokio::test]
async fn round_trips_are_few() {
    let server = RedisServer::start();
    let region = Region::new("trips");
    let backend = Redis::builder(&server.url()).unwrap().retention(Duration::from_secs(60));
    // A shared invalidation is looked for beside that: once per region and delay.
    region.configure(Config::new(backend.open().unwrap()).local_invalidation()).unwrap();
    let _: u32 = region.get_or_create("warm-up", async || 1).await;
    let keys: Vec<String> = (0..100).map(|n| format!("key-{n}")).collect();
    let values: Vec<u32> = (0..100).collect();
    let mut trips = Trips::to(&server);
    let ask = async |number| {
        let _: u32 = region.get_or_create("k", async || number).await;
    };
    assert_eq!(trips.of(ask(5)).await, 3, "a cold miss: read, claim, commit");
    assert_eq!(trips.of(ask(6)).await, 1, "a hit");
    for number in 0..17 {
        let _: u32 = region.get_or_create(&format!("cold-{number}"), async || number).await;
    }
    let cold = async {
        let _: u32 = region.get_or_create("cold", async || 8).await;
    };
    assert_eq!(trips.of(cold).await, 2, "a miss while a cache fills: claim, commit");
    assert_eq!(trips.of(ask(6)).await, 1, "a hit then");
    let set = async { region.set_multi(keys.iter().zip(&values)).await.unwrap() };
    assert!(trips.of(set).await <= 3, "100 values with a retention, and a script that is new");
    let one = async { region.set("k", &7_u32).await.unwrap() };
    assert_eq!(trips.of(one).await, 1, "a set");
    let delete = async { region.delete("gone").await.unwrap() };
    assert_eq!(trips.of(delete).await, 1, "a delete");
    let get = async { drop(region.get_multi::<u32, _>(&keys).await.unwrap()) };
    assert_eq!(trips.of(get).await, 1, "100 values");
    let left = server.ask("TTL trips:k");
    assert!(left.contains(":60") || left.contains(":59"), "{left}");
    // A hit is a plain GET.
    let stats = server.ask("INFO commandstats");
    assert!(stats.contains("cmdstat_get:") && stats.contains("cmdstat_evalsha:"), "{stats}");
}

/// The documented number: while the server is lost, each process creates for
/// itself, once per key at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_dies_and_comes_back_costs_a_creation_per_process() {
    let mut server = RedisServer::start();
    let regions = [region(&server.url()), region(&server.url())];
    let created = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..200 {
        let (region, created) = (regions[task % 2].clone(), created.clone());
        tasks.spawn(async move {
            let creator = async || {
                tokio::time::sleep(Duration::from_millis(300)).await;
                created.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
            };
            region.get_or_create::<u32, _, _>("k", creator).await
        });
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.kill();
    let all = tokio::time::timeout(Duration::from_secs(20), tasks.join_all()).await;
    assert_eq!(all.expect("nobody waits for ever").len(), 200);
    let created = created.load(std::sync::atomic::Ordering::SeqCst);
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
    let began = Instant::now();
    while regions[0].set("back", &1).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(20), "it does not come back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(regions[0].get::<u32>("back").await.unwrap(), Some(1));
    // Scripts are unknown to the new server, and are taught to it.
    let made: u32 = regions[0].get_or_create("again", async || 8).await;
    assert_eq!((made, regions[0].get("again").await.unwrap()), (8, Some(8)));
    assert!(!regions[0].key_is_locked("again").await.unwrap());
}

/// A server that hangs costs one time-out, and then nothing.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_hangs_counts_as_down() {
    let server = RedisServer::start();
    let region = Region::new("hanging");
    let builder = Redis::builder(&server.url()).unwrap();
    let limit = Duration::from_millis(500);
    let backend = builder.response_timeout(limit).connect_timeout(limit).open().unwrap();
    region.configure(Config::new(backend)).unwrap();
    region.set("k", &1).await.unwrap();
    server.pause();
    let told = region.get::<u32>("k").await.unwrap_err().to_string();
    assert!(told.contains("did not answer"), "{told}");
    let made: u32 = region.get_or_create("k", async || 2).await;
    assert_eq!(made, 2);
    wait_for_async(async || {
        region.get::<u32>("k").await.is_err_and(|error| error.to_string().contains("is down"))
    })
    .await;
    server.resume();
    wait_for_async(async || region.get::<u32>("k").await.ok() == Some(Some(1))).await;
}

#[tokio::test]
async fn lost_connections_and_forgotten_scripts_are_not_noticed() {
    let server = RedisServer::start();
    let region = region(&server.url());
    let _: u32 = region.get_or_create("first", async || 1).await;
    for n in 0..20_u32 {
        server.ask(if n % 2 == 0 { "CLIENT KILL TYPE normal" } else { "SCRIPT FLUSH" });
        let key = format!("key-{n}");
        let made: u32 = region.entry(&*key).strict().get_or_create(async || n).await.unwrap();
        assert_eq!((made, region.get(&key).await.unwrap()), (n, Some(n)));
    }
}

/// A creator holds the lock for longer than its lease: renewed, it keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_its_creator_runs() {
    let open = || {
        let region = Region::new("renewed");
        let builder = Redis::builder(&SERVER.url()).unwrap();
        let backend = builder.lock_lease(Duration::from_secs(1)).open().unwrap();
        region.configure(Config::new(backend)).unwrap();
        Arc::new(region)
    };
    let (one, two) = (open(), open());
    let slow = tokio::spawn(async move {
        let creator = async || {
            tokio::time::sleep(Duration::from_millis(2_500)).await;
            1_u32
        };
        one.get_or_create("renewed", creator).await
    });
    wait_for_async(async || two.key_is_locked("renewed").await.unwrap()).await;
    let other: u32 = two.get_or_create("renewed", async || 2).await;
    assert_eq!((slow.await.unwrap(), other), (1, 1));
}

#[tokio::test]
async fn a_waiter_gives_up_as_configured() {
    let held = region(&SERVER.url());
    let mutex = held.backend().unwrap().mutex().unwrap();
    let lease = dogpile::lock::KeyedLock::try_lock(&mutex, "patience").await.unwrap().unwrap();
    let region = Region::new("impatient");
    let builder = Redis::builder(&SERVER.url()).unwrap();
    let backend = builder.wait_timeout(Duration::from_millis(50)).open().unwrap();
    region.configure(Config::new(backend).shared_keys()).unwrap();
    let told = region.entry("patience").strict().get_or_create(async || 1_u32).await.unwrap_err();
    assert!(told.to_string().contains("still being created"), "{told}");
    let made: u32 = region.get_or_create("patience", async || 2).await;
    assert_eq!(made, 2, "a plain call creates all the same");
    drop(lease);
}

#[test]
fn python_reads_what_we_write_and_the_other_way_round() {
    let value = json!({"id": 7, "names": ["Ada", "ü"], "half": 0.5, "none": null});
    for format in ["json", "msgpack", "pickle"] {
        let region = Region::new("interop");
        let config = Config::new(Redis::open(&SERVER.url()).unwrap()).shared_keys();
        region
            .configure(match format {
                "msgpack" => config.codec(MessagePack),
                "pickle" => config.codec(Pickle),
                _ => config,
            })
            .unwrap();
        common::python::both_read_what_the_other_writes(&region, &python(), format, &value);
    }
}

#[test]
fn a_lock_held_by_python_makes_us_wait_and_take_its_value() {
    common::python::we_wait_for_python(&region(&SERVER.url()), &python());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_held_by_us_makes_python_wait_and_take_our_value() {
    common::python::python_waits_for_us(region(&SERVER.url()), python()).await;
}

#[test]
fn a_mixed_storm_makes_one_creation() {
    let directory = TempDir::new().unwrap();
    let fleet = fleet(&directory, &[]);
    common::python::a_mixed_storm_makes_one_creation(fleet, &[python()], stored_at);
}

/// For comparison: the same storm with Python alone.
#[test]
fn python_alone_in_the_same_storm() {
    common::python::python_alone_in_the_same_storm(&python(), stored_at);
}

/// The runtime that a connection was made on ends; other runtimes, blocking
/// code and other executors go on with the same region.
#[test]
fn runtimes_come_and_go() {
    let region = region(&SERVER.url());
    for n in 0..5_u32 {
        let many = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        many.block_on(async { region.set("runtimes", &n).await }).unwrap();
        // Nobody drives it any more.
        many.shutdown_background();
        assert_eq!(region.blocking().get::<u32>("runtimes").unwrap(), Some(n));
        let one = tokio::runtime::Builder::new_current_thread().build().unwrap();
        assert_eq!(one.block_on(region.get::<u32>("runtimes")).unwrap(), Some(n));
        let key = format!("made-{n}");
        let made: u32 = region.blocking().get_or_create(&key, || n);
        assert_eq!(made, n);
    }
}

/// A key that some other program keeps a list under is a value that cannot be
/// read: a miss, and created again.
#[tokio::test]
async fn a_key_of_another_kind_is_created_again() {
    let server = RedisServer::start();
    let region = region(&server.url());
    server.ask("LPUSH list x");
    assert_eq!(region.get::<u32>("list").await.unwrap(), None);
    let made = region.entry("list").strict().get_or_create(async || 5_u32).await.unwrap();
    assert_eq!((made, region.get("list").await.unwrap()), (5, Some(5)));
}

/// What a server refuses is an error, one command or several.
#[tokio::test]
async fn what_a_server_refuses_is_an_error() {
    let server = RedisServer::start();
    let region = region(&server.url());
    assert!(server.ask("CONFIG SET maxmemory 1").contains("OK"));
    let one = region.set("k", &1).await.unwrap_err().to_string();
    let several = region.set_multi([("k", &1), ("l", &2)]).await.unwrap_err().to_string();
    assert!(one.contains("OOM") && several.contains("OOM"), "{one}, {several}");
}

/// A server that turns into a replica without closing its connections is left
/// for the one that writes, not complained to for ever.
#[tokio::test]
async fn a_demoted_server_is_asked_again_on_a_new_connection() {
    let server = RedisServer::start();
    let region = region(&server.url());
    let _: u32 = region.get_or_create("before", async || 1).await;
    server.ask("REPLICAOF 127.0.0.1 1");
    let told = region.entry("k").strict().get_or_create(async || 1_u32).await.unwrap_err();
    assert!(told.to_string().to_lowercase().contains("read"), "{told}");
    server.ask("REPLICAOF NO ONE");
    wait_for_async(async || region.set("k", &2).await.is_ok()).await;
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(2));
}

static SHARED: LazyLock<Region> = LazyLock::new(|| {
    let region = Region::new("shared functions");
    region.configure(Config::new(Redis::open(&SERVER.url()).unwrap()).shared_keys()).unwrap();
    region
});

#[allow(clippy::unused_async, reason = "it stands for one that waits")]
#[dogpile::cached(region = SHARED, name = "__main__:load_user")]
async fn load_user(name: &str, limit: u32) -> Value {
    json!({"name": name, "limit": limit, "by": "Rust"})
}

/// A decorated function of ours and one of Python's share their entries.
#[tokio::test]
async fn decorated_functions_of_two_languages_share_hits() {
    let by = |who: &str, name: &str| json!({"name": name, "limit": 5, "by": who});
    assert_eq!(load_user("ada", 5).await, by("Rust", "ada"));
    assert_eq!(python().json(&["json", "function", "ada"]), json!([by("Rust", "ada"), 0]));
    assert_eq!(python().json(&["json", "function", "bob"]), json!([by("Python", "bob"), 1]));
    assert_eq!(load_user("bob", 5).await, by("Python", "bob"));
    load_user::invalidate("bob", 5).await.unwrap();
    assert_eq!(python().json(&["json", "function", "bob"]), json!([by("Python", "bob"), 1]));
}
