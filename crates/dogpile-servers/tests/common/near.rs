//! A region with a near tier beside one of another process, and what holds over each backend.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use dogpile::{Config, Near, Region};

use super::faults::eventually;

/// The age of copies at most.
pub(crate) const BOUND: Duration = Duration::from_millis(400);

/// Copies hold for so long in tests in which nobody may wait for their end.
pub(crate) const LONG: Duration = Duration::from_secs(3_600);

pub(crate) fn tier() -> Near {
    Near::entries(1_000).max_staleness(BOUND)
}

pub(crate) fn holding() -> Near {
    Near::entries(1_000).max_staleness(LONG)
}

/// A region with a near tier, and one of another process.
pub(crate) struct Two {
    pub(crate) near: Region,
    pub(crate) other: Region,
}

impl Two {
    pub(crate) fn over(ours: Config, others: Config, near: Near) -> Self {
        let [one, other] = ["r"; 2].map(Region::new);
        one.configure(ours.near(near)).unwrap();
        other.configure(others).unwrap();
        Self { near: one, other }
    }

    pub(crate) async fn get(&self, key: &str) -> Option<u32> {
        self.near.get(key).await.unwrap()
    }

    pub(crate) fn near_hits(&self) -> u64 {
        self.near.statistics().near_hits
    }

    /// Reads the key until a copy answers.
    pub(crate) async fn warm(&self, key: &str) {
        eventually("a near hit", async || {
            let before = self.near_hits();
            self.get(key).await;
            self.near_hits() > before
        })
        .await;
    }

    /// Another process sets the key, which is seen.
    pub(crate) async fn changes_are_seen(&self, key: &str, value: u32) {
        if self.get(key).await.is_none() {
            self.other.set(key, &0_u32).await.unwrap();
        }
        self.warm(key).await;
        self.other.set(key, &value).await.unwrap();
        eventually("the change", async || self.get(key).await == Some(value)).await;
    }
}

/// This process sees its own changes at once.
pub(crate) async fn own_changes_are_seen_at_once(two: &Two) {
    for value in 0..50_u32 {
        two.near.set("k", &value).await.unwrap();
        assert_eq!(two.get("k").await, Some(value));
        two.warm("k").await;
        two.near.entry("k").refresh(async || 1_000 + value).await;
        assert_eq!(two.get("k").await, Some(1_000 + value));
        two.warm("k").await;
        two.near.expire("k").await.unwrap();
        assert_eq!(two.get("k").await, None);
        let found = two.near.entry("k").get_or_create(async || 2_000 + value).await;
        assert_eq!((found, two.get("k").await), (2_000 + value, Some(2_000 + value)));
        two.warm("k").await;
        two.near.delete("k").await.unwrap();
        assert_eq!(two.get("k").await, None);
    }
}

/// Readers never see a value of before one that was stored longer ago than the bound.
pub(crate) async fn no_copy_is_older_under_writes(two: Two, bound: Duration) {
    let two = Arc::new(two);
    let began = Instant::now();
    let written = Arc::new(Mutex::new(vec![(0_u32, began)]));
    two.other.set("k", &0_u32).await.unwrap();
    let writing = tokio::spawn({
        let (two, written) = (two.clone(), written.clone());
        async move {
            for value in 1..2_000 {
                two.other.set("k", &value).await.unwrap();
                written.lock().unwrap().push((value, Instant::now()));
            }
        }
    });
    let (mut reads, mut oldest) = (0, Duration::ZERO);
    while !writing.is_finished() {
        let asked = Instant::now();
        let read = two.get("k").await.unwrap();
        let later = |(value, _): &&(u32, Instant)| *value > read;
        let after = written.lock().unwrap().iter().find(later).map(|(_, at)| *at);
        let age = after.map_or(Duration::ZERO, |at| asked.saturating_duration_since(at));
        assert!(age <= bound, "{read} was replaced {age:?} before it was asked for");
        (reads, oldest) = (reads + 1, oldest.max(age));
        tokio::task::yield_now().await;
    }
    writing.await.unwrap();
    println!("{reads} reads, {} near hits, at most {oldest:?} old", two.near_hits());
    assert!(two.near_hits() > 100);
}
