//! The orderly end of a process. A program of its own: it waits for all regions.
#![cfg(feature = "memory")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dogpile::backend::Memory;
use dogpile::{Config, Region};
use tokio::sync::Notify;

/// A value that is renewed in the background is stored before the process ends, if the limit
/// allows that.
#[tokio::test(flavor = "multi_thread")]
async fn creations_in_the_background_are_waited_for() {
    let region = Region::new("background");
    region.configure(Config::new(Memory::new(10))).unwrap();
    region.set("k", &1_u32).await.unwrap();
    region.expire_all().await.unwrap();
    let (go, has_stored) = (Arc::new(Notify::new()), Arc::new(AtomicBool::new(false)));
    let (gone, stored) = (go.clone(), has_stored.clone());
    let stale = region.entry("k").get_or_create_in_background(move || async move {
        gone.notified().await;
        stored.store(true, Ordering::SeqCst);
        2_u32
    });
    assert_eq!(stale.await, 1);
    assert!(!dogpile::shutdown(Duration::from_millis(20)).await, "it goes on");
    let ends = tokio::spawn(dogpile::shutdown(Duration::from_secs(60)));
    go.notify_one();
    assert!(ends.await.unwrap());
    assert!(has_stored.load(Ordering::SeqCst));
    assert_eq!(region.get::<u32>("k").await.unwrap(), Some(2));
    assert!(dogpile::shutdown(Duration::ZERO).await, "there is nothing left");
}
