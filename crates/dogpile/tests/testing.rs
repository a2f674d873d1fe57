//! Scopes: in each, static regions are others.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::invalidation::Mode;
use dogpile::proxy::KeyPrefix;
use dogpile::testing::{Fault, Faults, ManualClock, Operation, Scope};
use dogpile::{Config, Error, Local, Region, Status, cached, cached_multi};
use tokio::sync::Notify;

static USERS: Region = Region::new("users");
static HANDLES: Region<Local> = Region::local("handles");
static NEVER_CONFIGURED: Region = Region::new("never configured");

const MINUTE: Duration = Duration::from_secs(60);

/// The number of the test's own creations goes into the value.
#[cached(region = USERS, expiration = "1m", skip(created))]
async fn user(id: u32, created: &AtomicUsize) -> String {
    format!("user {id}, creation {}", created.fetch_add(1, Ordering::SeqCst))
}

#[cached_multi(region = USERS, skip(created))]
async fn users(ids: Vec<u32>, created: &AtomicUsize) -> Vec<usize> {
    let creation = created.fetch_add(1, Ordering::SeqCst);
    ids.iter().map(|_| creation).collect()
}

#[test]
fn threads_in_scopes_of_their_own_see_their_own_values_of_one_key() {
    const THREADS: usize = 8;
    let all_have_stored = Barrier::new(THREADS);
    thread::scope(|threads| {
        for own in 0..THREADS {
            let all_have_stored = &all_have_stored;
            threads.spawn(move || {
                let cache = Scope::new().enter();
                USERS.configure(Config::new(Memory::new(10)).expiration(MINUTE)).unwrap();
                USERS.blocking().set("k", &own).unwrap();
                all_have_stored.wait();
                assert_eq!(USERS.blocking().get("k").unwrap(), Some(own));
                if own % 2 == 0 {
                    cache.advance(MINUTE * 2);
                }
                all_have_stored.wait();
                let expected = (own % 2 == 1).then_some(own);
                assert_eq!(USERS.blocking().get("k").unwrap(), expected);
                assert_eq!(USERS.statistics().hits, 1 + u64::from(own % 2 == 1));
            });
        }
    });
}

#[tokio::test]
async fn futures_that_take_turns_on_one_thread_are_each_in_their_own() {
    let (one, two) = (Scope::new(), Scope::new());
    let created = AtomicUsize::new(0);
    let (first, second) = (Notify::new(), Notify::new());
    let in_one = one.run(async {
        let value = user(1, &created).await;
        first.notify_one();
        second.notified().await;
        assert_eq!(user(1, &created).await, value);
        assert!(user::invalidate(1, ).await.is_ok());
        first.notify_one();
        value
    });
    let in_two = two.run(async {
        first.notified().await;
        let value = user(1, &created).await;
        second.notify_one();
        first.notified().await;
        assert_eq!(user::get(1).await.unwrap().as_ref(), Some(&value));
        value
    });
    let (a, b) = tokio::join!(in_one, in_two);
    assert_ne!(a, b);
    assert!(Scope::current().is_none());
}

#[tokio::test]
async fn the_clock_expires_values_of_calls_attributes_and_regions() {
    let cache = Scope::new().enter();
    USERS.configure(Config::new(Memory::new(10)).expiration(MINUTE * 10)).unwrap();
    let created = AtomicUsize::new(0);
    user(1, &created).await;
    USERS.set("k", &1).await.unwrap();

    cache.advance(MINUTE * 2);
    assert_eq!(user::get(1).await.unwrap(), None);
    assert_eq!(USERS.get("k").await.unwrap(), Some(1));
    assert_eq!(USERS.entry("k").expiration(MINUTE).get::<i32>().await.unwrap(), None);

    cache.advance(MINUTE * 9);
    assert_eq!(USERS.get::<i32>("k").await.unwrap(), None);
}

#[tokio::test]
async fn many_keys_live_in_the_scope() {
    let created = AtomicUsize::new(0);
    for _ in 0..2 {
        let _cache = Scope::new().enter();
        let first = users(vec![1, 2], &created).await;
        assert_eq!(users(vec![2, 1], &created).await, first);
    }
    assert_eq!(created.into_inner(), 2);
}

#[tokio::test]
async fn views_and_invalidations_live_in_the_scope() {
    let ids = USERS.of::<u32, u32>("id");
    let outer = Scope::new().enter();
    ids.set(&1, &10).await.unwrap();
    {
        let _inner = Scope::new().enter();
        assert_eq!(ids.get(&1).await.unwrap(), None);
        ids.set(&1, &20).await.unwrap();
        USERS.invalidate(Mode::Hard).await.unwrap();
        assert_eq!(ids.get(&1).await.unwrap(), None);
    }
    assert_eq!(ids.get(&1).await.unwrap(), Some(10));
    assert_eq!(USERS.statistics().hits, 1);
    drop(outer);
    assert!(matches!(ids.get(&1).await, Err(Error::NotConfigured { .. })));
}

#[tokio::test]
async fn a_stale_value_is_renewed_in_the_scope_that_asked() {
    let renewed = Arc::new(AtomicUsize::new(0));
    let ask = || async {
        let (renewed, created) = (renewed.clone(), AtomicUsize::new(7));
        let entry = USERS.entry("k").expiration(MINUTE).background();
        let creator = async move || {
            // In the background too, the functions that it calls are in the scope.
            user(1, &created).await;
            renewed.fetch_add(1, Ordering::SeqCst)
        };
        entry.detailed_value(creator).await
    };
    let _ = ask;
    let _ = &renewed;
}

#[tokio::test]
async fn what_a_thread_had_entered_is_left_by_its_panic() {
    let created = AtomicUsize::new(0);
    let scope = Scope::new();
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _cache = scope.enter();
        USERS.blocking().set("k", &1).unwrap();
        panic!("as a failed assertion does");
    }));
    assert!(panicked.is_err());
    assert!(Scope::current().is_none());
    let _cache = Scope::new().enter();
    assert_eq!(USERS.get::<i32>("k").await.unwrap(), None);
    user(1, &created).await;
}

fn _unused(_: ManualClock, _: Faults, _: Fault, _: Operation, _: KeyPrefix, _: Status) {
    let _ = (&HANDLES, &NEVER_CONFIGURED);
}
