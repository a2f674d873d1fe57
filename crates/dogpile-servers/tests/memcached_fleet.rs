//! memcached shared by processes: races, Python among them, round trips, keys
//! and values at its limits.

mod common;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use common::{Python, print_lateness, wait_for_async};
use dogpile::backend::{AnyBackend, Memcached, Placement};
use dogpile::clock::epoch_seconds;
use dogpile::{Config, Region};
use dogpile_servers::MemcachedServer;
use dogpile_servers::fleet::{self, Fleet};
use dogpile_testkit::tcp::Proxy;
use serde_json::json;
use tempfile::TempDir;

static SERVER: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);

/// dogpile.cache's backends: each is a client library of its own.
const CLIENTS: [&str; 2] = ["pylibmc", "pymemcache"];

fn python(backend: &'static str) -> Python {
    Python { backend, url: SERVER.address() }
}

fn fleet(directory: &TempDir, more: &[(&'static str, &str)]) -> Fleet {
    let first = [("backend", "memcached".to_owned()), ("arguments.url", SERVER.url())];
    let more = more.iter().map(|(name, value)| (*name, (*value).to_owned()));
    let worker = env!("CARGO_BIN_EXE_dogpile-worker");
    Fleet::new(worker, first.into_iter().chain(more), directory.path())
}

fn over(backend: Memcached) -> Arc<Region> {
    let region = Region::new("parent");
    region.configure(Config::new(backend).shared_keys()).unwrap();
    Arc::new(region)
}

fn region() -> Arc<Region> {
    over(Memcached::open(&SERVER.url()).unwrap())
}

fn stored_at(key: &str) -> f64 {
    let stored = region().blocking().get_with_metadata::<String>(key).unwrap();
    epoch_seconds(stored.expect("it was stored").cached_time())
}

#[test]
fn one_creation_in_the_fleet_and_everyone_is_answered() {
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
    let stored = || region().blocking().get::<String>("paused").unwrap();
    fleet::a_paused_creator_does_not_overwrite_its_successor(fleet, "paused", stored);
}

/// A creator holds the lock for longer than its lease: renewed, it keeps it.
#[tokio::test(flavor = "multi_thread")]
async fn a_lease_is_renewed_while_its_creator_runs() {
    let open = || {
        let builder = Memcached::builder(&SERVER.url()).unwrap();
        over(builder.lock_lease(Duration::from_secs(1)).open().unwrap())
    };
    let (one, two) = (open(), open());
    let slow = tokio::spawn(async move {
        let creator = async || {
            tokio::time::sleep(Duration::from_millis(3_500)).await;
            1_u32
        };
        one.get_or_create("renewed", creator).await
    });
    wait_for_async(async || two.key_is_locked("renewed").await.unwrap()).await;
    let other: u32 = two.get_or_create("renewed", async || 2).await;
    assert_eq!((slow.await.unwrap(), other), (1, 1));
}

/// Memory is full and the server throws locks away to make room: the renewal
/// takes them again, and nobody overwrites anybody.
#[tokio::test(flavor = "multi_thread")]
async fn an_evicted_lock_is_taken_again() {
    let open = || {
        let builder = Memcached::builder(&SERVER.url()).unwrap();
        over(builder.lock_lease(Duration::from_secs(1)).open().unwrap())
    };
    let (one, two) = (open(), open());
    let slow = tokio::spawn(async move {
        let creator = async || {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
            1_u32
        };
        one.get_or_create("evicted", creator).await
    });
    wait_for_async(async || two.key_is_locked("evicted").await.unwrap()).await;
    SERVER.ask("delete _lockevicted");
    wait_for_async(async || two.key_is_locked("evicted").await.unwrap()).await;
    let other: u32 = two.get_or_create("evicted", async || 2).await;
    assert_eq!((slow.await.unwrap(), other), (1, 1));
    assert!(!two.key_is_locked("evicted").await.unwrap());
}

#[tokio::test]
async fn a_late_release_leaves_a_successors_lock_alone() {
    use dogpile::lock::KeyedLock;
    let mutex = |_| AnyBackend::new(Memcached::open(&SERVER.url()).unwrap()).mutex().unwrap();
    let [one, two] = [0, 1].map(mutex);
    let late = one.try_lock("succeeded").await.unwrap().unwrap();
    SERVER.ask("delete _locksucceeded");
    let successor = two.try_lock("succeeded").await.unwrap().unwrap();
    one.unlock(late).await.unwrap();
    assert!(two.is_locked("succeeded").await.unwrap());
    two.unlock(successor).await.unwrap();
    assert!(!one.is_locked("succeeded").await.unwrap());
}

#[tokio::test]
async fn round_trips_are_few() {
    let proxy = Proxy::to(SERVER.port());
    let backend = Memcached::builder(&format!("memcached://127.0.0.1:{}", proxy.port())).unwrap();
    let region = over(backend.retention(Duration::from_secs(20)).open().unwrap());
    let _: u32 = region.get_or_create("trip-warm-up", async || 1).await;
    let keys: Vec<String> = (0..100).map(|n| format!("trip-{n}")).collect();
    let values: Vec<u32> = (0..100).collect();
    let trips = async |work: &dyn Fn() -> std::pin::Pin<Box<dyn Future<Output = ()>>>| {
        let before = proxy.requests();
        work().await;
        proxy.requests() - before
    };
    let ask = |region: Arc<Region>, number: u32| {
        move || {
            let region = region.clone();
            Box::pin(async move {
                let _: u32 = region.get_or_create("trip", async || number).await;
            }) as std::pin::Pin<Box<dyn Future<Output = ()>>>
        }
    };
    assert_eq!(trips(&ask(region.clone(), 5)).await, 3, "a cold miss: read, claim, commit");
    assert_eq!(trips(&ask(region.clone(), 6)).await, 1, "a hit");
    let before = proxy.requests();
    region.set_multi(keys.iter().zip(&values)).await.unwrap();
    assert_eq!(proxy.requests() - before, 1, "100 values with a retention");
    let before = proxy.requests();
    let found = region.get_multi::<u32, _>(&keys).await.unwrap();
    assert_eq!(proxy.requests() - before, 1, "100 values");
    assert!(found.into_iter().eq(values.into_iter().map(Some)));
}

#[tokio::test]
async fn keys_that_the_server_cannot_take_are_kept_apart() {
    let region = region();
    let long = "k".repeat(245);
    let keys = [
        long.clone(),
        format!("{long}1"),
        format!("{long}{}", "x".repeat(500)),
        format!("{long}{}y", "x".repeat(499)),
        String::new(),
        "with space".to_owned(),
        "with\nline".to_owned(),
        "with\0nothing".to_owned(),
        "ключ".to_owned(),
        "sha1:0000000000000000000000000000000000000000".to_owned(),
    ];
    for (number, key) in keys.iter().enumerate() {
        let made: usize =
            region.entry(key.as_str()).strict().get_or_create(async || number).await.unwrap();
        assert_eq!(made, number, "{key}");
    }
    for (number, key) in keys.iter().enumerate() {
        assert_eq!(region.get::<usize>(key).await.unwrap(), Some(number), "{key}");
    }
    // Without a mangler, they are refused.
    let bare = Region::new("bare");
    let backend = Memcached::open(&SERVER.url()).unwrap();
    bare.configure(Config::new(backend).no_key_mangler().shared_keys()).unwrap();
    for key in ["", "with space", "with\nline", &"k".repeat(251)] {
        let told = bare.set(key, &1).await.unwrap_err().to_string();
        assert!(told.contains("mangle"), "{told}");
        let made: u32 = bare.get_or_create(key, async || 3).await;
        assert_eq!(made, 3);
    }
}

#[tokio::test]
async fn a_value_too_large_is_refused_and_the_old_one_stays() {
    let region = region();
    let large = "x".repeat(1 << 20);
    region.set("large", &"small".to_owned()).await.unwrap();
    let told = region.set("large", &large).await.unwrap_err().to_string();
    assert!(told.contains("1048576 are allowed"), "{told}");
    assert_eq!(region.get::<String>("large").await.unwrap().as_deref(), Some("small"));
    let made: String = region.get_or_create("too-large", async || large.clone()).await;
    assert_eq!(made.len(), large.len(), "its caller gets it");
    assert!(!region.key_is_locked("too-large").await.unwrap());
    assert_eq!(region.statistics().not_stored, 1);
    // Compressed, it is small.
    let builder = Memcached::builder(&SERVER.url()).unwrap().min_compress_bytes(1_000);
    let compressing = over(builder.open().unwrap());
    compressing.set("large", &large).await.unwrap();
    assert_eq!(region.get::<String>("large").await.unwrap(), Some(large));
}

#[tokio::test]
async fn values_outlive_thirty_days_where_that_is_asked_for() {
    let builder = Memcached::builder(&SERVER.url()).unwrap();
    let region = over(builder.retention(Duration::from_secs(24 * 60 * 3_600)).open().unwrap());
    region.set("sixty-days", &1).await.unwrap();
    let left = SERVER.ask("mg sixty-days t");
    let left: u64 = left.trim().strip_prefix("HD t").unwrap().parse().unwrap();
    assert!((5_183_990..=5_184_001).contains(&left), "{left} seconds");
}

#[test]
fn python_reads_what_we_write_and_the_other_way_round() {
    let long = "long ".repeat(1_000);
    let value = json!({"id": 7, "names": ["Ada", "ü"], "half": 0.5, "none": null, "long": long});
    let compressing = Memcached::builder(&SERVER.url()).unwrap().min_compress_bytes(1_000);
    let compressing = over(compressing.open().unwrap());
    let both = common::python::both_read_what_the_other_writes;
    both(&region(), &python("pymemcache"), "json", &value);
    both(&region(), &python("pylibmc"), "json", &value);
    both(&compressing, &python("pylibmc"), "json", &value);
    // Python compressed it.
    assert!(SERVER.ask("mg pylibmc-json-theirs f").contains("f8"));
}

/// Keys lie on the same ones of several servers as Python's clients put them.
#[test]
fn keys_are_where_python_looks_for_them() {
    let servers = [MemcachedServer::start(), MemcachedServer::start(), MemcachedServer::start()];
    let places = servers.each_ref().map(MemcachedServer::address).join(",");
    for (client, placement) in
        [("pymemcache", Placement::Rendezvous), ("pylibmc", Placement::Modulo)]
    {
        let builder = Memcached::builder(&format!("memcached://{places}")).unwrap();
        let region = over(builder.placement(placement).open().unwrap());
        let python = Python { backend: client, url: places.clone() };
        for n in 0..12 {
            let key = format!("{client}-{n}");
            python.text(&["json", "set", &key, &n.to_string()]);
            assert_eq!(region.blocking().get::<u32>(&key).unwrap(), Some(n), "{key}");
        }
    }
    assert!(servers.iter().all(|server| server.count("curr_items") > 0));
}

#[test]
fn a_lock_held_by_python_makes_us_wait_and_take_its_value() {
    for client in CLIENTS {
        common::python::we_wait_for_python(&region(), &python(client));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_held_by_us_makes_python_wait_and_take_our_value() {
    for client in CLIENTS {
        common::python::python_waits_for_us(region(), python(client)).await;
    }
}

#[test]
fn a_mixed_storm_makes_one_creation() {
    let directory = TempDir::new().unwrap();
    let fleet = fleet(&directory, &[]);
    common::python::a_mixed_storm_makes_one_creation(fleet, &CLIENTS.map(python), stored_at);
}

/// For comparison: the same storm with Python alone.
#[test]
fn python_alone_in_the_same_storm() {
    for client in CLIENTS {
        common::python::python_alone_in_the_same_storm(&python(client), stored_at);
    }
}

/// Settings beyond all measure are refused, or do what can be done.
#[tokio::test]
async fn absurd_settings_are_no_panic() {
    let builder = || Memcached::builder(&SERVER.url()).unwrap();
    let longest = builder().lock_lease(Duration::MAX).longest_creation(Duration::MAX);
    let longest = longest.response_timeout(Duration::MAX).connect_timeout(Duration::MAX);
    let longest = longest.retention(Duration::MAX).longest_poll(Duration::MAX);
    let region = over(longest.dead_retry(Duration::MAX).connections(0).open().unwrap());
    let made: u32 = region.get_or_create("absurd", async || 1).await;
    assert_eq!((made, region.get("absurd").await.unwrap()), (1, Some(1)));
    assert!(builder().lock_lease(Duration::ZERO).open().is_err());
    assert!(builder().response_timeout(Duration::ZERO).open().is_err());
    for prefix in ["", "_", "with space", "much too long a prefix"] {
        assert!(builder().lock_prefix(prefix).open().is_err(), "{prefix}");
    }
}
