//! Values that are created again before they expire.

mod polled;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::clock::Clock as _;
use dogpile::{Config, Early, Region, Status, cached};
use dogpile_testkit::{Fault, Faults, ManualClock, Operation};
use polled::settle;
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);
const SECOND: Duration = Duration::from_secs(1);

/// A region over `backend` whose values are early in the second half of a minute.
fn region(backend: AnyBackend, clock: &ManualClock) -> Arc<Region> {
    let region = Region::new("early");
    let config = Config::over(backend).expiration(MINUTE).early(Early::at(0.5));
    region.configure(config.clock(clock.clone())).unwrap();
    Arc::new(region)
}

/// A region in memory whose key `k` holds 1, and is early.
async fn with_early_value() -> (Arc<Region>, ManualClock) {
    let clock = ManualClock::new();
    let region = region(AnyBackend::new(Memory::new(10)), &clock);
    region.set("k", &1).await.unwrap();
    clock.advance(40 * SECOND);
    (region, clock)
}

async fn ask(
    region: &Region,
    result: Result<i32, &'static str>,
) -> Result<(i32, Status), &'static str> {
    let found = region.entry("k").try_lookup(async || result).await?;
    Ok((found.value, found.status))
}

#[tokio::test]
async fn one_caller_creates_while_the_value_is_fresh() {
    let (region, clock) = with_early_value().await;
    assert_eq!(region.get("k").await.unwrap(), Some(1), "a look creates nothing");
    assert_eq!(ask(&region, Ok(2)).await, Ok((2, Status::Created)));
    assert_eq!(ask(&region, Ok(3)).await, Ok((2, Status::Hit)));
    clock.advance(29 * SECOND);
    assert_eq!(ask(&region, Ok(3)).await, Ok((2, Status::Hit)));
    clock.advance(SECOND);
    assert_eq!(ask(&region, Ok(3)).await, Ok((3, Status::Created)));
}

#[tokio::test]
async fn all_others_have_the_value_meanwhile() {
    let (region, _clock) = with_early_value().await;
    let (began, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let elected = tokio::spawn({
        let (region, began, go) = (region.clone(), began.clone(), go.clone());
        async move {
            let creator = async || {
                began.notify_one();
                go.notified().await;
                2
            };
            region.get_or_create("k", creator).await
        }
    });
    began.notified().await;
    assert_eq!(ask(&region, Ok(3)).await, Ok((1, Status::Hit)));
    let values = region.get_or_create_multi(["k", "l"], async |_| vec![4]).await.unwrap();
    assert_eq!(values, [1, 4]);
    go.notify_one();
    assert_eq!(elected.await.unwrap(), 2);
}

#[tokio::test]
async fn a_failure_leaves_the_value_and_nobody_tries_for_a_while() {
    let backend = AnyBackend::new(SerializedMemory::new(10));
    let clock = ManualClock::new();
    let [here, there] = [(); 2].map(|()| region(backend.clone(), &clock));
    here.set("k", &1).await.unwrap();
    clock.advance(31 * SECOND);
    assert_eq!(ask(&here, Err("down")).await, Ok((1, Status::Hit)));
    for region in [&here, &there] {
        assert_eq!(ask(region, Ok(2)).await, Ok((1, Status::Hit)));
    }
    assert_eq!(here.statistics().creator_failures, 1);
    clock.advance(11 * SECOND);
    assert_eq!(ask(&there, Ok(2)).await, Ok((2, Status::Created)));
    assert_eq!(ask(&here, Ok(3)).await, Ok((2, Status::Hit)));
}

/// After the expiration a failure is the caller's, unless stale values may stand in for it.
#[tokio::test]
async fn what_has_expired_is_not_early() {
    let (region, clock) = with_early_value().await;
    clock.advance(21 * SECOND);
    assert_eq!(ask(&region, Err("down")).await, Err("down"));
    region.expire_all().await.unwrap();
    assert_eq!(ask(&region, Err("down")).await, Err("down"));
    region.invalidate_all().await.unwrap();
    assert_eq!(ask(&region, Ok(2)).await, Ok((2, Status::Created)));
}

#[tokio::test]
async fn in_the_background_nobody_waits() {
    let (region, _clock) = with_early_value().await;
    let go = Arc::new(Notify::new());
    let created = {
        let go = go.clone();
        async move || {
            go.notified().await;
            2
        }
    };
    assert_eq!(region.entry("k").get_or_create_in_background(created).await, 1);
    assert_eq!(region.entry("k").get_or_create_in_background(async || 3).await, 1);
    go.notify_one();
    while region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(region.get("k").await.unwrap(), Some(2));
    let counted = region.statistics();
    assert_eq!((counted.hits, counted.stale, counted.background), (3, 0, 1));
}

/// The store goes away between the look and the claim: what is created now could not be stored.
#[tokio::test]
async fn nothing_is_created_early_where_it_cannot_be_stored() {
    let (faults, clock, region) = (Faults::new(), ManualClock::new(), Region::new("lost"));
    let config = Config::new(SerializedMemory::new(10)).proxy(faults.clone()).expiration(MINUTE);
    region.configure(config.early(Early::at(0.5)).clock(clock.clone())).unwrap();
    region.set("k", &1).await.unwrap();
    clock.advance(40 * SECOND);
    let mut call = Box::pin(ask(&region, Ok(2)));
    faults.next(Operation::Get, Fault::Held, 1);
    assert!(settle(&mut call).await.is_pending());
    faults.down();
    faults.release();
    assert_eq!(call.await, Ok((1, Status::Hit)));
    faults.clear();
    // A key that has no value is created all the same.
    let mut call = Box::pin(region.get_or_create_multi(["k", "l"], async |_| vec![5]));
    faults.next(Operation::GetMulti, Fault::Held, 1);
    assert!(settle(&mut call).await.is_pending());
    faults.down();
    faults.release();
    assert_eq!(call.await.unwrap(), [1, 5]);
    faults.clear();
    assert_eq!(region.statistics().creations, 1);
    assert_eq!(ask(&region, Ok(3)).await, Ok((3, Status::Created)), "nobody holds the key");
}

/// One process reads one key in steps of `pause`; a creation takes a second, a value lives for 20.
/// Returns the creations, and how many calls got a stale value.
async fn simulated(pause: Duration) -> (u64, u64) {
    const CREATIONS: u64 = 150;
    let clock = ManualClock::new();
    let region = Region::new("adaptive");
    let config = Config::new(Memory::new(10)).expiration(20 * SECOND).early(Early::adaptive());
    region.configure(config.clock(clock.clone())).unwrap();
    let slow = || {
        let clock = clock.clone();
        move || async move { clock.sleep(SECOND).await }
    };
    let pass = async || {
        clock.advance(pause);
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    };
    let first = region.get_or_create("k", slow());
    tokio::join!(first, async {
        while !region.key_is_locked("k").await.unwrap() {
            tokio::task::yield_now().await;
        }
        clock.advance(SECOND);
    });
    while region.statistics().creations < CREATIONS {
        region.entry("k").get_or_create_in_background(slow()).await;
        pass().await;
    }
    let counted = region.statistics();
    // All but the first in the background, and none twice.
    assert_eq!(counted.background, counted.creations - 1);
    (counted.creations, counted.stale)
}

#[tokio::test]
async fn the_more_often_a_value_is_read_the_fewer_callers_get_it_stale() {
    let mut late = Vec::new();
    for (pause, reads_in_a_creation) in [(3 * SECOND, 1), (SECOND / 3, 3), (SECOND / 50, 50)] {
        let (creations, stale) = simulated(pause).await;
        late.push(stale as f64 / f64::from(reads_in_a_creation) / creations as f64);
    }
    let [seldom, _, often] = late[..] else { unreachable!() };
    assert!(often < 0.1 && often < seldom / 2.0, "{late:?}");
}

static RATES: Region = Region::new("early_rates");

#[cached(region = RATES, expiration = "1m", early = 0.5, background)]
async fn rate(_currency: u32) -> usize {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    std::future::ready(CALLS.fetch_add(1, Ordering::SeqCst)).await
}

#[cached(region = RATES, expiration = "1m", early = "adaptive", soft_timeout = "100ms")]
async fn adaptive(currency: u32) -> u32 {
    std::future::ready(currency).await
}

#[tokio::test]
async fn functions_have_the_option() {
    let clock = ManualClock::new();
    RATES.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    assert_eq!((rate(7).await, rate(7).await), (0, 0));
    clock.advance(31 * SECOND);
    assert_eq!(rate(7).await, 0);
    while rate(7).await == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(adaptive(7).await, 7);
    assert_eq!(RATES.statistics().stale, 0);
}
