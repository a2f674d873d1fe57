//! Attempts to break values that are created early, soft timeouts, lifetimes, remembered failures,
//! conditional creations, and what is kept and owed beside a store.

mod polled;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use dogpile::backend::{AnyBackend, BackendError, File, Memory, SerializedMemory};
use dogpile::clock::Timestamp;
use dogpile::invalidation::{InProcess, Invalidating, Invalidation, Mode};
use dogpile::proxy::Proxy;
use dogpile::region::Job;
use dogpile::testing::{Fault, Operation};
use dogpile::value::Entry;
use dogpile::{CachedValue, Config, Early, InMemory, Region, Status};
use dogpile_testkit::{Faults, ManualClock};
use polled::settle;
use tokio::sync::Notify;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(100);

fn opened(config: Config) -> Arc<Region> {
    let region = Region::new("broken");
    region.configure(config).unwrap();
    Arc::new(region)
}

/// A region in memory whose keys `k` and `l` hold 1, and have expired.
async fn expired(change: impl FnOnce(Config) -> Config) -> (Arc<Region>, ManualClock) {
    let clock = ManualClock::new();
    let config = Config::new(Memory::new(100)).clock(clock.clone()).expiration(MINUTE);
    let region = opened(change(config));
    region.set("k", &1).await.unwrap();
    region.set("l", &1).await.unwrap();
    clock.advance(2 * MINUTE);
    (region, clock)
}

/// A job that a change has taken one key from creates the other one, for that key.
#[tokio::test]
async fn a_job_that_lost_a_key_gives_the_other_value_to_its_own_key() {
    for lost in ["k", "l"] {
        let (sender, jobs) = mpsc::channel::<Job>();
        let runner = move |job| sender.send(job).unwrap();
        let (region, _clock) = expired(|config| config.runner(runner).soft_timeout(MINUTE)).await;
        let creator = async |keys: Vec<String>| {
            keys.iter().map(|key| if key == "k" { 10 } else { 20 }).collect()
        };
        let entries = region.entries(["k", "l"]);
        let mut call = Box::pin(entries.get_or_create_in_background(creator));
        assert!(settle(&mut call).await.is_pending());
        region.delete(lost).await.unwrap();
        jobs.try_recv().unwrap().await;
        let got = call.await.unwrap();
        assert_eq!(got.len(), 2);
        assert!([1, 10].contains(&got[0]) && [1, 20].contains(&got[1]), "{lost} lost: {got:?}");
        let counted = region.statistics();
        assert_eq!(counted.hits + counted.stale + counted.misses, 2);
    }
}

/// The creation timeout ends before the soft one: a caller with a stale value has that.
#[tokio::test]
async fn a_creation_that_is_dropped_within_the_soft_timeout_does_not_hang_its_caller() {
    let (region, clock) =
        expired(|config| config.soft_timeout(LIMIT).creation_timeout(LIMIT / 2)).await;
    let hangs = async || std::future::pending::<i32>().await;
    let mut call = Box::pin(region.entry("k").get_or_create_in_background(hangs));
    assert!(settle(&mut call).await.is_pending());
    clock.advance(LIMIT / 2);
    let at_once = settle(&mut call).await;
    clock.advance(MINUTE);
    let ended = at_once.is_ready() || settle(&mut call).await.is_ready();
    assert!(ended, "it waits for ever, with a stale value at hand");
}

/// The system's coarse clock is a little behind the one that failures are noted by.
#[tokio::test]
async fn a_failure_is_remembered_from_its_moment_on() {
    let region = opened(Config::new(Memory::new(1_000)).remember_failures(MINUTE));
    let runs = AtomicUsize::new(0);
    for key in 0..300 {
        for _ in 0..2 {
            let fails = async || {
                runs.fetch_add(1, Ordering::Relaxed);
                Err::<i32, _>("down")
            };
            let key = key.to_string();
            let got = region.entry(key).share_failures().try_get_or_create(fails).await;
            assert_eq!(got, Err("down"));
        }
    }
    assert_eq!(runs.into_inner(), 300);
}

/// After a change the next call looks again.
#[tokio::test]
async fn a_change_of_all_ends_remembered_failures() {
    let mut remembered = Vec::new();
    for change in ["delete", "set", "expire", "expire_all", "invalidate_all"] {
        let (region, clock) = expired(|config| config.remember_failures(10 * MINUTE)).await;
        region.delete("k").await.unwrap();
        let ask = async |result| {
            region.entry("k").share_failures().try_get_or_create(async || result).await
        };
        assert_eq!(ask(Err("down")).await, Err("down"));
        assert_eq!(ask(Ok(3)).await, Err("down"));
        match change {
            "delete" => region.delete("k").await.unwrap(),
            "set" => {
                region.set("k", &2).await.unwrap();
                clock.advance(2 * MINUTE);
            }
            "expire" => region.expire("k").await.unwrap(),
            "expire_all" => region.expire_all().await.unwrap(),
            _ => region.invalidate_all().await.unwrap(),
        }
        if ask(Ok(3)).await != Ok(3) {
            remembered.push(change);
        }
    }
    assert_eq!(remembered, Vec::<&str>::new(), "a failure of before is given after these");
}

#[tokio::test]
async fn durations_may_be_as_long_as_can_be() {
    let clock = ManualClock::new();
    let config = Config::new(Memory::new(10)).clock(clock.clone()).expiration(Duration::MAX);
    let config = config.soft_timeout(Duration::MAX).creation_timeout(Duration::MAX);
    let config = config.stale_if_error(Duration::MAX).stale_while_revalidate(Duration::MAX);
    let config = config.retry_after(Duration::MAX).remember_failures(Duration::MAX);
    let region = opened(config.wait_timeout(Duration::MAX).keep_when_down(Duration::MAX));
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    region.expire("k").await.unwrap();
    assert_eq!(region.entry("k").get_or_create_in_background(async || 2).await, 2);
    assert!(region.drain(Duration::MAX).await);
}

#[tokio::test]
async fn a_value_that_never_expires_may_be_early_or_have_jitter() {
    let never = |config: Config| opened(config.expiration(Duration::MAX));
    for region in [
        never(Config::new(Memory::new(10)).jitter(0.0)),
        never(Config::new(Memory::new(10)).early(Early::adaptive())),
        never(Config::new(Memory::new(10)).early(Early::at(1.0))),
    ] {
        let task = async move {
            region.get_or_create("k", async || 1).await;
            region.get_or_create("k", async || 2).await
        };
        assert_eq!(tokio::spawn(task).await.expect("no panic of arithmetic"), 1);
    }
}

/// The function that tells lifetimes is the application's: it may panic.
#[tokio::test]
async fn a_lifetime_that_panics_leaves_no_key_held() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::builder(folder.path().join("cache")).open().unwrap();
    for backend in [Memory::new(10).into(), SerializedMemory::new(10).into(), AnyBackend::new(file)]
    {
        let panics = Arc::new(AtomicBool::new(true));
        let lifetime = {
            let panics = panics.clone();
            move |_: &i32| {
                assert!(!panics.load(Ordering::Relaxed), "a lifetime that panics");
                None
            }
        };
        let region = opened(Config::over(backend).lifetime(lifetime));
        let call = |value| {
            let region = region.clone();
            tokio::spawn(async move { region.get_or_create("k", async move || value).await })
        };
        assert!(call(1).await.is_err());
        panics.store(false, Ordering::Relaxed);
        let next = tokio::time::timeout(20 * SECOND, call(2)).await;
        assert_eq!(next.expect("the key is still held").unwrap(), 2);
        assert!(!region.key_is_locked("k").await.unwrap());
    }
}

#[tokio::test]
async fn a_deleted_value_is_not_served_after_too_many_deletions() {
    let (faults, store) = (Faults::new(), AnyBackend::new(SerializedMemory::new(100)));
    let region = opened(Config::over(store.clone()).proxy(faults.clone()));
    region.set("last", &1).await.unwrap();
    faults.down();
    for key in 0..10_000 {
        region.entry(key.to_string()).delete().await.unwrap_err();
    }
    region.delete("last").await.unwrap_err();
    faults.clear();
    assert_eq!(region.entry("last").get_or_create_in_background(async || 2).await, 2);
}

/// Debts are not forgotten with the runtime in which they were made.
#[test]
fn a_deletion_that_is_owed_is_made_after_the_end_of_its_runtime() {
    let (faults, store, clock) =
        (Faults::new(), AnyBackend::new(SerializedMemory::new(100)), ManualClock::new());
    let config = |config: Config| config.clock(clock.clone());
    let region = opened(config(Config::over(store.clone()).proxy(faults.clone())));
    let other = opened(config(Config::over(store)));
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime().block_on(async {
        region.set("k", &1).await.unwrap();
        faults.down();
        region.delete("k").await.unwrap_err();
    });
    faults.clear();
    runtime().block_on(async {
        for n in 0..100 {
            region.set("another", &n).await.unwrap();
            region.get_or_create(&n.to_string(), async || n).await;
            clock.advance(LIMIT);
            tokio::task::yield_now().await;
        }
        assert_eq!(other.get::<i32>("k").await.unwrap(), None, "others see it for ever");
        assert_eq!(region.statistics().pending_deletions, 0);
    });
}

/// An invalidation that cannot be made, while the store is well.
#[derive(Default)]
struct Unmakeable(InProcess);

impl Invalidation for Unmakeable {
    fn invalidate(&self, _mode: Mode, _at: Timestamp) -> Invalidating<'_> {
        Box::pin(async { Err(BackendError::unavailable("it is away")) })
    }
    fn is_hard_invalidated(&self, ct: Timestamp) -> bool {
        self.0.is_hard_invalidated(ct)
    }
    fn is_soft_invalidated(&self, ct: Timestamp) -> bool {
        self.0.is_soft_invalidated(ct)
    }
    fn was_hard_invalidated(&self) -> bool {
        self.0.was_hard_invalidated()
    }
    fn was_soft_invalidated(&self) -> bool {
        self.0.was_soft_invalidated()
    }
}

#[tokio::test]
async fn a_deletion_does_not_wait_for_an_invalidation_that_fails() {
    let (faults, store, clock) =
        (Faults::new(), AnyBackend::new(SerializedMemory::new(100)), ManualClock::new());
    let config = Config::over(store.clone()).proxy(faults.clone()).clock(clock.clone());
    let region = opened(config.invalidation(Arc::new(Unmakeable::default())));
    let other = opened(Config::over(store).clock(clock.clone()));
    region.set("k", &1).await.unwrap();
    region.invalidate_all().await.unwrap_err();
    faults.next(Operation::Delete, Fault::Unavailable, 1);
    region.delete("k").await.unwrap_err();
    for _ in 0..100 {
        clock.advance(SECOND);
        tokio::task::yield_now().await;
    }
    assert_eq!(other.get::<i32>("k").await.unwrap(), None);
}

/// The store answers, and takes no changes of this process, for a while.
#[derive(Clone, Default)]
struct ReadOnly(Arc<AtomicBool>);

impl Proxy for ReadOnly {
    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(BackendError::read_only("a replica"));
        }
        next.set(key, entry).await
    }
}

/// Two processes over one store, of which the first cannot change it.
fn reader_and_writer() -> (Arc<Region>, Arc<Region>, ReadOnly, ManualClock) {
    let (read_only, store, clock) =
        (ReadOnly::default(), AnyBackend::new(SerializedMemory::new(100)), ManualClock::new());
    let reader = opened(Config::over(store.clone()).proxy(read_only.clone()).clock(clock.clone()));
    let writer = opened(Config::over(store).clock(clock.clone()));
    read_only.0.store(true, Ordering::Relaxed);
    (reader, writer, read_only, clock)
}

#[tokio::test]
async fn what_is_kept_beside_a_store_ends_when_that_takes_changes_again() {
    let (reader, writer, read_only, _clock) = reader_and_writer();
    assert_eq!(reader.get_or_create("k", async || 1).await, 1);
    assert_eq!(reader.entry("k").lookup(async || 2).await.status, Status::Kept);
    read_only.0.store(false, Ordering::Relaxed);
    reader.set("another", &1).await.unwrap();
    writer.set("k", &5).await.unwrap();
    writer.delete("k").await.unwrap();
    assert_eq!(reader.get_or_create("k", async || 9).await, 9, "older than a set and a delete");
}

#[tokio::test]
async fn what_is_kept_beside_a_store_is_not_newer_than_a_value_there() {
    let (reader, writer, _read_only, clock) = reader_and_writer();
    writer.set("k", &0).await.unwrap();
    writer.expire("k").await.unwrap();
    clock.advance(SECOND);
    assert_eq!(reader.get_or_create("k", async || 1).await, 1);
    assert_eq!(reader.get_or_create("k", async || 2).await, 1);
    clock.advance(SECOND);
    writer.set("k", &5).await.unwrap();
    assert_eq!(reader.get_or_create("k", async || 9).await, 5);
}

/// A conditional creation that has waited long knows of what happened meanwhile.
#[tokio::test]
async fn a_value_that_was_invalidated_while_a_caller_waited_is_not_given_to_its_creator() {
    let (store, clock) = (AnyBackend::new(SerializedMemory::new(100)), ManualClock::new());
    let open = || {
        let config = Config::over(store.clone()).clock(clock.clone()).expiration(MINUTE);
        opened(config.stale_while_revalidate(SECOND).shared_invalidation(Duration::ZERO))
    };
    let (here, there) = (open(), open());
    here.set("k", &1).await.unwrap();
    clock.advance(10 * MINUTE);
    let (began, go) = (Notify::new(), Notify::new());
    let holds = async || {
        began.notify_one();
        go.notified().await;
        Err::<i32, _>("down")
    };
    let mut holder = Box::pin(here.try_get_or_create("k", holds));
    assert!(settle(&mut holder).await.is_pending());
    let given = Arc::new(std::sync::Mutex::new(None));
    let unchanged = {
        let given = given.clone();
        move |old: Option<CachedValue<i32>>| {
            let old = old.map(|old| old.value);
            *given.lock().unwrap() = old;
            async move { old.unwrap_or(2) }
        }
    };
    let waiting = here.clone();
    let mut waiter = Box::pin(async move { waiting.entry("k").get_or_update(unchanged).await });
    assert!(settle(&mut waiter).await.is_pending());
    clock.advance(SECOND);
    there.invalidate_all().await.unwrap();
    clock.advance(SECOND);
    go.notify_one();
    assert_eq!(holder.await, Err("down"));
    waiter.await;
    assert_ne!(there.get("k").await.unwrap(), Some(1), "it is there again, as if it were new");
    assert_eq!(*given.lock().unwrap(), None, "it was invalidated before this creation began");
}

/// The read after the next one fails.
#[derive(Clone, Default)]
struct SecondReadFails(Arc<AtomicUsize>);

impl Proxy for SecondReadFails {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        match self.0.load(Ordering::Relaxed) {
            0 => return next.get(key).await,
            left => self.0.store(left - 1, Ordering::Relaxed),
        }
        if self.0.load(Ordering::Relaxed) == 0 {
            return Err(BackendError::unavailable("it is away"));
        }
        next.get(key).await
    }
}

/// A region whose value is fresh has it, whatever becomes of the attempt to create the next one.
#[tokio::test]
async fn an_early_value_is_given_where_its_key_cannot_be_claimed() {
    let (second, clock) = (SecondReadFails::default(), ManualClock::new());
    let config = Config::new(SerializedMemory::new(10)).proxy(second.clone()).clock(clock.clone());
    let region = opened(config.expiration(MINUTE).early(Early::at(0.5)));
    region.set("k", &1).await.unwrap();
    clock.advance(40 * SECOND);
    second.0.store(2, Ordering::Relaxed);
    let got = region.entry("k").strict().get_or_create(async || 2).await;
    assert_eq!(second.0.load(Ordering::Relaxed), 0, "the claim has failed");
    assert!(got.is_ok(), "{got:?}");
}

#[test]
fn a_blocking_call_in_a_runtime_that_nobody_drives_does_not_hang() {
    let (done, ended) = mpsc::channel();
    std::thread::spawn(move || {
        let region = opened(Config::new(Memory::new(10)).soft_timeout(LIMIT));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _entered = runtime.enter();
        let region = region.blocking();
        region.set("k", &1).unwrap();
        region.expire("k").unwrap();
        let got = region.entry("k").get_or_create_in_background(|| 2);
        done.send(got).unwrap();
    });
    assert_eq!(ended.recv_timeout(20 * SECOND).expect("it hangs"), 1);
}

/// The caller of a creation in the background may go away while it waits for that.
#[tokio::test]
async fn a_creation_in_the_background_outlives_a_caller_that_waits_for_it() {
    let (region, _clock) = expired(|config| config.soft_timeout(MINUTE)).await;
    let go = Arc::new(Notify::new());
    let creator = {
        let go = go.clone();
        async move || {
            go.notified().await;
            2
        }
    };
    let mut call = Box::pin(region.entry("k").get_or_create_in_background(creator));
    assert!(settle(&mut call).await.is_pending());
    drop(call);
    go.notify_one();
    assert!(region.drain(20 * SECOND).await);
    assert_eq!(region.get("k").await.unwrap(), Some(2));
}

/// In a region in memory all the same holds for objects.
#[tokio::test]
async fn objects_have_lifetimes_and_are_early() {
    #[derive(Clone, Debug, PartialEq)]
    struct Opaque(u32);
    let clock = ManualClock::new();
    let region: Region<InMemory> = Region::in_memory("objects");
    let config = Config::<InMemory>::new(Memory::new(10)).clock(clock.clone()).expiration(SECOND);
    let config = config.lifetime(|_: &Opaque| Some(MINUTE)).early(Early::at(0.5));
    region.configure(config).unwrap();
    region.set("k", &Opaque(1)).await.unwrap();
    clock.advance(20 * SECOND);
    assert_eq!(region.get_or_create("k", async || Opaque(2)).await, Opaque(1));
    clock.advance(20 * SECOND);
    let fails = async || Err::<Opaque, _>("down");
    assert_eq!(region.entry("k").try_get_or_create(fails).await, Ok(Opaque(1)));
    clock.advance(5 * SECOND);
    assert_eq!(region.get_or_create("k", async || Opaque(2)).await, Opaque(1));
    clock.advance(6 * SECOND);
    let update = async |old: Option<CachedValue<Opaque>>| Opaque(old.unwrap().value.0 + 2);
    assert_eq!(region.entry("k").get_or_update(update).await, Opaque(3));
}

/// A value that stands in for a creation that has failed says so.
#[tokio::test]
async fn a_value_in_place_of_a_remembered_failure_is_one_on_error() {
    let (region, clock) = expired(|config| {
        let config = config.stale_while_revalidate(SECOND).stale_if_error(60 * MINUTE);
        config.retry_after(SECOND).remember_failures(10 * MINUTE)
    })
    .await;
    let fails = async || Err::<i32, _>("down");
    for pause in [Duration::ZERO, 5 * SECOND] {
        clock.advance(pause);
        let got = region.entry("k").share_failures().try_lookup(fails).await.unwrap();
        assert_eq!((got.value, got.status), (1, Status::StaleOnError), "after {pause:?}");
    }
    assert_eq!(region.statistics().stale_on_error, 2);
}

/// Debts hold for what was before them, also when the clock is set back meanwhile.
#[tokio::test]
async fn what_is_created_after_an_invalidation_that_is_owed_is_cached_by_a_clock_set_back() {
    let (faults, clock) = (Faults::new(), ManualClock::new());
    let config = Config::new(SerializedMemory::new(10)).proxy(faults.clone()).clock(clock.clone());
    let region = opened(config.shared_invalidation(Duration::ZERO));
    region.set("k", &1).await.unwrap();
    faults.always(Operation::Set, Fault::Unavailable);
    region.invalidate_all().await.unwrap_err();
    faults.clear();
    clock.set(dogpile::clock::Clock::now(&clock) - 30.0);
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    assert_eq!(region.get_or_create("k", async || 3).await, 2);
}

/// One debt for all keys does not take the values that are created after it.
#[tokio::test]
async fn a_set_after_a_deletion_that_was_too_many_is_fresh() {
    let faults = Faults::new();
    let region = opened(Config::new(SerializedMemory::new(100)).proxy(faults.clone()));
    faults.down();
    for key in 0..10_001 {
        region.entry(key.to_string()).delete().await.unwrap_err();
    }
    faults.clear();
    region.set("k", &1).await.unwrap();
    assert_eq!(region.get("k").await.unwrap(), Some(1));
}

/// Another process had more success since.
#[tokio::test]
async fn a_remembered_failure_is_not_of_a_value_that_was_stored_after_it() {
    let (store, clock) = (AnyBackend::new(SerializedMemory::new(10)), ManualClock::new());
    let open = || {
        let config = Config::over(store.clone()).clock(clock.clone()).expiration(MINUTE);
        opened(config.remember_failures(60 * MINUTE))
    };
    let (here, there) = (open(), open());
    let fails = async || Err::<i32, _>("down");
    let got = here.entry("k").share_failures().try_get_or_create(fails).await;
    assert_eq!(got, Err("down"));
    clock.advance(SECOND);
    there.set("k", &1).await.unwrap();
    clock.advance(2 * MINUTE);
    let up = async || Ok::<_, &str>(2);
    assert_eq!(here.entry("k").share_failures().try_get_or_create(up).await, Ok(2));
}

#[tokio::test]
async fn a_runner_that_panics_leaves_no_key_held() {
    let runner = |_: Job| panic!("a runner that panics");
    let (region, _clock) = expired(|config| config.runner(runner).soft_timeout(LIMIT)).await;
    let call = {
        let region = region.clone();
        async move { region.entry("k").get_or_create_in_background(async || 2).await }
    };
    assert!(tokio::spawn(call).await.is_err());
    assert!(region.drain(Duration::ZERO).await && !region.key_is_locked("k").await.unwrap());
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
}

#[tokio::test]
async fn a_blocking_conditional_creation_in_a_runtime_of_one_thread_does_not_hang() {
    let folder = tempfile::tempdir().unwrap();
    let file = File::builder(folder.path().join("cache")).open().unwrap();
    let region = opened(Config::over(AnyBackend::new(file)));
    region.set("k", &1).await.unwrap();
    region.expire("k").await.unwrap();
    let unchanged = |old: Option<CachedValue<i32>>| old.map_or(2, |old| old.value + 10);
    let got = region.blocking().entry("k").get_or_update(unchanged);
    assert!([2, 11].contains(&got), "{got}");
    let free = async {
        while region.key_is_locked("k").await.unwrap() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(20 * SECOND, free).await.expect("the key is still held");
}

#[tokio::test]
async fn strict_calls_have_remembered_failures_as_those_of_creators() {
    let config = Config::new(Memory::new(10)).clock(ManualClock::new());
    let region = opened(config.remember_failures(MINUTE));
    let ask = async |result: Result<i32, &'static str>| {
        region.entry("k").share_failures().strict().try_get_or_create(async || result).await
    };
    for result in [Err("down"), Ok(1)] {
        let got = ask(result).await;
        assert!(matches!(got, Err(dogpile::CreateError::Creator("down"))), "{got:?}");
    }
    let got = region.entries(["k", "l"]).share_failures();
    let got = got.try_get_or_create(async |_| Ok::<_, &str>(vec![1, 2])).await;
    assert!(matches!(got, Err(dogpile::CreateError::Creator("down"))), "{got:?}");
    // Errors of another type are not theirs.
    let other = region.entry("k").share_failures().try_get_or_create(async || Ok::<_, u8>(5));
    assert_eq!(other.await, Ok(5));
    let counted = region.statistics();
    assert_eq!(counted.hits + counted.stale + counted.misses, 5);
}
