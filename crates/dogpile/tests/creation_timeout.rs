//! Creations at their limit: what drops a creator, and what becomes of its call.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region, Status};

const LIMIT: Duration = Duration::from_millis(20);
const HOUR: Duration = Duration::from_secs(3_600);

fn region(change: impl FnOnce(Config) -> Config) -> Arc<Region> {
    let region = Region::new("limited");
    region.configure(change(Config::new(Memory::new(10)).creation_timeout(LIMIT))).unwrap();
    Arc::new(region)
}

async fn hang<T>() -> T {
    std::future::pending().await
}

/// Creates a value once the key is free, which it is at the limit.
async fn past_its_limit(region: &Region, key: &str, value: i32) -> i32 {
    while region.key_is_locked(key).await.unwrap() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    value
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "the test drops it");
    }
}

#[tokio::test]
async fn a_panic_of_what_is_dropped_at_the_limit_is_a_failure() {
    let config =
        |config: Config| config.stale_if_error(HOUR).stale_while_revalidate(Duration::ZERO);
    let region = region(config);
    region.set("k", &1).await.unwrap();
    region.expire("k").await.unwrap();
    let call = tokio::spawn({
        let region = region.clone();
        async move {
            let creator = async |_| {
                let _bomb = Bomb;
                hang::<Vec<i32>>().await
            };
            region.entries(["k"]).get_or_create(creator).await
        }
    });
    assert!(call.await.unwrap_err().is_panic());
    let next = region.entry("k").lookup(async || 2).await;
    assert_eq!((next.value, next.status), (1, Status::StaleOnError));
    assert_eq!(region.statistics().creator_failures, 1);
}

/// Asks for the key that is created while it is dropped.
struct Asks(Arc<Region>);

impl Drop for Asks {
    fn drop(&mut self) {
        self.0.blocking().get_or_create("k", || 99);
    }
}

#[test]
fn what_is_dropped_at_the_limit_may_ask_for_its_key() {
    let region = region(|config| config);
    let creator = async |_| {
        let _asks = Asks(region.clone());
        hang::<Vec<i32>>().await
    };
    let call = region.entries(["k"]).get_or_create(creator);
    assert!(pollster::block_on(call).unwrap_err().is_timeout());
    let mut abandoned = Box::pin(region.entries(["k"]).get_or_create(async |_| {
        let _asks = Asks(region.clone());
        hang::<Vec<i32>>().await
    }));
    pollster::block_on(async {
        let poll = std::future::poll_fn(|cx| {
            std::task::Poll::Ready(std::future::Future::poll(abandoned.as_mut(), cx).is_pending())
        });
        assert!(poll.await);
    });
    drop(abandoned);
}

#[tokio::test]
async fn a_call_at_its_limit_is_counted() {
    let region = region(|config| config);
    let several = region.entries(["a", "b"]).get_or_create(async |_| hang::<Vec<i32>>().await);
    assert!(several.await.unwrap_err().is_timeout());
    assert_eq!(region.statistics().misses, 2);
    let one = region.entry("a").strict().get_or_create(async || hang::<i32>().await).await;
    assert!(one.unwrap_err().is_timeout());
    assert_eq!(region.statistics().misses, 3);
    assert_eq!(region.get_or_create("a", async || past_its_limit(&region, "a", 1).await).await, 1);
    assert_eq!(region.statistics().misses, 4);
}

/// The value that a refresh was to replace is out of date, although the new one comes too late.
#[tokio::test]
async fn a_plain_refresh_past_its_limit_leaves_nothing_older() {
    let region = region(|config| config);
    region.set("k", &1).await.unwrap();
    let slow = async || past_its_limit(&region, "k", 2).await;
    assert_eq!(region.entry("k").refresh(slow).await, 2);
    assert_eq!(region.get::<i32>("k").await.unwrap(), None);
}
