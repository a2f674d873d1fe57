//! The dogpile lock as callers of a region see it.

mod common;
#[path = "common/operations.rs"]
mod operations;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{creating, free, region_and_clock};
use dogpile::backend::{Memory, SerializedMemory};
use dogpile::key::Mangler;
use dogpile::lock::OnWaitTimeout;
use dogpile::region::Job;
use dogpile::{Config, CreateError, Error, Region, Status};
use dogpile_testkit::ManualClock;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_tasks_and_one_cold_key_are_one_creation() {
    let (region, _) = region_and_clock();
    let created = Arc::new(AtomicUsize::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..10_000 {
        let (region, created) = (region.clone(), created.clone());
        tasks.spawn(async move {
            let creator = async || {
                tokio::time::sleep(Duration::from_millis(20)).await;
                created.fetch_add(1, Ordering::SeqCst)
            };
            region.get_or_create::<usize, _, _>("k", creator).await
        });
    }
    while let Some(value) = tasks.join_next().await {
        assert_eq!(value.unwrap(), 0);
    }
    assert_eq!(created.load(Ordering::SeqCst), 1);
    let statistics = region.statistics();
    assert_eq!(statistics.creations, 1);
    assert_eq!(statistics.hits + statistics.misses, 10_000);
}

#[tokio::test]
async fn a_creator_dropped_half_way_ten_thousand_times_leaves_nothing_behind() {
    let (region, _) = region_and_clock();
    for _ in 0..10_000 {
        let mut call = Box::pin(region.get_or_create::<u32, _, _>("k", async || pending().await));
        assert!(futures_util::poll!(&mut call).is_pending());
        assert!(region.key_is_locked("k").await.unwrap());
        drop(call);
        assert!(!region.key_is_locked("k").await.unwrap());
    }
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
}

#[tokio::test]
async fn waiters_dropped_in_any_order_pass_the_key_on() {
    let (region, _) = region_and_clock();
    let waiter = || Box::pin(region.get_or_create::<u32, _, _>("k", async || pending().await));
    for drop_first in [true, false] {
        let mut holder = waiter();
        assert!(futures_util::poll!(&mut holder).is_pending());
        let mut crowd: Vec<_> = (0..10).map(|_| waiter()).collect();
        for call in &mut crowd {
            assert!(futures_util::poll!(call).is_pending());
        }
        let mut last = Box::pin(region.get_or_create("k", async || 7));
        assert!(futures_util::poll!(&mut last).is_pending());
        // The first of the crowd is elected while nobody polls it.
        drop(holder);
        if !drop_first {
            crowd.reverse();
        }
        for call in crowd {
            drop(call);
        }
        assert_eq!(last.await, 7);
        region.delete("k").await.unwrap();
        assert!(!region.key_is_locked("k").await.unwrap());
    }
}

#[test]
fn a_runtime_shut_down_amid_creations_and_waits_leaves_no_key_stuck() {
    let (region, _) = region_and_clock();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    for _ in 0..100 {
        let region = region.clone();
        runtime.spawn(async move {
            region.get_or_create::<u32, _, _>("k", async || pending().await).await
        });
    }
    runtime.block_on(async {
        while !region.key_is_locked("k").await.unwrap() {
            tokio::task::yield_now().await;
        }
    });
    drop(runtime);
    assert!(!region.blocking().key_is_locked("k").unwrap());
    assert_eq!(region.blocking().get_or_create("k", || 5), 5);
}

#[tokio::test]
async fn an_error_goes_to_its_caller_alone_and_unchanged() {
    #[derive(Debug, PartialEq)]
    struct NotEvenAnError(std::cell::Cell<u8>);
    let (region, _) = region_and_clock();
    let failed = region.try_get_or_create::<u8, _, _, _>("k", async || {
        Err(NotEvenAnError(std::cell::Cell::new(3)))
    });
    assert_eq!(failed.await.unwrap_err().0.get(), 3);
    let made = region.try_get_or_create("k", async || Ok::<_, NotEvenAnError>(1_u8)).await;
    assert_eq!(made, Ok(1));
    let statistics = region.statistics();
    assert_eq!((statistics.creator_failures, statistics.creations), (1, 1));
}

#[tokio::test]
async fn a_creator_that_asks_for_its_own_key_is_told() {
    let (region, _) = region_and_clock();
    let inner = async || region.entry("k").strict().get_or_create(async || 1_u8).await;
    let outer = region.get_or_create("k", async || match inner().await {
        Err(Error::RecursiveCreation(at)) if at.key == "k" => 42_u8,
        other => panic!("{other:?}"),
    });
    assert_eq!(outer.await, 42);

    let multi = region.get_or_create_multi(["a", "b"], async |keys: Vec<String>| {
        let inner = region.get_or_create_multi(["b"], async |_| vec![0]).await;
        assert!(matches!(inner, Err(Error::RecursiveCreation { .. })));
        vec![1; keys.len()]
    });
    assert_eq!(multi.await.unwrap(), [1, 1]);
}

#[tokio::test]
async fn a_plain_creator_that_asks_for_its_own_key_once_runs_uncached_inside() {
    let (region, _) = region_and_clock();
    let value = region.get_or_create("k", async || 1 + region.get_or_create("k", async || 1).await);
    assert_eq!(value.await, 2);
    assert_eq!(region.get("k").await.unwrap(), Some(2));
}

#[tokio::test]
#[should_panic(expected = "asked for `k` itself")]
async fn a_creator_that_asks_for_its_own_key_for_ever_panics_instead() {
    fn forever(region: &Region) -> std::pin::Pin<Box<dyn Future<Output = u8> + Send + '_>> {
        Box::pin(region.get_or_create("k", move || forever(region)))
    }
    let (region, _) = region_and_clock();
    forever(&region).await;
}

#[tokio::test]
async fn other_keys_and_other_regions_may_be_asked_for_inside_a_creator() {
    let (region, _) = region_and_clock();
    let (other, _) = region_and_clock();
    let value = region.get_or_create("k", async || {
        other.get_or_create("k", async || 1).await + region.get_or_create("j", async || 2).await
    });
    assert_eq!(value.await, 3);
}

#[tokio::test]
async fn a_creator_may_read_its_own_old_value() {
    let (region, clock) = region_and_clock();
    region.set("k", &10).await.unwrap();
    clock.advance(Duration::from_secs(100));
    let value = region.get_or_create("k", async || {
        1 + region.get_or_create("k", async || -> i32 { panic!("not elected") }).await
    });
    assert_eq!(value.await, 11);
}

#[tokio::test]
async fn a_lookup_says_how_the_value_came_about() {
    let (region, clock) = region_and_clock();
    let lookup = |value: u32| region.entry("k").lookup(async move || value);
    let made = lookup(1).await;
    assert_eq!((made.value, made.status, made.age), (1, Status::Created, Duration::ZERO));
    clock.advance(Duration::from_secs(20));
    let hit = lookup(2).await;
    assert_eq!((hit.value, hit.status, hit.age), (1, Status::Hit, Duration::from_secs(20)));
    clock.advance(Duration::from_secs(60));
    let go = creating(&region, "k", 3).await;
    let stale = lookup(4).await;
    assert_eq!((stale.value, stale.status, stale.age), (1, Status::Stale, Duration::from_secs(80)));
    go.notify_one();
    free(&region, "k").await;
    region.delete("k").await.unwrap();
    let go = creating(&region, "k", 3).await;
    let mut waiting = Box::pin(lookup(5));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    go.notify_one();
    let waited = waiting.await;
    assert_eq!((waited.value, waited.status), (3, Status::Waited));
}

#[tokio::test]
async fn a_vetoed_value_goes_to_those_who_waited_from_before_and_no_others() {
    let (region, _) = region_and_clock();
    let call = |value: u32, go: Arc<Notify>| {
        let region = region.clone();
        Box::pin(async move {
            let entry = region.entry("k").should_cache(|_: &u32| false);
            let creator = async || {
                go.notified().await;
                value
            };
            let lookup = entry.lookup(creator).await;
            (lookup.value, lookup.status)
        })
    };
    let gates: Vec<Arc<Notify>> = (0..4).map(|_| Arc::new(Notify::new())).collect();
    let mut calls: Vec<_> = gates.iter().zip(0..).map(|(gate, n)| call(n, gate.clone())).collect();
    for call in &mut calls {
        assert!(futures_util::poll!(call).is_pending());
    }
    // 1, 2 and 3 came while 0 was creating: its value is not theirs.
    gates[0].notify_one();
    let mut calls = calls.into_iter();
    assert_eq!(calls.next().unwrap().await, (0, Status::Created));
    // 2 and 3 were waiting when 1 began: its value is.
    gates[1].notify_one();
    assert_eq!(calls.next().unwrap().await, (1, Status::Created));
    assert_eq!(calls.next().unwrap().await, (1, Status::Waited));
    assert_eq!(calls.next().unwrap().await, (1, Status::Waited));
    assert_eq!(region.get::<u32>("k").await.unwrap(), None);
    assert_eq!(region.statistics().vetoed, 2);
}

#[tokio::test]
async fn the_wait_timeout_ends_as_chosen() {
    let (region, clock) = region_and_clock();
    let go = creating(&region, "k", 1).await;
    let limit = Duration::from_secs(5);

    let strict = region.entry("k").wait_timeout(limit).strict();
    let mut strict = Box::pin(strict.try_get_or_create(async || Ok::<_, ()>(2_u32)));
    let plain = region.entry("k").wait_timeout(limit);
    let mut plain = Box::pin(plain.lookup(async || 3_u32));
    let create = region.entry("k").wait_timeout(limit).on_wait_timeout(OnWaitTimeout::Create);
    let mut create = Box::pin(create.lookup(async || 4_u32));
    assert!(futures_util::poll!(&mut strict).is_pending());
    assert!(futures_util::poll!(&mut plain).is_pending());
    assert!(futures_util::poll!(&mut create).is_pending());
    clock.advance(limit);
    assert!(
        matches!(strict.await, Err(CreateError::Cache(Error::WaitTimeout(waited))) if waited.limit == limit)
    );
    let plain = plain.await;
    assert_eq!((plain.value, plain.status), (3, Status::Uncached));
    assert_eq!(region.get::<u32>("k").await.unwrap(), None, "uncached is not stored");
    let create = create.await;
    assert_eq!((create.value, create.status), (4, Status::Created));
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(4), "created without the mutex, stored");
    go.notify_one();
}

#[tokio::test]
async fn at_the_wait_timeout_even_a_hard_invalidated_value_can_be_had() {
    let (region, clock) = region_and_clock();
    region.set("k", &1_u32).await.unwrap();
    region.invalidate_all().await.unwrap();
    let _go = creating(&region, "k", 2).await;
    let entry = region
        .entry("k")
        .wait_timeout(Duration::from_secs(1))
        .on_wait_timeout(OnWaitTimeout::Stale);
    let mut waiting = Box::pin(entry.lookup(async || 3_u32));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    clock.advance(Duration::from_secs(1));
    let lookup = waiting.await;
    assert_eq!((lookup.value, lookup.status), (1, Status::Stale));
}

#[tokio::test]
async fn behind_a_background_runner_nobody_waits_for_a_stale_value() {
    let clock = ManualClock::new();
    let region = Region::new("test");
    let (jobs, mut queue) = mpsc::unbounded_channel::<Job>();
    let config =
        Config::new(Memory::new(10)).clock(clock.clone()).expiration(Duration::from_secs(60));
    region.configure(config.runner(move |job| jobs.send(job).unwrap())).unwrap();
    let call = |value: u32| region.entry("k").get_or_create_in_background(async move || value);

    assert_eq!(call(1).await, 1, "cold: created by the caller");
    clock.advance(Duration::from_secs(61));
    for n in 2..10 {
        assert_eq!(call(n).await, 1, "everyone, the elected caller too, has the old value");
    }
    let job = queue.try_recv().unwrap();
    assert_eq!((job.region(), job.keys()), ("test", &["k".to_owned()][..]));
    assert!(queue.try_recv().is_err(), "one job, however many callers");
    assert!(region.key_is_locked("k").await.unwrap());
    tokio::spawn(job).await.unwrap();
    assert_eq!(call(99).await, 2);

    clock.advance(Duration::from_secs(61));
    assert_eq!(call(3).await, 2);
    drop(queue.try_recv().unwrap());
    assert!(!region.key_is_locked("k").await.unwrap(), "a dropped job gives its key up");
    assert_eq!(call(4).await, 2);
    std::thread::spawn({
        let job = queue.try_recv().unwrap();
        move || job.run()
    })
    .join()
    .unwrap();
    assert_eq!(call(99).await, 4);
    assert_eq!(region.statistics().background, 3);
}

#[tokio::test]
async fn a_background_creator_that_fails_or_panics_gives_the_key_up() {
    let (region, clock) = region_and_clock();
    region.set("k", &1_u32).await.unwrap();
    clock.advance(Duration::from_secs(61));
    let failing = region.entry("k");
    assert_eq!(failing.try_get_or_create_in_background(async || Err::<u32, _>("no")).await, Ok(1));
    while region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(region.statistics().creator_failures, 1);
    let panicking = region.entry("k");
    assert_eq!(
        panicking.get_or_create_in_background(async || -> u32 { panic!("wanted") }).await,
        1
    );
    while region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
    let fine = region.entry("k");
    assert_eq!(fine.get_or_create_in_background(async || 2_u32).await, 1);
    while region.get::<u32>("k").await.unwrap() != Some(2) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_multi_creator_is_called_once_with_what_its_caller_was_elected_for() {
    let (region, clock) = region_and_clock();
    region.set_multi([("fresh", &1_u32)]).await.unwrap();
    let stale_go = {
        region.set("stale", &2_u32).await.unwrap();
        region.set("expired", &3_u32).await.unwrap();
        clock.advance(Duration::from_secs(61));
        region.set("fresh", &1_u32).await.unwrap();
        creating(&region, "stale", 20).await
    };
    let cold_go = creating(&region, "elsewhere", 40).await;
    let calls = AtomicUsize::new(0);
    let keys = ["elsewhere", "fresh", "stale", "expired", "missing"];
    let mut call = Box::pin(region.get_or_create_multi(keys, |keys: Vec<String>| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move {
            assert_eq!(keys, ["expired", "missing"]);
            vec![30_u32, 50]
        }
    }));
    assert!(futures_util::poll!(&mut call).is_pending(), "one key is being created elsewhere");
    assert_eq!(calls.load(Ordering::SeqCst), 1, "what was won is created before waiting");
    assert_eq!(region.get("missing").await.unwrap(), Some(50_u32), "and stored");
    cold_go.notify_one();
    assert_eq!(call.await.unwrap(), [40, 1, 2, 30, 50]);
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    stale_go.notify_one();
}

#[tokio::test]
async fn a_multi_creator_is_called_again_for_a_key_whose_creation_elsewhere_failed() {
    let (region, _) = region_and_clock();
    let mut elsewhere = Box::pin(region.get_or_create::<u32, _, _>("b", async || pending().await));
    assert!(futures_util::poll!(&mut elsewhere).is_pending());
    let asked = std::sync::Mutex::new(Vec::new());
    let mut call = Box::pin(region.get_or_create_multi(["a", "b"], |keys: Vec<String>| {
        asked.lock().unwrap().push(keys.clone());
        async move { vec![7_u32; keys.len()] }
    }));
    assert!(futures_util::poll!(&mut call).is_pending());
    drop(elsewhere);
    assert_eq!(call.await.unwrap(), [7, 7]);
    assert_eq!(*asked.lock().unwrap(), [vec!["a".to_owned()], vec!["b".to_owned()]]);
}

#[tokio::test]
async fn a_failed_multi_creator_stores_nothing_and_frees_all_keys() {
    let (region, _) = region_and_clock();
    let failed = region.try_get_or_create_multi(["a", "b"], async |_| Err::<Vec<u32>, _>("no"));
    assert!(matches!(failed.await, Err(CreateError::Creator("no"))));
    for returned in [0, 1, 3] {
        let wrong = region.get_or_create_multi(["a", "b"], async |_| vec![1_u32; returned]).await;
        assert!(
            matches!(wrong, Err(Error::WrongCount(of)) if (of.asked, of.returned) == (2, returned))
        );
    }
    assert_eq!(region.get_multi::<u32, _>(["a", "b"]).await.unwrap(), [None, None]);
    for key in ["a", "b"] {
        assert!(!region.key_is_locked(key).await.unwrap());
    }
}

#[tokio::test]
async fn one_multi_call_is_one_read_one_creation_and_one_write() {
    let operations = operations::Operations::default();
    let region = Region::new("counted");
    let config = Config::new(SerializedMemory::new(1_000)).proxy(operations.clone());
    region.configure(config).unwrap();
    let keys: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let made = region.get_or_create_multi(keys.clone(), async |keys: Vec<String>| keys).await;
    assert_eq!(made.unwrap(), keys);
    let counts = operations.counts();
    assert_eq!((counts.get_multi, counts.set_multi, counts.get, counts.set), (1, 1, 0, 0));
    region.get_or_create_multi(keys, async |keys: Vec<String>| keys).await.unwrap();
    let counts = operations.counts();
    assert_eq!((counts.get_multi, counts.set_multi, counts.get, counts.set), (2, 1, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seeded_storm_of_everything_ends_with_every_key_free() {
    use rand::{Rng, SeedableRng};
    let (region, clock) = region_and_clock();
    let mut tasks = JoinSet::new();
    for seed in 0..64_u64 {
        let (region, clock) = (region.clone(), clock.clone());
        tasks.spawn(async move {
            let mut random = rand::rngs::SmallRng::seed_from_u64(seed);
            for _ in 0..300 {
                let key = format!("k{}", random.random_range(0..6));
                match random.random_range(0..10) {
                    0 => region.delete(&key).await.unwrap(),
                    1 => region.invalidate_all().await.unwrap(),
                    2 => region.expire_all().await.unwrap(),
                    3 => clock.advance(Duration::from_secs(7)),
                    4 => {
                        let call = region.try_get_or_create(&key, async || {
                            tokio::task::yield_now().await;
                            Err::<u64, ()>(())
                        });
                        let _ = call.await;
                    }
                    5 => {
                        let call =
                            region.get_or_create::<u64, _, _>(&key, async || pending().await);
                        let _ = tokio::time::timeout(Duration::from_micros(50), call).await;
                    }
                    6 => {
                        let keys: Vec<String> =
                            (0..3).map(|_| format!("k{}", random.random_range(0..6))).collect();
                        let made = region.get_or_create_multi(keys, async |keys: Vec<String>| {
                            tokio::task::yield_now().await;
                            vec![seed; keys.len()]
                        });
                        assert_eq!(made.await.unwrap().len(), 3);
                    }
                    _ => {
                        region.get_or_create(&key, async || seed).await;
                    }
                }
            }
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.unwrap();
    }
    for key in 0..6 {
        assert!(!region.key_is_locked(&format!("k{key}")).await.unwrap());
    }
}

#[tokio::test]
async fn keys_that_are_stored_under_one_key_do_not_wait_for_each_other() {
    let region = Region::new("lower");
    let lower = Mangler::new(|key: &str| key.to_lowercase());
    region.configure(Config::new(Memory::new(10)).key_mangler(lower)).unwrap();
    for value in [1, 2] {
        let refreshed = region.entries(["A", "a"]).refresh(async |keys| vec![value; keys.len()]);
        let refreshed = tokio::time::timeout(Duration::from_secs(5), refreshed).await;
        assert_eq!(refreshed.expect("it ends").unwrap(), [value, value]);
        assert_eq!(region.get::<i32>("a").await.unwrap(), Some(value));
    }
}

/// A creator that is dropped ends before its key is free: no other creation of the key begins before.
#[test]
fn a_cancelled_creator_ends_before_its_key_is_free() {
    struct Watches<'r> {
        region: &'r Region,
        was_locked: &'r std::sync::Mutex<Option<bool>>,
    }

    impl Drop for Watches<'_> {
        fn drop(&mut self) {
            let locked = futures_util::FutureExt::now_or_never(self.region.key_is_locked("k"));
            *self.was_locked.lock().unwrap() = locked.map(Result::unwrap);
        }
    }

    let region = Region::new("cancelled");
    region.configure(Config::new(Memory::new(10))).unwrap();
    for refreshes in [false, true] {
        let was_locked = std::sync::Mutex::new(None);
        let ends = Watches { region: &region, was_locked: &was_locked };
        let creator = async move || {
            let _ends = &ends;
            std::future::pending::<u32>().await
        };
        let entry = region.entry("k");
        let poll = |call: std::pin::Pin<&mut dyn Future<Output = u32>>| {
            let mut context = std::task::Context::from_waker(std::task::Waker::noop());
            assert!(call.poll(&mut context).is_pending());
        };
        if refreshes {
            let mut call = Box::pin(entry.refresh(creator));
            poll(call.as_mut());
        } else {
            let mut call = Box::pin(entry.get_or_create(creator));
            poll(call.as_mut());
        }
        assert_eq!(*was_locked.lock().unwrap(), Some(true), "refreshes: {refreshes}");
    }
}
