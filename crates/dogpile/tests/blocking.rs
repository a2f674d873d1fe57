//! The same region from code that is not async, outside of runtimes and inside
//! of each kind.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, BackendError, Memory};
use dogpile::proxy::Proxy;
use dogpile::value::Entry;
use dogpile::{Config, Error, Region, Status};
use dogpile_testkit::ManualClock;

fn region() -> Arc<Region> {
    let region = Region::new("blocking");
    region.configure(Config::new(Memory::new(100))).unwrap();
    Arc::new(region)
}

#[test]
fn sixty_four_threads_and_one_cold_key_are_one_creation() {
    let region = region();
    let created = AtomicUsize::new(0);
    let start = std::sync::Barrier::new(64);
    std::thread::scope(|scope| {
        for _ in 0..64 {
            scope.spawn(|| {
                start.wait();
                let value = region.blocking().get_or_create("k", || {
                    std::thread::sleep(Duration::from_millis(20));
                    created.fetch_add(1, Ordering::SeqCst)
                });
                assert_eq!(value, 0);
            });
        }
    });
    assert_eq!(created.load(Ordering::SeqCst), 1);
}

#[test]
fn a_thread_takes_over_when_the_creator_panics() {
    let region = region();
    let start = std::sync::Barrier::new(8);
    let panicked = AtomicUsize::new(0);
    let outcomes: Vec<Option<u32>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    region.blocking().get_or_create("k", || {
                        std::thread::sleep(Duration::from_millis(20));
                        assert!(panicked.fetch_add(1, Ordering::SeqCst) > 0, "wanted");
                        7_u32
                    })
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().ok()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome.is_none()).count(), 1);
    assert_eq!(panicked.load(Ordering::SeqCst), 2, "one panicked, one made it");
}

#[test]
fn every_call_has_its_blocking_form() {
    let region = region();
    let blocking = region.blocking();
    blocking.set("a", &1_u32).unwrap();
    blocking.set_multi([("b", &2_u32), ("c", &3)]).unwrap();
    assert_eq!(blocking.get_multi::<u32, _>(["a", "b", "x"]).unwrap(), [Some(1), Some(2), None]);
    assert!(blocking.get_with_metadata::<u32>("a").unwrap().is_some());
    assert_eq!(blocking.try_get_or_create("a", || Err::<u32, _>("no")), Ok(1));
    assert_eq!(blocking.try_get_or_create("y", || Err::<u32, _>("no")), Err("no"));
    let made = blocking.get_or_create_multi(["c", "d"], |keys| {
        assert_eq!(keys, ["d"]);
        vec![4_u32]
    });
    assert_eq!(made.unwrap(), [3, 4]);
    let tried = blocking.try_get_or_create_multi(["e"], |_| Err::<Vec<u32>, _>("no"));
    assert!(matches!(tried, Err(dogpile::CreateError::Creator("no"))));
    blocking.delete("a").unwrap();
    blocking.delete_multi(["b"]).unwrap();
    assert!(!blocking.key_is_locked("a").unwrap());
    blocking.invalidate_all().unwrap();
    assert_eq!(blocking.get::<u32>("c").unwrap(), None);
    let entry = blocking.entry("f").strict().should_cache(|_: &u32| false);
    assert_eq!(entry.lookup(|| 5).unwrap().status, Status::Created);
    let entries = blocking.entries(["g"]).strict().should_cache(|_: &u32| false);
    assert_eq!(entries.get_or_create(|_| vec![6]).unwrap(), [6]);
    assert_eq!(blocking.entries(["f", "g"]).get::<u32>().unwrap(), [None, None]);
}

#[test]
fn background_creation_needs_no_runtime() {
    let clock = ManualClock::new();
    let region = Region::new("blocking");
    let config = Config::new(Memory::new(100)).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs(60))).unwrap();
    region.blocking().set("k", &1_u32).unwrap();
    clock.advance(Duration::from_secs(61));
    let stale = region.blocking().entry("k").get_or_create_in_background(|| 2_u32);
    assert_eq!(stale, 1);
    while region.blocking().get::<u32>("k").unwrap().is_none() {
        std::thread::yield_now();
    }
    assert_eq!(region.blocking().get("k").unwrap(), Some(2_u32));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn on_a_multi_thread_runtime_a_blocking_caller_lets_the_others_go_on() {
    let region = region();
    let go = Arc::new(tokio::sync::Notify::new());
    let (held, may_end) = (region.clone(), go.clone());
    let creator = tokio::spawn(async move {
        let create = async || {
            may_end.notified().await;
            7_u32
        };
        held.get_or_create("k", create).await
    });
    while !region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
    // Both this and the creator are tasks of the one worker.
    let waiter = tokio::spawn({
        let region = region.clone();
        async move {
            go.notify_one();
            region.blocking().get_or_create("k", || 8_u32)
        }
    });
    assert_eq!(waiter.await.unwrap(), 7);
    assert_eq!(creator.await.unwrap(), 7);
}

/// Runs `wait` on a current-thread runtime while another task of it is
/// creating `k`.
fn beside_a_creation<T>(region: &Arc<Region>, wait: impl FnOnce(&Region) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let creating = region.clone();
        tokio::spawn(async move {
            creating.get_or_create::<u32, _, _>("k", async || std::future::pending().await).await
        });
        while !region.key_is_locked("k").await.unwrap() {
            tokio::task::yield_now().await;
        }
        wait(region)
    })
}

#[test]
fn on_a_current_thread_runtime_waiting_is_refused() {
    let region = region();
    let strict = beside_a_creation(&region, |region| {
        region.blocking().entry("k").strict().get_or_create(|| 8_u32)
    });
    assert!(matches!(strict, Err(Error::WouldDeadlock { .. })));
    let plain = beside_a_creation(&region, |region| region.blocking().entry("k").lookup(|| 8_u32));
    assert_eq!((plain.value, plain.status), (8, Status::Uncached));
    let multi = beside_a_creation(&region, |region| {
        region.blocking().get_or_create_multi(["k"], |_| vec![8_u32])
    });
    assert!(matches!(multi, Err(Error::WouldDeadlock { .. })));
    let on_its_own_thread = beside_a_creation(&region, |region| {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                let entry = region.blocking().entry("k").wait_timeout(Duration::from_millis(1));
                entry.strict().get_or_create(|| 8_u32)
            });
            thread.join().unwrap()
        })
    });
    assert!(matches!(on_its_own_thread, Err(Error::WaitTimeout { .. })));
}

#[test]
fn hits_and_creations_that_need_not_wait_work_on_any_runtime() {
    let region = region();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        assert_eq!(region.blocking().get_or_create("k", || 1_u32), 1);
        assert_eq!(region.blocking().get("k").unwrap(), Some(1_u32));
        let on_a_blocking_thread = region.clone();
        let made = tokio::task::spawn_blocking(move || {
            on_a_blocking_thread.blocking().get_or_create("j", || 2_u32)
        });
        assert_eq!(made.await.unwrap(), 2);
    });
}

/// A backend whose writes have to wait.
struct SlowWrites;

impl Proxy for SlowWrites {
    fn get_now(&self, next: &AnyBackend, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        next.get_now(key)
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        tokio::task::yield_now().await;
        next.set(key, entry).await
    }
}

#[test]
fn what_was_made_before_waiting_was_refused_is_not_lost() {
    let region = Region::new("slow");
    region.configure(Config::new(Memory::new(10)).proxy(SlowWrites)).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let made = AtomicUsize::new(0);
    let value = runtime.block_on(async {
        region.blocking().get_or_create("k", || made.fetch_add(1, Ordering::SeqCst))
    });
    assert_eq!((value, made.load(Ordering::SeqCst)), (0, 1), "made once, and returned");
    assert!(!region.blocking().key_is_locked("k").unwrap());
}
