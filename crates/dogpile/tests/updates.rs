//! Creators that are given the value of before, and may return it again.

use std::sync::Mutex;
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::{CachedValue, Config, CreateError, Region};
use dogpile_testkit::ManualClock;

const MINUTE: Duration = Duration::from_secs(60);

fn regions() -> [(Region, ManualClock); 2] {
    let backends = [AnyBackend::new(Memory::new(100)), AnyBackend::new(SerializedMemory::new(100))];
    backends.map(|backend| {
        let (region, clock) = (Region::new("updates"), ManualClock::new());
        let config = Config::over(backend).clock(clock.clone()).expiration(MINUTE);
        region.configure(config).unwrap();
        (region, clock)
    })
}

/// Asks for the key, and returns the value that the creator was given.
async fn given(region: &Region) -> Option<(i32, Duration)> {
    let given = Mutex::new(None);
    let creator = async |old: Option<CachedValue<i32>>| {
        *given.lock().unwrap() = old.as_ref().map(|old| (old.value, old.age));
        old.map_or(1, |old| old.value + 1)
    };
    region.entry("k").get_or_update(creator).await;
    given.into_inner().unwrap()
}

#[tokio::test]
async fn a_creator_is_given_what_has_expired() {
    for (region, clock) in regions() {
        assert_eq!(given(&region).await, None);
        assert_eq!(given(&region).await, None, "it is not run");
        assert_eq!(region.get("k").await.unwrap(), Some(1));
        clock.advance(2 * MINUTE);
        assert_eq!(given(&region).await, Some((1, 2 * MINUTE)));
        region.expire("k").await.unwrap();
        assert!(given(&region).await.is_some_and(|(value, _)| value == 2));
        region.expire_all().await.unwrap();
        assert!(given(&region).await.is_some_and(|(value, _)| value == 3));
        assert_eq!(region.get("k").await.unwrap(), Some(4));
    }
}

#[tokio::test]
async fn what_was_invalidated_or_cannot_be_read_is_not_given() {
    for (region, clock) in regions() {
        region.set("k", &1).await.unwrap();
        region.invalidate_all().await.unwrap();
        assert_eq!(given(&region).await, None);
        region.set("k", &"text".to_owned()).await.unwrap();
        clock.advance(2 * MINUTE);
        assert_eq!(given(&region).await, None);
        region.delete("k").await.unwrap();
        assert_eq!(given(&region).await, None);
    }
}

/// To return it again is to store it as created now.
#[tokio::test]
async fn an_unchanged_value_is_young_again() {
    for (region, clock) in regions() {
        region.set("k", &1).await.unwrap();
        clock.advance(2 * MINUTE);
        let unchanged =
            async |old: Option<CachedValue<i32>>| old.map(|old| old.value).ok_or("there was none");
        assert_eq!(region.entry("k").try_get_or_update(unchanged).await, Ok(1));
        let found = region.get_with_metadata::<i32>("k").await.unwrap().unwrap();
        assert_eq!((found.value, found.age), (1, Duration::ZERO));
        region.delete("k").await.unwrap();
        assert_eq!(region.entry("k").try_get_or_update(unchanged).await, Err("there was none"));
    }
}

#[test]
fn blocking_calls_have_it_too() {
    for (region, clock) in regions() {
        let region = region.blocking();
        let counts = |old: Option<CachedValue<i32>>| old.map_or(1, |old| old.value + 1);
        for expected in [1, 2, 3] {
            assert_eq!(region.entry("k").get_or_update(counts), expected);
            assert_eq!(region.entry("k").get_or_update(counts), expected);
            clock.advance(2 * MINUTE);
        }
        let fails = |_: Option<CachedValue<i32>>| Err::<i32, _>("down");
        assert_eq!(region.entry("k").try_get_or_update(fails), Err("down"));
    }
}

type Pairs = Vec<(String, Option<CachedValue<i32>>)>;

/// The keys with the values of before, without their ages.
fn shown(pairs: &Pairs) -> Vec<(String, Option<i32>)> {
    pairs.iter().map(|(key, old)| (key.clone(), old.as_ref().map(|old| old.value))).collect()
}

fn next(pairs: &Pairs) -> Vec<i32> {
    pairs.iter().map(|(_, old)| old.as_ref().map_or(1, |old| old.value + 1)).collect()
}

#[tokio::test]
async fn a_creator_of_many_is_given_each_keys_own() {
    for (region, clock) in regions() {
        let given = Mutex::new(Vec::new());
        let ask = async |keys: &[&str]| {
            let creator = async |pairs: Pairs| {
                given.lock().unwrap().push(shown(&pairs));
                next(&pairs)
            };
            region.entries(keys.iter().copied()).get_or_update(creator).await.unwrap()
        };
        assert_eq!(ask(&["a", "b", "a"]).await, [1, 1, 1]);
        clock.advance(2 * MINUTE);
        region.set("b", &20).await.unwrap();
        assert_eq!(ask(&["c", "b", "a"]).await, [1, 20, 2]);
        region.delete("a").await.unwrap();
        assert_eq!(ask(&["a", "b"]).await, [1, 20]);
        let pair = |key: &str, old| (key.to_owned(), old);
        let expected = [
            vec![pair("a", None), pair("b", None)],
            vec![pair("c", None), pair("a", Some(1))],
            vec![pair("a", None)],
        ];
        assert_eq!(*given.lock().unwrap(), expected);
        let fails = async |_: Pairs| Err::<Vec<i32>, _>("down");
        let failed = region.entries(["z"]).try_get_or_update(fails).await;
        assert!(matches!(failed, Err(CreateError::Creator("down"))));
    }
}

#[test]
fn blocking_calls_of_many_have_it_too() {
    for (region, clock) in regions() {
        let region = region.blocking();
        for expected in [1, 2] {
            let ask = || region.entries(["a", "b"]).get_or_update(|pairs: Pairs| next(&pairs));
            assert_eq!(ask().unwrap(), [expected; 2]);
            assert_eq!(ask().unwrap(), [expected; 2]);
            clock.advance(2 * MINUTE);
        }
        let fails = |_: Pairs| Err::<Vec<i32>, _>("down");
        let failed = region.entries(["a"]).try_get_or_update(fails);
        assert!(matches!(failed, Err(CreateError::Creator("down"))));
    }
}

#[tokio::test]
async fn a_creator_in_the_background_is_given_it() {
    for (region, clock) in regions() {
        let counts = async |old: Option<CachedValue<i32>>| old.map_or(1, |old| old.value + 1);
        let ask = async || region.entry("k").get_or_update_in_background(counts).await;
        assert_eq!(ask().await, 1);
        clock.advance(2 * MINUTE);
        assert_eq!(ask().await, 1);
        assert!(region.drain(MINUTE).await);
        assert_eq!(ask().await, 2);
        clock.advance(2 * MINUTE);
        let fails = async |_: Option<CachedValue<i32>>| Err::<i32, _>("down");
        assert_eq!(region.entry("k").try_get_or_update_in_background(fails).await, Ok(2));
    }
}
