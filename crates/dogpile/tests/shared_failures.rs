//! Creations that fail while others wait for them: who shares the error, and who tries next.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, CreateError, Region, Status, cached};
use dogpile_testkit::ManualClock;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

#[derive(Debug, Clone, PartialEq, Eq)]
struct Closed(usize);

/// A region whose creators fail once they are told to.
struct Failing {
    region: Arc<Region>,
    runs: Arc<AtomicUsize>,
    began: Arc<Notify>,
    go: Arc<Notify>,
}

impl Failing {
    fn new(config: Config) -> Self {
        let region = Region::new("rates");
        region.configure(config).unwrap();
        Self {
            region: Arc::new(region),
            runs: Arc::default(),
            began: Arc::default(),
            go: Arc::default(),
        }
    }

    /// A creator that fails, with the number of its run.
    fn creator(&self) -> impl Future<Output = Result<u32, Closed>> + Send + use<> {
        let Self { runs, began, go, .. } = self;
        let (runs, began, go) = (runs.clone(), began.clone(), go.clone());
        async move {
            let run = runs.fetch_add(1, Ordering::SeqCst) + 1;
            began.notify_one();
            go.notified().await;
            Err(Closed(run))
        }
    }

    fn ask(&self) -> JoinHandle<Result<u32, Closed>> {
        let (region, creator) = (self.region.clone(), self.creator());
        tokio::spawn(async move {
            region.entry("k").share_failures().try_get_or_create(|| creator).await
        })
    }

    fn runs(&self) -> usize {
        self.runs.load(Ordering::SeqCst)
    }

    /// Lets the creator fail once all tasks have come to the key.
    async fn fail(&self) {
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
        self.go.notify_one();
    }
}

fn in_memory() -> Config {
    Config::new(Memory::new(10))
}

#[tokio::test]
async fn a_crowd_before_a_cold_key_costs_one_creation() {
    let failing = Failing::new(in_memory());
    let calls: Vec<_> = (0..200).map(|_| failing.ask()).collect();
    failing.began.notified().await;
    failing.fail().await;
    for call in calls {
        assert_eq!(call.await.unwrap(), Err(Closed(1)));
    }
    assert_eq!(failing.runs(), 1);
    let counts = failing.region.statistics();
    assert_eq!((counts.creator_failures, counts.misses), (1, 200));
    assert!(!failing.region.key_is_locked("k").await.unwrap());
    // Nothing of it stays: the next caller tries.
    failing.go.notify_one();
    assert_eq!(failing.ask().await.unwrap(), Err(Closed(2)));
}

/// Callers that do not share, or have errors of another type, try next.
#[tokio::test]
async fn others_try_for_themselves() {
    let failing = Failing::new(in_memory());
    let first = failing.ask();
    failing.began.notified().await;
    let sharing = failing.ask();
    let region = failing.region.clone();
    let alone = tokio::spawn(async move {
        region.try_get_or_create("k", async || Err::<u32, _>(Closed(100))).await
    });
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let region = failing.region.clone();
    let other = tokio::spawn(async move {
        let entry = region.entry("k").share_failures().strict();
        entry.try_get_or_create(async || Err::<u32, _>("another error")).await
    });
    failing.fail().await;
    assert_eq!(first.await.unwrap(), Err(Closed(1)));
    assert_eq!(sharing.await.unwrap(), Err(Closed(1)));
    assert_eq!(alone.await.unwrap(), Err(Closed(100)));
    assert_eq!(other.await.unwrap().unwrap_err().to_string(), "another error");
    assert_eq!(failing.runs(), 1);
}

#[tokio::test]
async fn a_stale_value_comes_before_the_error() {
    let clock = ManualClock::new();
    let minute = Duration::from_secs(60);
    let config = in_memory().clock(clock.clone()).expiration(minute).stale_if_error(minute * 60);
    let failing = Failing::new(config.stale_while_revalidate(Duration::ZERO));
    failing.region.set("k", &1_u32).await.unwrap();
    clock.advance(minute * 2);
    let calls: Vec<_> = (0..20).map(|_| failing.ask()).collect();
    failing.began.notified().await;
    failing.fail().await;
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(1));
    }
    assert_eq!(failing.runs(), 1);
    let found = failing.region.entry("k").lookup(async || -> u32 { unreachable!() }).await;
    assert_eq!(found.status, Status::StaleOnError);
}

#[tokio::test]
async fn calls_for_several_keys_share_too() {
    let failing = Failing::new(in_memory());
    let several = {
        let (region, creator) = (failing.region.clone(), failing.creator());
        tokio::spawn(async move {
            let mut creator = Some(creator);
            let create = |_| {
                let creator = creator.take().unwrap();
                async move { creator.await.map(|value| vec![value, value]) }
            };
            region.entries(["k", "other"]).share_failures().try_get_or_create(create).await
        })
    };
    failing.began.notified().await;
    let one = failing.ask();
    let blocking = {
        let region = failing.region.clone();
        let ask = move || {
            let entries = region.blocking().entries(["other", "third"]);
            entries
                .share_failures()
                .try_get_or_create(|keys| Ok::<_, Closed>(vec![7_u32; keys.len()]))
        };
        tokio::task::spawn_blocking(ask)
    };
    // It creates the third key, and then waits for the other.
    while failing.region.get::<u32>("third").await.unwrap().is_none() {
        tokio::task::yield_now().await;
    }
    failing.fail().await;
    assert!(several.await.unwrap().is_err());
    assert_eq!(one.await.unwrap(), Err(Closed(1)));
    assert!(
        blocking.await.unwrap().is_err()
            || failing.region.get::<u32>("other").await.unwrap() == Some(7)
    );
    assert_eq!(failing.runs(), 1);
}

static RATES: Region = Region::new("shared_rates");
static RUNS: AtomicUsize = AtomicUsize::new(0);

#[cached(region = RATES, share_failures)]
async fn rate(_currency: &str) -> Result<u32, Closed> {
    tokio::task::yield_now().await;
    Err(Closed(RUNS.fetch_add(1, Ordering::SeqCst) + 1))
}

#[cached(region = RATES, share_failures)]
fn rate_blocking(_currency: &str) -> Result<u32, Closed> {
    Err(Closed(0))
}

#[tokio::test]
async fn decorated_functions_share() {
    RATES.configure(in_memory()).unwrap();
    let (one, two) = tokio::join!(rate("EUR"), rate("EUR"));
    assert_eq!((one, two), (Err(Closed(1)), Err(Closed(1))));
    assert_eq!(rate("EUR").await, Err(Closed(2)));
    assert_eq!(rate_blocking("EUR"), Err(Closed(0)));
}

/// A region with an expired value under `k`, whose callers wait for the next.
async fn expired(change: impl FnOnce(Config) -> Config) -> Failing {
    let config = in_memory().stale_while_revalidate(Duration::ZERO);
    let failing = Failing::new(change(config));
    failing.region.set("k", &1_u32).await.unwrap();
    failing.region.expire("k").await.unwrap();
    failing
}

impl Failing {
    async fn settle(&self) {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
}

/// A waiter has the stale value before the error, also if the failure is noted nowhere.
#[tokio::test]
async fn a_stale_value_comes_before_the_error_whoever_failed() {
    let hour = Duration::from_secs(3_600);
    let failing = expired(|config| config.expiration(hour).stale_if_error(hour)).await;
    let refresh = tokio::spawn({
        let (region, creator) = (failing.region.clone(), failing.creator());
        async move { region.entry("k").share_failures().try_refresh(|| creator).await }
    });
    failing.began.notified().await;
    let waiter = failing.ask();
    failing.settle().await;
    failing.go.notify_one();
    assert_eq!(refresh.await.unwrap(), Err(Closed(1)));
    failing.go.notify_one();
    assert_eq!(waiter.await.unwrap(), Ok(1));

    let never = Duration::ZERO;
    let failing =
        expired(|config| config.expiration(hour).stale_if_error(hour).retry_after(never)).await;
    let calls = [failing.ask(), failing.ask()];
    failing.began.notified().await;
    failing.settle().await;
    failing.go.notify_one();
    failing.settle().await;
    failing.go.notify_one();
    for call in calls {
        assert_eq!(call.await.unwrap(), Ok(1));
    }
}

/// The error that ends a call for several keys is that which it ends by, and not one of before.
#[tokio::test]
async fn a_call_ends_by_the_error_that_it_was_told() {
    let hour = Duration::from_secs(3_600);
    let failing = expired(|config| config.expiration(hour).stale_if_error(hour)).await;
    failing.region.delete("b").await.unwrap();
    let first = tokio::spawn({
        let (region, creator) = (failing.region.clone(), failing.creator());
        async move { region.entry("b").share_failures().try_get_or_create(|| creator).await }
    });
    failing.began.notified().await;
    let second = tokio::spawn({
        let region = failing.region.clone();
        async move {
            let own = async |_| Err::<Vec<u32>, _>(Closed(100));
            region.entries(["k", "b"]).share_failures().try_get_or_create(own).await
        }
    });
    failing.settle().await;
    failing.go.notify_one();
    assert_eq!(first.await.unwrap(), Err(Closed(1)));
    match second.await.unwrap() {
        Err(CreateError::Creator(error)) => assert_eq!(error, Closed(1)),
        other => panic!("{other:?}"),
    }
}

/// The options of a call hold in any order.
#[tokio::test]
async fn a_strict_call_shares_too() {
    let failing = Failing::new(in_memory());
    let first = failing.ask();
    failing.began.notified().await;
    let waiters = [true, false].map(|is_strict_first| {
        let region = failing.region.clone();
        tokio::spawn(async move {
            let entry = region.entry("k");
            let own = async || Err::<u32, _>(Closed(100));
            if is_strict_first {
                entry.strict().share_failures().try_get_or_create(own).await
            } else {
                entry.share_failures().strict().try_get_or_create(own).await
            }
        })
    });
    failing.fail().await;
    assert_eq!(first.await.unwrap(), Err(Closed(1)));
    for waiter in waiters {
        assert!(matches!(waiter.await.unwrap(), Err(CreateError::Creator(Closed(1)))));
    }
}

/// A failure that is remembered is given to those who come later, without another attempt.
#[tokio::test]
async fn a_remembered_failure_is_given_for_its_time() {
    const SECOND: Duration = Duration::from_secs(1);
    let (region, clock) = (Region::new("rates"), ManualClock::new());
    region.configure(Config::new(Memory::new(10)).clock(clock.clone())).unwrap();
    let runs = AtomicUsize::new(0);
    let fails = async || Err::<u32, _>(Closed(runs.fetch_add(1, Ordering::SeqCst) + 1));
    let ask = async || region.entry("k").remember_failures(SECOND).try_get_or_create(fails).await;
    assert_eq!((ask().await, ask().await), (Err(Closed(1)), Err(Closed(1))));
    // Those who do not share failures try, and so do those whose errors are of another type.
    assert_eq!(region.entry("k").try_get_or_create(fails).await, Err(Closed(2)));
    let other = async || Err::<u32, _>("closed");
    let got = region.entry("k").remember_failures(SECOND).try_get_or_create(other).await;
    assert_eq!(got, Err("closed"));
    assert_eq!(ask().await, Err(Closed(3)));
    let several = region.entries(["l", "k", "m"]).remember_failures(SECOND);
    let all = several.try_get_or_create(async |keys| Ok::<_, Closed>(vec![1; keys.len()])).await;
    assert!(matches!(all, Err(CreateError::Creator(Closed(3)))), "{all:?}");
    assert!(!region.key_is_locked("l").await.unwrap() && !region.key_is_locked("m").await.unwrap());
    clock.advance(SECOND);
    assert_eq!(ask().await, Err(Closed(4)));
    // A change ends it, and so does a value.
    region.delete("k").await.unwrap();
    assert_eq!(ask().await, Err(Closed(5)));
    assert_eq!(region.get_or_create("k", async || 7_u32).await, 7);
    assert_eq!(ask().await, Ok(7));
    // A stale value comes before it.
    region.expire("k").await.unwrap();
    assert_eq!(ask().await, Err(Closed(6)));
    assert_eq!(ask().await, Ok(7));
    assert_eq!(runs.load(Ordering::SeqCst), 6);
}
