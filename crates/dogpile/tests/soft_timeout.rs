//! Creations that take longer than their callers wait: these get a stale value.

mod polled;

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, Status};
use dogpile_testkit::ManualClock;
use polled::settle;
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);
const LIMIT: Duration = Duration::from_millis(100);

/// A region whose key `k` holds 1, and has expired `ago`.
async fn expired(
    ago: Duration,
    change: impl FnOnce(Config) -> Config,
) -> (Arc<Region>, ManualClock) {
    let (region, clock) = (Region::new("soft"), ManualClock::new());
    let config = Config::new(Memory::new(10)).clock(clock.clone()).expiration(MINUTE);
    region.configure(change(config.soft_timeout(LIMIT))).unwrap();
    region.set("k", &1).await.unwrap();
    clock.advance(MINUTE + ago);
    (Arc::new(region), clock)
}

/// Creates 2 when it is told to.
fn gated(go: &Arc<Notify>) -> impl Future<Output = i32> + Send + use<> {
    let go = go.clone();
    async move {
        go.notified().await;
        2
    }
}

async fn until_free(region: &Region) {
    while region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_creation_in_time_is_waited_for() {
    let (region, _clock) = expired(MINUTE, |config| config).await;
    let go = Arc::new(Notify::new());
    let created = gated(&go);
    let mut call = Box::pin(region.entry("k").get_or_create_in_background(|| created));
    assert_eq!(settle(&mut call).await, Poll::Pending);
    go.notify_one();
    assert_eq!(call.await, 2);
    let counted = region.statistics();
    assert_eq!((counted.stale, counted.misses, counted.creations), (0, 1, 1));
}

#[tokio::test]
async fn a_slow_one_goes_on_without_its_caller() {
    let (region, clock) = expired(MINUTE, |config| config).await;
    let go = Arc::new(Notify::new());
    let created = gated(&go);
    let mut call = Box::pin(region.entry("k").get_or_create_in_background(|| created));
    assert_eq!(settle(&mut call).await, Poll::Pending);
    clock.advance(LIMIT);
    assert_eq!(call.await, 1);
    // Others do not wait at all.
    assert_eq!(region.entry("k").lookup(async || 3).await.status, Status::Stale);
    go.notify_one();
    until_free(&region).await;
    let next = region.entry("k").lookup(async || 3).await;
    assert_eq!((next.value, next.status), (2, Status::Hit));
}

#[tokio::test]
async fn a_failure_in_time_is_the_callers_unless_a_stale_value_stands_in() {
    let fails = async || Err::<i32, _>("down");
    let (region, _clock) = expired(MINUTE, |config| config).await;
    let got = region.entry("k").try_get_or_create_in_background(fails).await;
    assert_eq!(got, Err("down"));
    let (region, _clock) = expired(MINUTE, |config| config.stale_if_error(2 * MINUTE)).await;
    let got = region.entry("k").try_get_or_create_in_background(fails).await;
    assert_eq!(got, Ok(1));
    assert_eq!(region.statistics().stale_on_error, 1);
    // At its own limit it is dropped, and there is a value that is better than waiting on.
    let (region, _clock) = expired(MINUTE, |config| config.creation_timeout(Duration::ZERO)).await;
    let hangs = async |_| std::future::pending::<Vec<i32>>().await;
    let got = region.entries(["k"]).get_or_create_in_background(hangs).await;
    assert_eq!(got.unwrap(), [1]);
}

/// A job that comes to nothing leaves its caller with what there is.
#[tokio::test]
async fn a_job_that_is_dropped_or_panics_leaves_the_stale_value() {
    let (region, _clock) = expired(MINUTE, |config| config.runner(drop)).await;
    assert_eq!(region.entry("k").get_or_create_in_background(async || 2).await, 1);
    until_free(&region).await;
    let (region, _clock) = expired(MINUTE, |config| config).await;
    let panics = async || -> i32 { panic!("it panics") };
    assert_eq!(region.entry("k").get_or_create_in_background(panics).await, 1);
    until_free(&region).await;
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
}

/// A value that is too old to be served, and may stand in for a failure: it is better than waiting
/// on, for the elected caller and for those who wait for it.
#[tokio::test]
async fn a_spare_value_is_given_after_the_limit() {
    let spare = |config: Config| {
        config.stale_while_revalidate(Duration::from_secs(1)).stale_if_error(10 * MINUTE)
    };
    let (region, clock) = expired(MINUTE, spare).await;
    let go = Arc::new(Notify::new());
    let created = gated(&go);
    let mut elected = Box::pin(region.entry("k").get_or_create_in_background(|| created));
    assert_eq!(settle(&mut elected).await, Poll::Pending);
    let mut waiter = Box::pin(region.entry("k").lookup(async || 3));
    assert!(settle(&mut waiter).await.is_pending());
    clock.advance(LIMIT);
    assert_eq!(elected.await, 1);
    let waited = waiter.await;
    assert_eq!((waited.value, waited.status), (1, Status::Stale));
    go.notify_one();
    until_free(&region).await;
    assert_eq!(region.get::<i32>("k").await.unwrap(), Some(2));
    // One that may do neither is waited for.
    let (region, clock) = expired(20 * MINUTE, spare).await;
    let mut call =
        Box::pin(region.entry("k").get_or_create_in_background(std::future::pending::<i32>));
    assert!(settle(&mut call).await.is_pending());
    clock.advance(LIMIT);
    assert!(settle(&mut call).await.is_pending());
}

/// A caller who waits longer than the wait timeout gets the value that stands in for the new one.
#[tokio::test]
async fn a_spare_value_is_given_at_the_wait_timeout() {
    let spare = |config: Config| {
        let config = config.stale_while_revalidate(Duration::from_secs(1));
        config.stale_if_error(10 * MINUTE).soft_timeout(MINUTE).wait_timeout(LIMIT)
    };
    let (region, clock) = expired(MINUTE, spare).await;
    let mut elected = Box::pin(region.entry("k").get_or_create(std::future::pending::<i32>));
    assert!(settle(&mut elected).await.is_pending());
    let mut waiter = Box::pin(region.entry("k").strict().lookup(async || 3));
    assert!(settle(&mut waiter).await.is_pending());
    clock.advance(LIMIT);
    let waited = waiter.await.unwrap();
    assert_eq!((waited.value, waited.status), (1, Status::Stale));
}

/// A thread on which the creation would have to go on cannot wait for it.
#[tokio::test]
async fn a_blocking_call_within_a_runtime_of_one_thread_has_the_stale_value_at_once() {
    let (region, _clock) = expired(MINUTE, |config| config).await;
    assert_eq!(region.blocking().entry("k").get_or_create_in_background(|| 2), 1);
    let values = region.blocking().entries(["k"]).get_or_create_in_background(|_| vec![2]);
    assert_eq!(values.unwrap(), [1]);
    until_free(&region).await;
    assert_eq!(region.get::<i32>("k").await.unwrap(), Some(2));
}

#[test]
fn a_blocking_call_waits_for_a_creation_in_time() {
    let region = Region::new("soft");
    let config = Config::new(Memory::new(10)).soft_timeout(MINUTE);
    region.configure(config).unwrap();
    let region = region.blocking();
    region.set("k", &1).unwrap();
    region.expire("k").unwrap();
    assert_eq!(region.entry("k").get_or_create_in_background(|| 2), 2);
}

/// A region's creations in the background are waited for, and those of others are not.
#[tokio::test]
async fn a_region_is_drained() {
    let (region, clock) = expired(MINUTE, |config| config).await;
    let (other, _clock) = expired(MINUTE, |config| config.soft_timeout(Duration::ZERO)).await;
    assert!(region.drain(Duration::ZERO).await);
    let go = Arc::new(Notify::new());
    let creator = {
        let go = go.clone();
        async move || go.notified().await
    };
    other.entry("k").get_or_create_in_background(std::future::pending::<i32>).await;
    region.set("slow", &()).await.unwrap();
    region.expire("slow").await.unwrap();
    let mut call = Box::pin(region.entry("slow").get_or_create_in_background(creator));
    assert!(settle(&mut call).await.is_pending());
    clock.advance(LIMIT);
    call.await;
    assert!(!region.drain(Duration::from_millis(1)).await);
    let mut drained = Box::pin(region.drain(MINUTE));
    assert!(settle(&mut drained).await.is_pending());
    go.notify_one();
    assert!(drained.await);
    assert_eq!(region.statistics().creations, 1);
}

/// A creation that waits for those of its region leaves itself out.
#[tokio::test]
async fn a_creator_in_the_background_may_drain_its_region() {
    let (region, _clock) = expired(MINUTE, |config| config.soft_timeout(Duration::ZERO)).await;
    region.set("other", &1).await.unwrap();
    region.expire("other").await.unwrap();
    let go = Arc::new(Notify::new());
    let other = gated(&go);
    region.entry("other").get_or_create_in_background(|| other).await;
    let draining = region.clone();
    let drains = async move || i32::from(draining.drain(MINUTE).await) + 1;
    assert_eq!(region.entry("k").get_or_create_in_background(drains).await, 1);
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    assert!(region.key_is_locked("k").await.unwrap(), "it waits for the other");
    go.notify_one();
    until_free(&region).await;
    assert_eq!(region.get("k").await.unwrap(), Some(2));
}
