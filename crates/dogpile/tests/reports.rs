//! Bugs that were reported to comparable projects, tried here.

mod polled;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::{Config, Early, Region, Status};
use dogpile_testkit::ManualClock;
use polled::settle;
use tokio::sync::Notify;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(100);

fn opened(config: Config) -> Arc<Region> {
    let region = Region::new("threads");
    region.configure(config).unwrap();
    Arc::new(region)
}

/// A region in memory whose key `k` holds 1, of a minute's life and this age.
async fn aged(age: Duration, change: impl FnOnce(Config) -> Config) -> (Arc<Region>, ManualClock) {
    let clock = ManualClock::new();
    let config = Config::new(Memory::new(100)).clock(clock.clone()).expiration(MINUTE);
    let region = opened(change(config));
    region.set("k", &1).await.unwrap();
    clock.advance(age);
    (region, clock)
}

async fn until_free(region: &Region) {
    while region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
}

/// Returns a creator that ends with `result` when it is told to.
fn gated<T: Send + 'static>(
    go: &Arc<Notify>,
    result: T,
) -> impl Future<Output = T> + Send + use<T> {
    let go = go.clone();
    async move {
        go.notified().await;
        result
    }
}

/// `FusionCache` 332: a creation that fails after the soft timeout did not count as failed.
#[tokio::test]
async fn a_failure_after_the_soft_timeout_counts_as_one() {
    let (region, clock) =
        aged(2 * MINUTE, |config| config.soft_timeout(LIMIT).stale_if_error(60 * MINUTE)).await;
    let go = Arc::new(Notify::new());
    let fails = gated(&go, Err::<i32, _>("down"));
    let mut call = Box::pin(region.entry("k").try_get_or_create_in_background(|| fails));
    assert!(settle(&mut call).await.is_pending());
    clock.advance(LIMIT);
    assert_eq!(call.await, Ok(1));
    go.notify_one();
    until_free(&region).await;
    let next = region.entry("k").try_lookup(async || Ok::<_, &str>(2)).await.unwrap();
    assert_eq!((next.value, next.status), (1, Status::StaleOnError));
    clock.advance(11 * SECOND);
    assert_eq!(region.get_or_create("k", async || 3).await, 3);
}

/// `FusionCache` 560: under load with timeouts, a stale value stayed for good.
#[tokio::test]
async fn the_newest_value_stays_after_many_soft_timeouts() {
    let (region, clock) =
        aged(Duration::ZERO, |config| config.soft_timeout(LIMIT).stale_if_error(60 * MINUTE)).await;
    let made = Arc::new(AtomicUsize::new(1));
    for _ in 0..30 {
        clock.advance(2 * MINUTE);
        let go = Arc::new(Notify::new());
        let calls: Vec<_> = (0..20)
            .map(|_| {
                let (region, made, go) = (region.clone(), made.clone(), go.clone());
                tokio::spawn(async move {
                    let creator = async move || {
                        go.notified().await;
                        i32::try_from(made.fetch_add(1, Ordering::SeqCst) + 1).unwrap()
                    };
                    region.entry("k").get_or_create_in_background(creator).await
                })
            })
            .collect();
        let before = i32::try_from(made.load(Ordering::SeqCst)).unwrap();
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        clock.advance(LIMIT);
        for call in calls {
            assert_eq!(call.await.unwrap(), before);
        }
        go.notify_one();
        until_free(&region).await;
        assert_eq!(region.get("k").await.unwrap(), Some(before + 1));
    }
}

/// `FusionCache` 583: a creation in the background hung with the context of its caller.
#[test]
fn a_key_is_free_when_the_runtime_of_its_creation_ends() {
    let runtime = || tokio::runtime::Builder::new_current_thread().build().unwrap();
    let (region, clock) = runtime().block_on(async {
        let (region, clock) = aged(2 * MINUTE, |config| config.soft_timeout(LIMIT)).await;
        let hangs = std::future::pending::<i32>;
        let mut call = Box::pin(region.entry("k").get_or_create_in_background(hangs));
        assert!(settle(&mut call).await.is_pending());
        clock.advance(LIMIT);
        assert_eq!(call.await, 1);
        (region, clock)
    });
    runtime().block_on(async {
        assert!(region.drain(Duration::ZERO).await);
        let mut call = Box::pin(region.entry("k").get_or_create_in_background(async || 2));
        let got = match settle(&mut call).await {
            Poll::Ready(got) => got,
            Poll::Pending => {
                clock.advance(LIMIT);
                call.await
            }
        };
        assert_eq!(got, 2);
    });
}

/// dialogporten 4300 (`FusionCache`): a creation that hangs held its key for ever.
#[tokio::test]
async fn a_creation_in_the_background_that_hangs_ends_after_ten_minutes() {
    let (region, clock) = aged(2 * MINUTE, |config| config.soft_timeout(LIMIT)).await;
    let hangs = std::future::pending::<i32>;
    let mut call = Box::pin(region.entry("k").get_or_create_in_background(hangs));
    assert!(settle(&mut call).await.is_pending());
    clock.advance(LIMIT);
    assert_eq!(call.await, 1);
    clock.advance(11 * MINUTE);
    until_free(&region).await;
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    assert!(region.drain(Duration::ZERO).await);
}

/// moka 549 and 561: a value without a lifetime inherited that of the expired one before it.
#[tokio::test]
async fn a_value_without_a_lifetime_does_not_inherit_one() {
    for backend in [AnyBackend::new(Memory::new(10)), AnyBackend::new(SerializedMemory::new(10))] {
        let clock = ManualClock::new();
        let config = Config::over(backend).clock(clock.clone());
        let region = opened(config.lifetime(|value: &i32| (*value < 0).then_some(SECOND)));
        region.set("k", &-1).await.unwrap();
        clock.advance(2 * SECOND);
        assert_eq!(region.get_or_create("k", async || 1).await, 1);
        clock.advance(1_000 * MINUTE);
        assert_eq!(region.get("k").await.unwrap(), Some(1));
        region.set("k", &-2).await.unwrap();
        clock.advance(2 * SECOND);
        assert_eq!(region.get::<i32>("k").await.unwrap(), None);
        region.set("k", &2).await.unwrap();
        clock.advance(1_000 * MINUTE);
        assert_eq!(region.get("k").await.unwrap(), Some(2));
    }
}

/// moka 248: a lifetime of zero was a panic.
#[tokio::test]
async fn a_lifetime_may_be_zero_or_tiny() {
    for lifetime in [Duration::ZERO, Duration::from_nanos(1)] {
        let config = Config::new(Memory::new(10)).early(Early::adaptive()).jitter(0.5);
        let region = opened(config.lifetime(move |_: &i32| Some(lifetime)).resilient());
        for n in 0..3 {
            let got = region.get_or_create("k", async || n).await;
            assert!(got <= n);
        }
    }
}

/// Caffeine 193: an invalidation during a refresh was undone by that.
#[tokio::test]
async fn a_change_during_an_early_creation_stays() {
    for change in ["delete", "set", "expire", "expire_all", "invalidate_all", "refresh"] {
        let (region, _clock) = aged(40 * SECOND, |config| config.early(Early::at(0.5))).await;
        let go = Arc::new(Notify::new());
        let slow = gated(&go, 2);
        assert_eq!(region.entry("k").get_or_create_in_background(|| slow).await, 1);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        let expected = match change {
            "delete" => region.delete("k").await.map(|()| None),
            "set" => region.set("k", &5).await.map(|()| Some(5)),
            "expire" => region.expire("k").await.map(|()| None),
            "expire_all" => region.expire_all().await.map(|()| None),
            "refresh" => Ok(Some(region.entry("k").refresh(async || 6).await)),
            _ => region.invalidate_all().await.map(|()| None),
        };
        go.notify_one();
        assert!(region.drain(20 * SECOND).await);
        assert_eq!(region.get("k").await.unwrap(), expected.unwrap(), "{change}");
    }
}

/// Caffeine 373: a value did not expire while it was being refreshed.
#[tokio::test]
async fn a_value_expires_while_its_early_creation_hangs() {
    let early = |config: Config| config.early(Early::at(0.5)).stale_while_revalidate(SECOND);
    let (region, clock) = aged(40 * SECOND, early).await;
    let hangs = std::future::pending::<i32>;
    assert_eq!(region.entry("k").get_or_create_in_background(hangs).await, 1);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert_eq!(region.get("k").await.unwrap(), Some(1));
    clock.advance(MINUTE);
    assert_eq!(region.get::<i32>("k").await.unwrap(), None);
    let mut waits = Box::pin(region.entry("k").get_or_create(async || 2));
    assert!(settle(&mut waits).await.is_pending());
    clock.advance(10 * MINUTE);
    assert_eq!(settle(&mut waits).await, Poll::Ready(2));
}

/// Caffeine 175: where a load took longer than the interval of refreshes, the old value stayed.
#[tokio::test]
async fn creations_that_take_longer_than_the_expiration_are_stored() {
    let (region, clock) =
        aged(40 * SECOND, |config| config.early(Early::adaptive()).soft_timeout(LIMIT)).await;
    for n in 2..6 {
        clock.advance(2 * MINUTE);
        let go = Arc::new(Notify::new());
        let slow = gated(&go, n);
        let mut call = Box::pin(region.entry("k").get_or_create_in_background(|| slow));
        assert!(settle(&mut call).await.is_pending());
        clock.advance(5 * MINUTE);
        assert_eq!(call.await, n - 1);
        go.notify_one();
        until_free(&region).await;
        assert_eq!(region.get("k").await.unwrap(), Some(n));
    }
}

/// Caffeine 217: the longest lifetime was none.
#[tokio::test]
async fn the_longest_lifetime_is_for_ever() {
    for backend in [AnyBackend::new(Memory::new(10)), AnyBackend::new(SerializedMemory::new(10))] {
        let clock = ManualClock::new();
        let config = Config::over(backend).clock(clock.clone()).expiration(MINUTE);
        let region = opened(config.lifetime(|_: &i32| Some(Duration::MAX)));
        region.set("k", &1).await.unwrap();
        clock.advance(2 * MINUTE);
        assert_eq!(region.get("k").await.unwrap(), Some(1));
    }
}

/// streamlit 16057: after a refresh that failed, one that succeeded in the foreground did not end
/// the pause.
#[tokio::test]
async fn a_creation_that_succeeds_ends_the_pause_after_a_failure() {
    let early = |config: Config| config.early(Early::at(0.5)).retry_after(60 * MINUTE);
    let (region, clock) = aged(40 * SECOND, early).await;
    assert_eq!(region.try_get_or_create("k", async || Err::<i32, _>("down")).await, Ok(1));
    clock.advance(MINUTE);
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    clock.advance(40 * SECOND);
    assert_eq!(region.get_or_create("k", async || 3).await, 3, "it is early");
}

/// cache-manager 619: a refresh in the background ran once for each caller.
#[tokio::test]
async fn an_early_value_is_created_once_for_many_callers() {
    let (region, _clock) = aged(40 * SECOND, |config| config.early(Early::at(0.5))).await;
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let runs = runs.clone();
        let creator = async move || {
            runs.fetch_add(1, Ordering::SeqCst);
            tokio::task::yield_now().await;
            2
        };
        region.entry("k").get_or_create_in_background(creator).await;
    }
    assert!(region.drain(20 * SECOND).await);
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let counted = region.statistics();
    assert_eq!(counted.hits + counted.stale + counted.misses, 100);
}

/// Go 33519 and 41133 (`singleflight`): after a panic all others hung.
#[tokio::test]
async fn a_panic_of_an_early_or_conditional_creation_is_its_callers_alone() {
    let (region, clock) = aged(40 * SECOND, |config| config.early(Early::at(0.5))).await;
    let panics = |region: Arc<Region>| {
        tokio::spawn(async move {
            region.entry("k").get_or_update(async |_| -> i32 { panic!("it panics") }).await
        })
    };
    assert!(panics(region.clone()).await.is_err());
    let next = region.entry("k").lookup(async || 2).await;
    assert_eq!((next.value, next.status), (1, Status::Hit), "no other attempt for a while");
    clock.advance(11 * SECOND);
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    clock.advance(2 * MINUTE);
    let calls: Vec<_> = (0..20).map(|_| panics(region.clone())).collect();
    for call in calls {
        // Who finds the key held has the stale value.
        if let Ok(value) = call.await {
            assert_eq!(value, 2);
        }
    }
    assert!(!region.key_is_locked("k").await.unwrap());
    assert_eq!(region.get_or_create("k", async || 3).await, 3);
}
