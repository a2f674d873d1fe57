//! Hard cases of the near tier: reads and changes that overtake each other, changes that are given up
//! in the middle, configurations that are replaced, and values and keys that are odd.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dogpile::backend::{AnyBackend, Backend, BackendError, Follower, KeepsBytes, Watch};
use dogpile::proxy::Proxy;
use dogpile::testing::{ManualClock, Scope};
use dogpile::value::{Entry, Payload};
use dogpile::{CachedValue, Config, Near, Region, Status};
use futures_util::FutureExt;
use serde::{Deserialize, Serialize};
use tokio::sync::Semaphore;

/// A shelf that processes could share. It tells of changes when it is told to, and holds calls up.
#[derive(Clone, Default)]
struct Shelf(Arc<Shared>);

#[derive(Default)]
struct Shared {
    frames: Mutex<HashMap<String, Bytes>>,
    followers: Arc<Mutex<Vec<Arc<dyn Follower>>>>,
    gates: Mutex<Vec<(At, Arc<Gate>)>>,
    reads: AtomicU32,
    is_away: AtomicBool,
}

/// The place in a call where it is held up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    AfterReading,
    BeforeChanging,
    AfterChanging,
}

struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    async fn arrival(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    fn open(&self) {
        self.open.add_permits(1);
    }
}

/// Takes a follower off the list.
struct Leaves(Arc<Mutex<Vec<Arc<dyn Follower>>>>, Arc<dyn Follower>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &self.1));
    }
}

impl Shelf {
    fn reads(&self) -> u32 {
        self.0.reads.load(Ordering::SeqCst)
    }

    /// Another process changes the value, and nothing is told yet.
    fn change(&self, key: &str, value: u32) {
        let entry = Entry::bytes(value.to_string(), now() - 10.0);
        self.put(key, &entry);
    }

    fn put(&self, key: &str, entry: &Entry) {
        self.0.frames.lock().unwrap().insert(key.to_owned(), entry.to_frame().unwrap());
    }

    fn tell(&self, tell: impl Fn(&dyn Follower)) {
        let followers = self.0.followers.lock().unwrap().clone();
        followers.iter().for_each(|follower| tell(&**follower));
    }

    fn stored(&self, key: &str) -> Option<u32> {
        let found = self.0.frames.lock().unwrap().get(key).map(Entry::from_frame)?;
        let Payload::Bytes(bytes) = found.payload else { panic!("bytes") };
        std::str::from_utf8(&bytes).unwrap().parse().ok()
    }

    fn followers(&self) -> usize {
        self.0.followers.lock().unwrap().len()
    }

    fn set_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
    }

    fn check(&self) -> Result<(), BackendError> {
        let is_away = self.0.is_away.load(Ordering::SeqCst);
        if is_away { Err(BackendError::unavailable("away")) } else { Ok(()) }
    }

    /// The next call that comes to this place is held up.
    fn hold(&self, at: At) -> Arc<Gate> {
        let gate = Arc::new(Gate { arrived: Semaphore::new(0), open: Semaphore::new(0) });
        self.0.gates.lock().unwrap().push((at, gate.clone()));
        gate
    }

    async fn come_to(&self, at: At) {
        let gate = {
            let mut gates = self.0.gates.lock().unwrap();
            let found = gates.iter().position(|(place, _)| *place == at);
            found.map(|place| gates.remove(place).1)
        };
        if let Some(gate) = gate {
            gate.pass().await;
        }
    }
}

fn now() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_secs_f64()
}

impl Backend for Shelf {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        self.check()?;
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        let found = self.0.frames.lock().unwrap().get(key).map(Entry::from_frame);
        self.come_to(At::AfterReading).await;
        Ok(found)
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.check()?;
        self.come_to(At::BeforeChanging).await;
        self.put(key, &entry);
        self.come_to(At::AfterChanging).await;
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.check()?;
        self.come_to(At::BeforeChanging).await;
        self.0.frames.lock().unwrap().remove(key);
        self.come_to(At::AfterChanging).await;
        Ok(())
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.0.followers.lock().unwrap().push(follower.clone());
        Some(Watch::new(Leaves(self.0.followers.clone(), follower)))
    }
}

const HOUR: Duration = Duration::from_secs(3_600);
const MINUTE: Duration = Duration::from_secs(60);

/// The shortest bound.
const SHORT: Duration = Duration::from_millis(50);

fn holding() -> Near {
    Near::entries(100).max_staleness(HOUR)
}

fn over(shelf: &Shelf, change: impl FnOnce(Config) -> Config) -> Arc<Region> {
    let region = Region::new("near");
    let config = Config::new(shelf.clone()).local_invalidation().near(holding());
    region.configure(change(config)).unwrap();
    Arc::new(region)
}

async fn get(region: &Region) -> Option<u32> {
    region.get("k").await.unwrap()
}

async fn warm(region: &Region) {
    for _ in 0..3 {
        get(region).await;
    }
    let before = region.statistics().near_hits;
    get(region).await;
    assert_eq!(region.statistics().near_hits, before + 1, "a copy answers");
}

/// Waits until copies are older than the shortest bound.
fn outlive_the_bound() {
    let began = Instant::now();
    while began.elapsed() < 2 * SHORT {
        std::thread::yield_now();
    }
}

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

#[tokio::test]
async fn keys_of_any_length_and_script_have_copies() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    let lengths = [0, 1, 21, 22, 23, 24, 255, 256, 257, 10_000];
    let mut keys: Vec<String> = lengths.iter().map(|length| "x".repeat(*length)).collect();
    keys.extend(
        ["ключ", "キー", "e\u{301}", "é", "\0", "a\nb", " ", "x|y", "{k}", "🦴"].map(Into::into),
    );
    for (value, key) in (0..).zip(&keys) {
        shelf.change(key, value);
    }
    let read = async |key: &str| region.get::<u32>(key).await.unwrap();
    for _ in 0..3 {
        for (value, key) in (0..).zip(&keys) {
            assert_eq!(read(key).await, Some(value), "{key:?}");
        }
    }
    let reads = shelf.reads();
    for (value, key) in (0..).zip(&keys) {
        assert_eq!(read(key).await, Some(value), "{key:?}");
    }
    assert_eq!((shelf.reads(), region.statistics().near_entries), (reads, keys.len() as u64));
    for (value, key) in (0..).zip(&keys) {
        shelf.change(key, 1_000 + value);
        shelf.tell(|follower| follower.changed(key));
        for (other, key) in (0..).zip(&keys) {
            let expected = if other <= value { 1_000 + other } else { other };
            assert_eq!(read(key).await, Some(expected), "{key:?}");
        }
        region.delete(key).await.unwrap();
        assert_eq!(read(key).await, None, "{key:?}");
        shelf.change(key, 1_000 + value);
    }
}

#[tokio::test]
async fn a_tier_may_be_of_any_size() {
    for most in [0, 1, 2] {
        let shelf = Shelf::default();
        let near = Near::entries(most).max_staleness(Duration::MAX).serve_when_down(Duration::MAX);
        let region = over(&shelf, |config| config.near(near));
        for round in 0..5_u32 {
            for key in ["k", "l", "m"] {
                shelf.change(key, round);
                shelf.tell(|follower| follower.changed(key));
                for _ in 0..4 {
                    assert_eq!(region.get::<u32>(key).await.unwrap(), Some(round));
                }
            }
        }
        let entries = region.statistics().near_entries;
        assert!(entries <= most as u64, "{entries} of {most}");
    }
}

#[tokio::test]
async fn a_tier_of_more_entries_than_there_is_memory_costs_what_it_has() {
    let shelf = Shelf::default();
    let region = Region::new("near");
    let near = Near::entries(usize::MAX).max_staleness(HOUR);
    let configured = AssertUnwindSafe(async {
        region.configure(Config::new(shelf.clone()).local_invalidation().near(near))
    });
    configured.catch_unwind().await.expect("it does not panic").unwrap();
    shelf.change("k", 1);
    warm(&region).await;
}

#[tokio::test]
async fn no_bound_is_too_short_or_too_long() {
    for bound in [Duration::ZERO, Duration::MAX] {
        for down in [Duration::ZERO, Duration::MAX] {
            let shelf = Shelf::default();
            let near = Near::entries(10).max_staleness(bound).serve_when_down(down);
            let region = over(&shelf, |config| config.near(near));
            shelf.change("k", 1);
            warm(&region).await;
            outlive_the_bound();
            shelf.change("k", 2);
            let expected = if bound == Duration::ZERO { 2 } else { 1 };
            assert_eq!(get(&region).await, Some(expected), "{bound:?} {down:?}");
            shelf.tell(Follower::lost);
            shelf.tell(|follower| follower.in_step(Instant::now()));
            shelf.tell(|follower| follower.changed("k"));
            assert_eq!(get(&region).await, Some(2), "{bound:?} {down:?}");
        }
    }
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
    assert!(region.statistics().near_hits > 0);
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
async fn hits_and_misses_add_up() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region = over(&shelf, |config| config.clock(clock.clone()).expiration(MINUTE));
    region.set("k", &1_u32).await.unwrap();
    let mut asked = 0;
    let check = |asked: u64, when: &str| {
        let counted = region.statistics();
        assert_eq!(counted.hits + counted.misses, asked, "{when}: {counted:?}");
        assert_eq!(counted.near_hits + counted.near_misses, asked, "{when}: {counted:?}");
    };
    for _ in 0..5 {
        get(&region).await;
        asked += 1;
        check(asked, "a get");
    }
    for _ in 0..3 {
        region.get_multi::<u32, _>(["k"]).await.unwrap();
        asked += 1;
        check(asked, "a get of many");
    }
    clock.advance(2 * MINUTE);
    for _ in 0..3 {
        assert_eq!(get(&region).await, None);
        asked += 1;
        check(asked, "a get of what has expired");
        assert_eq!(region.get_multi::<u32, _>(["k"]).await.unwrap(), [None]);
        asked += 1;
        check(asked, "a get of many that have expired");
    }
}

/// Rueidis, issues 409 and 534: that there is nothing is not kept, and what comes then is seen.
#[tokio::test]
async fn a_key_that_is_missing_has_no_copy() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for value in 1..5 {
        for _ in 0..4 {
            let read = region.get_multi::<u32, _>(["k", "k", "l", "k"]).await.unwrap();
            assert_eq!((get(&region).await, read), (None, vec![None; 4]));
        }
        shelf.change("k", value);
        let read = region.get_multi::<u32, _>(["k", "k", "l", "k"]).await.unwrap();
        assert_eq!(read, [Some(value), Some(value), None, Some(value)]);
        warm(&region).await;
        region.delete("k").await.unwrap();
    }
}

#[tokio::test]
async fn misses_of_creations_are_counted_once() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for key in ["a", "b", "c"] {
        region.get_or_create(key, async || 1_u32).await;
    }
    let counted = region.statistics();
    assert_eq!((counted.misses, counted.near_misses, counted.creations), (3, 3, 3), "{counted:?}");
    region.get_or_create_multi(["d", "e"], async |_| vec![1_u32, 1]).await.unwrap();
    let counted = region.statistics();
    assert_eq!((counted.misses, counted.near_misses, counted.creations), (5, 5, 5), "{counted:?}");
}

/// A proxy with an answer of its own where it finds nothing.
struct Fallback;

impl Proxy for Fallback {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        let found = next.get(key).await?;
        Ok(Some(found.unwrap_or_else(|| Entry::bytes("99", now() - 10.0))))
    }
}

/// A proxy that fills a new store from an old one, as it finds that something is missing.
struct Migration;

impl Proxy for Migration {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        if let Some(found) = next.get(key).await? {
            return Ok(Some(found));
        }
        let old = Entry::bytes("99", now() - 10.0);
        next.set(key, old.clone()).await?;
        Ok(Some(old))
    }
}

/// A value that is compared, and has not changed, is not missing.
#[tokio::test]
async fn a_proxy_is_not_shown_a_value_as_missing_that_is_there() {
    for migrates in [false, true] {
        let shelf = Shelf::default();
        let near = Near::entries(10).max_staleness(SHORT);
        let region = over(&shelf, |config| {
            let config = config.near(near);
            if migrates { config.proxy(Migration) } else { config.proxy(Fallback) }
        });
        shelf.change("k", 1);
        for _ in 0..4 {
            for _ in 0..3 {
                assert_eq!(get(&region).await, Some(1), "migrates: {migrates}");
            }
            outlive_the_bound();
        }
    }
}

#[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
struct Token {
    seconds: u64,
}

/// The lifetime that a value has of itself goes with its copy.
#[tokio::test]
async fn a_copy_lives_as_long_as_its_value_says() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region = over(&shelf, |config| {
        let config = config.clock(clock.clone()).negative(Duration::from_secs(2));
        config.lifetime(|token: &Token| Some(Duration::from_secs(token.seconds))).expiration(HOUR)
    });
    for seconds in [0, 5] {
        region.set("k", &Token { seconds }).await.unwrap();
        region.set("none", &None::<Token>).await.unwrap();
        for _ in 0..4 {
            let found = region.get::<Token>("k").await.unwrap();
            assert_eq!(found, Some(Token { seconds }));
            assert_eq!(region.get::<Option<Token>>("none").await.unwrap(), Some(None));
        }
        clock.advance(Duration::from_secs(seconds.max(2) + 1));
        assert_eq!(region.get::<Token>("k").await.unwrap(), None, "after {seconds}");
        assert_eq!(region.get::<Option<Token>>("none").await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_clock_that_is_set_moves_values_and_not_the_bound() {
    let shelf = Shelf::default();
    let clock = ManualClock::at(now());
    let region = over(&shelf, |config| config.clock(clock.clone()).expiration(MINUTE));
    region.set("k", &1_u32).await.unwrap();
    warm(&region).await;
    let start = now();
    clock.set(start - 30.0);
    assert_eq!(get(&region).await, Some(1), "a skew");
    clock.set(start - 1e6);
    assert_eq!(get(&region).await, None, "of a future that is not to be believed");
    clock.set(start + 1.0);
    assert_eq!(get(&region).await, Some(1));
    clock.set(start + 61.5);
    assert_eq!(get(&region).await, None);
    assert_eq!(region.get_or_create("k", async || 2_u32).await, 2);
    assert_eq!(get(&region).await, Some(2));
}

#[tokio::test]
async fn what_is_not_to_be_cached_has_no_copy() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for value in 0..4_u32 {
        let entry = region.entry("k").should_cache(|_: &u32| false);
        assert_eq!(entry.get_or_create(async || value).await, value);
        assert_eq!(get(&region).await, None);
    }
    assert_eq!(region.statistics().near_entries, 0);
}

static SCOPED: Region = Region::new("scoped");

#[tokio::test]
async fn copies_are_not_seen_in_a_scope() {
    let shelf = Shelf::default();
    SCOPED.configure(Config::new(shelf.clone()).local_invalidation().near(holding())).unwrap();
    shelf.change("k", 1);
    warm(&SCOPED).await;
    let scope = Scope::new();
    scope
        .run(async {
            assert_eq!(get(&SCOPED).await, None, "it is in memory");
            let config = Config::new(Shelf::default()).local_invalidation().near(holding());
            SCOPED.configure(config).unwrap();
            SCOPED.set("k", &2_u32).await.unwrap();
            warm(&SCOPED).await;
            assert_eq!(get(&SCOPED).await, Some(2));
            SCOPED.set("k", &3_u32).await.unwrap();
        })
        .await;
    let reads = shelf.reads();
    assert_eq!((get(&SCOPED).await, shelf.reads()), (Some(1), reads));
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

#[tokio::test]
async fn a_copy_is_a_hit_and_holds_no_lock() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    let found = region.entry("k").lookup(async || 7_u32).await;
    assert_eq!((found.value, found.status), (1, Status::Hit));
    assert!(!region.key_is_locked("k").await.unwrap());
    region.expire_all().await.unwrap();
    let gate = shelf.hold(At::BeforeChanging);
    let creating = tokio::spawn({
        let region = region.clone();
        async move { region.entry("k").lookup(async || 7_u32).await }
    });
    gate.arrival().await;
    assert!(region.key_is_locked("k").await.unwrap());
    let found = region.entry("k").lookup(async || 8_u32).await;
    assert_eq!((found.value, found.status), (1, Status::Stale));
    gate.open();
    let created = creating.await.unwrap();
    assert_eq!((created.value, created.status), (7, Status::Created));
    assert!(!region.key_is_locked("k").await.unwrap());
    assert_eq!(get(&region).await, Some(7));
}

/// A value whose clone panics.
#[derive(Serialize, Deserialize)]
struct Unclonable(u32);

static PANICS: AtomicBool = AtomicBool::new(false);

impl Clone for Unclonable {
    fn clone(&self) -> Self {
        assert!(!PANICS.load(Ordering::SeqCst), "it cannot be cloned now");
        Self(self.0)
    }
}

#[tokio::test]
async fn a_clone_that_panics_leaves_the_tier_as_it_is() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    for _ in 0..4 {
        region.get::<Unclonable>("k").await.unwrap();
        region.get_or_create("k", async || Unclonable(7)).await;
    }
    PANICS.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let reading = AssertUnwindSafe(region.get_or_create("k", async || Unclonable(7)));
        assert!(reading.catch_unwind().await.is_err());
    }
    PANICS.store(false, Ordering::SeqCst);
    let found = AssertUnwindSafe(region.get_or_create("k", async || Unclonable(7)));
    assert_eq!(found.catch_unwind().await.expect("no lock is poisoned").0, 1);
    region.set("k", &Unclonable(2)).await.unwrap();
    assert_eq!(get(&region).await, Some(2));
}

/// LazyCache, issue 43, and many others: what a caller does with its value stays with it.
#[tokio::test]
async fn a_caller_that_changes_its_value_does_not_change_the_copy() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    region.set("k", &vec!["a".to_owned()]).await.unwrap();
    for _ in 0..5 {
        let mut found = region.get::<Vec<String>>("k").await.unwrap().unwrap();
        assert_eq!(found, ["a"]);
        found.push("b".to_owned());
    }
}

/// A value that another library has written, or that is damaged, is no hit and no panic.
#[tokio::test]
async fn what_cannot_be_read_has_no_copy_that_is_used() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    for frame in ["", "|", "{}|1", "nonsense", "{\"v\":1,\"ct\":1e400}|1", "{\"v\":99,\"ct\":1}|1"]
    {
        shelf.0.frames.lock().unwrap().insert("k".to_owned(), Bytes::from(frame));
        shelf.tell(|follower| follower.changed("k"));
        for _ in 0..4 {
            assert_eq!(get(&region).await, None, "{frame}");
        }
    }
    shelf.change("k", 1);
    shelf.tell(|follower| follower.changed("k"));
    assert_eq!(get(&region).await, Some(1));
    warm(&region).await;
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

#[test]
fn blocking_calls_within_and_without_a_runtime_use_copies() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    let read = || {
        for _ in 0..4 {
            assert_eq!(region.blocking().get::<u32>("k").unwrap(), Some(1));
            assert_eq!(region.blocking().get_or_create("k", || 7_u32), 1);
        }
    };
    read();
    let reads = shelf.reads();
    let single = tokio::runtime::Builder::new_current_thread().build().unwrap();
    single.block_on(async { read() });
    let many = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().unwrap();
    many.block_on(async { tokio::task::block_in_place(read) });
    assert_eq!(shelf.reads(), reads);
    many.block_on(async {
        region.blocking().set("k", &2_u32).unwrap();
        assert_eq!(get(&region).await, Some(2));
    });
}
