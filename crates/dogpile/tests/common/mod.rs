//! A region under test, and creations that end when they are told to.

use std::sync::Arc;
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region};
use dogpile_testkit::ManualClock;
use tokio::sync::Notify;

/// A region whose values expire after a minute, by its clock.
pub(crate) fn region_and_clock() -> (Arc<Region>, ManualClock) {
    let clock = ManualClock::new();
    let region = Region::new("test");
    let config = Config::new(Memory::new(1_000)).clock(clock.clone());
    region.configure(config.expiration(Duration::from_secs(60))).unwrap();
    (Arc::new(region), clock)
}

/// A caller that is creating `key` until it is told to end.
pub(crate) async fn creating(region: &Arc<Region>, key: &'static str, value: u32) -> Arc<Notify> {
    let (started, go) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (region, has_started, may_end) = (region.clone(), started.clone(), go.clone());
    tokio::spawn(async move {
        let creator = async || {
            has_started.notify_one();
            may_end.notified().await;
            value
        };
        region.get_or_create(key, creator).await
    });
    started.notified().await;
    go
}

/// Waits until nobody holds `key`.
pub(crate) async fn free(region: &Region, key: &str) {
    while region.key_is_locked(key).await.unwrap() {
        tokio::task::yield_now().await;
    }
}
