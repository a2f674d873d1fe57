//! The near tier with odd keys, values and proxies, and its counts.

mod shelf;

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dogpile::backend::{AnyBackend, BackendError, Follower};
use dogpile::proxy::Proxy;
use dogpile::testing::{ManualClock, Scope};
use dogpile::value::Entry;
use dogpile::{Config, Near, Region, Status};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use shelf::{At, HOUR, MINUTE, SHORT, Shelf, get, holding, now, outlive_the_bound, over, warm};

#[tokio::test]
async fn keys_of_any_length_and_script_have_copies() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    let lengths = [0, 1, 21, 22, 23, 24, 255, 256, 257, 10_000];
    let mut keys: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
    keys.extend(
        ["ключ", "キー", "e\u{301}", "é", "\0", "a\nb", " ", "x|y", "{k}", "🦴"].map(Into::into),
    );
    for (value, key) in (0..).zip(&keys) {
        shelf.change(key, value);
    }
    let read = async |key: &str| region.get::<u32>(key).await.unwrap();
    for _ in 0..3 {
        for (value, key) in (0..).zip(&keys) {
            assert_eq!(read(key).await, Some(value), "{key:?}");
        }
    }
    let reads = shelf.reads();
    for (value, key) in (0..).zip(&keys) {
        assert_eq!(read(key).await, Some(value), "{key:?}");
    }
    assert_eq!((shelf.reads(), region.statistics().near_entries), (reads, keys.len() as u64));
    for (value, key) in (0..).zip(&keys) {
        shelf.change(key, 1_000 + value);
        shelf.tell(|follower| follower.changed(key));
        for (other, key) in (0..).zip(&keys) {
            let expected = if other <= value { 1_000 + other } else { other };
            assert_eq!(read(key).await, Some(expected), "{key:?}");
        }
        region.delete(key).await.unwrap();
        assert_eq!(read(key).await, None, "{key:?}");
        shelf.change(key, 1_000 + value);
    }
}

#[tokio::test]
async fn a_tier_may_be_of_any_size() {
    for most in [0, 1, 2] {
        let shelf = Shelf::default();
        let near = Near::entries(most).max_staleness(Duration::MAX).serve_when_down(Duration::MAX);
        let region = over(&shelf, |config| config.near(near));
        for round in 0..5_u32 {
            for key in ["k", "l", "m"] {
                shelf.change(key, round);
                shelf.tell(|follower| follower.changed(key));
                for _ in 0..4 {
                    assert_eq!(region.get::<u32>(key).await.unwrap(), Some(round));
                }
            }
        }
        let entries = region.statistics().near_entries;
        assert!(entries <= most as u64, "{entries} of {most}");
    }
}

#[tokio::test]
async fn a_tier_of_more_entries_than_there_is_memory_costs_what_it_has() {
    let shelf = Shelf::default();
    let region = Region::new("near");
    let near = Near::entries(usize::MAX).max_staleness(HOUR);
    let configured = AssertUnwindSafe(async {
        region.configure(Config::new(shelf.clone()).local_invalidation().near(near))
    });
    configured.catch_unwind().await.expect("it does not panic").unwrap();
    shelf.change("k", 1);
    warm(&region).await;
}

#[tokio::test]
async fn no_bound_is_too_short_or_too_long() {
    for bound in [Duration::ZERO, Duration::MAX] {
        for down in [Duration::ZERO, Duration::MAX] {
            let shelf = Shelf::default();
            let near = Near::entries(10).max_staleness(bound).serve_when_down(down);
            let region = over(&shelf, |config| config.near(near));
            shelf.change("k", 1);
            warm(&region).await;
            outlive_the_bound();
            shelf.change("k", 2);
            let expected = if bound == Duration::ZERO { 2 } else { 1 };
            assert_eq!(get(&region).await, Some(expected), "{bound:?} {down:?}");
            shelf.tell(Follower::lost);
            shelf.tell(|follower| follower.in_step(Instant::now()));
            shelf.tell(|follower| follower.changed("k"));
            assert_eq!(get(&region).await, Some(2), "{bound:?} {down:?}");
        }
    }
}

#[tokio::test]
async fn hits_and_misses_add_up() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region = over(&shelf, |config| config.clock(clock.clone()).expiration(MINUTE));
    region.set("k", &1_u32).await.unwrap();
    let mut asked = 0;
    let check = |asked: u64, when: &str| {
        let counted = region.statistics();
        assert_eq!(counted.hits + counted.misses, asked, "{when}: {counted:?}");
        assert_eq!(counted.near_hits + counted.near_misses, asked, "{when}: {counted:?}");
    };
    for _ in 0..5 {
        get(&region).await;
        asked += 1;
        check(asked, "a get");
    }
    for _ in 0..3 {
        region.get_multi::<u32, _>(["k"]).await.unwrap();
        asked += 1;
        check(asked, "a get of many");
    }
    clock.advance(2 * MINUTE);
    for _ in 0..3 {
        assert_eq!(get(&region).await, None);
        asked += 1;
        check(asked, "a get of what has expired");
        assert_eq!(region.get_multi::<u32, _>(["k"]).await.unwrap(), [None]);
        asked += 1;
        check(asked, "a get of many that have expired");
    }
}

/// Rueidis, issues 409 and 534: that there is nothing is not kept, and what comes then is seen.
#[tokio::test]
async fn a_key_that_is_missing_has_no_copy() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for value in 1..5 {
        for _ in 0..4 {
            let read = region.get_multi::<u32, _>(["k", "k", "l", "k"]).await.unwrap();
            assert_eq!((get(&region).await, read), (None, vec![None; 4]));
        }
        shelf.change("k", value);
        let read = region.get_multi::<u32, _>(["k", "k", "l", "k"]).await.unwrap();
        assert_eq!(read, [Some(value), Some(value), None, Some(value)]);
        warm(&region).await;
        region.delete("k").await.unwrap();
    }
}

#[tokio::test]
async fn misses_of_creations_are_counted_once() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for key in ["a", "b", "c"] {
        region.get_or_create(key, async || 1_u32).await;
    }
    let counted = region.statistics();
    assert_eq!((counted.misses, counted.near_misses, counted.creations), (3, 3, 3), "{counted:?}");
    region.get_or_create_multi(["d", "e"], async |_| vec![1_u32, 1]).await.unwrap();
    let counted = region.statistics();
    assert_eq!((counted.misses, counted.near_misses, counted.creations), (5, 5, 5), "{counted:?}");
}

/// A proxy with an answer of its own where it finds nothing.
struct Fallback;

impl Proxy for Fallback {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        let found = next.get(key).await?;
        Ok(Some(found.unwrap_or_else(|| Entry::bytes("99", now() - 10.0))))
    }
}

/// A proxy that fills a new store from an old one, as it finds that something is missing.
struct Migration;

impl Proxy for Migration {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        if let Some(found) = next.get(key).await? {
            return Ok(Some(found));
        }
        let old = Entry::bytes("99", now() - 10.0);
        next.set(key, old.clone()).await?;
        Ok(Some(old))
    }
}

/// A value that is compared, and has not changed, is not missing.
#[tokio::test]
async fn a_proxy_is_not_shown_a_value_as_missing_that_is_there() {
    for migrates in [false, true] {
        let shelf = Shelf::default();
        let near = Near::entries(10).max_staleness(SHORT);
        let region = over(&shelf, |config| {
            let config = config.near(near);
            if migrates { config.proxy(Migration) } else { config.proxy(Fallback) }
        });
        shelf.change("k", 1);
        for _ in 0..4 {
            for _ in 0..3 {
                assert_eq!(get(&region).await, Some(1), "migrates: {migrates}");
            }
            outlive_the_bound();
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Token {
    seconds: u64,
}

/// The lifetime that a value has of itself goes with its copy.
#[tokio::test]
async fn a_copy_lives_as_long_as_its_value_says() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region = over(&shelf, |config| {
        let config = config.clock(clock.clone()).negative(Duration::from_secs(2));
        config.lifetime(|token: &Token| Some(Duration::from_secs(token.seconds))).expiration(HOUR)
    });
    for seconds in [0, 5] {
        region.set("k", &Token { seconds }).await.unwrap();
        region.set("none", &None::<Token>).await.unwrap();
        for _ in 0..4 {
            let found = region.get::<Token>("k").await.unwrap();
            assert_eq!(found, Some(Token { seconds }));
            assert_eq!(region.get::<Option<Token>>("none").await.unwrap(), Some(None));
        }
        clock.advance(Duration::from_secs(seconds.max(2) + 1));
        assert_eq!(region.get::<Token>("k").await.unwrap(), None, "after {seconds}");
        assert_eq!(region.get::<Option<Token>>("none").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_moves_values_and_not_the_bound() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region = over(&shelf, |config| config.clock(clock.clone()).expiration(MINUTE));
    region.set("k", &1_u32).await.unwrap();
    warm(&region).await;
    let start = now();
    clock.set(start - 30.0);
    assert_eq!(get(&region).await, Some(1), "a skew");
    clock.set(start - 1e6);
    assert_eq!(get(&region).await, None, "of a future that is not to be believed");
    clock.set(start + 1.0);
    assert_eq!(get(&region).await, Some(1));
    clock.set(start + 61.5);
    assert_eq!(get(&region).await, None);
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
    assert_eq!(get(&region).await, Some(2));
}

#[tokio::test]
async fn what_is_not_to_be_cached_has_no_copy() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for value in 0..4_u32 {
        let entry = region.entry("k").should_cache(|_: &u32| false);
        assert_eq!(entry.get_or_create(async || value).await, value);
        assert_eq!(get(&region).await, None);
    }
    assert_eq!(region.statistics().near_entries, 0);
}

static SCOPED: Region = Region::new("scoped");

#[tokio::test]
async fn copies_are_not_seen_in_a_scope() {
    let shelf = Shelf::default();
    SCOPED.configure(Config::new(shelf.clone()).local_invalidation().near(holding())).unwrap();
    shelf.change("k", 1);
    warm(&SCOPED).await;
    let scope = Scope::new();
    scope
        .run(async {
            assert_eq!(get(&SCOPED).await, None, "it is in memory");
            let config = Config::new(Shelf::default()).local_invalidation().near(holding());
            SCOPED.configure(config).unwrap();
            SCOPED.set("k", &2_u32).await.unwrap();
            warm(&SCOPED).await;
            assert_eq!(get(&SCOPED).await, Some(2));
            SCOPED.set("k", &3_u32).await.unwrap();
        })
        .await;
    let reads = shelf.reads();
    assert_eq!((get(&SCOPED).await, shelf.reads()), (Some(1), reads));
}

#[tokio::test]
async fn a_copy_is_a_hit_and_holds_no_lock() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    let found = region.entry("k").lookup(async || 7_u32).await;
    assert_eq!((found.value, found.status), (1, Status::Hit));
    assert!(!region.key_is_locked("k").await.unwrap());
    region.expire_all().await.unwrap();
    let gate = shelf.hold(At::BeforeChanging);
    let creating = tokio::spawn({
        let region = region.clone();
        async move { region.entry("k").lookup(async || 7_u32).await }
    });
    gate.arrival().await;
    assert!(region.key_is_locked("k").await.unwrap());
    let found = region.entry("k").lookup(async || 8_u32).await;
    assert_eq!((found.value, found.status), (1, Status::Stale));
    gate.open();
    let created = creating.await.unwrap();
    assert_eq!((created.value, created.status), (7, Status::Created));
    assert!(!region.key_is_locked("k").await.unwrap());
    assert_eq!(get(&region).await, Some(7));
}

/// A value whose clone panics.
#[derive(Serialize, Deserialize)]
struct Unclonable(u32);

static PANICS: AtomicBool = AtomicBool::new(false);

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        assert!(!PANICS.load(Ordering::SeqCst), "it cannot be cloned now");
        Self(self.0)
    }
}

#[tokio::test]
async fn a_clone_that_panics_leaves_the_tier_as_it_is() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    for _ in 0..4 {
        region.get::<Unclonable>("k").await.unwrap();
        region.get_or_create("k", async || Unclonable(7)).await;
    }
    PANICS.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let reading = AssertUnwindSafe(region.get_or_create("k", async || Unclonable(7)));
        assert!(reading.catch_unwind().await.is_err());
    }
    PANICS.store(false, Ordering::SeqCst);
    let found = AssertUnwindSafe(region.get_or_create("k", async || Unclonable(7)));
    assert_eq!(found.catch_unwind().await.expect("no lock is poisoned").0, 1);
    region.set("k", &Unclonable(2)).await.unwrap();
    assert_eq!(get(&region).await, Some(2));
}

/// `LazyCache`, issue 43, and many others: what a caller does with its value stays with it.
#[tokio::test]
async fn a_caller_that_changes_its_value_does_not_change_the_copy() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    region.set("k", &vec!["a".to_owned()]).await.unwrap();
    for _ in 0..5 {
        let mut found = region.get::<Vec<String>>("k").await.unwrap().unwrap();
        assert_eq!(found, ["a"]);
        found.push("b".to_owned());
    }
}

/// A value that another library has written, or that is damaged, is no hit and no panic.
#[tokio::test]
async fn what_cannot_be_read_has_no_copy_that_is_used() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for frame in ["", "|", "{}|1", "nonsense", "{\"v\":1,\"ct\":1e400}|1", "{\"v\":99,\"ct\":1}|1"]
    {
        shelf.0.frames.lock().unwrap().insert("k".to_owned(), Bytes::from(frame));
        shelf.tell(|follower| follower.changed("k"));
        for _ in 0..4 {
            assert_eq!(get(&region).await, None, "{frame}");
        }
    }
    shelf.change("k", 1);
    shelf.tell(|follower| follower.changed("k"));
    assert_eq!(get(&region).await, Some(1));
    warm(&region).await;
}

#[test]
fn blocking_calls_within_and_without_a_runtime_use_copies() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    let read = || {
        for _ in 0..4 {
            assert_eq!(region.blocking().get::<u32>("k").unwrap(), Some(1));
            assert_eq!(region.blocking().get_or_create("k", || 7_u32), 1);
        }
    };
    read();
    let reads = shelf.reads();
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    single.block_on(async { read() });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    many.block_on(async { tokio::task::block_in_place(read) });
    assert_eq!(shelf.reads(), reads);
    many.block_on(async {
        region.blocking().set("k", &2_u32).unwrap();
        assert_eq!(get(&region).await, Some(2));
    });
}
