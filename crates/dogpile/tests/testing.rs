//! Scopes: in each of them, static regions are others.

#![allow(clippy::unused_async, reason = "functions are as short as can be")]
#![allow(clippy::needless_pass_by_value, reason = "background functions own their arguments")]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use dogpile::backend::{Memory, SerializedMemory};
use dogpile::lock::OnWaitTimeout;
use dogpile::testing::{Fault, Faults, ManualClock, Operation, Scope};
use dogpile::{Config, Error, InMemory, Lookup, Region, Status, cached, cached_multi, key};

static USERS: Region = Region::new("users");
static HANDLES: Region<InMemory> = Region::in_memory("handles");

const MINUTE: Duration = Duration::from_secs(60);

/// Returns how many were created before it by this counter.
#[cached(region = USERS, expiration = "1m", skip(created))]
async fn user(id: u32, created: Arc<AtomicUsize>) -> (u32, usize) {
    (id, created.fetch_add(1, Ordering::SeqCst))
}

#[cached(region = USERS, expiration = "1m", background, skip(created))]
async fn users_friend(id: u32, created: Arc<AtomicUsize>) -> (u32, usize) {
    user(id + 1, created).await
}

#[cached(region = USERS, expiration = "1m", background, skip(created))]
fn blocking_user(id: u32, created: Arc<AtomicUsize>) -> (u32, usize) {
    (id, created.fetch_add(1, Ordering::SeqCst))
}

#[cached_multi(region = USERS, skip(created))]
async fn users(ids: Vec<u32>, created: &AtomicUsize) -> Vec<usize> {
    let creation = created.fetch_add(1, Ordering::SeqCst);
    ids.iter().map(|_| creation).collect()
}

fn nothing_created() -> Arc<AtomicUsize> {
    Arc::new(AtomicUsize::new(0))
}

#[test]
fn threads_in_their_scopes_see_their_own_values_of_one_key() {
    const THREADS: usize = 8;
    let barrier = Barrier::new(THREADS);
    let in_scope = |own: usize| {
        let cache = Scope::new().enter();
        USERS.configure(Config::new(Memory::new(10)).expiration(MINUTE)).unwrap();
        USERS.blocking().set("k", &own).unwrap();
        barrier.wait();
        assert_eq!(USERS.blocking().get("k").unwrap(), Some(own));
        let is_odd = own % 2 == 1;
        if is_odd {
            cache.advance(MINUTE * 2);
        }
        barrier.wait();
        assert_eq!(USERS.blocking().get("k").unwrap(), (!is_odd).then_some(own));
        let statistics = USERS.statistics();
        assert_eq!((statistics.hits, statistics.misses), if is_odd { (1, 1) } else { (2, 0) });
    };
    thread::scope(|threads| {
        for own in 0..THREADS {
            threads.spawn(move || in_scope(own));
        }
    });
}

#[tokio::test]
async fn futures_that_take_turns_on_one_thread_are_each_in_their_scope() {
    let created = nothing_created();
    let turns = tokio::sync::Barrier::new(2);
    let asks_twice = |scope: Scope| {
        let (created, turns) = (created.clone(), &turns);
        async move {
            let work = scope.run(async {
                let value = user(1, created.clone()).await;
                turns.wait().await;
                assert_eq!(user(1, created).await, value);
                turns.wait().await;
                user::invalidate(1).await.unwrap();
                value
            });
            work.await
        }
    };
    let (one, two) = tokio::join!(asks_twice(Scope::new()), asks_twice(Scope::new()));
    assert_ne!(one, two);
    assert!(Scope::current().is_none());
}

#[tokio::test]
async fn the_clock_expires_values_by_call_attribute_and_configuration() {
    let cache = Scope::new().enter();
    USERS.configure(Config::new(Memory::new(10)).expiration(MINUTE * 10)).unwrap();
    user(1, nothing_created()).await;
    USERS.set("k", &1).await.unwrap();
    assert!(user::get(1).await.unwrap().is_some());

    cache.advance(MINUTE * 2);
    assert_eq!(user::get(1).await.unwrap(), None);
    assert_eq!(USERS.get("k").await.unwrap(), Some(1));
    assert_eq!(USERS.entry("k").expiration(MINUTE).get::<i32>().await.unwrap(), None);

    cache.advance(MINUTE * 9);
    assert_eq!(USERS.get::<i32>("k").await.unwrap(), None);
}

#[tokio::test]
async fn the_clock_of_a_configuration_holds_in_a_scope_too() {
    let (cache, own) = (Scope::new().enter(), ManualClock::at(1_000.0));
    let config = Config::new(Memory::new(10)).expiration(MINUTE).clock(own.clone());
    USERS.configure(config).unwrap();
    USERS.set("k", &1).await.unwrap();
    cache.advance(MINUTE * 2);
    assert_eq!(USERS.get("k").await.unwrap(), Some(1));
    own.advance(MINUTE * 2);
    assert_eq!(USERS.get::<i32>("k").await.unwrap(), None);
}

#[tokio::test]
async fn who_waits_for_a_creation_waits_by_the_clock() {
    let cache = Scope::new().enter();
    let config =
        Config::new(Memory::new(10)).wait_timeout(MINUTE).on_wait_timeout(OnWaitTimeout::Create);
    USERS.configure(config).unwrap();
    let mut holder = Box::pin(USERS.get_or_create("k", std::future::pending::<u32>));
    let mut waiter = Box::pin(USERS.get_or_create("k", async || 7));
    assert!(futures_util::poll!(&mut holder).is_pending());
    assert!(futures_util::poll!(&mut waiter).is_pending());
    cache.advance(MINUTE * 2);
    assert_eq!(waiter.await, 7);
}

#[tokio::test]
async fn functions_of_many_keys_live_in_the_scope() {
    let created = AtomicUsize::new(0);
    for own in 0..2 {
        let _cache = Scope::new().enter();
        assert_eq!(users(vec![1, 2], &created).await, [own, own]);
        assert_eq!(users(vec![2, 1], &created).await, [own, own]);
    }
}

#[tokio::test]
async fn views_invalidations_and_statistics_live_in_the_innermost_scope() {
    let ids = USERS.keyspace::<u32, u32>("id");
    let outer = Scope::new().enter();
    ids.set(&1, &10).await.unwrap();
    {
        let _inner = Scope::new().enter();
        assert_eq!(ids.get(&1).await.unwrap(), None);
        ids.set(&1, &20).await.unwrap();
        USERS.invalidate_all().await.unwrap();
        assert_eq!(ids.get(&1).await.unwrap(), None);
    }
    assert_eq!(ids.get(&1).await.unwrap(), Some(10));
    let statistics = USERS.statistics();
    assert_eq!((statistics.hits, statistics.misses), (1, 0));
    drop(outer);
    assert!(matches!(ids.get(&1).await, Err(Error::NotConfigured { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_background_creation_stays_in_its_scope_with_the_functions_it_calls() {
    let renews = |scope: Scope, created: Arc<AtomicUsize>| async move {
        let ask = || scope.run(users_friend(1, created.clone()));
        let first = ask().await;
        scope.advance(MINUTE * 2);
        assert_eq!(ask().await, first, "stale");
        scope.settled().await;
        assert_eq!(ask().await, (2, first.1 + 1));
        // Created by the background creation, and not yet expired.
        assert_eq!(scope.run(user::get(2)).await.unwrap(), Some((2, first.1 + 1)));
        assert_eq!(scope.run(async { USERS.statistics() }).await.background, 1);
    };
    let other = Arc::new(AtomicUsize::new(100));
    tokio::join!(renews(Scope::new(), nothing_created()), renews(Scope::new(), other));
}

#[test]
fn a_background_creation_on_a_thread_of_its_own_stays_in_its_scope() {
    let (cache, created) = (Scope::new().enter(), nothing_created());
    assert_eq!(blocking_user(1, created.clone()), (1, 0));
    cache.advance(MINUTE * 2);
    assert_eq!(blocking_user(1, created.clone()), (1, 0), "stale");
    cache.blocking_settled();
    assert_eq!(blocking_user(1, created), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn tasks_and_threads_are_in_the_scope_that_they_are_given() {
    let cache = Scope::new().enter();
    USERS.set("k", &1).await.unwrap();
    let read = || async { USERS.get::<i32>("k").await };

    assert_eq!(tokio::spawn(cache.run(read())).await.unwrap().unwrap(), Some(1));
    let outside = tokio::spawn(read()).await.unwrap();
    assert!(matches!(&outside, Err(Error::NotConfigured { .. })), "{outside:?}");

    let scope = cache.clone();
    let in_thread = move || {
        let _cache = scope.enter();
        USERS.blocking().get::<i32>("k")
    };
    assert_eq!(tokio::task::spawn_blocking(in_thread).await.unwrap().unwrap(), Some(1));
}

#[tokio::test]
async fn tasks_of_a_runtime_of_one_thread_are_in_the_scope_of_the_test() {
    let _cache = Scope::new().enter();
    USERS.set("k", &1).await.unwrap();
    let read = tokio::spawn(async { USERS.get::<i32>("k").await });
    assert_eq!(read.await.unwrap().unwrap(), Some(1));
}

#[test]
fn threads_of_a_runtime_can_be_put_into_a_scope_for_good() {
    let scope = Scope::new();
    let every_thread = scope.clone();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || std::mem::forget(every_thread.enter()))
        .build()
        .unwrap();
    scope.enter().clock().advance(MINUTE);
    runtime.block_on(async {
        tokio::spawn(async { USERS.set("k", &1).await }).await.unwrap().unwrap();
        let read = tokio::task::spawn_blocking(|| USERS.blocking().get::<i32>("k"));
        assert_eq!(read.await.unwrap().unwrap(), Some(1));
    });
    assert!(Scope::current().is_none());
}

#[tokio::test]
async fn a_region_is_configured_once_in_each_scope() {
    for _ in 0..2 {
        let _cache = Scope::new().enter();
        assert!(!USERS.is_configured());
        // What is stored before goes to the memory that the scope has.
        USERS.set("k", &1).await.unwrap();
        USERS.configure(Config::new(SerializedMemory::new(10))).unwrap();
        assert!(USERS.is_configured());
        assert_eq!(USERS.get::<i32>("k").await.unwrap(), None);
        let again = USERS.configure(Config::new(Memory::new(10)));
        assert!(matches!(again, Err(Error::AlreadyConfigured { .. })));
        USERS.configure(Config::new(Memory::new(10)).replace_existing()).unwrap();
    }
    assert!(!USERS.is_configured());
}

#[tokio::test]
async fn what_is_configured_outside_is_as_before_after_the_scope() {
    static PRICES: Region = Region::new("prices");
    PRICES.configure(Config::new(Memory::new(10)).key_generator(key::python)).unwrap();
    PRICES.set("k", &1).await.unwrap();
    let cache = Scope::new().enter();
    assert_eq!(PRICES.get::<i32>("k").await.unwrap(), None);
    PRICES.set("k", &2).await.unwrap();
    PRICES.invalidate_all().await.unwrap();
    PRICES.add_proxy(Faults::new()).unwrap();
    drop(cache);
    assert_eq!(PRICES.get("k").await.unwrap(), Some(1));
    assert_eq!(PRICES.statistics().hits, 1);
}

#[tokio::test]
async fn keys_of_functions_are_made_as_the_scope_has_it_configured() {
    #[cached(region = USERS)]
    async fn named(name: &str) -> usize {
        name.len()
    }
    let usual = Scope::new();
    let python = Scope::new();
    {
        let _cache = python.enter();
        USERS.configure(Config::new(Memory::new(10)).key_generator(key::python)).unwrap();
        assert!(named::key("a b").ends_with("|a b"));
    }
    let _cache = usual.enter();
    assert!(!named::key("a b").ends_with("|a b"));
}

#[tokio::test]
async fn faults_of_a_scope_reach_nobody_else() {
    let faults = Faults::new();
    let faulty = Scope::new();
    let asks = || async { USERS.entry("k").lookup(async || 1).await };
    {
        let _cache = faulty.enter();
        USERS.add_proxy(faults.clone()).unwrap();
        faults.down();
        assert_eq!(asks().await.status, Status::Created);
        assert_eq!(asks().await.status, Status::Kept);
        assert!(USERS.statistics().backend_errors > 0);
    }
    let _cache = Scope::new().enter();
    assert_eq!(asks().await.status, Status::Created);
    assert_eq!(asks().await.status, Status::Hit);
    assert_eq!(USERS.statistics().backend_errors, 0);
}

#[tokio::test]
async fn an_operation_that_is_held_goes_on_when_it_is_released() {
    let (_cache, faults) = (Scope::new().enter(), Faults::new());
    USERS.add_proxy(faults.clone()).unwrap();
    faults.next(Operation::Get, Fault::Held, 2);
    let mut both =
        Box::pin(async { tokio::join!(USERS.get::<i32>("one"), USERS.get::<i32>("two")) });
    assert!(futures_util::poll!(&mut both).is_pending());
    assert_eq!(faults.injected(), 2);
    faults.release();
    let (one, two) = both.await;
    assert_eq!((one.unwrap(), two.unwrap()), (None, None));
}

#[tokio::test]
async fn regions_of_any_kind_and_place_are_in_the_scope() {
    struct Connection;
    let _cache = Scope::new().enter();
    let connect = async || Arc::new(Connection);
    let one: Arc<Connection> = HANDLES.get_or_create("k", connect).await;
    assert!(Arc::ptr_eq(&one, &HANDLES.get_or_create("k", connect).await));

    let region = Region::named("moved");
    region.set("k", &1).await.unwrap();
    let moved = Box::new(region);
    assert_eq!(moved.get("k").await.unwrap(), Some(1));
    drop(moved);
    let other = Box::new(Region::named("moved"));
    assert_eq!(other.get::<i32>("k").await.unwrap(), None);
}

#[tokio::test]
async fn a_scope_keeps_nothing_when_it_is_dropped() {
    let value = Arc::new(());
    let cache = Scope::new().enter();
    HANDLES.set("k", &value).await.unwrap();
    assert_eq!(Arc::strong_count(&value), 2);
    drop(cache);
    assert_eq!(Arc::strong_count(&value), 1);
}

#[test]
fn a_thread_leaves_a_scope_by_a_panic_and_in_any_order() {
    let entered_and_lost = catch_unwind(AssertUnwindSafe(|| {
        let _cache = Scope::new().enter();
        USERS.blocking().set("k", &1).unwrap();
        panic!("a failed assertion");
    }));
    assert!(entered_and_lost.is_err());
    assert!(Scope::current().is_none());

    let (one, two) = (Scope::new(), Scope::new());
    let (outer, inner) = (one.enter(), two.enter());
    USERS.blocking().set("k", &2).unwrap();
    drop(outer);
    assert_eq!(USERS.blocking().get("k").unwrap(), Some(2));
    drop(inner);
    assert!(Scope::current().is_none());
}

#[tokio::test]
async fn a_future_that_panics_leaves_its_scope() {
    let scope = Scope::new();
    let panics = AssertUnwindSafe(scope.run(async { panic!("a failed assertion") }));
    let caught = futures_util::FutureExt::catch_unwind(panics).await;
    assert!(caught.is_err());
    assert!(Scope::current().is_none());
}

#[tokio::test]
async fn nothing_expires_in_a_scope_that_does_not_say_when() {
    let cache = Scope::new().enter();
    let ask = || async { USERS.entry("k").lookup(async || 1).await };
    ask().await;
    cache.advance(MINUTE * 60 * 24 * 365);
    let Lookup { status, age, .. } = ask().await;
    assert_eq!((status, age), (Status::Hit, MINUTE * 60 * 24 * 365));
}
