//! The parts that are usable without a cache.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex as StdMutex};
use std::time::Duration;

use dogpile::clock::Clock;
use dogpile::lock::{
    AlreadyHeld, CreateError, KeyReentrantMutex, KeyedLock, KeyedMutex, Lock, LockError,
    NameRegistry, NullMutex, ReadWriteMutex,
};
use dogpile_testkit::ManualClock;

/// A value that creators store and readers find, with its creation time.
#[derive(Default)]
struct Shelf(StdMutex<Option<(u32, f64)>>);

impl Shelf {
    fn read(&self) -> Option<(u32, f64)> {
        *self.0.lock().unwrap()
    }

    fn store(&self, value: u32, now: f64) -> u32 {
        *self.0.lock().unwrap() = Some((value, now));
        value
    }
}

#[tokio::test]
async fn the_lock_alone_elects_one_creator_and_serves_old_values_meanwhile() {
    let (shelf, clock) = (Shelf::default(), ManualClock::new());
    let lock = Lock::new(KeyedMutex::new()).expiration(Duration::from_secs(60));
    let lock = lock.clock(clock.clone());
    let go = tokio::sync::Notify::new();
    let call = |value: u32| {
        let (shelf, go, clock) = (&shelf, &go, &clock);
        Box::pin(lock.get_or_create(
            "k",
            async || shelf.read(),
            async move || {
                go.notified().await;
                Ok::<_, &str>(shelf.store(value, clock.now()))
            },
        ))
    };
    let mut calls: Vec<_> = (1..5).map(call).collect();
    for call in &mut calls {
        assert!(futures_util::poll!(call).is_pending());
    }
    assert!(lock.is_locked("k").await.unwrap());
    go.notify_one();
    for call in calls {
        assert_eq!(call.await.unwrap(), 1);
    }
    clock.advance(Duration::from_secs(61));
    let mut elected = call(2);
    assert!(futures_util::poll!(&mut elected).is_pending());
    assert_eq!(call(3).await.unwrap(), 1, "the old value, at once");
    drop(elected);
    go.notify_one();
    assert_eq!(call(4).await.unwrap(), 4, "the next caller takes over");
    assert!(!lock.is_locked("k").await.unwrap());
}

#[tokio::test]
async fn the_lock_alone_passes_errors_on_and_gives_up_after_its_limit() {
    let clock = ManualClock::new();
    let lock =
        Lock::new(KeyedMutex::new()).clock(clock.clone()).wait_timeout(Duration::from_secs(1));
    let nothing = async || None::<(u32, f64)>;
    let failed = lock.get_or_create("k", nothing, async || Err::<u32, _>("no")).await;
    assert!(matches!(failed, Err(CreateError::Creator("no"))));
    let hanging = async || std::future::pending::<Result<u32, ()>>().await;
    let mut holder = Box::pin(lock.get_or_create("k", nothing, hanging));
    assert!(futures_util::poll!(&mut holder).is_pending());
    let mut waiter = Box::pin(lock.get_or_create("k", nothing, async || Ok::<_, ()>(1)));
    assert!(futures_util::poll!(&mut waiter).is_pending());
    clock.advance(Duration::from_secs(1));
    let gave_up = waiter.await;
    assert!(matches!(gave_up, Err(CreateError::Lock(LockError::WaitTimeout { .. }))));
    let own = lock.get_or_create("j", nothing, async || {
        let inner = lock.get_or_create("j", nothing, async || Ok::<_, ()>(1)).await;
        assert!(matches!(inner, Err(CreateError::Lock(LockError::RecursiveCreation))));
        Ok::<_, ()>(2)
    });
    assert_eq!(own.await.unwrap(), 2);
}

#[tokio::test]
async fn with_a_null_mutex_everybody_creates() {
    let lock = Lock::new(NullMutex);
    let created = AtomicUsize::new(0);
    for _ in 0..3 {
        let create = async || Ok::<_, ()>(created.fetch_add(1, Ordering::SeqCst));
        lock.get_or_create("k", async || None, create).await.unwrap();
    }
    assert_eq!(created.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_keyed_mutex_is_one_per_key() {
    let mutex = KeyedMutex::new();
    let lease = mutex.try_lock("a").await.unwrap().unwrap();
    assert!(mutex.try_lock("a").await.unwrap().is_none());
    assert!(mutex.try_lock("b").await.unwrap().is_some());
    assert!(mutex.clone().is_held("a") && !mutex.is_held("b"));
    mutex.unlock(lease).await.unwrap();
    assert!(!mutex.is_held("a"));
}

#[test]
fn a_registry_keeps_one_object_per_name_while_somebody_uses_it() {
    static NAMES: NameRegistry<AtomicUsize> = NameRegistry::new();
    let made = AtomicUsize::new(0);
    let get =
        |name: &str| NAMES.get(name, || AtomicUsize::new(made.fetch_add(1, Ordering::SeqCst)));
    let start = std::sync::Barrier::new(8);
    std::thread::scope(|scope| {
        let (get, start) = (&get, &start);
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(move || {
                    start.wait();
                    get("a")
                })
            })
            .collect();
        let all: Vec<_> = threads.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(all.iter().all(|object| Arc::ptr_eq(object, &all[0])));
    });
    assert_eq!(made.load(Ordering::SeqCst), 1);
    assert!(NAMES.is_empty(), "dropped with its last user");
    let again = get("a");
    assert_eq!(again.load(Ordering::SeqCst), 1, "made anew");
    for n in 0..1_000 {
        drop(get(&format!("name {n}")));
    }
    assert_eq!(NAMES.len(), 1);
}

#[test]
fn readers_share_writers_exclude() {
    let mutex = ReadWriteMutex::new();
    let inside = AtomicUsize::new(0);
    const WRITER: usize = 1_000;
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (mutex, inside) = (&mutex, &inside);
            scope.spawn(move || {
                for round in 0..500 {
                    if (thread + round) % 5 == 0 {
                        let _guard = mutex.write_blocking();
                        assert_eq!(inside.fetch_add(WRITER, Ordering::SeqCst), 0);
                        inside.fetch_sub(WRITER, Ordering::SeqCst);
                    } else {
                        let _guard = mutex.read_blocking();
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < WRITER);
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(mutex.try_write().is_some());
}

#[tokio::test]
async fn a_waiting_writer_keeps_new_readers_out_until_it_gives_up() {
    let mutex = ReadWriteMutex::new();
    let reader = mutex.read().await;
    let mut writer = Box::pin(mutex.write());
    assert!(futures_util::poll!(&mut writer).is_pending());
    assert!(mutex.try_read().is_none());
    let mut late = Box::pin(mutex.read());
    assert!(futures_util::poll!(&mut late).is_pending());
    drop(writer);
    let late = late.await;
    drop((reader, late));
    drop(mutex.write().await);
}

#[test]
fn a_thread_may_hold_many_keys_of_a_reentrant_mutex_but_none_twice() {
    let mutex = KeyReentrantMutex::new();
    let a = mutex.lock("a").unwrap();
    let b = mutex.try_lock("b").unwrap().unwrap();
    assert!(matches!(mutex.lock("a"), Err(AlreadyHeld)));
    let other_thread_gets = |key: &str| {
        let (mutex, key) = (&mutex, key.to_owned());
        std::thread::scope(|scope| {
            scope.spawn(move || mutex.try_lock(&key).unwrap().is_some()).join().unwrap()
        })
    };
    assert!(!other_thread_gets("c"), "the mutex under it is this thread's");
    drop(a);
    assert!(!other_thread_gets("c"), "and stays so with the last key");
    drop(b);
    assert!(other_thread_gets("c"));
    let counter = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let _a = mutex.lock("a").unwrap();
                    let before = counter.load(Ordering::SeqCst);
                    let _b = mutex.lock("b").unwrap();
                    counter.store(before + 1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(counter.load(Ordering::SeqCst), 800);
}
