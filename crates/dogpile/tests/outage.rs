//! A backend that does not answer: what a process keeps meanwhile, and for how long.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, Status};
use dogpile_testkit::{Faults, ManualClock};
use tokio::task::JoinSet;

const KEPT: Duration = Duration::from_secs(10);

/// A region whose backend is down.
fn down(change: impl FnOnce(Config) -> Config) -> (Arc<Region>, Faults, ManualClock) {
    let (region, faults, clock) = (Region::new("down"), Faults::new(), ManualClock::new());
    let config = Config::new(Memory::new(10)).proxy(faults.clone()).clock(clock.clone());
    region.configure(change(config)).unwrap();
    faults.down();
    (Arc::new(region), faults, clock)
}

#[tokio::test]
async fn a_key_costs_one_creation_in_a_process_and_time() {
    let (region, _, clock) = down(|config| config);
    let runs = Arc::new(AtomicUsize::new(0));
    for round in 1..4 {
        let mut calls = JoinSet::new();
        for _ in 0..50 {
            let (region, runs) = (region.clone(), runs.clone());
            calls.spawn(async move {
                let creator = async || {
                    tokio::task::yield_now().await;
                    runs.fetch_add(1, Ordering::SeqCst) + 1
                };
                region.get_or_create::<usize, _, _>("k", creator).await
            });
        }
        assert!(calls.join_all().await.into_iter().all(|value| value == round));
        let found = region.entry("k").lookup(async || 0_usize).await;
        assert_eq!((found.value, found.status), (round, Status::Hit));
        let both = region.get_or_create_multi(["k", "other"], async |_| vec![100 * round]).await;
        assert_eq!(both.unwrap(), [round, 100 * round]);
        clock.advance(KEPT + Duration::from_millis(1));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 3);
    // Who wants to know is told.
    assert!(region.entry("k").strict().get_or_create(async || 0_usize).await.is_err());
    assert!(region.get::<usize>("k").await.is_err());
}

#[tokio::test]
async fn a_backend_that_is_back_has_the_say() {
    let (region, faults, _) = down(|config| config);
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    faults.clear();
    region.set("other", &7).await.unwrap();
    assert_eq!(region.get_or_create("k", async || 2).await, 2, "nothing is stored");
    faults.down();
    assert_eq!(region.get_or_create("k", async || 3).await, 3, "nothing is kept any more");
}

#[tokio::test]
async fn changes_end_it_also_where_they_fail() {
    let (region, _, _) = down(|config| config);
    let mut next = 0;
    let mut is_created = async |region: &Region| {
        next += 1;
        let value = region.get_or_create("k", async || next).await;
        assert_eq!(region.get_or_create("k", async || 0).await, value, "it is kept");
        value == next
    };
    assert!(is_created(&region).await);
    assert!(!is_created(&region).await);
    region.delete("k").await.unwrap_err();
    assert!(is_created(&region).await);
    region.set("k", &1).await.unwrap_err();
    assert!(is_created(&region).await);
    region.delete_multi(["k"]).await.unwrap_err();
    assert!(is_created(&region).await);
    region.invalidate_all().await.unwrap();
    assert!(is_created(&region).await);
    assert_eq!(region.entry("k").refresh(async || 50).await, 50);
    assert_eq!(region.get_or_create("k", async || 0).await, 50);
    // A change while the value is created: it must not stay.
    region.delete("k").await.unwrap_err();
    let overtaken = async || {
        region.delete("k").await.unwrap_err();
        60
    };
    assert_eq!(region.get_or_create("k", overtaken).await, 60);
    assert_eq!(region.get_or_create("k", async || 70).await, 70);
}

#[tokio::test]
async fn what_is_kept_expires_as_what_is_stored() {
    let second = Duration::from_secs(1);
    let (region, _, clock) = down(|config| config.expiration(second));
    assert_eq!(region.get_or_create("k", async || 1).await, 1);
    clock.advance(second * 2);
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    let vetoed = region.entry("v").should_cache(|_: &i32| false);
    assert_eq!(vetoed.get_or_create(async || 1).await, 1);
    assert_eq!(region.get_or_create("v", async || 2).await, 2);
    // A kept value of another type is none.
    assert_eq!(region.get_or_create("k", async || "text".to_owned()).await, "text");
}

#[tokio::test]
async fn nothing_is_kept_for_no_time() {
    let (region, _, _) = down(|config| config.keep_when_down(Duration::ZERO));
    for n in 0..3 {
        assert_eq!(region.get_or_create("k", async || n).await, n);
    }
}
