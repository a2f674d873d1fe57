//! Regions: configuration, plain operations, errors.

#[path = "common/operations.rs"]
mod operations;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, Null, SerializedMemory};
use dogpile::clock::Clock;
use dogpile::codec::MessagePack;
use dogpile::invalidation::{InProcess, Invalidation};
use dogpile::proxy::{KeyPrefix, Logging};
use dogpile::{Config, CreateError, Error, Expiration, InMemory, Region, Status, key};
use dogpile_testkit::{Fault, Faults, ManualClock, Operation};

fn memory() -> Region {
    let region = Region::new("test");
    region.configure(Config::new(Memory::new(100))).unwrap();
    region
}

#[tokio::test]
async fn an_unconfigured_region_says_so_and_still_creates() {
    static REGION: Region = Region::new("early");
    assert!(!REGION.is_configured());
    let error = REGION.get::<u8>("k").await.unwrap_err();
    assert!(matches!(&error, Error::NotConfigured(of) if of.region == "early"));
    assert!(error.to_string().contains("early"));
    assert!(REGION.set("k", &1_u8).await.is_err());
    assert!(REGION.invalidate_all().await.is_err());
    let strict = REGION.entry("k").strict().get_or_create(async || 1_u8).await;
    assert!(matches!(strict, Err(Error::NotConfigured { .. })));
    for _ in 0..2 {
        let lookup = REGION.entry("k").lookup(async || 5_u8).await;
        assert_eq!((lookup.value, lookup.status), (5, Status::Uncached));
    }
    let multi = REGION.get_or_create_multi(["a", "b", "a"], async |keys: Vec<String>| keys).await;
    assert_eq!(multi.unwrap(), ["a", "b", "a"]);
    assert_eq!(REGION.statistics().uncached, 3);
}

#[tokio::test]
async fn configuring_twice_is_an_error_unless_replacement_is_asked_for() {
    let region = memory();
    region.set("k", &1_u8).await.unwrap();
    let again = region.configure(Config::new(Memory::new(10)));
    assert!(matches!(again, Err(Error::AlreadyConfigured { .. })));
    assert_eq!(region.get("k").await.unwrap(), Some(1_u8));
    region.configure(Config::new(Memory::new(10)).replace_existing()).unwrap();
    assert_eq!(region.get::<u8>("k").await.unwrap(), None);
}

#[tokio::test]
async fn the_backends_can_be_seen_through_the_proxies() {
    let region = Region::new("seen");
    let config = Config::new(SerializedMemory::new(10)).proxy(KeyPrefix::new("p:")).proxy(Logging);
    region.configure(config).unwrap();
    let backend = region.backend().unwrap();
    assert_eq!(backend.name(), "Logging over KeyPrefix over SerializedMemory");
    assert!(backend.actual::<SerializedMemory>().is_some());
    assert!(backend.actual::<Memory>().is_none());
    region.set("k", &1_u8).await.unwrap();
    let actual = AnyBackend::actual::<SerializedMemory>(&backend).unwrap();
    assert!(dogpile::backend::Backend::get(actual, "p:k").await.unwrap().is_some());
}

#[tokio::test]
async fn proxies_can_be_added_later() {
    let region = memory();
    let faults = Faults::new();
    region.add_proxy(faults.clone()).unwrap();
    faults.next(Operation::Get, Fault::Unavailable, 1);
    let error = region.get::<u8>("k").await.unwrap_err();
    assert!(matches!(error, Error::Backend(of) if of.operation == "get"));
}

#[tokio::test]
async fn values_come_with_their_creation_time_and_age() {
    let region = Region::new("aged");
    let clock = ManualClock::at(1_763_700_000.25);
    region.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    region.set("k", &"v".to_owned()).await.unwrap();
    clock.advance(Duration::from_secs(90));
    let stored = region.get_with_metadata::<String>("k").await.unwrap().unwrap();
    assert_eq!(stored.ct.to_bits(), 1_763_700_000.25_f64.to_bits());
    assert_eq!(stored.age, Duration::from_secs(90));
    assert_eq!(dogpile::clock::epoch_seconds(stored.cached_time()).to_bits(), stored.ct.to_bits());
    assert!(region.get_with_metadata::<String>("other").await.unwrap().is_none());
}

#[tokio::test]
async fn multi_operations_take_any_iterator() {
    let region = memory();
    let values = [("a", 1), ("b", 2), ("c", 3)];
    region.set_multi(values.iter().map(|(key, value)| (*key, value))).await.unwrap();
    let found = region.get_multi::<i32, _>(["c", "x", "a", "c"]).await.unwrap();
    assert_eq!(found, [Some(3), None, Some(1), Some(3)]);
    region.delete_multi(values.map(|(key, _)| key)).await.unwrap();
    assert_eq!(region.get_multi::<i32, _>(["a", "b"]).await.unwrap(), [None, None]);
    assert!(region.get_multi::<i32, _>(Vec::<String>::new()).await.unwrap().is_empty());
    region.set_multi(Vec::<(&str, &i32)>::new()).await.unwrap();
}

#[tokio::test]
async fn another_type_under_the_key_is_an_error_on_get_and_replaced_on_creation() {
    let region = memory();
    region.set("k", &7_u64).await.unwrap();
    let error = region.get::<String>("k").await.unwrap_err();
    let Error::WrongType(types) = &error else { panic!("{error}") };
    assert_eq!((types.stored, types.asked), ("u64", "alloc::string::String"));
    assert_eq!(region.get_or_create("k", async || "new".to_owned()).await, "new");
    assert_eq!(region.get("k").await.unwrap(), Some("new".to_owned()));
    assert_eq!(region.statistics().unreadable, 1);
}

#[tokio::test]
async fn a_hit_in_memory_is_the_same_object() {
    let region: Region<InMemory> = Region::in_memory("objects");
    region.configure(Config::new(Memory::new(10))).unwrap();
    let made: Arc<[u8]> = region.get_or_create("k", async || Arc::from([1, 2, 3])).await;
    let found = region.get::<Arc<[u8]>>("k").await.unwrap().unwrap();
    assert!(Arc::ptr_eq(&made, &found));
}

#[test]
fn a_local_region_refuses_an_erased_backend_that_keeps_bytes() {
    let region = Region::in_memory("objects");
    let backend = AnyBackend::new(SerializedMemory::new(10));
    let error = region.configure(Config::over(backend)).unwrap_err();
    assert!(matches!(error, Error::NeedsObjects { .. }), "{error}");
}

#[tokio::test]
async fn manglers_are_the_regions_own_or_the_backends_or_none() {
    let region = Region::new("mangled");
    let config = Config::new(SerializedMemory::new(10)).key_mangler(key::sha1());
    region.configure(config).unwrap();
    assert_eq!(region.stored_key("abc").unwrap(), "a9993e364706816aba3e25717850c26c9cd0d89d");
    region.set("abc", &1).await.unwrap();
    assert_eq!(region.get::<i32>("abc").await.unwrap(), Some(1));
    let plain = Region::new("plain");
    plain.configure(Config::new(Memory::new(1)).no_key_mangler()).unwrap();
    assert_eq!(plain.stored_key("abc").unwrap(), "abc");
}

#[tokio::test]
async fn codecs_write_what_they_are_called() {
    let json = Region::new("json");
    json.configure(Config::new(SerializedMemory::new(10))).unwrap();
    let packed = Region::new("msgpack");
    packed.configure(Config::new(SerializedMemory::new(10)).codec(MessagePack)).unwrap();
    for (region, payload) in [(&json, &b"{\"id\":7}"[..]), (&packed, b"\x81\xa2id\x07")] {
        let value = std::collections::BTreeMap::from([("id".to_owned(), 7)]);
        region.set("k", &value).await.unwrap();
        assert_eq!(region.get("k").await.unwrap(), Some(value));
        let entry = region.backend().unwrap().get("k").await.unwrap().unwrap();
        let dogpile::value::Payload::Bytes(bytes) = entry.payload else { panic!("bytes") };
        assert_eq!(&bytes[..], payload);
    }
}

#[tokio::test]
async fn a_value_that_cannot_be_encoded_reaches_the_caller_and_is_counted() {
    // JSON has no maps with such keys.
    let value = std::collections::BTreeMap::from([(vec![1_u8], 1_u8)]);
    let region = Region::new("unencodable");
    region.configure(Config::new(SerializedMemory::new(10))).unwrap();
    let got = region.get_or_create("k", async || value.clone()).await;
    assert_eq!(got, value);
    assert_eq!(region.statistics().not_stored, 1);
    assert!(matches!(region.set("k", &value).await, Err(Error::Encode { .. })));
    let strict = region.entry("k").strict().get_or_create(async || value.clone()).await;
    assert!(matches!(strict, Err(Error::Encode { .. })));
    assert!(!region.key_is_locked("k").await.unwrap());
}

#[tokio::test]
async fn when_the_backend_is_down_creations_go_on_and_strict_ones_say_so() {
    let region = Region::new("down");
    let faults = Faults::new();
    let config = Config::new(Memory::new(10)).proxy(faults.clone());
    region.configure(config.keep_when_down(Duration::ZERO)).unwrap();
    faults.down();
    for n in 0..3 {
        assert_eq!(region.get_or_create("k", async || n).await, n);
        let multi = region.get_or_create_multi(["a", "b"], async |_| vec![n, n]).await;
        assert_eq!(multi.unwrap(), [n, n]);
    }
    let statistics = region.statistics();
    assert_eq!((statistics.misses, statistics.creations), (9, 9));
    assert!(statistics.backend_errors >= 12 && statistics.not_stored == 9);
    let strict = region.entry("k").strict().try_get_or_create(async || Ok::<_, ()>(1)).await;
    assert!(matches!(strict, Err(CreateError::Cache(Error::Backend(of))) if of.operation == "get"));
    let strict = region.entries(["a"]).strict().get_or_create(async |_| vec![1]).await;
    assert!(strict.is_err());
    for result in [
        region.set("k", &1).await,
        region.delete("k").await,
        region.delete_multi(["k"]).await,
        region.set_multi([("k", &1)]).await,
    ] {
        assert!(matches!(result, Err(Error::Backend { .. })));
    }
    faults.clear();
    assert_eq!(region.get_or_create("k", async || 9).await, 9);
    assert_eq!(region.get("k").await.unwrap(), Some(9));
}

/// One creation for all keys; of a value that may not be stored, the stored one goes.
#[tokio::test]
async fn several_keys_are_refreshed_by_one_creation() {
    let operations = operations::Operations::default();
    let region = Region::new("refreshed");
    let config = Config::new(SerializedMemory::new(100)).proxy(operations.clone());
    region.configure(config).unwrap();
    region.set_multi([("a", &1_u32), ("b", &2), ("c", &3)]).await.unwrap();
    let asked = AtomicUsize::new(0);
    let tens = async |keys: Vec<String>| {
        asked.fetch_add(1, Ordering::SeqCst);
        keys.iter().map(|key| u32::from(key.as_bytes()[0] - b'a' + 1) * 10).collect()
    };
    let writes = operations.counts().set_multi;
    let refreshed = region.entries(["b", "a", "b"]).refresh(tens).await.unwrap();
    assert_eq!((refreshed, asked.load(Ordering::SeqCst)), (vec![20, 10, 20], 1));
    assert_eq!(operations.counts().set_multi, writes + 1);
    let get = async || region.get_multi::<u32, _>(["a", "b", "c"]).await.unwrap();
    assert_eq!(get().await, [Some(10), Some(20), Some(3)]);

    let vetoed = region.entries(["a", "c"]).should_cache(|value: &u32| *value > 10);
    assert_eq!(vetoed.refresh(tens).await.unwrap(), [10, 30]);
    assert_eq!(get().await, [None, Some(20), Some(30)]);

    let failed = region.entries(["b"]).try_refresh(async |_| Err::<Vec<u32>, _>("no")).await;
    assert!(matches!(failed, Err(CreateError::Creator("no"))));
    let few = region.entries(["b"]).refresh(async |_| Vec::<u32>::new()).await;
    assert!(matches!(few, Err(Error::WrongCount(of)) if (of.asked, of.returned) == (1, 0)));
    assert_eq!(get().await, [None, Some(20), Some(30)]);
    let none = region.entries([""; 0]).refresh(tens).await.unwrap();
    assert_eq!((none, asked.load(Ordering::SeqCst)), (Vec::<u32>::new(), 2));
    let blocking = region.blocking().entries(["c"]).refresh(|_| vec![7_u32]);
    assert_eq!((blocking.unwrap(), get().await[2]), (vec![7], Some(7)));
}

#[tokio::test]
async fn expiration_can_be_computed_at_each_call() {
    let clock = ManualClock::at(1_000_000.0);
    let region = Region::new("midnight");
    let day = 86_400.0;
    let of_today = {
        let clock = clock.clone();
        Expiration::computed(move || {
            Some(Duration::from_secs_f64(dogpile::clock::Clock::now(&clock) % day))
        })
    };
    let config = Config::new(Memory::new(10)).clock(clock.clone()).expiration(of_today);
    region.configure(config).unwrap();
    region.set("k", &1).await.unwrap();
    clock.set(1_036_000.0);
    assert_eq!(region.get("k").await.unwrap(), Some(1), "the same day");
    clock.set(1_036_900.0);
    assert_eq!(region.get::<i32>("k").await.unwrap(), None, "midnight was at 1,036,800");
}

#[tokio::test]
async fn invalidation_reaches_all_regions_of_a_shared_strategy() {
    let strategy = Arc::new(InProcess::new());
    let [one, two] = ["one", "two"].map(|name| {
        let region = Region::named(name);
        let config = Config::new(Memory::new(10)).invalidation(strategy.clone());
        region.configure(config).unwrap();
        region
    });
    one.set("k", &1).await.unwrap();
    two.set("k", &2).await.unwrap();
    one.invalidate_all().await.unwrap();
    assert!(strategy.was_hard_invalidated());
    assert_eq!(one.get::<i32>("k").await.unwrap(), None);
    assert_eq!(two.get::<i32>("k").await.unwrap(), None);
    assert_eq!(one.entry("k").ignore_expiration().get::<i32>().await.unwrap(), Some(1));
}

#[tokio::test]
async fn invalidating_and_setting_at_the_same_moment_are_told_apart() {
    let region = Region::new("moment");
    region.configure(Config::new(Memory::new(10)).clock(ManualClock::new())).unwrap();
    for _ in 0..10 {
        region.set("k", &1).await.unwrap();
        region.invalidate_all().await.unwrap();
        assert_eq!(region.get::<i32>("k").await.unwrap(), None);
        region.set("k", &2).await.unwrap();
        assert_eq!(region.get::<i32>("k").await.unwrap(), Some(2));
    }
}

#[tokio::test]
async fn the_null_backend_keeps_nothing() {
    let region = Region::new("null");
    region.configure(Config::new(Null)).unwrap();
    region.set("k", &1).await.unwrap();
    assert_eq!(region.get::<i32>("k").await.unwrap(), None);
    assert_eq!(region.get_or_create("k", async || 2).await, 2);
    assert_eq!(region.get_or_create("k", async || 3).await, 3);
}

#[tokio::test]
async fn a_typed_view_keeps_keys_and_types_together() {
    let region = memory();
    let squares = region.keyspace::<u64, u64>("square");
    let made = squares
        .get_or_create_multi(&[3, 4, 3], async |numbers: Vec<u64>| {
            assert_eq!(numbers, [3, 4]);
            numbers.iter().map(|n| n * n).collect()
        })
        .await;
    assert_eq!(made.unwrap(), [9, 16, 9]);
    assert_eq!(squares.get(&4).await.unwrap(), Some(16));
    assert_eq!(region.get::<u64>("square:4").await.unwrap(), Some(16));
    squares.delete(&4).await.unwrap();
    let failed = squares.try_get_or_create(&4, async || Err::<u64, _>("no")).await;
    assert_eq!(failed, Err("no"));
    squares.set(&4, &17).await.unwrap();
    assert_eq!(squares.entry(&4).get::<u64>().await.unwrap(), Some(17));
}

#[tokio::test]
async fn a_bounded_memory_stays_within_its_bound() {
    let region = Region::new("bounded");
    region.configure(Config::new(Memory::new(50))).unwrap();
    for n in 0..1_000 {
        region.set(&n.to_string(), &n).await.unwrap();
    }
    let backend = region.backend().unwrap();
    assert!(backend.actual::<Memory>().unwrap().len() <= 50);
    let weighed = Region::new("weighed");
    let memory = Memory::weighted(1_000, |_, object| {
        object.downcast_ref::<String>().map_or(1, |text| text.len() as u64)
    });
    weighed.configure(Config::new(memory)).unwrap();
    for n in 0..100 {
        weighed.set(&n.to_string(), &"x".repeat(100)).await.unwrap();
    }
    assert!(weighed.backend().unwrap().actual::<Memory>().unwrap().len() <= 10);
    let nothing = Region::new("nothing");
    nothing.configure(Config::new(Memory::new(0))).unwrap();
    nothing.set("k", &1).await.unwrap();
    assert_eq!(nothing.get_or_create("k", async || 2).await, 2);
}

#[test]
fn debug_forms_show_no_values() {
    let region = memory();
    region.blocking().set("k", &"secret-value".to_owned()).unwrap();
    let entry = pollster::block_on(region.backend().unwrap().get("k")).unwrap();
    let shown = format!("{region:?} {:?} {entry:?}", region.entry("k"));
    assert!(!shown.contains("secret-value"), "{shown}");
}

#[tokio::test]
async fn a_region_that_is_configured_again_keeps_its_invalidation() {
    let backend = AnyBackend::new(Memory::new(10));
    for is_hard in [true, false] {
        let region = Region::new("again");
        region.configure(Config::over(backend.clone())).unwrap();
        region.set("k", &1).await.unwrap();
        invalidate(&region, is_hard).await.unwrap();
        region.configure(Config::over(backend.clone()).replace_existing()).unwrap();
        assert_eq!(region.get::<i32>("k").await.unwrap(), None, "hard: {is_hard}");
        region.set("k", &2).await.unwrap();
        assert_eq!(region.get::<i32>("k").await.unwrap(), Some(2));
    }
}

/// A creation time tells nothing of the order of events when the clock was set back between.
#[tokio::test]
async fn what_was_invalidated_stays_so_when_the_clock_is_set_back() {
    const NOW: f64 = 1_763_700_000.0;
    const HOUR: Duration = Duration::from_secs(3_600);
    for is_set_back_first in [true, false] {
        let clock = ManualClock::at(NOW);
        let region = Region::new("back");
        region.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
        region.set("k", &1).await.unwrap();
        if is_set_back_first {
            clock.set(NOW - HOUR.as_secs_f64());
            region.invalidate_all().await.unwrap();
        } else {
            region.invalidate_all().await.unwrap();
            clock.set(NOW - HOUR.as_secs_f64());
            region.set("another", &1).await.unwrap();
        }
        assert_eq!(region.get::<i32>("k").await.unwrap(), None);
        clock.advance(HOUR);
        assert_eq!(region.get::<i32>("k").await.unwrap(), None, "{is_set_back_first}");
    }
}

/// However soon an invalidation follows another, it ends a creation that began between them.
#[tokio::test]
async fn a_creation_between_two_invalidations_is_ended_by_the_second() {
    for nanoseconds in [0, 300, 600, 900, 1_200] {
        let clock = ManualClock::at(1_763_700_000.0);
        let region = Region::new("soon");
        region.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
        region.invalidate_all().await.unwrap();
        let creator = async || {
            clock.advance(Duration::from_nanos(nanoseconds));
            region.invalidate_all().await.unwrap();
            1
        };
        assert_eq!(region.get_or_create("k", creator).await, 1);
        assert_eq!(region.get::<i32>("k").await.unwrap(), None, "after {nanoseconds} ns");
        assert_eq!(region.get_or_create("k", async || 2).await, 2);
        assert_eq!(region.get::<i32>("k").await.unwrap(), Some(2));
    }
}

/// A value created after the clock was set back is valid, and as old as its clock says.
#[tokio::test]
async fn after_the_clock_is_set_back_values_live_as_long_as_ever() {
    let clock = ManualClock::new();
    let region = Region::new("back");
    let config = Config::new(SerializedMemory::new(10)).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs(10))).unwrap();
    region.set("k", &1).await.unwrap();
    region.invalidate_all().await.unwrap();
    clock.set(clock.now() - 3_600.0);
    for value in 2..5 {
        assert_eq!(region.get_or_create("k", async || value).await, value);
        assert_eq!(region.get_or_create("k", async || 9).await, value);
        clock.advance(Duration::from_secs(11));
        assert_eq!(region.get::<i32>("k").await.unwrap(), None);
        region.set("k", &value).await.unwrap();
        assert_eq!(region.get::<i32>("k").await.unwrap(), Some(value));
        region.invalidate_all().await.unwrap();
        assert_eq!(region.get::<i32>("k").await.unwrap(), None);
    }
}

/// A commit must not turn into an error because the cache is away.
#[tokio::test]
async fn a_deletion_in_the_background_is_made_once_that_can_be_done() {
    let (faults, clock) = (Faults::new(), ManualClock::new());
    let region = Region::new("late");
    let config = Config::new(Memory::new(10)).clock(clock.clone()).proxy(faults.clone());
    region.configure(config).unwrap();
    let keys = ["a", "b", "c"];
    for key in keys {
        region.set(key, &1).await.unwrap();
    }
    faults.down();
    region.entry("a").delete_in_background().await;
    region.entry("b").delete_in_background().await;
    region.blocking().entry("c").delete_in_background();
    let errors = region.statistics().backend_errors;
    assert_eq!(errors, 3);
    while region.statistics().backend_errors < errors + 3 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    faults.clear();
    for key in keys {
        assert_eq!(region.get::<i32>(key).await.unwrap(), None, "it counts as missing at once");
    }
    assert_eq!(region.statistics().pending_deletions, 3, "the pause is not over");
    while region.statistics().pending_deletions > 0 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    for key in keys {
        assert_eq!(region.get::<i32>(key).await.unwrap(), None);
        region.set(key, &2).await.unwrap();
    }
    for _ in 0..20 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(region.get::<i32>("a").await.unwrap(), Some(2), "it is deleted once");
    faults.down();
    region.entry("a").delete_in_background().await;
    faults.clear();
    region.entry("b").delete_in_background().await;
    assert_eq!(region.get::<i32>("b").await.unwrap(), None, "at once, if it can be");
    while region.statistics().pending_deletions > 0 {
        clock.advance(Duration::from_secs(1));
        tokio::task::yield_now().await;
    }
    assert_eq!(region.get::<i32>("a").await.unwrap(), None);
}

async fn invalidate(region: &Region, is_hard: bool) -> dogpile::Result<()> {
    if is_hard { region.invalidate_all().await } else { region.expire_all().await }
}

/// Values that were stored together do not expire together, and all processes agree on it.
#[tokio::test]
async fn jitter_spreads_expirations() {
    let backend = AnyBackend::new(SerializedMemory::new(1_000));
    let minute = Duration::from_secs(60);
    let clock = ManualClock::new();
    let regions = [(); 2].map(|()| {
        let region = Region::new("spread");
        let config = Config::over(backend.clone()).clock(clock.clone());
        region.configure(config.expiration(minute).jitter(0.5)).unwrap();
        region
    });
    let keys: Vec<String> = (0..200).map(|n| format!("k{n}")).collect();
    regions[0].set_multi(keys.iter().map(|key| (key, &1_u8))).await.unwrap();
    let fresh = async || {
        let [one, other] = &regions;
        let found = one.get_multi::<u8, _>(&keys).await.unwrap();
        assert_eq!(other.get_multi::<u8, _>(&keys).await.unwrap(), found);
        assert_eq!(one.get::<u8>(&keys[0]).await.unwrap(), found[0]);
        found.iter().flatten().count()
    };
    clock.advance(Duration::from_millis(29_999));
    assert_eq!(fresh().await, 200);
    clock.advance(minute / 4);
    let half = fresh().await;
    assert!((60..140).contains(&half), "{half}");
    let whole = regions[0].entry(&keys[0]).jitter(0.0).get::<u8>().await.unwrap();
    assert_eq!(whole, Some(1), "a call can say otherwise");
    clock.advance(minute / 4 + Duration::from_millis(10));
    assert_eq!(fresh().await, 0);
}

#[test]
#[should_panic(expected = "jitter is between 0 and 1, not 10")]
fn jitter_is_a_share() {
    let _ = Config::<dogpile::Serialized>::new(Memory::new(1)).jitter(10.0);
}
