//! Creations that fail where there is a value of before.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::{AnyBackend, Memory, SerializedMemory};
use dogpile::{Config, Region, Status};
use dogpile_testkit::ManualClock;
use tokio::sync::Notify;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const RETRY_AFTER: Duration = Duration::from_secs(5);

fn config(backend: impl Into<AnyBackend>, clock: &ManualClock) -> Config {
    let config = Config::over(backend.into()).clock(clock.clone()).expiration(MINUTE);
    config.stale_if_error(HOUR).retry_after(RETRY_AFTER)
}

async fn free(region: &Region, key: &str) {
    while region.key_is_locked(key).await.unwrap() {
        tokio::task::yield_now().await;
    }
}

/// A region with an expired value under `k`.
async fn expired(config: impl FnOnce(&ManualClock) -> Config) -> (Arc<Region>, ManualClock) {
    let (region, clock) = (Region::new("rates"), ManualClock::new());
    region.configure(config(&clock)).unwrap();
    region.set("k", &1_u32).await.unwrap();
    clock.advance(MINUTE * 2);
    (Arc::new(region), clock)
}

fn in_memory(clock: &ManualClock) -> Config {
    config(Memory::new(10), clock)
}

/// Asks with a creator that fails, and counts in `runs`.
async fn ask(region: &Region, runs: &AtomicUsize) -> Result<(u32, Status), &'static str> {
    let creator = async || {
        runs.fetch_add(1, Ordering::SeqCst);
        Err("the bank is closed")
    };
    let found = region.entry("k").try_lookup(creator).await?;
    Ok((found.value, found.status))
}

#[tokio::test]
async fn a_stale_value_stands_in_and_nobody_tries_again_for_a_while() {
    let (region, clock) = expired(in_memory).await;
    let runs = AtomicUsize::new(0);
    for _ in 0..10 {
        assert_eq!(ask(&region, &runs).await, Ok((1, Status::StaleOnError)));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let counts = region.statistics();
    assert_eq!((counts.stale, counts.stale_on_error, counts.creator_failures), (10, 10, 1));
    assert!(!region.key_is_locked("k").await.unwrap());

    clock.advance(RETRY_AFTER + Duration::from_millis(1));
    assert_eq!(ask(&region, &runs).await, Ok((1, Status::StaleOnError)));
    assert_eq!(runs.load(Ordering::SeqCst), 2, "it is time to try again");
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 1);
    clock.advance(RETRY_AFTER * 2);
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(2));
}

#[tokio::test]
async fn an_error_is_an_error_past_the_limit_after_an_invalidation_and_where_nothing_is() {
    let (region, clock) = expired(in_memory).await;
    let runs = AtomicUsize::new(0);
    clock.advance(HOUR);
    assert!(ask(&region, &runs).await.is_err());
    assert!(ask(&region, &runs).await.is_err());

    let (region, _) = expired(in_memory).await;
    region.invalidate_all().await.unwrap();
    assert!(ask(&region, &runs).await.is_err());
    region.delete("k").await.unwrap();
    assert!(ask(&region, &runs).await.is_err());
    assert_eq!(runs.load(Ordering::SeqCst), 4, "each of them tried");

    let (region, _) = expired(|clock| in_memory(clock).stale_if_error(Duration::ZERO)).await;
    assert!(ask(&region, &runs).await.is_err());
}

/// Past the time for which others are served, they wait; if the creation fails, all get the value
/// of before, at the price of that one creation.
#[tokio::test]
async fn waiters_get_the_stale_value_of_a_creation_that_fails() {
    let config = |clock: &_| in_memory(clock).stale_while_revalidate(Duration::ZERO);
    let (region, _) = expired(config).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let elected = tokio::spawn({
        let (region, started, go) = (region.clone(), started.clone(), go.clone());
        async move {
            let creator = async || {
                started.notify_one();
                go.notified().await;
                Err::<u32, _>("the bank is closed")
            };
            region.entry("k").try_lookup(creator).await.map(|found| (found.value, found.status))
        }
    });
    started.notified().await;
    let waiters: Vec<_> = (0..50)
        .map(|_| {
            let (region, runs) = (region.clone(), runs.clone());
            tokio::spawn(async move { ask(&region, &runs).await })
        })
        .collect();
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    go.notify_one();
    assert_eq!(elected.await.unwrap(), Ok((1, Status::StaleOnError)));
    for waiter in waiters {
        assert_eq!(waiter.await.unwrap(), Ok((1, Status::StaleOnError)));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 0, "no waiter tried");
    free(&region, "k").await;
}

/// The failure is beside the value, so it is known wherever that is.
#[tokio::test]
async fn another_process_does_not_try_either() {
    let backend = AnyBackend::new(SerializedMemory::new(10));
    let (region, clock) = expired(|clock| config(backend.clone(), clock)).await;
    let other = Region::new("rates");
    other.configure(config(backend, &clock)).unwrap();
    let runs = AtomicUsize::new(0);
    for region in [&region, &other, &*region] {
        assert_eq!(ask(region, &runs).await, Ok((1, Status::StaleOnError)));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    clock.advance(RETRY_AFTER * 2);
    assert_eq!(other.get_or_create("k", async || 2_u32).await, 2);
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(2));
}

#[tokio::test]
async fn what_is_stored_after_a_failure_can_expire_and_be_created_at_once() {
    let (region, clock) = expired(in_memory).await;
    let runs = AtomicUsize::new(0);
    ask(&region, &runs).await.unwrap();
    assert_eq!(region.entry("k").refresh(async || 2_u32).await, 2);
    region.expire("k").await.unwrap();
    assert_eq!(region.get_or_create("k", async || 3_u32).await, 3);
    clock.advance(MINUTE * 2);
    ask(&region, &runs).await.unwrap();
    region.set("k", &30_u32).await.unwrap();
    region.expire("k").await.unwrap();
    // What failed was not the creation of that one.
    assert_eq!(region.get_or_create("k", async || 3_u32).await, 3);
    // A failing refresh has a caller who wants to know, and leaves what is stored.
    let refreshed = region.entry("k").try_refresh(async || Err::<u32, _>("closed")).await;
    assert_eq!(refreshed, Err("closed"));
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(3));
    clock.advance(MINUTE * 2);
    assert_eq!(region.get_or_create("k", async || 4_u32).await, 4);
}

/// The value that a change stores meanwhile is another: its creation has not failed.
#[tokio::test]
async fn a_creation_that_a_change_has_overtaken_leaves_no_failure() {
    let (region, clock) = expired(in_memory).await;
    let fail = async || {
        region.set("k", &2_u32).await.unwrap();
        Err::<u32, _>("closed")
    };
    // The call began before the change, and may have what was there then.
    let found = region.entry("k").try_lookup(fail).await;
    assert_eq!(found.map(|found| found.value), Ok(1));
    region.expire("k").await.unwrap();
    // Also where the clock has not moved since: moments alone do not tell them apart.
    assert_eq!(region.get_or_create("k", async || 3_u32).await, 3);
    clock.advance(MINUTE * 2);
    assert_eq!(region.get_or_create("k", async || 4_u32).await, 4);
}

#[tokio::test]
async fn several_keys_get_their_stale_values_together() {
    let (region, clock) = expired(in_memory).await;
    region.set("other", &2_u32).await.unwrap();
    clock.advance(MINUTE * 2);
    let runs = AtomicUsize::new(0);
    let fail = async |_: Vec<String>| {
        runs.fetch_add(1, Ordering::SeqCst);
        Err::<Vec<u32>, _>("closed")
    };
    for _ in 0..3 {
        let found = region.entries(["k", "other"]).try_lookup(fail).await.unwrap();
        let found: Vec<_> = found.into_iter().map(|found| (found.value, found.status)).collect();
        assert_eq!(found, [(1, Status::StaleOnError), (2, Status::StaleOnError)]);
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    // One has no value: the error is the call's.
    let found = region.entries(["k", "other", "missing"]).try_get_or_create(fail).await;
    assert!(found.is_err());
    assert_eq!(runs.load(Ordering::SeqCst), 2);
    assert!(!region.key_is_locked("missing").await.unwrap());
}

#[tokio::test]
async fn a_creation_in_the_background_that_fails_is_not_tried_again_at_once() {
    let (region, clock) = expired(in_memory).await;
    let runs = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let runs = runs.clone();
        region.entry("k").try_get_or_create_in_background(move || async move {
            runs.fetch_add(1, Ordering::SeqCst);
            Err::<u32, _>("closed")
        })
    };
    for _ in 0..5 {
        assert_eq!(ask().await, Ok(1));
        free(&region, "k").await;
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    clock.advance(RETRY_AFTER * 2);
    assert_eq!(ask().await, Ok(1));
    free(&region, "k").await;
    assert_eq!(runs.load(Ordering::SeqCst), 2);
}

#[cfg(feature = "toml")]
#[tokio::test]
async fn settings_have_both() {
    let settings: dogpile::config::Settings = [
        ("backend", "dogpile.cache.memory"),
        ("stale_if_error", "1h"),
        ("retry_after", "1h"),
        ("expiration_time", "0.001"),
    ]
    .into_iter()
    .collect();
    let region = Region::new("rates");
    region.configure(settings.config().unwrap()).unwrap();
    region.set("k", &1_u32).await.unwrap();
    region.expire("k").await.unwrap();
    let runs = AtomicUsize::new(0);
    for _ in 0..3 {
        assert_eq!(ask(&region, &runs).await, Ok((1, Status::StaleOnError)));
    }
    assert_eq!(runs.load(Ordering::SeqCst), 1);
}

static RATES: Region = Region::new("decorated_rates");

#[dogpile::cached(region = RATES, stale_if_error = "1h", retry_after = "1h", fallible)]
async fn rate(_currency: &str) -> Result<u32, &'static str> {
    std::future::ready(Err("the bank is closed")).await
}

#[tokio::test]
async fn a_decorated_function_has_both() {
    let clock = ManualClock::new();
    let config = Config::new(Memory::new(10)).clock(clock.clone()).expiration(MINUTE);
    RATES.configure(config).unwrap();
    assert_eq!(rate("EUR").await, Err("the bank is closed"));
    rate::set(&1, "EUR").await.unwrap();
    clock.advance(MINUTE * 2);
    assert_eq!(rate("EUR").await, Ok(1));
    assert_eq!(RATES.statistics().stale_on_error, 1);
}

/// A creator that never ends, and says when it is dropped.
fn hanging(dropped: &Arc<AtomicUsize>) -> impl Future<Output = u32> + Send + use<> {
    struct Dropped(Arc<AtomicUsize>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let dropped = Dropped(dropped.clone());
    async move {
        let _dropped = dropped;
        std::future::pending().await
    }
}

const LIMIT: Duration = Duration::from_secs(30);

fn limited(clock: &ManualClock) -> Config {
    in_memory(clock).creation_timeout(LIMIT)
}

/// Advances the clock once a call waits for it.
async fn at_its_limit<T>(clock: &ManualClock, call: impl Future<Output = T>) -> T {
    let mut call = std::pin::pin!(call);
    tokio::select! {
        biased;
        _ = &mut call => panic!("it does not wait"),
        () = tokio::task::yield_now() => clock.advance(LIMIT + Duration::from_millis(1)),
    }
    call.await
}

#[tokio::test]
async fn a_creation_that_hangs_is_dropped_and_frees_its_key() {
    let (region, clock) = expired(limited).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    // The stale value stands in for it, and nobody tries again for a while.
    let entry = region.entry("k");
    let found = at_its_limit(&clock, entry.lookup(|| hanging(&dropped))).await;
    assert_eq!((found.value, found.status), (1, Status::StaleOnError));
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
    assert!(!region.key_is_locked("k").await.unwrap());
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 1);
    let counts = region.statistics();
    assert_eq!((counts.creator_failures, counts.creations), (1, 0));
    clock.advance(RETRY_AFTER * 2);
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);

    // Nothing is there: an error where the call returns any.
    let entry = region.entry("cold").strict();
    let error = at_its_limit(&clock, entry.get_or_create(|| hanging(&dropped))).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert_eq!(dropped.load(Ordering::SeqCst), 2);
    let entries = region.entries(["cold", "colder"]);
    let several = entries.get_or_create(async |_| vec![hanging(&dropped).await]);
    let error = at_its_limit(&clock, several).await.unwrap_err();
    assert!(error.is_timeout(), "{error}");
    assert!(!region.key_is_locked("cold").await.unwrap());
}

/// A plain call has no place for an error: its creator goes on, for it alone.
#[tokio::test]
async fn a_plain_call_waits_on_when_its_key_is_free_again() {
    let (region, clock) = expired(limited).await;
    let go = Arc::new(Notify::new());
    let (asking, going) = (region.clone(), go.clone());
    let began = Arc::new(Notify::new());
    let beginning = began.clone();
    let call = tokio::spawn(async move {
        let slow = async || {
            beginning.notify_one();
            going.notified().await;
            5_u32
        };
        asking.entry("cold").lookup(slow).await
    });
    began.notified().await;
    assert!(region.key_is_locked("cold").await.unwrap());
    clock.advance(LIMIT * 2);
    free(&region, "cold").await;
    assert_eq!(region.get_or_create("cold", async || 6_u32).await, 6);
    go.notify_one();
    let found = call.await.unwrap();
    assert_eq!((found.value, found.status), (5, Status::Uncached));
    assert_eq!(region.get::<u32>("cold").await.unwrap(), Some(6));
}

#[tokio::test]
async fn a_panic_is_its_callers_and_a_failure_to_all_others() {
    let (region, clock) = expired(in_memory).await;
    let panicking = region.clone();
    let call = tokio::spawn(async move {
        panicking.get_or_create::<u32, _, _>("k", async || panic!("no bank")).await
    });
    assert!(call.await.unwrap_err().is_panic());
    assert!(!region.key_is_locked("k").await.unwrap());
    let runs = AtomicUsize::new(0);
    assert_eq!(ask(&region, &runs).await, Ok((1, Status::StaleOnError)));
    assert_eq!(runs.load(Ordering::SeqCst), 0);
    assert_eq!(region.statistics().creator_failures, 1);
    clock.advance(RETRY_AFTER * 2);
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
}

#[tokio::test]
async fn a_creation_in_the_background_that_hangs_frees_its_key() {
    let (region, clock) = expired(limited).await;
    let dropped = Arc::new(AtomicUsize::new(0));
    let creator = {
        let dropped = dropped.clone();
        move || hanging(&dropped)
    };
    assert_eq!(region.entry("k").get_or_create_in_background(creator).await, 1);
    while !region.key_is_locked("k").await.unwrap() {
        tokio::task::yield_now().await;
    }
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
    clock.advance(LIMIT * 2);
    free(&region, "k").await;
    assert_eq!(dropped.load(Ordering::SeqCst), 1);
}
