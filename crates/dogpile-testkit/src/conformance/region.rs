//! Checks of a region over the backend: the dogpile lock, expiration, invalidation, and values that cannot be read.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use dogpile::value::Entry;
use dogpile::{Config, Expiration, Region, Status};
use tokio::sync::{Barrier, Notify};
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::EXPIRATION;

/// Gives callers of `key` the time to queue for it. Whether they did cannot be
/// seen from outside; a check is only sharper if they have.
async fn let_them_queue(region: &Region, key: &str) {
    assert!(region.key_is_locked(key).await.unwrap());
    tokio::time::sleep(Duration::from_millis(30)).await;
}

/// 200 callers of a cold key: one creation, one value for all.
pub async fn one_creation_for_a_crowd(fixture: Fixture) {
    let (region, _) = fixture.region();
    let key = fixture.key("crowd");
    let created = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..200 {
        let (region, key, created) = (region.clone(), key.clone(), created.clone());
        tasks.spawn(async move {
            let creator = async || {
                tokio::time::sleep(Duration::from_millis(20)).await;
                created.fetch_add(1, Ordering::SeqCst) + 1
            };
            region.get_or_create::<usize, _, _>(&key, creator).await
        });
    }
    while let Some(value) = tasks.join_next().await {
        assert_eq!(value.unwrap(), 1);
    }
    assert_eq!(created.load(Ordering::SeqCst), 1);
}

/// A crowd behind a creator that does not finish; `end` ends it, and one of
/// the crowd takes over.
async fn taken_over(fixture: Fixture, end: fn() -> End) {
    let (region, _) = fixture.region();
    let key = fixture.key("taken-over");
    let started = Arc::new(Notify::new());
    let go = Arc::new(Notify::new());
    let first = tokio::spawn({
        let (region, key) = (region.clone(), key.clone());
        let (started, go) = (started.clone(), go.clone());
        async move {
            let creator = async || {
                started.notify_one();
                go.notified().await;
                match end() {
                    End::Error => Err("failed"),
                    End::Panic => panic!("the creator panics, as the check wants it to"),
                    End::Hang => pending().await,
                }
            };
            region.try_get_or_create::<usize, _, _, _>(&key, creator).await
        }
    });
    started.notified().await;
    let created = Arc::new(AtomicUsize::new(0));
    let mut crowd = JoinSet::new();
    for _ in 0..50 {
        let (region, key, created) = (region.clone(), key.clone(), created.clone());
        crowd.spawn(async move {
            let creator = async || created.fetch_add(1, Ordering::SeqCst) + 1;
            region.get_or_create::<usize, _, _>(&key, creator).await
        });
    }
    let_them_queue(&region, &key).await;
    assert_eq!(created.load(Ordering::SeqCst), 0, "nobody creates beside the first");
    go.notify_one();
    match end() {
        End::Error => assert_eq!(first.await.unwrap(), Err("failed"), "its error is its caller's"),
        End::Panic => assert!(first.await.unwrap_err().is_panic()),
        End::Hang => {
            first.abort();
            assert!(first.await.unwrap_err().is_cancelled());
        }
    }
    while let Some(value) = crowd.join_next().await {
        assert_eq!(value.unwrap(), 1);
    }
    assert_eq!(created.load(Ordering::SeqCst), 1, "exactly one took over");
    until_free(&region, &key).await;
}

enum End {
    Error,
    Panic,
    Hang,
}

/// The key is free in the end; a remote mutex may take a moment.
async fn until_free(region: &Region, key: &str) {
    while region.key_is_locked(key).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The creator's error goes to its caller, and one waiter creates.
pub async fn a_failed_creator_is_followed_by_one_waiter(fixture: Fixture) {
    taken_over(fixture, || End::Error).await;
}

/// The creator's panic goes to its caller, and one waiter creates.
pub async fn a_panicking_creator_is_followed_by_one_waiter(fixture: Fixture) {
    taken_over(fixture, || End::Panic).await;
}

/// The creating task is aborted, and one waiter creates.
pub async fn a_cancelled_creator_is_followed_by_one_waiter(fixture: Fixture) {
    taken_over(fixture, || End::Hang).await;
}

/// A region with a stale value under the key, and one caller creating the new
/// one until it is told to finish.
struct Refreshing {
    region: Arc<Region>,
    key: String,
    go: Arc<Notify>,
    elected: tokio::task::JoinHandle<String>,
}

async fn refreshing(
    fixture: &Fixture,
    age: impl AsyncFnOnce(&Region, &crate::ManualClock),
) -> Refreshing {
    let (region, clock) = fixture.region();
    let key = fixture.key("refreshed");
    region.set(&key, &"old".to_owned()).await.unwrap();
    age(&region, &clock).await;
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let elected = tokio::spawn({
        let (region, key) = (region.clone(), key.clone());
        let (started, go) = (started.clone(), go.clone());
        async move {
            let creator = async || {
                started.notify_one();
                go.notified().await;
                "new".to_owned()
            };
            region.get_or_create(&key, creator).await
        }
    });
    started.notified().await;
    Refreshing { region, key, go, elected }
}

impl Refreshing {
    /// Everybody else gets the stale value at once: their creators would panic,
    /// and waiting would never end, since the elected caller is held up.
    async fn others_get_the_old_value(self) {
        for _ in 0..100 {
            let entry = self.region.entry(&self.key);
            let lookup = entry.lookup(async || -> String { panic!("not elected") }).await;
            assert_eq!((lookup.value.as_str(), lookup.status), ("old", Status::Stale));
        }
        self.go.notify_one();
        assert_eq!(self.elected.await.unwrap(), "new");
        let now = self.region.get::<String>(&self.key).await.unwrap();
        assert_eq!(now.as_deref(), Some("new"));
    }
}

/// Expired: one caller creates, nobody else waits.
pub async fn an_expired_value_is_served_while_one_caller_creates(fixture: Fixture) {
    let age = async |_: &Region, clock: &crate::ManualClock| clock.advance(EXPIRATION * 2);
    refreshing(&fixture, age).await.others_get_the_old_value().await;
}

/// A key expired before its time: one caller creates, nobody else waits.
pub async fn an_expired_key_serves_the_old_value_meanwhile(fixture: Fixture) {
    let key = fixture.key("refreshed");
    let age = async |region: &Region, _: &_| region.expire(&key).await.unwrap();
    refreshing(&fixture, age).await.others_get_the_old_value().await;
    let (region, _) = fixture.region();
    let keys = ["one", "two", "absent"].map(|name| fixture.key(name));
    region.set_multi(keys[..2].iter().map(|key| (key, &1))).await.unwrap();
    let twice = [&keys[..], &keys[..1]].concat();
    region.entries(twice).expire().await.unwrap();
    assert_eq!(region.get_multi::<i32, _>(&keys).await.unwrap(), [None; 3]);
    let stale = region.entries(&keys).ignore_expiration().get::<i32>().await.unwrap();
    assert_eq!(stale, [Some(1), Some(1), None]);
    region.set(&keys[0], &2).await.unwrap();
    assert_eq!(region.get::<i32>(&keys[0]).await.unwrap(), Some(2), "it is another value");
}

/// Soft-invalidated: one caller creates, nobody else waits.
pub async fn soft_invalidation_serves_the_old_value_meanwhile(fixture: Fixture) {
    let age = async |region: &Region, _: &_| region.expire_all().await.unwrap();
    refreshing(&fixture, age).await.others_get_the_old_value().await;
}

/// Hard-invalidated: nobody gets the stale value any more.
pub async fn hard_invalidation_makes_everyone_wait_for_the_new_value(fixture: Fixture) {
    let age = async |region: &Region, _: &_| region.invalidate_all().await.unwrap();
    let refreshing = refreshing(&fixture, age).await;
    let mut crowd = JoinSet::new();
    for _ in 0..20 {
        let (region, key) = (refreshing.region.clone(), refreshing.key.clone());
        crowd.spawn(async move {
            region.get_or_create(&key, async || -> String { panic!("not elected") }).await
        });
    }
    let_them_queue(&refreshing.region, &refreshing.key).await;
    assert_eq!(refreshing.region.get::<String>(&refreshing.key).await.unwrap(), None);
    refreshing.go.notify_one();
    while let Some(value) = crowd.join_next().await {
        assert_eq!(value.unwrap(), "new");
    }
    assert_eq!(refreshing.elected.await.unwrap(), "new");
}

/// Many callers with overlapping keys in different orders: all finish, and no
/// key is created twice.
pub async fn overlapping_multi_calls_finish_and_create_each_key_once(fixture: Fixture) {
    const KEYS: usize = 12;
    let (region, _) = fixture.region();
    let keys: Vec<String> = (0..KEYS).map(|n| fixture.key(&n.to_string())).collect();
    let creations: Arc<Vec<AtomicUsize>> =
        Arc::new((0..KEYS).map(|_| AtomicUsize::new(0)).collect());
    let start = Arc::new(Barrier::new(40));
    let mut tasks = JoinSet::new();
    for task in 0..40 {
        let (region, creations, start) = (region.clone(), creations.clone(), start.clone());
        let order: Vec<usize> = (0..KEYS).filter(|n| (task + n) % 3 != 0).collect();
        let turned = task % order.len();
        let order = [&order[turned..], &order[..turned]].concat();
        let all = keys.clone();
        tasks.spawn(async move {
            let asked: Vec<String> = order.iter().map(|&n| all[n].clone()).collect();
            let places: HashMap<String, usize> =
                all.iter().enumerate().map(|(n, key)| (key.clone(), n)).collect();
            start.wait().await;
            let values = region.get_or_create_multi(asked, |missing| {
                let numbers: Vec<usize> = missing.iter().map(|key| places[key]).collect();
                let creations = creations.clone();
                async move {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                    for &n in &numbers {
                        creations[n].fetch_add(1, Ordering::SeqCst);
                    }
                    numbers
                }
            });
            assert_eq!(values.await.unwrap(), order);
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    assert!(creations.iter().all(|count| count.load(Ordering::SeqCst) == 1), "{creations:?}");
}

/// The creator gets what is missing, once each; results are in the order
/// asked, duplicates included.
pub async fn multi_results_come_in_the_order_of_the_keys(fixture: Fixture) {
    let (region, _) = fixture.region();
    let [a, b, c] = ["a", "b", "c"].map(|name| fixture.key(name));
    region.set(&b, &"stored".to_owned()).await.unwrap();
    let calls = AtomicUsize::new(0);
    let asked = [&c, &b, &a, &c].map(String::from);
    let values = region.get_or_create_multi(asked, |missing| {
        calls.fetch_add(1, Ordering::SeqCst);
        assert_eq!(missing, [c.clone(), a.clone()]);
        async { vec!["C".to_owned(), "A".to_owned()] }
    });
    assert_eq!(values.await.unwrap(), ["C", "stored", "A", "C"]);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    let none: Vec<String> = Vec::new();
    let nothing = region.get_or_create_multi(none, |_| async { Vec::<String>::new() }).await;
    assert!(nothing.unwrap().is_empty());
    let too_few = region.get_or_create_multi(["x", "y"].map(|name| fixture.key(name)), |_| async {
        vec!["only one".to_owned()]
    });
    assert!(too_few.await.is_err());
    assert_eq!(region.get::<String>(&fixture.key("x")).await.unwrap(), None);
}

/// `should_cache` keeps a value out of the store, not from its caller.
pub async fn a_vetoed_value_is_returned_but_not_stored(fixture: Fixture) {
    let (region, _) = fixture.region();
    let key = fixture.key("vetoed");
    let entry = region.entry(&key).should_cache(|value: &u32| *value > 10);
    assert_eq!(entry.get_or_create(async || 5).await, 5);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), None);
    let entry = region.entry(&key).should_cache(|value: &u32| *value > 10);
    assert_eq!(entry.get_or_create(async || 50).await, 50);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(50));
}

/// "No value" is one thing, a cached `None` another.
pub async fn a_cached_none_is_a_hit(fixture: Fixture) {
    let (region, _) = fixture.region();
    let key = fixture.key("none");
    assert_eq!(region.get_or_create(&key, async || None::<u32>).await, None);
    let again = region.get_or_create(&key, async || Some(1_u32)).await;
    assert_eq!(again, None, "the cached None is returned, the creator not called");
    assert_eq!(region.get::<Option<u32>>(&key).await.unwrap(), Some(None));
}

/// Regions over a shared backend do not share keys unless they are told to.
pub async fn regions_over_one_backend_keep_their_values_apart(fixture: Fixture) {
    if !fixture.backend.is_shared() {
        return;
    }
    let key = fixture.key("42");
    let region = |name: &str, config: Config| {
        let region = Region::named(name);
        region.configure(config).unwrap();
        region
    };
    let config = || Config::over(fixture.backend.clone());
    let users = region("users", config());
    let odd = "orders:42 _lock{}";
    let orders = region(odd, config());
    users.set(&key, &1_u32).await.unwrap();
    orders.set(&key, &2_u32).await.unwrap();
    assert_eq!(users.get(&key).await.unwrap(), Some(1));
    assert_eq!(region(odd, config()).get(&key).await.unwrap(), Some(2));
    assert_eq!(orders.get_or_create(&key, async || 3).await, 2);
    orders.delete(&key).await.unwrap();
    assert_eq!(users.get(&key).await.unwrap(), Some(1));
    let [one, other] = ["one", "other"].map(|name| region(name, config().shared_keys()));
    one.set(&key, &3_u32).await.unwrap();
    assert_eq!(other.get(&key).await.unwrap(), Some(3));
    assert_eq!(users.get(&key).await.unwrap(), Some(1));
}

/// Puts `entry` where `region` finds it under `key`.
async fn store(fixture: &Fixture, region: &Region, key: &str, entry: Entry) {
    fixture.backend.set(&region.stored_key(key).unwrap(), entry).await.unwrap();
}

/// A value that cannot be read, as a frame or by the codec, is a miss, created again and overwritten
/// (bytes only).
pub async fn an_undecodable_payload_is_created_again(fixture: Fixture) {
    if fixture.backend.keeps_objects() {
        return;
    }
    let (region, _) = fixture.region();
    let now = crate::ManualClock::new();
    let ct = dogpile::clock::Clock::now(&now);
    for (name, payload) in [("cut", &b"{\"a\":"[..]), ("binary", b"\xff\xfe\x00"), ("empty", b"")] {
        let key = fixture.key(name);
        store(&fixture, &region, &key, Entry::bytes(payload.to_vec(), ct)).await;
        assert_eq!(region.get::<u32>(&key).await.unwrap(), None);
        assert_eq!(region.get_or_create(&key, async || 7_u32).await, 7);
        assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(7));
    }
    for (name, frame) in [("nothing", &b""[..]), ("no header", b"some value"), ("bar", b"|")] {
        let key = fixture.key(name);
        let unparsed = Entry::from_frame(&Bytes::from_static(frame));
        store(&fixture, &region, &key, unparsed).await;
        let stored = fixture.backend.get(&region.stored_key(&key).unwrap()).await.unwrap();
        let stored = stored.and_then(|entry| entry.to_frame()).unwrap_or_default();
        assert_eq!(&stored[..], frame, "no bytes may be no value, but others stay as they were");
        assert_eq!(region.get::<u32>(&key).await.unwrap(), None);
        assert_eq!(region.get_or_create(&key, async || 7_u32).await, 7);
        assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(7), "{name}");
        store(&fixture, &region, &key, Entry::from_frame(&Bytes::from_static(frame))).await;
        assert_eq!(region.entry(&key).refresh(async || 8_u32).await, 8);
        assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(8), "{name}");
    }
    let key = fixture.key("other type");
    region.set(&key, &"text".to_owned()).await.unwrap();
    assert_eq!(region.get_or_create(&key, async || 7_u32).await, 7);
}

/// A value of another format version is a miss (bytes only).
pub async fn another_format_version_is_created_again(fixture: Fixture) {
    if fixture.backend.keeps_objects() {
        return;
    }
    let (region, _) = fixture.region();
    let key = fixture.key("version");
    let mut entry = fixture.entry("from the past", 1_763_700_000.0);
    entry.metadata.v = 1;
    store(&fixture, &region, &key, entry).await;
    assert_eq!(region.get::<String>(&key).await.unwrap(), None);
    let value = region.get_or_create(&key, async || "new".to_owned()).await;
    assert_eq!(value, "new");
    assert_eq!(region.get::<String>(&key).await.unwrap().as_deref(), Some("new"));
}

/// A writer whose clock is years ahead does not make values that live for
/// years.
pub async fn a_creation_time_far_ahead_is_not_immortal(fixture: Fixture) {
    let (region, clock) = fixture.region();
    let now = dogpile::clock::Clock::now(&clock);
    let key = fixture.key("ahead");
    store(&fixture, &region, &key, fixture.entry("skewed", now + 1e8)).await;
    assert_eq!(region.get::<String>(&key).await.unwrap(), None);
    let value = region.get_or_create(&key, async || "new".to_owned()).await;
    assert_eq!(value, "new");
    let key = fixture.key("slightly ahead");
    store(&fixture, &region, &key, fixture.entry("skewed", now + 1.0)).await;
    let found = region.get_with_metadata::<String>(&key).await.unwrap().unwrap();
    assert_eq!((found.value.as_str(), found.age), ("skewed", Duration::ZERO));
}

/// `key_is_locked` says whether a key is being created.
pub async fn a_key_is_locked_while_it_is_created(fixture: Fixture) {
    let (region, _) = fixture.region();
    let key = fixture.key("locked");
    assert!(!region.key_is_locked(&key).await.unwrap());
    let locked = region.get_or_create(&key, async || region.key_is_locked(&key).await.unwrap());
    assert!(locked.await);
    assert!(!region.key_is_locked(&key).await.unwrap());
}

/// Per-call expiration and `ignore_expiration` change what one call takes and
/// nothing that is stored.
pub async fn expiration_can_be_set_and_ignored_per_call(fixture: Fixture) {
    let (region, clock) = fixture.region();
    let key = fixture.key("aged");
    region.set(&key, &1_u32).await.unwrap();
    clock.advance(EXPIRATION / 2);
    let strict = region.entry(&key).expiration(EXPIRATION / 4).get::<u32>().await.unwrap();
    assert_eq!(strict, None);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(1));
    clock.advance(EXPIRATION);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), None);
    let never = region.entry(&key).expiration(Expiration::Never).get::<u32>().await.unwrap();
    assert_eq!(never, Some(1));
    let ignored = region.entry(&key).ignore_expiration().get_with_metadata::<u32>().await.unwrap();
    assert_eq!(ignored.unwrap().age, EXPIRATION * 3 / 2);
}
