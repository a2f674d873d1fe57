//! Checks of creations that fail: what stands in for them, and who tries again.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::Status;
use tokio::sync::Notify;
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::EXPIRATION;

const HOUR: Duration = Duration::from_secs(3_600);
const LIMIT: Duration = Duration::from_secs(30);

/// A creator that hangs is dropped at the creation timeout, and the next caller creates.
pub async fn a_hung_creator_frees_its_key(fixture: Fixture) {
    let (region, clock) = fixture.region();
    let key = fixture.key("hung");
    let began = Notify::new();
    let hangs = async || {
        began.notify_one();
        pending::<u32>().await
    };
    let entry = region.entry(&key).strict().creation_timeout(LIMIT);
    let advance = async {
        began.notified().await;
        assert!(region.key_is_locked(&key).await.unwrap());
        clock.advance(LIMIT * 2);
    };
    let (ended, ()) = tokio::join!(entry.get_or_create(hangs), advance);
    assert!(ended.unwrap_err().is_timeout());
    assert_eq!(region.entry(&key).strict().get_or_create(async || 2_u32).await.unwrap(), 2);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(2), "it is stored");
}

/// A stale value stands in for a creation that has failed, and no process tries again
/// before its time.
pub async fn a_failed_creation_is_known_to_every_process(fixture: Fixture) {
    let (region, clock) = fixture.region();
    let peer = fixture.peer.clone().unwrap_or_else(|| fixture.backend.clone());
    let (other, other_clock) = fixture.region_over(peer);
    let key = fixture.key("failing");
    region.set(&key, &1_u32).await.unwrap();
    for clock in [&clock, &other_clock] {
        clock.advance(EXPIRATION * 2);
    }
    let entry = |region| dogpile::Region::entry(region, &key).stale_if_error(HOUR);
    let found = entry(&region).try_lookup(async || Err::<u32, _>("it fails")).await.unwrap();
    assert_eq!((found.value, found.status), (1, Status::StaleOnError));
    for region in [&other, &region] {
        let found = entry(region).lookup(async || -> u32 { panic!("it is too early") }).await;
        assert_eq!((found.value, found.status), (1, Status::StaleOnError));
    }
    for clock in [&clock, &other_clock] {
        clock.advance(Duration::from_secs(11));
    }
    assert_eq!(entry(&other).get_or_create(async || 2_u32).await, 2);
    assert_eq!(region.get::<u32>(&key).await.unwrap(), Some(2));
}

/// A crowd in two processes before a cold key whose creator fails: where failures are shared, that
/// costs one creation in each of them at most.
pub async fn a_shared_failure_costs_one_creation_a_process(fixture: Fixture) {
    let peer = fixture.peer.clone().unwrap_or_else(|| fixture.backend.clone());
    let regions = [fixture.region().0, fixture.region_over(peer).0];
    let key = fixture.key("shared-failure");
    let runs = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
    let mut calls = JoinSet::new();
    for (region, runs) in regions.iter().zip(&runs) {
        for _ in 0..50 {
            let (region, runs, key) = (region.clone(), runs.clone(), key.clone());
            calls.spawn(async move {
                let creator = async || {
                    runs.fetch_add(1, Ordering::SeqCst);
                    // Long enough for all to come before its end.
                    tokio::time::sleep(Duration::from_millis(300)).await;
                    Err::<u32, _>("it fails")
                };
                let entry = region.entry(&key).share_failures();
                assert_eq!(entry.try_get_or_create(creator).await, Err("it fails"));
            });
        }
    }
    calls.join_all().await;
    for runs in runs {
        let runs = runs.load(Ordering::SeqCst);
        assert!(runs <= 1, "{runs} creations in one process");
    }
}
