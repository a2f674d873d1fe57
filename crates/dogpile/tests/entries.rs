//! Calls on several keys with options of their own, async and blocking.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::clock::Clock;
use dogpile::testing::ManualClock;
use dogpile::{Config, CreateError, Error, Lookup, Region, Status};

const EXPIRATION: Duration = Duration::from_secs(60);

fn region_and_clock() -> (Arc<Region>, ManualClock) {
    let (region, clock) = (Arc::new(Region::new("entries")), ManualClock::new());
    let config = Config::new(Memory::new(100)).expiration(EXPIRATION).clock(clock.clone());
    region.configure(config).unwrap();
    (region, clock)
}

fn told<T: Clone>(lookups: &[Lookup<T>]) -> Vec<(T, Status)> {
    lookups.iter().map(|one| (one.value.clone(), one.status)).collect()
}

#[tokio::test]
async fn a_lookup_of_several_keys_says_of_each_where_it_came_from() {
    let (region, clock) = region_and_clock();
    region.set("a", &1_u32).await.unwrap();
    clock.advance(Duration::from_secs(20));
    let create = async |keys: Vec<String>| vec![7_u32; keys.len()];
    let found = region.entries(["a", "b", "a"]).lookup(create).await.unwrap();
    assert_eq!(told(&found), [(1, Status::Hit), (7, Status::Created), (1, Status::Hit)]);
    assert_eq!(found[0].age, Duration::from_secs(20));
    let failed = region.entries(["a", "c"]).try_lookup(async |_| Err::<Vec<u32>, _>("no")).await;
    assert!(matches!(failed, Err(CreateError::Creator("no"))));
    let blocking = region.blocking().entries(["b", "c"]).lookup(|_| vec![8_u32]).unwrap();
    assert_eq!(told(&blocking), [(7, Status::Hit), (8, Status::Created)]);
}

#[tokio::test]
async fn where_all_are_stale_several_keys_are_created_in_the_background() {
    let (region, clock) = region_and_clock();
    region.set_multi([("a", &1_u32), ("b", &2)]).await.unwrap();
    clock.advance(EXPIRATION * 2);
    let create = async |keys: Vec<String>| vec![7_u32; keys.len()];
    let stale = region.entries(["a", "b"]).get_or_create_in_background(create).await.unwrap();
    assert_eq!(stale, [1, 2]);
    while region.get::<u32>("b").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    assert_eq!(region.get_multi::<u32, _>(["a", "b"]).await.unwrap(), [Some(7), Some(7)]);
    clock.advance(EXPIRATION * 2);
    // One has nothing stale to return: this caller creates.
    let created = region.entries(["a", "c"]).get_or_create_in_background(create).await.unwrap();
    assert_eq!(created, [7, 7]);
}

#[test]
fn a_blocking_caller_is_not_kept_by_a_background_creation_of_several_keys() {
    let (region, clock) = region_and_clock();
    let blocking = region.blocking();
    blocking.entries(["a", "b"]).set(&[1_u32, 2]).unwrap();
    clock.advance(EXPIRATION * 2);
    let (go, wait) = std::sync::mpsc::channel::<()>();
    let create = move |keys: Vec<String>| {
        wait.recv().unwrap();
        Ok::<_, String>(vec![7_u32; keys.len()])
    };
    let stale = blocking.entries(["a", "b"]).try_get_or_create_in_background(create).unwrap();
    assert_eq!(stale, [1, 2]);
    go.send(()).unwrap();
    while blocking.get::<u32>("b").unwrap() != Some(7) {
        std::thread::yield_now();
    }
}

#[tokio::test]
async fn several_keys_are_stored_with_one_value_each() {
    let (region, clock) = region_and_clock();
    region.entries(["a", "b"]).set(&[1_u32, 2]).await.unwrap();
    assert_eq!(region.get_multi::<u32, _>(["a", "b"]).await.unwrap(), [Some(1), Some(2)]);
    let stored = region.get_with_metadata::<u32>("b").await.unwrap().unwrap();
    assert!((stored.ct - clock.now()).abs() < 1.0);
    let wrong = region.entries(["a", "b"]).set(&[3_u32]).await;
    assert!(matches!(wrong, Err(Error::WrongCount(of)) if (of.asked, of.returned) == (2, 1)));
    assert_eq!(region.get::<u32>("a").await.unwrap(), Some(1), "nothing is stored");
}

#[tokio::test]
async fn several_keys_are_deleted_for_callers_that_must_not_fail() {
    let (region, _) = region_and_clock();
    region.entries(["a", "b", "c", "d"]).set(&[1_u32, 2, 3, 4]).await.unwrap();
    region.entries(["a", "b"]).delete_in_background().await;
    assert_eq!(region.get_multi::<u32, _>(["a", "b"]).await.unwrap(), [None, None]);
    region.blocking().entries(["c"]).delete_in_background();
    assert_eq!(region.get_multi::<u32, _>(["c", "d"]).await.unwrap(), [None, Some(4)]);
}

#[tokio::test]
async fn a_strict_lookup_returns_the_error_of_the_cache() {
    let region = Region::new("nowhere");
    let lookup = region.entry("k").strict().lookup(async || 1_u32).await;
    assert!(matches!(lookup, Err(Error::NotConfigured { .. })));
    let lookup = region.entry("k").strict().try_lookup(async || Ok::<_, ()>(1_u32)).await;
    assert!(matches!(lookup, Err(CreateError::Cache(Error::NotConfigured { .. }))));
    let blocking = region.blocking().entry("k").try_lookup(|| Err::<u32, _>("no"));
    assert_eq!(blocking.unwrap_err(), "no");
}
