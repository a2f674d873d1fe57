//! Hard cases of the near tier: reads and changes that overtake each other or are given up in the
//! middle, outages, and configurations that are replaced.

mod shelf;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use dogpile::backend::Follower;
use dogpile::proxy::Proxy;
use dogpile::testing::ManualClock;
use dogpile::{CachedValue, Config, Near, Region};
use futures_util::FutureExt;
use shelf::{At, HOUR, MINUTE, SHORT, Shelf, get, holding, now, outlive_the_bound, over, warm};

/// Lettuce, issue 3481: the answer to a read comes after the news that it is out of date.
#[tokio::test]
async fn a_read_that_is_overtaken_by_news_leaves_no_copy() {
    for all in [false, true] {
        let shelf = Shelf::default();
        let region = over(&shelf, |config| config);
        shelf.change("k", 1);
        get(&region).await;
        let gate = shelf.hold(At::AfterReading);
        let reading = tokio::spawn({
            let region = region.clone();
            async move { get(&region).await }
        });
        gate.arrival().await;
        shelf.change("k", 2);
        shelf.tell(|follower| if all { follower.all_changed() } else { follower.changed("k") });
        gate.open();
        assert_eq!(reading.await.unwrap(), Some(1));
        assert_eq!(get(&region).await, Some(2));
    }
}

/// A kind of change, and what is there after it.
const CHANGES: [(&str, Option<u32>); 9] = [
    ("set", Some(2)),
    ("set many", Some(2)),
    ("delete", None),
    ("delete many", None),
    ("delete in background", None),
    ("expire", None),
    ("expire many", None),
    ("refresh", Some(2)),
    ("update", Some(2)),
];

async fn change(region: &Region, how: &str) {
    match how {
        "set" => region.set("k", &2_u32).await.unwrap(),
        "set many" => region.entries(["l", "k"]).set(&[3_u32, 2]).await.unwrap(),
        "delete" => region.delete("k").await.unwrap(),
        "delete many" => region.entries(["l", "k"]).delete().await.unwrap(),
        "delete in background" => region.entry("k").delete_in_background().await,
        "expire" => region.expire("k").await.unwrap(),
        "expire many" => region.entries(["l", "k"]).expire().await.unwrap(),
        "refresh" => assert_eq!(region.entry("k").refresh(async || 2_u32).await, 2),
        "update" => {
            let entry = region.entry("k").expiration(Duration::from_secs(1));
            assert_eq!(entry.get_or_update(async |_: Option<CachedValue<u32>>| 2_u32).await, 2);
        }
        _ => unreachable!("{how}"),
    }
}

/// `FusionCache`, issue 613: a copy is made while its key is being changed.
#[tokio::test]
async fn a_copy_that_is_made_during_a_change_ends_with_it() {
    for (how, after) in CHANGES {
        let shelf = Shelf::default();
        let region = over(&shelf, |config| config);
        shelf.change("k", 1);
        warm(&region).await;
        let gate = shelf.hold(At::BeforeChanging);
        let changing = tokio::spawn({
            let region = region.clone();
            async move { change(&region, how).await }
        });
        gate.arrival().await;
        // "delete in background" counts as missing here at once.
        let read = get(&region).await;
        assert!([Some(1), None].contains(&read), "{how} has not changed it: {read:?}");
        for _ in 0..3 {
            get(&region).await;
        }
        gate.open();
        changing.await.unwrap();
        assert!(region.drain(MINUTE).await);
        assert_eq!(get(&region).await, after, "{how}");
    }
}

#[tokio::test]
async fn a_change_that_is_given_up_in_the_middle_ends_copies() {
    for (how, _) in CHANGES {
        let shelf = Shelf::default();
        let region = over(&shelf, |config| config);
        shelf.change("k", 1);
        warm(&region).await;
        let gate = shelf.hold(At::AfterChanging);
        let changing = tokio::spawn({
            let region = region.clone();
            async move { change(&region, how).await }
        });
        gate.arrival().await;
        changing.abort();
        let _ = changing.await;
        gate.open();
        let stored = shelf.stored("k");
        let is_as_stored = |read: Option<u32>| read == stored || read.is_none();
        let read = get(&region).await;
        assert!(is_as_stored(read), "{how}: {read:?}, and {stored:?} is stored");
    }
}

/// Before the change is made, a copy may be read: when the change is made all the same, it ends by
/// the news, and not before.
#[tokio::test]
async fn a_creation_that_is_given_up_leaves_what_was_there() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    let gate = shelf.hold(At::BeforeChanging);
    let creating = tokio::spawn({
        let region = region.clone();
        async move { region.entry("k").refresh(async || 2_u32).await }
    });
    gate.arrival().await;
    creating.abort();
    let _ = creating.await;
    assert!([Some(1), None].contains(&get(&region).await));
    shelf.change("k", 3);
    shelf.tell(|follower| follower.changed("k"));
    assert_eq!(get(&region).await, Some(3));
}

/// A refresh while the backend is away is newer than the copy, also for those who may have that.
#[tokio::test]
async fn what_was_created_while_the_backend_was_away_stands_before_a_copy() {
    for bound in [SHORT, HOUR] {
        let shelf = Shelf::default();
        let near = Near::entries(10).max_staleness(bound).serve_when_down(HOUR);
        let region = over(&shelf, |config| config.near(near).keep_when_down(HOUR));
        shelf.change("k", 1);
        warm(&region).await;
        shelf.set_away(true);
        assert_eq!(region.entry("k").refresh(async || 2_u32).await, 2);
        assert_eq!(region.get_or_create("k", async || 3_u32).await, 2, "{bound:?}");
        outlive_the_bound();
        assert_eq!(region.get_or_create("k", async || 3_u32).await, 2, "{bound:?}");
        shelf.set_away(false);
        let found = region.get_or_create("k", async || 3_u32).await;
        assert_ne!(found, 1, "{bound:?}");
    }
}

#[tokio::test]
async fn a_deletion_that_is_owed_ends_the_copy() {
    for how in ["delete", "delete many", "delete in background", "set", "set many"] {
        let shelf = Shelf::default();
        let near = holding().serve_when_down(HOUR);
        let region = over(&shelf, |config| config.near(near));
        shelf.change("k", 1);
        warm(&region).await;
        shelf.set_away(true);
        let changing = AssertUnwindSafe(change(&region, how)).catch_unwind();
        let _ = changing.await;
        for _ in 0..3 {
            let found = region.get::<u32>("k").await;
            assert!(matches!(found, Err(_) | Ok(None)), "{how}: {found:?}");
        }
        let found = region.get_or_create("k", async || 7_u32).await;
        assert_eq!(found, 7, "{how}");
        shelf.set_away(false);
        for _ in 0..3 {
            assert_ne!(region.get::<u32>("k").await.unwrap(), Some(1), "{how}");
        }
    }
}

#[tokio::test]
async fn a_copy_of_another_type_does_not_stand_in() {
    let shelf = Shelf::default();
    let near = Near::entries(10).max_staleness(SHORT).serve_when_down(HOUR);
    let region = over(&shelf, |config| config.near(near));
    shelf.change("k", 1);
    warm(&region).await;
    outlive_the_bound();
    shelf.set_away(true);
    assert_eq!(region.get_or_create("k", async || "new".to_owned()).await, "new");
    assert_eq!(region.get_or_create("k", async || "newer".to_owned()).await, "new");
    shelf.set_away(false);
}

/// A region's configuration is replaced: copies of before are neither used nor kept, and nobody follows
/// for them.
#[tokio::test]
async fn a_tier_that_is_replaced_ends() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for round in 1..4_u32 {
        shelf.change("k", round);
        shelf.tell(|follower| follower.changed("k"));
        warm(&region).await;
        let config = Config::new(shelf.clone()).local_invalidation().near(holding());
        region.configure(config.replace_existing()).unwrap();
        shelf.change("k", 100 + round);
        assert_eq!(get(&region).await, Some(100 + round));
        warm(&region).await;
        assert_eq!(shelf.followers(), 1, "after {round} replacements");
        let lost = region.statistics().near_lost;
        shelf.tell(Follower::lost);
        assert_eq!(region.statistics().near_lost, lost + 1, "after {round} replacements");
    }
    drop(region);
    assert_eq!(shelf.followers(), 0);
}

/// Writers, readers and somebody who replaces the configuration: each writer sees what it has written,
/// although nobody tells of anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn own_changes_are_seen_at_once_while_the_configuration_is_replaced() {
    const KEYS: [&str; 4] = ["a", "b", "c", "d"];
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    let is_over = Arc::new(AtomicBool::new(false));
    let readers = (0..2).map(|_| {
        let (region, is_over) = (region.clone(), is_over.clone());
        tokio::spawn(async move {
            while !is_over.load(Ordering::SeqCst) {
                region.get_multi::<u32, _>(KEYS).await.unwrap();
                tokio::task::yield_now().await;
            }
        })
    });
    let readers: Vec<_> = readers.collect();
    let writers = KEYS.map(|key| {
        let region = region.clone();
        tokio::spawn(async move {
            for value in (0..2_000_u32).step_by(2) {
                region.set(key, &value).await.unwrap();
                assert_eq!(region.get(key).await.unwrap(), Some(value), "{key}");
                region.entry(key).refresh(async || value + 1).await;
                let found = region.get::<u32>(key).await.unwrap();
                assert!(found.is_none_or(|found| found > value), "{key}: {found:?} {value}");
            }
        })
    });
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        region.add_proxy(Looks).unwrap();
        let config = Config::new(shelf.clone()).local_invalidation().near(holding());
        tokio::task::yield_now().await;
        region.configure(config.replace_existing()).unwrap();
        tokio::task::yield_now().await;
    }
    for writer in writers {
        writer.await.unwrap();
    }
    is_over.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    // Copies are used, under the last configuration too.
    let before = region.statistics().near_hits;
    for _ in 0..4 {
        region.get::<u32>("a").await.unwrap();
    }
    region.set("a", &1_u32).await.unwrap();
    for _ in 0..4 {
        assert_eq!(region.get("a").await.unwrap(), Some(1_u32));
    }
    assert!(region.statistics().near_hits > before);
    assert!(shelf.followers() <= 1);
}

/// A proxy that does nothing.
struct Looks;

impl Proxy for Looks {
    fn only_observes(&self) -> bool {
        true
    }
}

/// A creation that began before a proxy was added is stored without it, and seen at once.
#[tokio::test]
async fn a_change_that_began_before_a_proxy_was_added_is_seen_at_once() {
    for (how, after) in CHANGES {
        let shelf = Shelf::default();
        let region = over(&shelf, |config| config);
        shelf.change("k", 1);
        warm(&region).await;
        let gate = shelf.hold(At::BeforeChanging);
        let changing = tokio::spawn({
            let region = region.clone();
            async move { change(&region, how).await }
        });
        gate.arrival().await;
        region.add_proxy(Looks).unwrap();
        for _ in 0..4 {
            get(&region).await;
        }
        gate.open();
        changing.await.unwrap();
        assert!(region.drain(MINUTE).await);
        assert_eq!(get(&region).await, after, "{how}");
    }
}

#[tokio::test]
async fn a_follower_may_be_called_when_its_region_is_gone() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    let follower = shelf.0.followers.lock().unwrap()[0].clone();
    drop(region);
    assert_eq!(shelf.followers(), 0);
    follower.changed("k");
    follower.all_changed();
    follower.lost();
    follower.in_step(Instant::now());
    assert_eq!(Arc::strong_count(&follower), 1, "nothing else keeps the copies");
}

/// Extensions of .NET, issue 5674: two caches of one process over one store, one of which has
/// never heard of the key.
#[tokio::test]
async fn a_region_with_a_copy_hears_of_changes_by_one_without() {
    let shelf = Shelf::default();
    let [one, other] = [0; 2].map(|_| over(&shelf, |config| config));
    shelf.change("k", 1);
    warm(&one).await;
    other.set("k", &2_u32).await.unwrap();
    shelf.tell(|follower| follower.changed("k"));
    assert_eq!(get(&one).await, Some(2));
    other.delete("k").await.unwrap();
    shelf.tell(|follower| follower.changed("k"));
    assert_eq!(get(&one).await, None);
}

/// Caffeine, issues 193 and 251: an invalidation during a creation or a read counts.
#[tokio::test]
async fn an_invalidation_of_all_during_a_read_counts() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    get(&region).await;
    let gate = shelf.hold(At::AfterReading);
    let reading = tokio::spawn({
        let region = region.clone();
        async move { get(&region).await }
    });
    gate.arrival().await;
    region.invalidate_all().await.unwrap();
    gate.open();
    reading.await.unwrap();
    assert_eq!(get(&region).await, None);
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
    warm(&region).await;
}

#[tokio::test]
async fn a_failure_that_is_stale_is_not_answered_from_a_copy_for_ever() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region =
        over(&shelf, |config| config.clock(clock.clone()).expiration(MINUTE).stale_if_error(HOUR));
    region.set("k", &1_u32).await.unwrap();
    warm(&region).await;
    clock.advance(2 * MINUTE);
    let fails = async || Err::<u32, &str>("it fails");
    for _ in 0..3 {
        assert_eq!(region.try_get_or_create("k", fails).await.unwrap(), 1);
    }
    clock.advance(2 * HOUR);
    assert!(region.try_get_or_create("k", fails).await.is_err(), "too old to stand in");
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
    warm(&region).await;
}
