//! Checks of the mutex that a backend brings, where it brings one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, ClaimMode, Claimed, Commit, Seen, Wanted};
use dogpile::lock::{AnyMutex, KeyedLock, Lease};
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
        (&cold, Seen::Nothing),
        (&known, Seen::Created(CT)),
        (&changed, Seen::Created(CT)),
        (&held, Seen::Nothing),
    ];
    let wanted = wanted.map(|(key, seen)| Wanted::new(key, ClaimMode::Create(seen)));
    let mut claims = fixture.backend.claim(wanted.into()).await.unwrap().into_iter();
    for _ in 0..2 {
        let Some(Claimed::Won(lease)) = claims.next() else { panic!("the key is free") };
        fixture.backend.release(vec![lease]).await;
    }
    assert!(matches!(claims.next(), Some(Claimed::Changed(entry)) if text(&entry) == "changed"));
    assert!(matches!(claims.next(), Some(Claimed::Held)));
    // A changed value's mutex is not kept.
    is_free_soon(&mutex, &changed).await;
    mutex.unlock(lease).await.unwrap();
}

async fn claim(backend: &AnyBackend, key: &str, mode: ClaimMode) -> Claimed {
    let mut claims = backend.claim(vec![Wanted::new(key, mode)]).await.unwrap();
    claims.pop().expect("one key has one claim")
}

async fn win(backend: &AnyBackend, key: &str, mode: ClaimMode) -> Lease {
    match claim(backend, key, mode).await {
        Claimed::Won(lease) => lease,
        other => panic!("{other:?}"),
    }
}

const COLD: ClaimMode = ClaimMode::Create(Seen::Nothing);

/// A commit stores and gives the claim up, for several keys at once.
pub async fn a_commit_stores_and_frees(fixture: Fixture) {
    let keys = ["1", "2", "3"].map(|name| fixture.key(name));
    let mut changes = Vec::new();
    for key in &keys {
        let (entry, lease) = (fixture.entry(key, CT), win(&fixture.backend, key, COLD).await);
        changes.push(Commit { key, entry: Some(entry), lease });
    }
    assert_eq!(fixture.backend.commit(changes).await.unwrap(), [true; 3]);
    for key in &keys {
        assert_eq!(&text(&fixture.backend.get(key).await.unwrap().unwrap()), key);
        if let Some(mutex) = fixture.backend.mutex() {
            assert!(!mutex.is_locked(key).await.unwrap());
        }
    }
}

/// A change of a claimed key, by whomever, ends the claim: nothing is stored over it.
pub async fn a_change_ends_claims(fixture: Fixture) {
    let backend = &fixture.backend;
    for (peer, other) in [("own", Some(backend)), ("peer", fixture.peer.as_ref())] {
        let Some(other) = other else { continue };
        for change in ["set", "delete", "set_multi", "delete_multi"] {
            for before in [None, Some(CT)] {
                let key = fixture.key(&format!("{peer}-{change}-{}", before.is_some()));
                if let Some(ct) = before {
                    backend.set(&key, fixture.entry("before", ct)).await.unwrap();
                }
                let seen = before.map_or(Seen::Nothing, Seen::Created);
                let lease = win(backend, &key, ClaimMode::Create(seen)).await;
                let new = fixture.entry("changed", CT + 1.0);
                match change {
                    "set" => other.set(&key, new).await,
                    "delete" => other.delete(&key).await,
                    "set_multi" => other.set_multi(&[(&key, new)]).await,
                    _ => other.delete_multi(&[&key]).await,
                }
                .unwrap();
                let entry = Some(fixture.entry("created", CT + 2.0));
                let made = backend.commit(vec![Commit { key: &key, entry, lease }]).await;
                assert_eq!(made.unwrap(), [false], "{key}");
                let stored = backend.get(&key).await.unwrap().as_ref().map(text);
                let expected = change.starts_with("set").then(|| "changed".to_owned());
                assert_eq!(stored, expected, "{key}");
            }
        }
    }
}

/// A refresh takes the key from a creation, and from an earlier refresh. What an
/// overtaken refresh was about is removed.
pub async fn a_refresh_takes_over(fixture: Fixture) {
    let backend = &fixture.backend;
    let other = fixture.peer.as_ref().unwrap_or(backend);
    let key = fixture.key("taken-over");
    let commit = async |backend: &AnyBackend, lease, text, ct| {
        let entry = Some(fixture.entry(text, ct));
        backend.commit(vec![Commit { key: &key, entry, lease }]).await.unwrap() == [true]
    };
    let stored = async || backend.get(&key).await.unwrap().as_ref().map(text);
    let creation = win(backend, &key, COLD).await;
    let refresh = win(other, &key, ClaimMode::Refresh).await;
    assert!(!commit(backend, creation, "created", CT).await);
    assert!(commit(other, refresh, "refreshed", CT + 1.0).await);
    assert_eq!(stored().await.as_deref(), Some("refreshed"));

    let first = win(backend, &key, ClaimMode::Refresh).await;
    let second = win(other, &key, ClaimMode::Refresh).await;
    assert!(!commit(backend, first, "first", CT + 2.0).await);
    assert_eq!(stored().await, None, "the row of before is known to be out of date");
    assert!(commit(other, second, "second", CT + 3.0).await);
    assert_eq!(stored().await.as_deref(), Some("second"));

    let first = win(backend, &key, ClaimMode::Refresh).await;
    let second = win(other, &key, ClaimMode::Refresh).await;
    assert!(commit(other, second, "later", CT + 4.0).await);
    assert!(!commit(backend, first, "earlier", CT + 5.0).await);
    assert_eq!(stored().await.as_deref(), Some("later"), "it began later");
}

/// Creations of several processes overlap if no mutex excludes them. The first to end
/// is stored, and none keeps another from being stored by its mere beginning or failing; a
/// change ends those that began before it.
pub async fn creations_without_a_mutex_do_not_end_each_other(fixture: Fixture) {
    let (backend, Some(peer)) = (&fixture.backend, &fixture.peer) else { return };
    if backend.mutex().is_some() {
        return;
    }
    let commit = async |backend: &AnyBackend, key: &str, lease, text, ct| {
        let entry = Some(fixture.entry(text, ct));
        backend.commit(vec![Commit { key, entry, lease }]).await.unwrap() == [true]
    };
    let stored = async |key: &str| backend.get(key).await.unwrap().as_ref().map(text);
    for before in [None, Some(CT)] {
        let [both, one, changed] =
            ["both", "one", "changed"].map(|name| fixture.key(&format!("{name}-{before:?}")));
        let seen = before.map_or(Seen::Nothing, Seen::Created);
        let mode = ClaimMode::Create(seen);
        if let Some(ct) = before {
            for key in [&both, &one, &changed] {
                backend.set(key, fixture.entry("before", ct)).await.unwrap();
            }
        }
        let (first, second) = (win(backend, &both, mode).await, win(peer, &both, mode).await);
        assert!(commit(backend, &both, first, "first", CT + 1.0).await);
        assert!(!commit(peer, &both, second, "second", CT + 2.0).await);
        assert_eq!(stored(&both).await.as_deref(), Some("first"));

        let first = win(backend, &one, mode).await;
        let second = win(peer, &one, mode).await;
        let third = win(backend, &one, mode).await;
        backend.release(vec![first]).await;
        drop(third);
        assert!(commit(peer, &one, second, "second", CT + 1.0).await, "others came to nothing");

        let early = win(backend, &changed, mode).await;
        peer.delete(&changed).await.unwrap();
        let late = win(peer, &changed, COLD).await;
        assert!(!commit(backend, &changed, early, "early", CT + 1.0).await);
        assert!(commit(peer, &changed, late, "late", CT + 2.0).await);
        assert_eq!(stored(&changed).await.as_deref(), Some("late"));
    }
}

/// A commit of nothing removes what is stored; an unused claim leaves it alone.
pub async fn a_commit_can_remove(fixture: Fixture) {
    let (backend, key) = (&fixture.backend, fixture.key("removed"));
    backend.set(&key, fixture.entry("old", CT)).await.unwrap();
    let unused = win(backend, &key, ClaimMode::Create(Seen::Created(CT))).await;
    backend.release(vec![unused]).await;
    assert!(backend.get(&key).await.unwrap().is_some());
    let lease = win(backend, &key, ClaimMode::Refresh).await;
    let made = backend.commit(vec![Commit { key: &key, entry: None, lease }]).await;
    assert_eq!(made.unwrap(), [true]);
    assert!(backend.get(&key).await.unwrap().is_none());
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
