//! The order of changes over memcached: what binds a creation, what is left of one that
//! came to nothing, and which keys are nobody's values.

mod common;

use std::sync::LazyLock;
use std::time::Duration;

use common::faults::{LIMIT, eventually, region};
use common::leases::LONG;
use dogpile::backend::inspect::Clear;
use dogpile::backend::{
    AnyBackend, Backend, ClaimMode, Claimed, Commit, Memcached, MemcachedBuilder, Seen, Wanted,
};
use dogpile::lock::Lease;
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_servers::MemcachedServer;
use dogpile_testkit::tcp::{Condition, Proxy};

static SERVER: LazyLock<MemcachedServer> = LazyLock::new(MemcachedServer::start);

const CT: f64 = 1_763_700_000.5;
const COLD: ClaimMode = ClaimMode::Create(Seen::Nothing);

fn builder(url: &str) -> MemcachedBuilder {
    Memcached::builder(url).unwrap().lock_lease(LONG)
}

fn open() -> AnyBackend {
    AnyBackend::new(builder(&SERVER.url()).open().unwrap())
}

fn by_proxy(proxy: &Proxy) -> AnyBackend {
    let url = format!("memcached://127.0.0.1:{}", proxy.port());
    AnyBackend::new(builder(&url).open().unwrap())
}

fn entry(text: &str, ct: f64) -> Entry {
    Entry::bytes(text.to_owned(), ct)
}

async fn claim(backend: &AnyBackend, key: &str, mode: ClaimMode) -> Claimed {
    backend.claim(vec![Wanted::new(key, mode)]).await.unwrap().pop().unwrap()
}

async fn win(backend: &AnyBackend, key: &str, mode: ClaimMode) -> Lease {
    match claim(backend, key, mode).await {
        Claimed::Won(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn commit(backend: &AnyBackend, key: &str, lease: Lease, entry: Option<Entry>) -> bool {
    backend.commit(vec![Commit { key, entry, lease }]).await.unwrap() == [true]
}

/// Returns the server's answer to `mg KEY` with these flags.
fn meta(key: &str, flags: &str) -> String {
    SERVER.ask(&format!("mg {key} {flags}")).trim().to_owned()
}

fn is_there(key: &str) -> bool {
    meta(key, "") == "HD"
}

async fn vanishes(key: &str) {
    eventually(&format!("the end of {key}"), async || !is_there(key)).await;
}

/// A refresh that takes a key over gives its value another number, and nothing else: the
/// value must not live longer for it.
#[tokio::test]
async fn a_value_that_is_taken_over_keeps_its_time_to_live() {
    let binary = format!("memcached+binary://{}", SERVER.address());
    for (name, url) in [("meta", SERVER.url()), ("binary", binary)] {
        let key = format!("ttl-{name}");
        let backend = AnyBackend::new(builder(&url).open().unwrap());
        let frame = r#"{"ct": 5.5, "v": 2}|1"#;
        let stored = SERVER.ask(&format!("ms {key} {} T500 F0\r\n{frame}", frame.len()));
        assert_eq!(stored.trim(), "HD");
        let early = win(&backend, &key, ClaimMode::Create(Seen::Created(5.5))).await;
        let number = meta(&key, "c");
        let late = win(&open(), &key, ClaimMode::Refresh).await;
        assert_ne!(meta(&key, "c"), number, "the early one is bound to it");
        let left: u32 = meta(&key, "t").strip_prefix("HD t").unwrap().parse().unwrap();
        assert!((400..=500).contains(&left), "{left} seconds");
        assert!(!commit(&backend, &key, early, Some(entry("early", CT))).await);
        assert!(commit(&open(), &key, late, Some(entry("late", CT))).await);
    }
}

/// A value that is to be marked as expired does not come back if somebody removes it meanwhile;
/// one that was created anew does.
#[tokio::test]
async fn a_value_removed_by_another_program_is_not_marked_as_expired() {
    let backend = open();
    for (mode, comes_back) in [(ClaimMode::Expire, false), (ClaimMode::Refresh, true)] {
        let key = &format!("gone-while-{comes_back}");
        backend.set(key, entry("before", CT)).await.unwrap();
        // A creation that is taken over may have removed it as well.
        let _early = win(&open(), key, ClaimMode::Create(Seen::Created(CT))).await;
        let lease = win(&backend, key, mode).await;
        assert_eq!(SERVER.ask(&format!("delete {key}")).trim(), "DELETED");
        let after = entry("after", CT + 1.0);
        assert_eq!(commit(&backend, key, lease, Some(after)).await, comes_back, "{mode:?}");
        assert_eq!(backend.get(key).await.unwrap().is_some(), comes_back, "{mode:?}");
    }
}

/// A mark that was removed by a change, and is there again, is another one: also if it says
/// the same.
#[tokio::test]
async fn a_mark_that_was_put_again_is_not_whole() {
    let backend = open();
    let lease = win(&backend, "again", COLD).await;
    let mark = meta("_mark{again}", "v");
    let token = mark.lines().nth(1).unwrap().to_owned();
    backend.delete("again").await.unwrap();
    assert!(!is_there("_mark{again}"));
    SERVER.ask(&format!("ms _mark{{again}} {}\r\n{token}", token.len()));
    assert!(is_there("_mark{again}"));
    assert!(!commit(&backend, "again", lease, Some(entry("outdated", CT))).await);
    assert!(backend.get("again").await.unwrap().is_none());
}

/// A commit that ends in a time-out is carried out later, after a change has returned.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_comes_after_its_error_leaves_nothing() {
    let server = MemcachedServer::start();
    let url = format!("memcached://{}", server.address());
    let open = || AnyBackend::new(builder(&url).response_timeout(LIMIT).open().unwrap());
    let (backend, other) = (open(), open());
    let lease = win(&backend, "late", COLD).await;
    other.delete("late").await.unwrap();
    let stores = server.count("cmd_set");
    server.pause();
    let changes = vec![Commit { key: "late", entry: Some(entry("outdated", CT)), lease }];
    let told = backend.commit(changes).await.unwrap_err().to_string();
    assert!(told.contains("did not answer"), "{told}");
    server.resume();
    eventually("the late commit", async || server.count("cmd_set") > stores).await;
    let is_gone = async || matches!(other.get("late").await, Ok(None));
    eventually("the end of what it stored", is_gone).await;
}

/// A refresh that was overtaken and has nothing to store removes what was stored, although
/// that has another number meanwhile.
#[tokio::test]
async fn an_overtaken_refresh_without_a_value_removes_what_it_was_to_replace() {
    let (one, two) = (open(), open());
    one.set("vetoed", entry("before", CT)).await.unwrap();
    let early = win(&one, "vetoed", ClaimMode::Refresh).await;
    let late = win(&two, "vetoed", ClaimMode::Refresh).await;
    commit(&one, "vetoed", early, None).await;
    assert!(one.get("vetoed").await.unwrap().is_none(), "it is known to be out of date");
    assert!(commit(&two, "vetoed", late, Some(entry("after", CT + 1.0))).await);
}

#[tokio::test]
async fn a_refresh_that_overtakes_nobody_takes_two_round_trips() {
    let proxy = Proxy::to(SERVER.port());
    let backend = by_proxy(&proxy);
    backend.set("trips", entry("before", CT)).await.unwrap();
    let before = proxy.requests();
    let lease = win(&backend, "trips", ClaimMode::Refresh).await;
    assert!(commit(&backend, "trips", lease, Some(entry("after", CT + 1.0))).await);
    assert_eq!(proxy.requests() - before, 2);
    assert!(!is_there("_mark{trips}") && !is_there("_locktrips"));
}

/// A time to live that ends is no change, and hides none.
#[tokio::test]
async fn a_creation_is_stored_also_if_the_value_before_has_ended() {
    let (backend, other) = (open(), open());
    let mut leases = Vec::new();
    for key in ["ended", "ended-deleted"] {
        let frame = r#"{"ct": 5.5, "v": 2}|1"#;
        let stored = SERVER.ask(&format!("ms {key} {} T1 F0\r\n{frame}", frame.len()));
        assert_eq!(stored.trim(), "HD");
        leases.push(win(&backend, key, ClaimMode::Create(Seen::Created(5.5))).await);
    }
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    for key in ["ended", "ended-deleted"] {
        vanishes(key).await;
    }
    other.delete("ended-deleted").await.unwrap();
    let value = || Some(entry("after", CT));
    assert!(!commit(&backend, "ended-deleted", leases.pop().unwrap(), value()).await);
    assert!(other.get("ended-deleted").await.unwrap().is_none());
    assert!(commit(&backend, "ended", leases.pop().unwrap(), value()).await);
    assert!(other.get("ended").await.unwrap().is_some());
}

/// Before its time to live has ended, somebody else has removed the value that is gone.
#[tokio::test]
async fn a_removal_by_another_program_ends_the_creation() {
    let backend =
        AnyBackend::new(builder(&SERVER.url()).retention(Duration::from_secs(60)).open().unwrap());
    backend.set("plainly", entry("before", CT)).await.unwrap();
    let lease = win(&backend, "plainly", ClaimMode::Create(Seen::Created(CT))).await;
    assert_eq!(SERVER.ask("md plainly").trim(), "HD");
    assert!(!commit(&backend, "plainly", lease, Some(entry("after", CT))).await);
}

/// A kept entry has no time to live, however it is stored.
#[tokio::test]
async fn moments_of_invalidations_outlive_the_storage_time() {
    let binary = format!("memcached+binary://{}", SERVER.address());
    for (name, url) in [("meta", SERVER.url()), ("binary", binary)] {
        let region = Region::new(name);
        let backend = builder(&url).retention(Duration::from_secs(60)).open().unwrap();
        region.configure(Config::new(backend)).unwrap();
        region.set("k", &1).await.unwrap();
        let left = meta(&format!("{name}:k"), "t");
        assert!(left.starts_with("HD t") && left != "HD t-1", "{left}");
        // The first one is stored where nothing is, the other over that.
        for _ in 0..2 {
            region.invalidate_all().await.unwrap();
            assert_eq!(meta(&format!("_invalidation:{name}"), "t"), "HD t-1");
        }
    }
}

/// Whether one key is taken over or many.
#[tokio::test]
async fn many_keys_are_taken_over_in_few_round_trips() {
    let proxy = Proxy::to(SERVER.port());
    let (one, two) = (open(), by_proxy(&proxy));
    let keys: Vec<String> = (0..30).map(|number| format!("many-{number}")).collect();
    let wanted = || keys.iter().map(|key| Wanted::new(key, ClaimMode::Refresh)).collect();
    for key in &keys {
        one.set(key, entry("before", CT)).await.unwrap();
    }
    two.get("warm-up").await.unwrap();
    let early = one.claim(wanted()).await.unwrap();
    let before = proxy.requests();
    let late = two.claim(wanted()).await.unwrap();
    assert!(late.iter().all(|claim| matches!(claim, Claimed::Won(_))));
    let trips = proxy.requests() - before;
    assert!(trips <= 8, "{trips} round trips");
    drop((early, late));
}

/// What was stored by cold creations is touched together, whoever has waited.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_confirmed_is_kept_and_told_at_once() {
    let proxy = Proxy::to(SERVER.port());
    let backend = by_proxy(&proxy);
    backend.get("warm-up").await.unwrap();
    let keys: Vec<String> = (0..50).map(|number| format!("kept-{number}")).collect();
    let wanted = keys.iter().map(|key| Wanted::new(key, COLD)).collect();
    let mut changes = Vec::new();
    for (key, claim) in keys.iter().zip(backend.claim(wanted).await.unwrap()) {
        let Claimed::Won(lease) = claim else { panic!("{claim:?}") };
        changes.push(Commit { key, entry: Some(entry(key, CT)), lease });
    }
    let before = proxy.requests();
    assert_eq!(backend.commit(changes).await.unwrap(), [true; 50]);
    for key in &keys {
        let for_ever = async || meta(key, "t") == "HD t-1";
        eventually(&format!("keeping {key}"), for_ever).await;
    }
    let trips = proxy.requests() - before;
    // The commit; a connection of its own, and all touches.
    assert!(trips <= 4, "{trips} round trips");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_is_dropped_takes_its_mark_along() {
    let backend = open();
    let lease = win(&backend, "dropped", COLD).await;
    assert!(is_there("_mark{dropped}"));
    drop(lease);
    vanishes("_mark{dropped}").await;
    vanishes("_lockdropped").await;
    // Who loses leaves no mark of its own: the holder's may be gone.
    let lease = win(&backend, "lost", COLD).await;
    open().delete("lost").await.unwrap();
    assert!(matches!(claim(&open(), "lost", COLD).await, Claimed::Held));
    vanishes("_mark{lost}").await;
    drop(lease);
}

/// Who finds the lock held and another value than was seen takes that, and waits for nobody.
#[tokio::test(flavor = "multi_thread")]
async fn another_value_settles_a_claim_whoever_holds_the_lock() {
    let other = MemcachedServer::start();
    let two = format!("memcached://{},{}", SERVER.address(), other.address());
    for url in [SERVER.url(), two] {
        let open = || AnyBackend::new(builder(&url).open().unwrap());
        let (holder, late) = (open(), open());
        for number in 0..10 {
            let key = format!("settled-{number}-{}", url.len());
            holder.set(&key, entry("before", CT)).await.unwrap();
            let lease = win(&holder, &key, ClaimMode::Create(Seen::Created(CT))).await;
            holder.set(&key, entry("changed", CT + 1.0)).await.unwrap();
            let claimed = claim(&late, &key, ClaimMode::Create(Seen::Created(CT))).await;
            assert!(matches!(claimed, Claimed::Changed(_)), "{key}: {claimed:?}");
            let held = claim(&late, &key, ClaimMode::Create(Seen::Created(CT + 1.0))).await;
            assert!(matches!(held, Claimed::Held), "{key}: {held:?}");
            holder.release(vec![lease]).await;
        }
    }
}

/// Of two servers one is dead: its keys are failed claims, and the others are claimed.
#[tokio::test(flavor = "multi_thread")]
async fn one_dead_server_of_two_fails_its_own_claims_only() {
    let (alive, mut dying) = (MemcachedServer::start(), MemcachedServer::start());
    let url = format!("memcached://{},{}", alive.address(), dying.address());
    let open = || builder(&url).response_timeout(LIMIT).connect_timeout(LIMIT).open().unwrap();
    dying.kill();
    let keys: Vec<String> = (0..40).map(|number| format!("half-{number}")).collect();
    let backend = AnyBackend::new(open());
    let wanted = keys.iter().map(|key| Wanted::new(key, COLD)).collect();
    let claims = backend.claim(wanted).await.unwrap();
    let won = claims.iter().filter(|claim| matches!(claim, Claimed::Won(_))).count();
    let failed = claims.iter().filter(|claim| matches!(claim, Claimed::Failed(_))).count();
    assert!(won > 4 && failed > 4 && won + failed == 40, "{won} won, {failed} failed");
    backend.release(claims.into_iter().filter_map(won_by).collect()).await;

    let region = region(Config::new(open()));
    let creator = async |keys: Vec<String>| keys.iter().map(String::len).collect();
    let made: Vec<usize> = region.get_or_create_multi(&keys, creator).await.unwrap();
    assert_eq!(made.len(), 40);
    let stored = region.get_multi::<usize, _>(&keys).await.unwrap().into_iter().flatten();
    assert!(stored.count() > 4, "those of the other server are stored");
}

fn won_by(claim: Claimed) -> Option<Lease> {
    match claim {
        Claimed::Won(lease) => Some(lease),
        _ => None,
    }
}

/// Keys of locks and marks are nobody's values, whatever is asked.
#[tokio::test]
async fn locks_and_marks_are_neither_read_nor_removed_as_values() {
    let backend = open();
    let lease = win(&backend, "own", COLD).await;
    for key in ["_lockown", "_mark{own}"] {
        let told = [
            backend.get(key).await.unwrap_err(),
            backend.get_multi(&["k", key]).await.unwrap_err(),
            backend.delete(key).await.unwrap_err(),
            backend.delete_multi(&["k", key]).await.unwrap_err(),
            backend.set(key, entry("value", CT)).await.unwrap_err(),
            backend.set_multi(&[(key, entry("value", CT))]).await.unwrap_err(),
        ];
        for told in told {
            assert!(told.to_string().contains("are locks and marks"), "{told}");
        }
        assert!(is_there(key));
    }
    assert!(commit(&backend, "own", lease, Some(entry("value", CT))).await);
}

#[tokio::test]
async fn a_listing_shows_values_and_clearing_ends_claims() {
    let server = MemcachedServer::start();
    let backend = builder(&format!("memcached://{}", server.address())).open().unwrap();
    let inspect = backend.inspect().unwrap();
    let backend = AnyBackend::new(backend);
    backend.set("BUSY:ERROR", entry("value", CT)).await.unwrap();
    let lease = win(&backend, "cold", COLD).await;
    let listed = inspect.keys(b"", None, 100).await.unwrap().keys;
    let listed: Vec<_> = listed.iter().map(|info| info.key.to_str()).collect();
    assert_eq!(listed, [Some("BUSY:ERROR")]);
    inspect.clear(Clear::default()).await.unwrap();
    assert!(backend.get("BUSY:ERROR").await.unwrap().is_none());
    assert!(!commit(&backend, "cold", lease, Some(entry("outdated", CT))).await);
    assert!(backend.get("cold").await.unwrap().is_none());
}

/// A lock prefix that marks begin with would make each of the two the other.
#[test]
fn lock_prefixes_that_marks_begin_with_are_refused() {
    for prefix in ["_m", "_ma", "_mark"] {
        let told = builder(&SERVER.url()).lock_prefix(prefix).open().unwrap_err().to_string();
        assert!(told.contains(prefix), "{told}");
        let redis = dogpile::backend::Redis::builder("redis://localhost").unwrap();
        assert!(redis.lock_prefix(prefix).open().is_err());
    }
    assert!(builder(&SERVER.url()).lock_prefix("_marks").open().is_ok());
}

/// With a mangler of one's own: the longest keys work, and longer ones are refused by a
/// message that says what is allowed.
#[tokio::test]
async fn the_longest_keys_work_and_longer_ones_are_told() {
    let bare = |prefix: &str| {
        let region = Region::new("bare");
        let backend = builder(&SERVER.url()).lock_prefix(prefix).open().unwrap();
        region.configure(Config::new(backend).no_key_mangler().shared_keys()).unwrap();
        region
    };
    for (prefix, longest) in [("_lock", 243), ("lockprefix", 240)] {
        let region = bare(prefix);
        let key = prefix.chars().last().unwrap().to_string().repeat(longest);
        let made: u32 = region.entry(&key).strict().get_or_create(async || 5).await.unwrap();
        assert_eq!((made, region.get(&key).await.unwrap()), (5, Some(5)));
        region.entry(&key).strict().refresh(async || 6_u32).await.unwrap();
        assert_eq!(region.get(&key).await.unwrap(), Some(6));
        for more in 1..4 {
            let key = "k".repeat(longest + more);
            let told = [
                region.set(&key, &1).await.unwrap_err().to_string(),
                region.get::<u32>(&key).await.unwrap_err().to_string(),
                region.delete(&key).await.unwrap_err().to_string(),
            ];
            for told in told {
                assert!(told.contains(&format!("{longest} are allowed")), "{told}");
            }
        }
    }
}

/// A server that is started again begins its numbers again: another creation's mark may have
/// the number of the one that was there before.
#[tokio::test(flavor = "multi_thread")]
async fn a_mark_of_before_a_restart_is_not_whole() {
    let mut server = MemcachedServer::start();
    let backend = AnyBackend::new(builder(&server.url()).open().unwrap());
    let outdated = win(&backend, "k", COLD).await;
    server.restart();
    eventually("the restart", async || backend.delete("k").await.is_ok()).await;
    let peer = AnyBackend::new(builder(&server.url()).open().unwrap());
    let _later = win(&peer, "k", COLD).await;
    assert!(!commit(&backend, "k", outdated, Some(entry("old", CT))).await);
    assert!(backend.get("k").await.unwrap().is_none());
}

/// The same for values: the number of one of before may be that of another.
#[tokio::test(flavor = "multi_thread")]
async fn a_value_of_before_a_restart_is_not_replaced() {
    let mut server = MemcachedServer::start();
    let backend = AnyBackend::new(builder(&server.url()).open().unwrap());
    backend.set("k", entry("first", CT)).await.unwrap();
    let outdated = win(&backend, "k", ClaimMode::TakeOver).await;
    server.restart();
    eventually("the restart", async || backend.delete("k").await.is_ok()).await;
    let peer = AnyBackend::new(builder(&server.url()).open().unwrap());
    peer.set("k", entry("second", CT + 1.0)).await.unwrap();
    assert!(!commit(&backend, "k", outdated, Some(entry("old", CT))).await);
    let stored = peer.get("k").await.unwrap().map(|entry| entry.metadata.ct);
    assert_eq!(stored, Some(CT + 1.0));
}

/// A connection that is lost changes nothing: the server is the same, and so is the value.
#[tokio::test(flavor = "multi_thread")]
async fn a_creation_is_stored_over_another_connection() {
    let proxy = Proxy::to(SERVER.port());
    let backend = by_proxy(&proxy);
    let modes = [ClaimMode::Refresh, ClaimMode::Create(Seen::Created(CT))];
    for (key, mode) in ["reconnected-refresh", "reconnected"].into_iter().zip(modes) {
        backend.set(key, entry("before", CT)).await.unwrap();
        let lease = win(&backend, key, mode).await;
        proxy.set(Condition::Cut);
        backend.get(key).await.unwrap_err();
        proxy.set(Condition::Normal);
        eventually("another connection", async || backend.get(key).await.is_ok()).await;
        assert!(commit(&backend, key, lease, Some(entry("after", CT + 1.0))).await, "{key}");
        vanishes(&format!("_mark{{{key}}}")).await;
        vanishes(&format!("_lock{key}")).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clearing_a_prefix_ends_claims_of_that_prefix_only() {
    let (backend, peer) = (open(), open());
    let cleared = win(&backend, "pre:k", COLD).await;
    let other = win(&backend, "post:k", COLD).await;
    let what = Clear { prefix: b"pre:", all: false };
    peer.inspect().unwrap().clear(what).await.unwrap();
    assert!(!commit(&backend, "pre:k", cleared, Some(entry("v", CT))).await);
    assert!(backend.get("pre:k").await.unwrap().is_none());
    assert!(commit(&backend, "post:k", other, Some(entry("v", CT))).await);
}
