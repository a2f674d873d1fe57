//! Creations in two halves: what holds between their beginning and their end, and after each end.

mod polled;

use std::time::Duration;

use bytes::Bytes;
use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::testing::{Fault, Faults, Operation};
use dogpile::value::Payload;
use dogpile::{Begun, Config, Creation, Encoded, Error, Region, Status};
use dogpile_testkit::ManualClock;
use polled::settle;

const MINUTE: Duration = Duration::from_secs(60);

fn region(change: impl FnOnce(Config) -> Config) -> (Region, ManualClock) {
    let (region, clock) = (Region::new("begun"), ManualClock::new());
    let config = Config::new(Memory::new(10)).clock(clock.clone()).expiration(MINUTE);
    region.configure(change(config)).unwrap();
    (region, clock)
}

/// A region whose key `k` holds 1, which has expired.
async fn expired(change: impl FnOnce(Config) -> Config) -> (Region, ManualClock) {
    let (region, clock) = region(change);
    region.set("k", &1).await.unwrap();
    clock.advance(MINUTE * 2);
    (region, clock)
}

async fn begun(region: &Region) -> Creation<i32> {
    match region.entry("k").begin().await {
        Begun::Create(creation) => creation,
        Begun::Value(found) => panic!("{found:?}"),
    }
}

#[tokio::test]
async fn a_value_is_handed_to_those_who_wait_and_found_by_those_who_come_later() {
    let (region, _clock) = region(|config| config);
    let creation = begun(&region).await;
    let mut waiter = Box::pin(region.entry("k").lookup(async || 9));
    assert!(settle(&mut waiter).await.is_pending());
    assert_eq!(creation.finish(2).await, 2);
    let waited = waiter.await;
    assert_eq!((waited.value, waited.status), (2, Status::Waited));
    match region.entry("k").begin::<i32>().await {
        Begun::Value(found) => assert_eq!((found.value, found.status), (2, Status::Hit)),
        Begun::Create(creation) => panic!("{creation:?}"),
    }
    let counted = region.statistics();
    assert_eq!((counted.creations, counted.misses, counted.hits), (1, 2, 1));
}

#[tokio::test]
async fn one_that_begins_while_another_creates_waits_too() {
    let (region, _clock) = region(|config| config);
    let creation = begun(&region).await;
    let mut other = Box::pin(region.entry("k").begin::<i32>());
    assert!(settle(&mut other).await.is_pending());
    creation.finish(2).await;
    let Begun::Value(found) = other.await else { panic!("it was created") };
    assert_eq!((found.value, found.status), (2, Status::Waited));
}

#[tokio::test]
async fn a_creation_that_is_left_falls_to_the_next() {
    let (region, _clock) = region(|config| config);
    for is_dropped in [true, false] {
        region.delete("k").await.unwrap();
        let creation = begun(&region).await;
        let mut other = Box::pin(region.entry("k").begin::<i32>());
        assert!(settle(&mut other).await.is_pending());
        if is_dropped {
            drop(creation);
        } else {
            creation.abandon().await;
        }
        let Begun::Create(next) = other.await else { panic!("nothing was created") };
        assert_eq!(next.finish(3).await, 3);
        assert!(!region.key_is_locked("k").await.unwrap());
    }
    assert_eq!(region.statistics().creator_failures, 0);
}

#[tokio::test]
async fn others_get_the_stale_value_meanwhile_and_so_may_its_holder() {
    let (region, _clock) = expired(|config| config).await;
    let creation = begun(&region).await;
    let meanwhile = creation.meanwhile().unwrap();
    assert_eq!((meanwhile.value, meanwhile.status), (1, Status::Stale));
    assert_eq!(meanwhile.age, MINUTE * 2);
    let other = region.entry("k").lookup(async || 9).await;
    assert_eq!((other.value, other.status), (1, Status::Stale));
    creation.finish(2).await;
    assert_eq!(region.get("k").await.unwrap(), Some(2));
}

#[tokio::test]
async fn a_failure_is_counted_and_a_value_stands_in_for_it_where_that_is_allowed() {
    let (region, _clock) = expired(|config| config.stale_if_error(MINUTE * 60)).await;
    let stand_in = begun(&region).await.fail("the database is away").await.unwrap();
    assert_eq!((stand_in.value, stand_in.status), (1, Status::StaleOnError));
    let Begun::Value(next) = region.entry("k").begin::<i32>().await else { panic!("it rests") };
    assert_eq!((next.value, next.status), (1, Status::StaleOnError));
    let counted = region.statistics();
    assert_eq!((counted.creator_failures, counted.stale_on_error, counted.misses), (1, 2, 0));

    let (region, _clock) = expired(|config| config).await;
    assert!(begun(&region).await.fail("the database is away").await.is_none());
    drop(begun(&region).await);
    assert_eq!(region.statistics().misses, 1);
}

#[tokio::test]
async fn what_was_created_before_a_change_is_not_stored_after_it() {
    let (region, _clock) = region(|config| config);
    let creation = begun(&region).await;
    region.delete("k").await.unwrap();
    assert_eq!(creation.finish(2).await, 2);
    assert_eq!(region.get::<i32>("k").await.unwrap(), None);
    let creation = begun(&region).await;
    region.invalidate_all().await.unwrap();
    creation.finish(3).await;
    assert_eq!(region.get::<i32>("k").await.unwrap(), None);
    assert_eq!(region.statistics().outdated, 2);
}

#[tokio::test]
async fn a_refresh_takes_the_key_from_a_creation_under_way() {
    let (region, _clock) = region(|config| config);
    let creation = begun(&region).await;
    assert_eq!(region.entry("k").refresh(async || 3).await, 3);
    assert_eq!(creation.finish(2).await, 2);
    assert_eq!(region.get("k").await.unwrap(), Some(3));
    assert!(!region.key_is_locked("k").await.unwrap());
}

#[tokio::test]
async fn a_creation_ends_where_it_began_though_the_region_is_configured_anew() {
    let (region, _clock) = region(|config| config);
    let creation = begun(&region).await;
    region.configure(Config::new(Memory::new(10)).replace_existing()).unwrap();
    assert_eq!(creation.finish(2).await, 2);
    assert!(!region.key_is_locked("k").await.unwrap());
    assert_eq!(region.get_or_create("k", async || 3).await, 3);
}

#[tokio::test]
async fn an_end_that_is_dropped_frees_the_key() {
    let faults = Faults::new();
    let (region, _clock) = region(|config| config.proxy(faults.clone()));
    let creation = begun(&region).await;
    faults.always(Operation::Set, Fault::Held);
    let mut end = Box::pin(creation.finish(2));
    assert!(settle(&mut end).await.is_pending());
    drop(end);
    faults.clear();
    faults.release();
    let mut next = Box::pin(region.entry("k").begin::<i32>());
    for _ in 0..1_000 {
        if settle(&mut next).await.is_ready() {
            return;
        }
    }
    panic!("the key is held for ever");
}

#[tokio::test]
async fn a_region_without_a_backend_stores_nothing() {
    let region = Region::new("unconfigured");
    assert_eq!(begun(&region).await.finish(2).await, 2);
    assert!(begun(&region).await.fail("no").await.is_none());
    let strict = region.entry("k").strict().begin::<i32>().await;
    assert!(matches!(strict, Err(Error::NotConfigured { .. })), "{strict:?}");
}

#[tokio::test]
async fn a_cache_that_fails_keeps_nobody_from_creating() {
    let faults = Faults::new();
    let (region, _clock) = region(|config| config.proxy(faults.clone()));
    faults.always(Operation::Get, Fault::Unavailable);
    let strict = region.entry("k").strict().begin::<i32>().await;
    assert!(matches!(strict, Err(Error::Backend { .. })), "{strict:?}");
    assert_eq!(begun(&region).await.finish(2).await, 2);
}

#[tokio::test]
async fn a_key_is_taken_over_at_the_end_of_the_wait_timeout() {
    let (region, clock) = region(|config| config);
    let first = begun(&region).await;
    let entry = region.entry("k").wait_timeout(MINUTE);
    let mut other = Box::pin(entry.on_wait_timeout(dogpile::lock::OnWaitTimeout::Create).begin());
    assert!(settle(&mut other).await.is_pending());
    clock.advance(MINUTE);
    let Begun::Create(second) = other.await else { panic!("there is no value") };
    assert_eq!(second.finish(2).await, 2);
    assert_eq!(first.finish(1).await, 1);
    assert_eq!(region.get("k").await.unwrap(), Some(2));
}

#[test]
fn a_creation_ends_on_another_thread_and_without_async() {
    let (region, _clock) = region(|config| config);
    let Begun::Create(creation) = region.blocking().entry("k").begin::<i32>() else {
        panic!("it is empty")
    };
    let ended = std::thread::spawn(move || creation.blocking().finish(2)).join().unwrap();
    assert_eq!((ended, region.peek("k")), (2, Some(2)));
    region.blocking().delete("k").unwrap();
    for end in 0..2 {
        let Begun::Create(creation) = region.blocking().entry("k").begin::<i32>() else {
            panic!("it was deleted")
        };
        match end {
            0 => assert!(creation.blocking().fail("no").is_none()),
            _ => creation.blocking().abandon(),
        }
    }
}

#[tokio::test]
async fn a_look_waits_for_nobody_and_counts_hits_alone() {
    let (region, clock) = region(|config| config);
    assert_eq!(region.peek::<i32>("k"), None);
    region.set("k", &1).await.unwrap();
    clock.advance(Duration::from_secs(5));
    let found = region.entry("k").peek::<i32>().unwrap();
    assert_eq!((found.value, found.age), (1, Duration::from_secs(5)));
    clock.advance(MINUTE);
    assert_eq!(region.peek::<i32>("k"), None);
    let counted = region.statistics();
    assert_eq!((counted.hits, counted.misses), (1, 0));
}

#[tokio::test]
async fn what_is_bytes_already_is_stored_untouched() {
    static PAGES: Region<Encoded> = Region::encoded("pages");
    let backend = AnyBackend::new(SerializedMemory::new(10));
    PAGES.configure(Config::over(backend.clone()).shared_keys()).unwrap();
    let page = Bytes::from_static(b"\x80\x04|\xff");
    assert_eq!(PAGES.get_or_create("k", async || page.clone()).await, page);
    assert_eq!(PAGES.get::<Vec<u8>>("k").await.unwrap().as_deref(), Some(&page[..]));
    let entry = backend.get("k").await.unwrap().unwrap();
    assert!(matches!(&entry.payload, Payload::Bytes(stored) if *stored == page));
    assert_eq!(entry.metadata.shape, None);
}

#[test]
fn creations_are_moved_between_threads() {
    fn is_send<T: Send>(_: Option<T>) {}
    is_send(None::<Creation<i32>>);
}
