//! Checks of the mutex that a backend brings, where it brings one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{Claimed, Seen};
use dogpile::lock::{AnyMutex, Mutex};
use tokio::task::JoinSet;

use super::Fixture;
use super::fixture::text;

const CT: f64 = 1_763_700_000.5;

async fn is_free_soon(mutex: &AnyMutex, key: &str) {
    while mutex.is_locked(key).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// One holder per key at a time; other keys are free.
pub async fn a_mutex_excludes_and_frees(fixture: Fixture) {
    let Some(mutex) = fixture.backend.mutex() else { return };
    let (key, other) = (fixture.key("mutex"), fixture.key("other"));
    assert!(!mutex.is_locked(&key).await.unwrap());
    let lease = mutex.try_lock(&key).await.unwrap().expect("the mutex is free");
    assert!(mutex.try_lock(&key).await.unwrap().is_none());
    assert!(mutex.is_locked(&key).await.unwrap());
    assert!(!mutex.is_locked(&other).await.unwrap());
    mutex.unlock(lease).await.unwrap();
    assert!(!mutex.is_locked(&key).await.unwrap());
    let again = mutex.try_lock(&key).await.unwrap().expect("the mutex is free again");
    mutex.unlock(again).await.unwrap();
}

/// A lease that is dropped, as when a creator is cancelled, is given up soon.
pub async fn a_dropped_lease_frees_the_mutex(fixture: Fixture) {
    let Some(mutex) = fixture.backend.mutex() else { return };
    let key = fixture.key("dropped");
    drop(mutex.try_lock(&key).await.unwrap().expect("the mutex is free"));
    is_free_soon(&mutex, &key).await;
}

/// A waiter returns after the holder has unlocked, and finds the mutex free or
/// has it.
pub async fn a_waiter_is_woken(fixture: Fixture) {
    let Some(mutex) = fixture.backend.mutex() else { return };
    let key = fixture.key("waited");
    let lease = mutex.try_lock(&key).await.unwrap().expect("the mutex is free");
    let waiter = tokio::spawn({
        let (mutex, key) = (mutex.clone(), key.clone());
        async move {
            loop {
                let lease = match mutex.wait(&key).await.unwrap() {
                    Some(lease) => Some(lease),
                    None => mutex.try_lock(&key).await.unwrap(),
                };
                if let Some(lease) = lease {
                    return mutex.unlock(lease).await.unwrap();
                }
            }
        }
    });
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!waiter.is_finished());
    mutex.unlock(lease).await.unwrap();
    waiter.await.unwrap();
    assert!(!mutex.is_locked(&key).await.unwrap());
}

/// A claim takes the mutex only if the value is the one that was seen.
pub async fn a_claim_sees_what_was_stored_meanwhile(fixture: Fixture) {
    let Some(mutex) = fixture.backend.mutex() else { return };
    let [cold, known, changed, held] = ["1", "2", "3", "4"].map(|name| fixture.key(name));
    fixture.backend.set(&known, fixture.entry("known", CT)).await.unwrap();
    fixture.backend.set(&changed, fixture.entry("changed", CT + 1.0)).await.unwrap();
    let lease = mutex.try_lock(&held).await.unwrap().expect("the mutex is free");
    let wanted = [
        (cold.as_str(), Seen::Nothing),
        (&known, Seen::Created(CT)),
        (&changed, Seen::Created(CT)),
        (&held, Seen::Nothing),
    ];
    let mut claims = fixture.backend.claim(&wanted).await.unwrap().into_iter();
    for _ in 0..2 {
        let Some(Claimed::Won(lease)) = claims.next() else { panic!("the key is free") };
        mutex.unlock(lease).await.unwrap();
    }
    assert!(matches!(claims.next(), Some(Claimed::Changed(entry)) if text(&entry) == "changed"));
    assert!(matches!(claims.next(), Some(Claimed::Held)));
    // A changed value's mutex is not kept.
    is_free_soon(&mutex, &changed).await;
    mutex.unlock(lease).await.unwrap();
}

/// A commit stores and gives the mutex up, for several keys at once.
pub async fn a_commit_stores_and_frees(fixture: Fixture) {
    let Some(mutex) = fixture.backend.mutex() else { return };
    let keys = ["1", "2", "3"].map(|name| fixture.key(name));
    let mut entries = Vec::new();
    for key in &keys {
        let lease = mutex.try_lock(key).await.unwrap().expect("the mutex is free");
        entries.push((key.as_str(), fixture.entry(key, CT), lease));
    }
    assert_eq!(fixture.backend.commit(entries).await.unwrap(), [true; 3]);
    for key in &keys {
        assert_eq!(&text(&fixture.backend.get(key).await.unwrap().unwrap()), key);
        assert!(!mutex.is_locked(key).await.unwrap());
    }
}

/// Regions of two processes over one store: one creation between them.
pub async fn two_processes_create_once(fixture: Fixture) {
    let (Some(peer), Some(_)) = (fixture.peer.clone(), fixture.backend.mutex()) else { return };
    let regions = [fixture.region().0, fixture.region_over(peer).0];
    let key = fixture.key("fleet");
    let created = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for task in 0..60 {
        let (region, key, created) = (regions[task % 2].clone(), key.clone(), created.clone());
        tasks.spawn(async move {
            let creator = async || {
                tokio::time::sleep(Duration::from_millis(50)).await;
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
