//! Invalidation whose moments lie in the backend: two regions over one store
//! stand for two processes.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::{AnyBackend, SerializedMemory};
use dogpile::clock::{Clock, SystemClock};
use dogpile::invalidation::Mode;
use dogpile::invalidation::{Invalidation, SharedInvalidation};
use dogpile::proxy::Layer;
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Region};
use dogpile_testkit::{Fault, Faults, ManualClock, Operation};

const DELAY: Duration = Duration::from_secs(5);

fn region(backend: &AnyBackend, clock: &ManualClock) -> Region {
    let region = Region::new("shared");
    let strategy = SharedInvalidation::new(backend.clone(), "shared", DELAY);
    let config =
        Config::over(backend.clone()).clock(clock.clone()).invalidation(Arc::new(strategy));
    region.configure(config).unwrap();
    region
}

async fn number(region: &Region) -> Option<u32> {
    region.get("k").await.unwrap()
}

#[tokio::test]
async fn other_processes_obey_within_the_delay() {
    let backend = AnyBackend::new(SerializedMemory::new(100));
    let clock = ManualClock::new();
    let (here, there) = (region(&backend, &clock), region(&backend, &clock));
    here.set("k", &1).await.unwrap();
    assert_eq!(number(&there).await, Some(1));
    clock.advance(Duration::from_secs(1));
    here.invalidate_all().await.unwrap();
    assert_eq!(number(&here).await, None, "at once where it was called");
    assert_eq!(number(&there).await, Some(1), "not looked again yet");
    clock.advance(DELAY);
    assert_eq!(number(&there).await, None);
    assert_eq!(there.get_multi::<u32, _>(["k"]).await.unwrap(), [None]);
    let made: u32 = there.get_or_create("k", async || 2).await;
    assert_eq!((made, number(&here).await), (2, Some(2)));
}

/// A creation that began after another process's invalidation is ended by one here, however soon that comes.
#[tokio::test]
async fn an_invalidation_soon_after_another_process_s_ends_what_began_between() {
    for nanoseconds in [0, 300, 600, 900, 1_200] {
        let backend = AnyBackend::new(SerializedMemory::new(100));
        let clock = ManualClock::at(1_763_700_000.0);
        region(&backend, &clock).invalidate_all().await.unwrap();
        let here = region(&backend, &clock);
        let creator = async || {
            clock.advance(Duration::from_nanos(nanoseconds));
            here.invalidate_all().await.unwrap();
            1
        };
        assert_eq!(here.get_or_create("k", creator).await, 1);
        assert_eq!(number(&here).await, None, "after {nanoseconds} ns");
    }
}

#[tokio::test]
async fn a_process_that_starts_later_knows() {
    let backend = AnyBackend::new(SerializedMemory::new(100));
    let clock = ManualClock::new();
    let here = region(&backend, &clock);
    here.set("k", &1).await.unwrap();
    clock.advance(Duration::from_secs(1));
    here.expire_all().await.unwrap();
    let late = region(&backend, &clock);
    assert_eq!(number(&late).await, None);
    let stale = late.entry("k").ignore_expiration().get::<u32>().await.unwrap();
    assert_eq!(stale, Some(1));
    let made: u32 = late.get_or_create("k", async || 2).await;
    assert_eq!(made, 2);
}

#[tokio::test]
async fn a_backend_that_is_away_leaves_what_was_known() {
    let faults = Faults::new();
    let backend = faults.clone().layer(AnyBackend::new(SerializedMemory::new(100)));
    let clock = ManualClock::new();
    let here = region(&backend, &clock);
    here.set("k", &1).await.unwrap();
    here.invalidate_all().await.unwrap();
    clock.advance(DELAY);
    faults.always(Operation::Get, Fault::Unavailable);
    let made: u32 = here.get_or_create("k", async || 2).await;
    assert_eq!(made, 2);
    let error = here.invalidate_all().await.unwrap_err().to_string();
    assert!(error.contains("invalidate"), "{error}");
    faults.clear();
    assert_eq!(number(&here).await, None, "what was known is in force, and 2 was not claimed");
    let made: u32 = here.get_or_create("k", async || 3).await;
    assert_eq!((made, number(&here).await), (3, Some(3)));
}

async fn moments(backend: &AnyBackend, strategy: &SharedInvalidation) -> serde_json::Value {
    let entry = backend.get(strategy.key()).await.unwrap().unwrap();
    let Payload::Bytes(bytes) = entry.payload else { panic!("moments are bytes") };
    serde_json::from_slice(&bytes).unwrap()
}

/// Writers of both moments at once, in any order, end with the latest of each.
#[tokio::test(flavor = "multi_thread")]
async fn moments_written_at_once_do_not_lose_each_other() {
    let backend = AnyBackend::new(SerializedMemory::new(100));
    let strategies: Vec<_> = (0..4)
        .map(|_| Arc::new(SharedInvalidation::new(backend.clone(), "shared", DELAY)))
        .collect();
    let now = SystemClock.now();
    let writes = (0..64).map(|n| {
        let strategy = strategies[n % strategies.len()].clone();
        let mode = if n % 3 == 0 { Mode::Hard } else { Mode::Soft };
        // The latest ones are neither the first nor the last to be written.
        let at = now - ((n * 29) % 64) as f64 / 1_000.0;
        tokio::spawn(async move { strategy.invalidate(mode, at).await.map(|()| (mode, at)) })
    });
    let (mut hard, mut soft) = (0.0, 0.0);
    for write in writes.collect::<Vec<_>>() {
        let (mode, at) = write.await.unwrap().unwrap();
        let latest: &mut f64 = if mode == Mode::Hard { &mut hard } else { &mut soft };
        *latest = latest.max(at);
    }
    let stored = moments(&backend, &strategies[0]).await;
    assert_eq!((stored["hard"].as_f64(), stored["soft"].as_f64()), (Some(hard), Some(soft)));
}

/// A moment that a wrong clock wrote invalidates nothing, and gives way to the next one.
#[tokio::test]
async fn a_moment_far_ahead_is_ignored() {
    let backend = AnyBackend::new(SerializedMemory::new(100));
    let clock = ManualClock::new();
    let region = region(&backend, &clock);
    let strategy = SharedInvalidation::new(backend.clone(), "shared", DELAY);
    let ahead = format!(r#"{{"hard":{}}}"#, clock.now() + 1e9);
    backend.set(strategy.key(), Entry::bytes(ahead, clock.now())).await.unwrap();
    region.set("k", &1).await.unwrap();
    assert_eq!(number(&region).await, Some(1));
    clock.advance(DELAY);
    assert_eq!(number(&region).await, Some(1));
    region.invalidate_all().await.unwrap();
    assert_eq!(number(&region).await, None);
    let stored = moments(&backend, &strategy).await;
    assert_eq!(stored["hard"].as_f64(), Some(clock.now()));
}
