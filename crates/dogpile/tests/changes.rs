//! Changes during creations: what began before a change is not stored over it.

mod common;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use common::{creating, free, region_and_clock};
use dogpile::backend::{AnyBackend, Backend, BackendError, KeepsObjects, Memory};
use dogpile::lock::{AnyMutex, KeyedMutex, OnWaitTimeout};
use dogpile::proxy::Proxy;
use dogpile::region::Job;
use dogpile::value::Entry;
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use tokio::sync::Notify;

/// What began before a key was set, deleted or refreshed may be older than that: it goes to its
/// caller and to callers that waited before it began, and is not stored.
#[tokio::test]
async fn a_creation_is_not_stored_over_what_was_changed_meanwhile() {
    let (region, _) = region_and_clock();
    let go = creating(&region, "set", 1).await;
    region.set("set", &2_u32).await.unwrap();
    go.notify_one();
    outdated(&region, 1).await;
    assert_eq!(region.get::<u32>("set").await.unwrap(), Some(2));

    let go = creating(&region, "refreshed", 1).await;
    assert_eq!(region.entry("refreshed").refresh(async || 2_u32).await, 2);
    go.notify_one();
    outdated(&region, 2).await;
    assert_eq!(region.get::<u32>("refreshed").await.unwrap(), Some(2));

    let go = creating(&region, "deleted", 1).await;
    region.delete("deleted").await.unwrap();
    // It comes after the deletion: what is being made is too old for it.
    let later = tokio::spawn({
        let region = region.clone();
        async move { region.get_or_create("deleted", async || 2_u32).await }
    });
    tokio::task::yield_now().await;
    go.notify_one();
    assert_eq!(later.await.unwrap(), 2);
    assert_eq!(region.get::<u32>("deleted").await.unwrap(), Some(2));

    let go = creating(&region, "several", 1).await;
    region.set_multi([("several", &2_u32), ("other", &3)]).await.unwrap();
    region.delete_multi(["several"]).await.unwrap();
    go.notify_one();
    outdated(&region, 4).await;
    assert_eq!(region.get::<u32>("several").await.unwrap(), None);

    // One that begins after the change is stored.
    assert_eq!(region.get_or_create("several", async || 4_u32).await, 4);
    assert_eq!(region.get::<u32>("several").await.unwrap(), Some(4));
}

/// More keys than are committed together, some of them asked for twice.
#[tokio::test]
async fn of_thousands_of_keys_those_that_were_changed_meanwhile_are_not_stored() {
    let region = Arc::new(Region::new("many"));
    region.configure(Config::new(Memory::new(100_000))).unwrap();
    let mut keys: Vec<String> = (0..2_000).map(|n| format!("k{n}")).collect();
    let asked = keys.iter().chain(&keys[500..510]).cloned().collect::<Vec<_>>();
    let mut calls = 0;
    let created = region.get_or_create_multi(&asked, |keys| {
        calls += 1;
        let region = region.clone();
        async move {
            region.set("k3", &0_usize).await.unwrap();
            region.delete("k1700").await.unwrap();
            (1..=keys.len()).collect::<Vec<usize>>()
        }
    });
    let created = created.await.unwrap();
    let expected: Vec<usize> = (1..=2_000).chain(501..=510).collect();
    assert_eq!((calls, created), (1, expected));
    assert_eq!(region.get("k3").await.unwrap(), Some(0_usize));
    assert_eq!(region.get::<usize>("k1700").await.unwrap(), None);
    keys.retain(|key| key != "k3" && key != "k1700");
    let stored = region.get_multi::<usize, _>(&keys).await.unwrap();
    let expected = (1..=2_000).filter(|n| ![4, 1_701].contains(n)).map(Some);
    assert_eq!(stored, expected.collect::<Vec<_>>());
    assert_eq!(region.statistics().outdated, 2);
}

/// Who creates without the lock since the wait was too long obeys changes like others.
#[tokio::test]
async fn a_creation_after_the_wait_timeout_is_not_stored_over_a_change() {
    let (region, clock) = region_and_clock();
    let held = creating(&region, "k", 1).await;
    let (limit, go) = (Duration::from_secs(5), Notify::new());
    let entry = region.entry("k").wait_timeout(limit).on_wait_timeout(OnWaitTimeout::Create);
    let mut impatient = Box::pin(entry.get_or_create(async || {
        go.notified().await;
        2_u32
    }));
    assert!(futures_util::poll!(&mut impatient).is_pending());
    clock.advance(limit);
    assert!(futures_util::poll!(&mut impatient).is_pending(), "it creates");
    region.delete("k").await.unwrap();
    go.notify_one();
    assert_eq!(impatient.await, 2, "its own caller has it");
    assert_eq!(region.get::<u32>("k").await.unwrap(), None);
    held.notify_one();
    outdated(&region, 2).await;
    assert_eq!(region.get::<u32>("k").await.unwrap(), None);
}

/// Nor is a value that began to be made before its region was invalidated taken for one of
/// after that.
#[tokio::test]
async fn a_creation_does_not_outlive_an_invalidation() {
    for is_hard in [true, false] {
        let (region, _) = region_and_clock();
        let go = creating(&region, "k", 1).await;
        invalidate(&region, is_hard).await.unwrap();
        go.notify_one();
        free(&region, "k").await;
        assert_eq!(region.get::<u32>("k").await.unwrap(), None);
        assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
        assert_eq!(region.get::<u32>("k").await.unwrap(), Some(2));
    }
}

/// Nor does it outlive that its key was expired: its callers get it, and the value of before
/// is stale.
#[tokio::test]
async fn a_creation_is_not_stored_over_what_was_expired_meanwhile() {
    let (region, clock) = region_and_clock();
    region.set("k", &1_u32).await.unwrap();
    clock.advance(Duration::from_secs(1));
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let creating = tokio::spawn({
        let (region, started, go) = (region.clone(), started.clone(), go.clone());
        async move {
            let entry = region.entry("k").expiration(Duration::from_millis(1));
            let creator = async || {
                started.notify_one();
                go.notified().await;
                2_u32
            };
            entry.get_or_create(creator).await
        }
    });
    started.notified().await;
    region.expire("k").await.unwrap();
    assert!(!region.key_is_locked("k").await.unwrap(), "the next caller may create");
    go.notify_one();
    assert_eq!(creating.await.unwrap(), 2);
    outdated(&region, 1).await;
    assert_eq!(region.get::<u32>("k").await.unwrap(), None);
    let stale = region.entry("k").ignore_expiration().get::<u32>().await.unwrap();
    assert_eq!(stale, Some(1));
    assert_eq!(region.get_or_create("k", async || 3_u32).await, 3);
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(3));
}

/// A refresh whose key was expired is not stored, and leaves the stale value to be served.
#[tokio::test]
async fn a_refresh_that_an_expiry_overtook_leaves_the_stale_value() {
    let memory = Region::new("memory");
    memory.configure(Config::new(Memory::new(10))).unwrap();
    let shared = Region::new("shared");
    shared.configure(Config::new(Slow::new())).unwrap();
    for region in [memory, shared] {
        region.set("k", &1_u32).await.unwrap();
        let creator = async || {
            region.expire("k").await.unwrap();
            2_u32
        };
        assert_eq!(region.entry("k").refresh(creator).await, 2);
        assert_eq!(region.get::<u32>("k").await.unwrap(), None);
        let stale = region.entry("k").ignore_expiration().get::<u32>().await.unwrap();
        assert_eq!(stale, Some(1), "{}", region.name());
    }
}

/// A layer whose operations take a few polls.
struct Stepwise;

impl Proxy for Stepwise {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        tokio::task::yield_now().await;
        let entry = next.get(key).await;
        tokio::task::yield_now().await;
        entry
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        tokio::task::yield_now().await;
        next.set(key, entry).await
    }
}

/// A region with a value under `k`.
async fn stepwise() -> Region {
    let region = Region::new("stepwise");
    region.configure(Config::new(Memory::new(10)).proxy(Stepwise)).unwrap();
    region.set("k", &1_u32).await.unwrap();
    region
}

/// Polls `call` so many times, or to its end; is it there?
async fn polled(
    call: &mut (impl Future<Output = dogpile::Result<()>> + Unpin),
    times: usize,
) -> bool {
    for _ in 0..times {
        if futures_util::poll!(&mut *call).is_ready() {
            return true;
        }
    }
    false
}

/// What was expired is stale, and nobody holds its key.
async fn is_stale(region: &Region, context: &str) {
    assert!(!region.key_is_locked("k").await.unwrap(), "{context}");
    assert_eq!(region.get::<u32>("k").await.unwrap(), None, "{context}");
    let stale = region.entry("k").ignore_expiration().get::<u32>().await.unwrap();
    assert_eq!(stale, Some(1), "{context}");
}

/// Two expire a key at once; or one leaves in the middle.
#[tokio::test]
async fn a_key_that_is_expired_twice_at_once_has_its_stale_value() {
    const POLLS: usize = 10;
    for (first, second, leaves) in (0..POLLS)
        .flat_map(|first| (0..POLLS).map(move |second| (first, second)))
        .flat_map(|(first, second)| [(first, second, false), (first, second, true)])
    {
        let region = stepwise().await;
        let mut one = Box::pin(region.expire("k"));
        let is_done = polled(&mut one, first).await;
        let mut other = Box::pin(region.expire("k"));
        let other_is_done = polled(&mut other, second).await;
        if !is_done && !leaves {
            one.await.unwrap();
        } else {
            drop(one);
        }
        if !other_is_done {
            other.await.unwrap();
        }
        is_stale(&region, &format!("{first} {second} {leaves}")).await;
    }
}

/// A refresh that takes the key over, and fails, takes nothing from an `expire`.
#[tokio::test]
async fn a_key_is_expired_although_a_refresh_fails_meanwhile() {
    for polls in 0..10 {
        let region = stepwise().await;
        let mut expiring = Box::pin(region.expire("k"));
        let is_done = polled(&mut expiring, polls).await;
        let refreshed = region.entry("k").try_refresh(async || Err::<u32, _>("it fails")).await;
        assert_eq!(refreshed, Err("it fails"));
        if !is_done {
            expiring.await.unwrap();
        }
        is_stale(&region, &format!("after {polls} polls")).await;
    }
}

/// Waits until so many creations have ended as outdated.
async fn outdated(region: &Region, count: u64) {
    while region.statistics().outdated < count {
        tokio::task::yield_now().await;
    }
}

/// A store that processes share, with a mutex, and as slow as one poll of each operation.
#[derive(Clone)]
struct Slow {
    map: Arc<Mutex<HashMap<String, Entry>>>,
    mutex: AnyMutex,
}

impl Slow {
    fn new() -> Self {
        Self { map: Arc::default(), mutex: AnyMutex::new(KeyedMutex::new()) }
    }

    async fn map(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        tokio::task::yield_now().await;
        self.map.lock().unwrap()
    }
}

impl Backend for Slow {
    type Keeps = KeepsObjects;

    fn name(&self) -> &'static str {
        "slow"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        Ok(self.map().await.get(key).cloned())
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.map().await.insert(key.to_owned(), entry);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.map().await.remove(key);
        Ok(())
    }

    fn mutex(&self) -> Option<AnyMutex> {
        Some(self.mutex.clone())
    }
}

/// A caller that leaves between storing and looking leaves no value of before a change.
#[tokio::test]
async fn a_creation_that_is_dropped_anywhere_is_not_stored_over_a_change() {
    const POLLS: usize = 20;
    for change_at in 0..POLLS {
        for drop_at in change_at..POLLS {
            let store = Slow::new();
            let [here, there] = ["here", "there"].map(|name| {
                let region = Region::new(name);
                region.configure(Config::new(store.clone())).unwrap();
                region
            });
            let begun = AtomicBool::new(false);
            let creator = async || {
                begun.store(true, Ordering::SeqCst);
                1
            };
            let mut creation = Box::pin(here.get_or_create("k", creator));
            let mut is_old = false;
            for poll in 0..=drop_at {
                if poll == change_at {
                    is_old = begun.load(Ordering::SeqCst);
                    there.delete("k").await.unwrap();
                }
                if futures_util::poll!(&mut creation).is_ready() {
                    break;
                }
            }
            drop(creation);
            while there.key_is_locked("k").await.unwrap() {
                tokio::task::yield_now().await;
            }
            let left = there.get::<i32>("k").await.unwrap();
            assert!(!is_old || left.is_none(), "changed at {change_at}, dropped at {drop_at}");
        }
    }
}

/// A region whose runner has a queue, with an expired value under `k` and the job that
/// is to create the next one.
async fn queued<B>(backend: B) -> (Region, Job, Arc<AtomicUsize>)
where
    B: Backend<Keeps = KeepsObjects>,
{
    let jobs: Arc<Mutex<Vec<Job>>> = Arc::default();
    let (queue, clock) = (jobs.clone(), ManualClock::new());
    let region = Region::new("queued");
    let config = Config::new(backend).clock(clock.clone()).expiration(Duration::from_secs(10));
    region.configure(config.runner(move |job| queue.lock().unwrap().push(job))).unwrap();
    region.set("k", &1).await.unwrap();
    clock.advance(Duration::from_secs(11));
    let created = Arc::new(AtomicUsize::new(0));
    let count = created.clone();
    let creator = async move || {
        count.fetch_add(1, Ordering::SeqCst);
        2
    };
    assert_eq!(region.entry("k").get_or_create_in_background(creator).await, 1);
    let job = jobs.lock().unwrap().pop().unwrap();
    (region, job, created)
}

async fn in_time<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(5), call).await.expect("it need not wait")
}

/// A job that waits in a runner's queue has not begun.
#[tokio::test]
async fn nobody_waits_for_a_queued_job_after_a_change() {
    for change in ["delete", "set", "invalidate", "elsewhere"] {
        let (region, job, created) = queued(Slow::new()).await;
        match change {
            "delete" => region.delete("k").await.unwrap(),
            "set" => region.set("k", &3).await.unwrap(),
            "invalidate" => region.invalidate_all().await.unwrap(),
            // Nobody tells this region of it.
            _ => region.backend().unwrap().delete("k").await.unwrap(),
        }
        let asked = in_time(region.get_or_create("k", async || 3)).await;
        assert_eq!(asked, 3, "after {change}");
        in_time(job).await;
        assert_eq!(created.load(Ordering::SeqCst), 0, "after {change}");
        assert_eq!(region.get::<i32>("k").await.unwrap(), Some(3), "after {change}");
        assert!(!region.key_is_locked("k").await.unwrap(), "after {change}");
    }
}

/// A waiter that comes to have the key of a queued job passes it on if it leaves.
#[tokio::test]
async fn the_key_of_a_queued_job_is_not_lost_with_its_taker() {
    let (region, job, created) = queued(Slow::new()).await;
    region.backend().unwrap().delete("k").await.unwrap();
    for polls in 1..8 {
        let mut taker = Box::pin(region.get_or_create("k", std::future::pending::<i32>));
        for _ in 0..polls {
            assert!(futures_util::poll!(&mut taker).is_pending());
        }
    }
    assert_eq!(in_time(region.get_or_create("k", async || 3)).await, 3);
    in_time(job).await;
    assert_eq!(created.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_queued_job_that_nothing_came_before_creates() {
    for takes_it in [true, false] {
        let (region, job, created) = queued(Slow::new()).await;
        assert_eq!(in_time(region.get_or_create("k", async || 3)).await, 1, "stale at once");
        if takes_it {
            in_time(job).await;
            assert_eq!(region.get::<i32>("k").await.unwrap(), Some(2));
        } else {
            drop(job);
            assert_eq!(in_time(region.get_or_create("k", async || 3)).await, 3);
        }
        assert_eq!(created.load(Ordering::SeqCst), usize::from(takes_it));
        assert!(!region.key_is_locked("k").await.unwrap());
    }
}

async fn invalidate(region: &Region, is_hard: bool) -> dogpile::Result<()> {
    if is_hard { region.invalidate_all().await } else { region.expire_all().await }
}
