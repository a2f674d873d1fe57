//! The preset for sources that fail: what callers feel of it, and what the source does.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::{Config, Region, Status, cached};
use dogpile_testkit::ManualClock;

const MINUTE: Duration = Duration::from_secs(60);
const STEP: Duration = Duration::from_millis(100);
const RETRY_AFTER: usize = 10;

/// A database that fails for a while under the load of two processes.
#[tokio::test]
async fn a_database_that_fails_for_ten_seconds_hurts_nobody() {
    const KEYS: usize = 20;
    let backend = AnyBackend::new(SerializedMemory::new(1_000));
    let clock = ManualClock::new();
    let regions = [(); 2].map(|()| {
        let region = Region::new("orders");
        let config = Config::over(backend.clone()).clock(clock.clone());
        region.configure(config.expiration(MINUTE).resilient()).unwrap();
        Arc::new(region)
    });
    let keys: Vec<String> = (0..KEYS).map(|n| format!("k{n}")).collect();
    regions[0].set_multi(keys.iter().map(|key| (key, &1_u32))).await.unwrap();
    let attempts: Vec<AtomicUsize> = (0..KEYS).map(|_| AtomicUsize::new(0)).collect();
    // All have expired: some would be served, and some are past that.
    clock.advance(MINUTE + Duration::from_secs(55));
    for _ in 0..100 {
        for (key, attempts) in keys.iter().zip(&attempts) {
            for region in &regions {
                let query = async || {
                    attempts.fetch_add(1, Ordering::SeqCst);
                    Err::<u32, _>("the database is down")
                };
                let found = region.entry(key).try_lookup(query).await.unwrap();
                assert_eq!((found.value, found.status), (1, Status::StaleOnError));
            }
        }
        clock.advance(STEP);
    }
    // Ten seconds of it.
    for attempts in attempts {
        let attempts = attempts.into_inner();
        assert!(attempts <= 10 / RETRY_AFTER + 1, "{attempts} attempts for one key");
    }
    clock.advance(Duration::from_secs(RETRY_AFTER as u64));
    assert_eq!(regions[1].get_or_create("k3", async || 2_u32).await, 2);
}

static ORDERS: Region = Region::new("resilient_orders");

#[cached(region = ORDERS, expiration = "1m", resilient, retry_after = "1s")]
async fn order(_number: u32) -> Result<u32, &'static str> {
    std::future::ready(Err("the database is down")).await
}

#[tokio::test]
async fn it_is_a_word_of_attributes() {
    let clock = ManualClock::new();
    ORDERS.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    order::set(&1, 7).await.unwrap();
    clock.advance(MINUTE * 2);
    assert_eq!(order(7).await, Ok(1));
    assert_eq!(order(7).await, Ok(1));
    assert_eq!(ORDERS.statistics().creator_failures, 1);
    clock.advance(Duration::from_millis(1_001));
    assert_eq!(order(7).await, Ok(1));
    assert_eq!(ORDERS.statistics().creator_failures, 2, "what is said beside it holds");
}

#[cfg(feature = "toml")]
#[tokio::test]
async fn it_is_a_word_of_settings() {
    let settings: dogpile::config::Settings =
        [("backend", "dogpile.cache.memory"), ("resilient", "true"), ("expiration_time", "60")]
            .into_iter()
            .collect();
    let region = Region::new("settings");
    region.configure(settings.config::<dogpile::Serialized>().unwrap()).unwrap();
    region.set("k", &1_u32).await.unwrap();
    region.expire("k").await.unwrap();
    let fails = async || Err::<u32, _>("no");
    assert_eq!(region.try_get_or_create("k", fails).await, Ok(1));

    let region = Region::new("calls");
    region.configure(Config::new(Memory::new(10))).unwrap();
    region.set("k", &1_u32).await.unwrap();
    region.expire("k").await.unwrap();
    assert!(region.try_get_or_create("k", fails).await.is_err());
    assert_eq!(region.entry("k").resilient().try_get_or_create(fails).await, Ok(1));
}
