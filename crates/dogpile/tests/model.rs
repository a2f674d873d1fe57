//! The lock under a model checker: shuttle runs each scenario in thousands of
//! interleavings, and calls it a deadlock when somebody is never woken.
//!
//! `cargo xtask test` runs this with `--cfg shuttle`, which puts shuttle's
//! primitives where the crate uses the standard library's.
#![cfg(shuttle)]

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::region::Job;
use dogpile::{Config, Region, Status};
use dogpile_testkit::ManualClock;
use shuttle::future::{self, block_on, spawn, yield_now};

/// Runs `scenario` in many random interleavings, and in many with few
/// switches, which find other faults.
fn check(scenario: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(scenario.clone(), 20_000);
    shuttle::check_pct(scenario, 20_000, 3);
}

fn region() -> Arc<Region> {
    let region = Region::new("model");
    region.configure(Config::new(Memory::new(100)).clock(ManualClock::new())).unwrap();
    Arc::new(region)
}

/// The behaviour of a creator.
#[derive(Clone, Copy, PartialEq)]
enum Creator {
    Succeeds,
    Fails,
    Hangs,
}

/// A caller of `k` whose creator first lets others run.
async fn call(region: Arc<Region>, creations: Arc<AtomicUsize>, creator: Creator) -> Option<usize> {
    let create = async || {
        yield_now().await;
        match creator {
            Creator::Succeeds => Ok(creations.fetch_add(1, Ordering::SeqCst)),
            Creator::Fails => Err(()),
            Creator::Hangs => std::future::pending().await,
        }
    };
    region.try_get_or_create::<usize, _, _, _>("k", create).await.ok()
}

/// Polls `call` so many times and then drops it.
async fn abandon(call: impl Future<Output = Option<usize>>, polls: usize) {
    let mut call = pin!(call);
    for _ in 0..polls {
        let polled = std::future::poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx))).await;
        if polled.is_ready() {
            return;
        }
        yield_now().await;
    }
}

#[test]
fn callers_of_a_cold_key_are_served_by_one_creation() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(0)));
        let calls: Vec<_> = (0..4)
            .map(|_| spawn(call(region.clone(), creations.clone(), Creator::Succeeds)))
            .collect();
        for call in calls {
            assert_eq!(block_on(call).unwrap(), Some(0));
        }
        assert_eq!(creations.load(Ordering::SeqCst), 1);
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}

#[test]
fn a_failed_creator_is_followed_by_exactly_one_other() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(0)));
        let creators = [Creator::Fails, Creator::Succeeds, Creator::Fails, Creator::Succeeds];
        let calls = creators.map(|creator| spawn(call(region.clone(), creations.clone(), creator)));
        for (call, creator) in calls.into_iter().zip(creators) {
            let value = block_on(call).unwrap();
            assert!(value == Some(0) || (value.is_none() && creator == Creator::Fails));
        }
        assert_eq!(creations.load(Ordering::SeqCst), 1);
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}

#[test]
fn a_dropped_creator_and_dropped_waiters_pass_the_key_on() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(0)));
        let mut dropped = Vec::new();
        for polls in [1, 2, 3] {
            let hanging = call(region.clone(), creations.clone(), Creator::Hangs);
            dropped.push(spawn(abandon(hanging, polls)));
        }
        let staying: Vec<_> = (0..2)
            .map(|_| spawn(call(region.clone(), creations.clone(), Creator::Succeeds)))
            .collect();
        for call in staying {
            assert_eq!(block_on(call).unwrap(), Some(0));
        }
        for call in dropped {
            block_on(call).unwrap();
        }
        assert_eq!(creations.load(Ordering::SeqCst), 1);
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}

/// Whatever is changed after a creation began is not overwritten by it.
#[test]
fn a_creation_is_never_stored_over_a_later_change() {
    for deletes in [false, true] {
        check(move || {
            let (region, began) = (region(), Arc::new(AtomicUsize::new(0)));
            let creating = spawn({
                let (region, began) = (region.clone(), began.clone());
                async move {
                    let create = async || {
                        began.store(1, Ordering::SeqCst);
                        yield_now().await;
                        1
                    };
                    region.get_or_create::<usize, _, _>("k", create).await
                }
            });
            let changing = spawn({
                let region = region.clone();
                async move {
                    let later = began.load(Ordering::SeqCst) == 1;
                    if deletes {
                        region.delete("k").await.unwrap();
                    } else {
                        region.set("k", &2_usize).await.unwrap();
                    }
                    later
                }
            });
            let later = block_on(changing).unwrap();
            assert!([1, 2].contains(&block_on(creating).unwrap()));
            let stored = region.blocking().get::<usize>("k").unwrap();
            assert!(!later || stored != Some(1), "it is older than the change");
        });
    }
}

/// A future whose polls do not panic any further: the panic is the output.
async fn caught<F: Future>(future: F) -> std::thread::Result<F::Output> {
    let mut future = Box::pin(future);
    std::future::poll_fn(move |cx| {
        let poll = std::panic::AssertUnwindSafe(|| future.as_mut().poll(cx));
        match std::panic::catch_unwind(poll) {
            Ok(poll) => poll.map(Ok),
            Err(panic) => Poll::Ready(Err(panic)),
        }
    })
    .await
}

#[test]
fn a_panicking_creator_is_followed_by_exactly_one_other() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(0)));
        let panicking = {
            let region = region.clone();
            spawn(async move {
                let creator = async || -> usize {
                    yield_now().await;
                    // Without the panic hook, which would print thousands.
                    std::panic::resume_unwind(Box::new("wanted"))
                };
                caught(region.get_or_create("k", creator)).await.ok()
            })
        };
        let calls: Vec<_> = (0..3)
            .map(|_| spawn(call(region.clone(), creations.clone(), Creator::Succeeds)))
            .collect();
        for call in calls {
            assert_eq!(block_on(call).unwrap(), Some(0));
        }
        assert!(matches!(block_on(panicking).unwrap(), None | Some(0)));
        assert_eq!(creations.load(Ordering::SeqCst), 1);
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}

#[test]
fn callers_of_a_stale_value_do_not_wait() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(100)));
        region.blocking().set("k", &7_usize).unwrap();
        region.blocking().expire_all().unwrap();
        let calls: Vec<_> = (0..3)
            .map(|_| {
                let (region, creations) = (region.clone(), creations.clone());
                spawn(async move {
                    let entry = region.entry("k");
                    let create = async || {
                        yield_now().await;
                        creations.fetch_add(1, Ordering::SeqCst)
                    };
                    let lookup = entry.lookup(create).await;
                    (lookup.value, lookup.status)
                })
            })
            .collect();
        for call in calls {
            let answer = block_on(call).unwrap();
            let expected = [(7, Status::Stale), (100, Status::Created), (100, Status::Hit)];
            assert!(expected.contains(&answer), "{answer:?}");
        }
        assert_eq!(creations.load(Ordering::SeqCst), 101, "created once");
    });
}

#[test]
fn overlapping_multi_calls_in_opposite_orders_finish_and_create_each_key_once() {
    check(|| {
        let region = region();
        let creations: Arc<[AtomicUsize; 3]> = Arc::default();
        let orders = [["0", "1", "2"], ["2", "1", "0"], ["1", "2", "0"]];
        let calls = orders.map(|keys| {
            let (region, creations) = (region.clone(), creations.clone());
            spawn(async move {
                let values = region.get_or_create_multi(keys, |missing: Vec<String>| {
                    let creations = creations.clone();
                    async move {
                        yield_now().await;
                        let numbers: Vec<usize> =
                            missing.iter().map(|key| key.parse().unwrap()).collect();
                        for &number in &numbers {
                            creations[number].fetch_add(1, Ordering::SeqCst);
                        }
                        numbers
                    }
                });
                let expected: Vec<usize> = keys.iter().map(|key| key.parse().unwrap()).collect();
                assert_eq!(values.await.unwrap(), expected);
            })
        });
        for call in calls {
            block_on(call).unwrap();
        }
        assert!(creations.iter().all(|count| count.load(Ordering::SeqCst) == 1), "{creations:?}");
    });
}

#[test]
fn a_multi_call_takes_over_keys_whose_creation_elsewhere_is_dropped() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(0)));
        let hanging = call(region.clone(), creations.clone(), Creator::Hangs);
        let dropped = spawn(abandon(hanging, 2));
        let calls: Vec<_> = [["j", "k"], ["k", "j"]]
            .into_iter()
            .map(|keys| {
                let region = region.clone();
                spawn(async move {
                    let create = async |keys: Vec<String>| {
                        yield_now().await;
                        vec![5_usize; keys.len()]
                    };
                    region.get_or_create_multi(keys, create).await.unwrap()
                })
            })
            .collect();
        for call in calls {
            assert_eq!(block_on(call).unwrap(), [5, 5]);
        }
        block_on(dropped).unwrap();
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}

#[test]
fn vetoed_values_leave_nobody_waiting() {
    check(|| {
        let (region, creations) = (region(), Arc::new(AtomicUsize::new(0)));
        let calls: Vec<_> = (0..4)
            .map(|_| {
                let (region, creations) = (region.clone(), creations.clone());
                spawn(async move {
                    // Values made before this call began are not for it.
                    let made_before = creations.load(Ordering::SeqCst);
                    let entry = region.entry("k").should_cache(|_: &usize| false);
                    let create = async || {
                        let number = creations.fetch_add(1, Ordering::SeqCst);
                        yield_now().await;
                        number
                    };
                    let number = entry.get_or_create(create).await;
                    assert!(number >= made_before, "{number} began before this call");
                })
            })
            .collect();
        for call in calls {
            block_on(call).unwrap();
        }
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}

#[test]
fn a_read_write_mutex_excludes_and_loses_no_wake_up() {
    check(|| {
        let mutex = dogpile::lock::ReadWriteMutex::new();
        let inside = Arc::new(AtomicUsize::new(0));
        let tasks: Vec<future::JoinHandle<()>> = (0..4)
            .map(|task| {
                let (mutex, inside) = (mutex.clone(), inside.clone());
                spawn(async move {
                    if task % 2 == 0 {
                        let _guard = mutex.write().await;
                        assert_eq!(inside.fetch_add(10, Ordering::SeqCst), 0);
                        yield_now().await;
                        inside.fetch_sub(10, Ordering::SeqCst);
                    } else {
                        let _guard = mutex.read().await;
                        assert!(inside.fetch_add(1, Ordering::SeqCst) < 10);
                        yield_now().await;
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                })
            })
            .collect();
        for task in tasks {
            block_on(task).unwrap();
        }
    });
}

/// A job that waits for its runner keeps nobody waiting, and its key is not lost with it.
#[test]
fn a_queued_job_keeps_nobody_from_its_key() {
    check(|| {
        let jobs: Arc<shuttle::sync::Mutex<Vec<Job>>> = Arc::default();
        let (queue, clock) = (jobs.clone(), ManualClock::new());
        let region = Arc::new(Region::new("model"));
        let config = Config::new(Memory::new(100)).clock(clock.clone());
        let config = config.expiration(Duration::from_secs(10));
        region.configure(config.runner(move |job| queue.lock().unwrap().push(job))).unwrap();
        block_on(region.set("k", &1)).unwrap();
        clock.advance(Duration::from_secs(11));
        let ask = |region: Arc<Region>| async move {
            region.entry("k").get_or_create_in_background(|| async { 2 }).await
        };
        let change = |region: Arc<Region>| async move {
            region.delete("k").await.unwrap();
            region.get_or_create("k", async || 3).await
        };
        let asking = [spawn(ask(region.clone())), spawn(ask(region.clone()))];
        let changing = spawn(change(region.clone()));
        for call in asking {
            assert!((1..=3).contains(&block_on(call).unwrap()));
        }
        let changed: i32 = block_on(changing).unwrap();
        assert!((2..=3).contains(&changed), "a value of before");
        for job in std::mem::take(&mut *jobs.lock().unwrap()) {
            block_on(job);
        }
        assert!(!region.blocking().key_is_locked("k").unwrap());
    });
}
