//! Values with lifetimes of their own, stored beside them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::config::Settings;
use dogpile::{Config, InMemory, Region, Status, cached, cached_multi};
use dogpile_testkit::ManualClock;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

const START: f64 = 1_763_700_000.0;

/// The moment so many seconds after the start.
fn moment(after: u32) -> f64 {
    START + f64::from(after)
}

/// Values live for as many seconds as they say, and for a minute if they say zero.
fn own(seconds: u64) -> Option<Duration> {
    (seconds > 0).then(|| Duration::from_secs(seconds))
}

fn backends() -> [AnyBackend; 2] {
    [AnyBackend::new(Memory::new(100)), AnyBackend::new(SerializedMemory::new(100))]
}

async fn status(region: &Region, key: &str) -> Status {
    region.entry(key).lookup(async || 1_u64).await.status
}

#[tokio::test]
async fn a_value_lives_for_as_long_as_it_says() {
    for backend in backends() {
        let (region, clock) = (Region::new("lifetimes"), ManualClock::at(START));
        let config = Config::over(backend).clock(clock.clone()).expiration(MINUTE);
        region.configure(config.lifetime(|seconds| own(*seconds))).unwrap();
        region.get_or_create("created", async || 100_u64).await;
        region.set("set", &100_u64).await.unwrap();
        region.get_or_create_multi(["usual", "short"], async |_| vec![0, 30_u64]).await.unwrap();
        region
            .entry("of the call")
            .lifetime(|_: &u64| Some(20 * SECOND))
            .set(&100_u64)
            .await
            .unwrap();
        region.set("another type", &"100".to_owned()).await.unwrap();
        for (after, found) in [(20, 6), (30, 5), (60, 4), (100, 2)] {
            clock.set(moment(after));
            let mut count =
                usize::from(region.get::<String>("another type").await.unwrap().is_some());
            for key in ["created", "set", "usual", "short", "of the call"] {
                count += usize::from(region.get::<u64>(key).await.unwrap().is_some());
            }
            assert_eq!(count, found, "after {after} s");
        }
        assert_eq!(status(&region, "set").await, Status::Hit);
        clock.advance(SECOND);
        assert_eq!(status(&region, "set").await, Status::Created);
    }
}

/// Jitter, early creation and stale values begin with the value's own lifetime.
#[tokio::test]
async fn all_moments_follow_from_it() {
    let (region, clock) = (Region::new("lifetimes"), ManualClock::at(START));
    let config = Config::new(Memory::new(10)).clock(clock.clone()).expiration(1_000 * MINUTE);
    let config = config.lifetime(|seconds| own(*seconds)).early(dogpile::Early::at(0.5));
    region.configure(config.stale_while_revalidate(10 * SECOND)).unwrap();
    let ask = async |key| {
        let found = region.entry(key).try_lookup(async || Err::<u64, _>("down")).await;
        found.map(|found| found.status)
    };
    region.set("k", &100_u64).await.unwrap();
    for (after, found) in [(49, Ok(Status::Hit)), (60, Ok(Status::Hit)), (101, Err("down"))] {
        clock.set(moment(after));
        assert_eq!(ask("k").await, found, "after {after} s");
    }
    assert_eq!(region.statistics().creator_failures, 2);
}

#[tokio::test]
async fn none_has_a_lifetime_of_its_own() {
    for backend in backends() {
        let (region, clock) = (Region::new("negative"), ManualClock::at(START));
        let config = Config::over(backend).clock(clock.clone()).expiration(MINUTE);
        region.configure(config.negative(5 * SECOND)).unwrap();
        for (key, value) in [("there", Some(1_u64)), ("not", None)] {
            region.get_or_create(key, async || value).await;
        }
        region.set("unit", &()).await.unwrap();
        region.set("nested", &Some(None::<u64>).map(|inner| (inner, 1))).await.unwrap();
        region.entry("longer").negative(20 * SECOND).set(&None::<u64>).await.unwrap();
        clock.advance(6 * SECOND);
        assert_eq!(region.get("there").await.unwrap(), Some(Some(1_u64)));
        assert_eq!(region.get::<Option<u64>>("not").await.unwrap(), None);
        assert_eq!(region.get("longer").await.unwrap(), Some(None::<u64>));
        assert_eq!(region.get("unit").await.unwrap(), Some(()));
        assert!(region.get::<Option<(Option<u64>, i32)>>("nested").await.unwrap().is_some());
    }
}

#[tokio::test]
async fn settings_have_it_where_none_is_known() {
    let settings = Settings::from_iter([
        ("backend", "memory"),
        ("arguments.max_entries", "10"),
        ("expiration_time", "1m"),
        ("negative", "5s"),
        ("remember_failures", "1s"),
        ("early", "adaptive"),
        ("soft_timeout", "100ms"),
    ]);
    let (region, clock) = (Region::new("negative"), ManualClock::at(START));
    region
        .configure(settings.config::<dogpile::region::Serialized>().unwrap().clock(clock.clone()))
        .unwrap();
    region.set("k", &None::<u64>).await.unwrap();
    clock.advance(6 * SECOND);
    assert_eq!(region.get::<Option<u64>>("k").await.unwrap(), None);
    let refused = settings.config::<InMemory>().unwrap_err().to_string();
    assert!(refused.contains("lifetime"), "{refused}");
    for wrong in ["2", "-0.1", "soon", ""] {
        let settings = Settings::from_iter([("backend", "memory"), ("early", wrong)]);
        let refused = settings.config::<InMemory>().map(drop);
        assert_eq!(refused.is_err(), !wrong.is_empty(), "{wrong:?}: {refused:?}");
    }
}

static USERS: Region = Region::new("lifetimes_of_functions");
static OBJECTS: Region<InMemory> = Region::in_memory("lifetimes_of_objects");
static CALLS: AtomicUsize = AtomicUsize::new(0);

async fn count() -> usize {
    tokio::task::yield_now().await;
    CALLS.fetch_add(1, Ordering::SeqCst)
}

#[cached(region = USERS, expiration = "1m", none = "5s")]
async fn user(id: u64) -> Option<usize> {
    let call = count().await;
    (id > 10).then_some(call)
}

#[cached(region = OBJECTS, expiration = "1m", none = "5s", lifetime = |seconds| seconds.map(Duration::from_secs))]
async fn object(id: u64) -> Option<u64> {
    count().await;
    (id > 10).then_some(id)
}

#[cached_multi(region = USERS, expiration = "1m", none = "5s")]
async fn users(ids: &[u64]) -> HashMap<u64, u64> {
    tokio::task::yield_now().await;
    CALLS.fetch_add(ids.len(), Ordering::SeqCst);
    ids.iter().filter(|id| **id > 10).map(|id| (*id, *id)).collect()
}

/// Runs `call` after so many seconds, and returns how many values it created.
async fn created<F: Future>(clock: &ManualClock, after: u32, call: F) -> usize {
    clock.set(moment(after));
    let before = CALLS.load(Ordering::SeqCst);
    call.await;
    CALLS.load(Ordering::SeqCst) - before
}

#[tokio::test]
async fn functions_have_the_options() {
    let clock = ManualClock::at(START);
    USERS.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    OBJECTS.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    for (after, expected) in [(0, [1, 1]), (5, [0, 0]), (6, [1, 0]), (61, [1, 1])] {
        for (id, expected) in [7, 70].into_iter().zip(expected) {
            assert_eq!(created(&clock, after, user(id)).await, expected, "user {id} at {after}");
        }
    }
    for (after, expected) in [(100, 2), (105, 0), (106, 1), (161, 2)] {
        assert_eq!(created(&clock, after, users(&[7, 70])).await, expected, "at {after}");
    }
    for (after, expected) in [(200, [1, 1]), (205, [0, 0]), (206, [1, 0]), (220, [1, 1])] {
        for (id, expected) in [7, 12].into_iter().zip(expected) {
            assert_eq!(
                created(&clock, after, object(id)).await,
                expected,
                "object {id} at {after}"
            );
        }
    }
}
