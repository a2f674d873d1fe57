//! A cache on Redis that fills: after many misses in a row a creating call claims its key without a look before.

use std::sync::LazyLock;
use std::time::Duration;

use dogpile::backend::{AnyBackend, ClaimMode, Claimed, Commit, Redis, Seen, Wanted};
use dogpile::proxy::Proxy;
use dogpile::testing::ManualClock;
use dogpile::value::Entry;
use dogpile::{Begun, Config, Region, Status};
use dogpile_servers::{RedisCluster, RedisServer};

/// More misses than it takes.
const MANY: usize = 40;
const MINUTE: Duration = Duration::from_secs(60);
const NOW: f64 = 1_763_700_000.0;

/// For tests that neither count commands nor change rules of access.
static SERVER: LazyLock<RedisServer> = LazyLock::new(RedisServer::start);

fn config(url: &str, clock: &ManualClock) -> Config {
    let config = Config::new(Redis::open(url).unwrap()).clock(clock.clone());
    config.shared_keys().no_key_mangler().expiration(MINUTE)
}

fn over(config: Config) -> Region {
    let region = Region::new("filling");
    region.configure(config).unwrap();
    region
}

fn region(url: &str, clock: &ManualClock) -> Region {
    over(config(url, clock))
}

/// Two processes, or two configurations of one.
fn two(server: &RedisServer) -> (Region, Region, ManualClock) {
    let clock = ManualClock::at(NOW);
    (region(&server.url(), &clock), region(&server.url(), &clock), clock)
}

/// A user whose rules of access `rules` are, by whose URL the server is reached.
fn url_of(server: &RedisServer, rules: &str) -> String {
    restrict(server, rules);
    format!("redis://app:secret@127.0.0.1:{}", server.port())
}

fn restrict(server: &RedisServer, rules: &str) {
    assert!(server.ask(&format!("ACL SETUSER app on >secret {rules}")).contains("OK"));
}

async fn create(region: &Region, key: &str) {
    let found = region.entry(key).lookup(async || 7).await;
    assert_eq!((found.value, found.status), (7, Status::Created), "{key}");
}

async fn fill(region: &Region, keys: &str) {
    for number in 0..MANY {
        create(region, &format!("{keys}{number}")).await;
    }
}

async fn never() -> usize {
    panic!("there is a value")
}

async fn find(region: &Region, key: &str) -> (usize, Status) {
    // Else it would wait for a creation that waits for it.
    let lookup = region.entry(key).lookup(never);
    let found = tokio::time::timeout(MINUTE, lookup).await.expect("it waits");
    (found.value, found.status)
}

/// The numbers of `GET`s, those of scripts among them, of a miss before the cache has begun to fill, and then.
async fn gets_of_misses(region: &Region, count: impl Fn() -> u64) -> (u64, u64) {
    let gets = async |key: &str| {
        let before = count();
        create(region, key).await;
        count() - before
    };
    // The first calls read the moments of invalidations, too.
    gets("first").await;
    gets("second").await;
    let with_a_look = gets("third").await;
    fill(region, "cold").await;
    (with_a_look, gets("cold").await)
}

#[tokio::test]
async fn the_look_is_left_out_until_a_value_is_found() {
    let server = RedisServer::start();
    let (here, there, _) = two(&server);
    let count = || server.count_commands("get");
    let (with_a_look, without) = gets_of_misses(&here, count).await;
    assert_eq!(without, with_a_look - 1);
    there.set("warm", &1_usize).await.unwrap();
    assert_eq!(find(&here, "warm").await, (1, Status::Hit));
    let before = count();
    create(&here, "cold again").await;
    assert_eq!(count() - before, with_a_look);
    assert_eq!(here.statistics().hits, 1);
    assert_eq!(here.statistics().misses, MANY as u64 + 5);
}

/// What is found must be judged by the moments of invalidations.
#[tokio::test]
async fn each_miss_looks_while_the_moments_of_invalidations_cannot_be_read() {
    let server = RedisServer::start();
    let rules = "~*first* ~*second* ~*third* ~*cold* &* +@all";
    let region = region(&url_of(&server, rules), &ManualClock::at(NOW));
    let (with_a_look, later) = gets_of_misses(&region, || server.count_commands("get")).await;
    assert_eq!(later, with_a_look);
}

/// A proxy that sees looks.
struct Seeing;

impl Proxy for Seeing {}

#[tokio::test]
async fn each_miss_looks_where_a_claim_is_more_than_a_look() {
    let server = RedisServer::start();
    let clock = ManualClock::at(NOW);
    let proxied = over(config(&server.url(), &clock).proxy(Seeing));
    let plain = region(&url_of(&server, "~* &* +@all -@scripting"), &clock);
    for region in [proxied, plain] {
        let (with_a_look, later) = gets_of_misses(&region, || server.count_commands("get")).await;
        assert_eq!(later, with_a_look);
        server.ask("FLUSHALL");
    }
    let cluster = RedisCluster::start();
    let region = region(&cluster.url(), &clock);
    let (with_a_look, later) = gets_of_misses(&region, || cluster.count_commands("get")).await;
    assert_eq!(later, with_a_look);
}

#[tokio::test]
async fn what_is_found_is_judged_as_by_a_look() {
    let (here, there, clock) = two(&SERVER);
    for key in ["judged: failing", "judged: stale", "judged: invalid"] {
        there.set(key, &1_usize).await.unwrap();
    }
    clock.advance(MINUTE + Duration::from_secs(1));
    fill(&here, "judged ").await;
    let entry = here.entry("judged: failing").stale_if_error(10 * MINUTE);
    let found = entry.try_lookup(async || Err::<usize, &str>("it fails")).await.unwrap();
    assert_eq!((found.value, found.status), (1, Status::StaleOnError));
    fill(&here, "judged again ").await;
    let Begun::Create(creation) = there.entry("judged: stale").begin::<usize>().await else {
        panic!("it is expired");
    };
    assert_eq!(find(&here, "judged: stale").await, (1, Status::Stale));
    assert_eq!(creation.finish(3).await, 3);
    fill(&here, "judged once more ").await;
    there.invalidate_all().await.unwrap();
    clock.advance(Duration::from_secs(2));
    create(&here, "judged: invalid").await;
}

#[tokio::test]
async fn a_stale_value_is_served_while_its_own_process_creates_the_next() {
    let (region, _, clock) = two(&SERVER);
    region.set("own", &2_usize).await.unwrap();
    clock.advance(MINUTE + Duration::from_secs(1));
    let Begun::Create(creation) = region.entry("own").begin::<usize>().await else {
        panic!("it is expired");
    };
    fill(&region, "own ").await;
    assert_eq!(find(&region, "own").await, (2, Status::Stale));
    assert_eq!(creation.finish(3).await, 3);
}

/// A creator may ask for its own key, if a stale value can be returned.
#[tokio::test]
async fn a_creator_gets_the_stale_value_of_its_own_key() {
    let (region, _, clock) = two(&SERVER);
    region.set("asked within", &2_usize).await.unwrap();
    clock.advance(MINUTE + Duration::from_secs(1));
    let creator = async || {
        fill(&region, "asked within ").await;
        find(&region, "asked within").await.0 + 1
    };
    assert_eq!(region.get_or_create("asked within", creator).await, 3);
}

#[tokio::test]
async fn a_failure_that_is_remembered_is_not_repeated() {
    let clock = ManualClock::at(NOW);
    let region = over(config(&SERVER.url(), &clock).remember_failures(MINUTE));
    let fails = async || Err::<usize, String>("it fails".to_owned());
    let entry = || region.entry("remembered").share_failures();
    entry().try_get_or_create(fails).await.unwrap_err();
    fill(&region, "remembered ").await;
    entry().try_get_or_create(async || Ok::<_, String>(never().await)).await.unwrap_err();
}

#[tokio::test]
async fn a_creation_of_another_process_is_waited_for() {
    let server = RedisServer::start();
    let (here, _, _) = two(&server);
    let there = AnyBackend::new(Redis::open(&server.url()).unwrap());
    fill(&here, "cold").await;
    let wanted = Wanted::new("held", ClaimMode::Create(Seen::Nothing));
    let Some(Claimed::Won(lease)) = there.claim(vec![wanted]).await.unwrap().pop() else {
        panic!("it was not won");
    };
    let before = server.count_commands("evalsha");
    let creating = async {
        // Until it was told twice that the key is held: before a look and after it.
        while server.count_commands("evalsha") < before + 2 {
            tokio::task::yield_now().await;
        }
        let entry = Some(Entry::bytes("5", NOW));
        let commit = Commit { key: "held", entry, lease };
        assert_eq!(there.commit(vec![commit]).await.unwrap(), [true]);
    };
    let (found, ()) = tokio::join!(find(&here, "held"), creating);
    assert_eq!(found, (5, Status::Waited));
}

/// Rules of access change while a process lives.
#[tokio::test]
async fn a_stale_value_is_served_where_scripts_are_suddenly_refused() {
    let server = RedisServer::start();
    let (_, there, clock) = two(&server);
    let here = region(&url_of(&server, "~* &* +@all"), &clock);
    there.set("stale", &2_usize).await.unwrap();
    clock.advance(MINUTE + Duration::from_secs(1));
    let Begun::Create(creation) = there.entry("stale").begin::<usize>().await else {
        panic!("it is expired");
    };
    fill(&here, "cold").await;
    restrict(&server, "-@scripting");
    assert_eq!(find(&here, "stale").await, (2, Status::Stale));
    assert_eq!(creation.finish(3).await, 3);
}

#[tokio::test]
async fn what_cannot_be_claimed_is_read() {
    let server = RedisServer::start();
    let (_, there, clock) = two(&server);
    let here = region(&url_of(&server, "~* &* +@all"), &clock);
    there.set("warm", &1_usize).await.unwrap();
    fill(&here, "cold").await;
    restrict(&server, "resetkeys %R~*");
    assert_eq!(find(&here, "warm").await, (1, Status::Hit));
    assert_eq!(here.statistics().backend_errors, 0);
}

/// A server that is full takes no value, and this process keeps what it has created.
#[tokio::test]
async fn a_value_that_is_kept_answers_first() {
    let server = RedisServer::start();
    let (here, _, _) = two(&server);
    fill(&here, "cold").await;
    for number in 0..MANY {
        let key = format!("kept{number}");
        server.ask("CONFIG SET maxmemory 1");
        let found = here.entry(&key).lookup(async || number).await;
        assert_eq!(found.value, number);
        server.ask("CONFIG SET maxmemory 0");
        assert_eq!(find(&here, &key).await, (number, Status::Kept));
    }
}
