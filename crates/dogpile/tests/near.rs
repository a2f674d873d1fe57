//! The near tier before a backend of ours, whose news the test tells by hand.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dogpile::backend::{AnyBackend, Backend, BackendError, Follower, KeepsBytes, Watch};
use dogpile::proxy::{Algorithm, Compression, KeyPrefix, Proxy};
use dogpile::value::Entry;
use dogpile::{Config, Error, Near, Region};

/// A shelf that processes could share: it tells of changes when it is told to.
#[derive(Clone, Default)]
struct Shelf(Arc<Shared>);

#[derive(Default)]
struct Shared {
    frames: Mutex<HashMap<String, Bytes>>,
    followers: Mutex<Vec<Arc<dyn Follower>>>,
    reads: AtomicU32,
    is_away: Mutex<bool>,
}

impl Shelf {
    fn reads(&self) -> u32 {
        self.0.reads.load(Ordering::SeqCst)
    }

    /// Another process changes the value, and nothing is told yet.
    fn change(&self, key: &str, value: u32) {
        let ct = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let entry = Entry::bytes(value.to_string(), ct.as_secs_f64() - 10.0);
        self.0.frames.lock().unwrap().insert(key.to_owned(), entry.to_frame().unwrap());
    }

    fn tell(&self, tell: impl Fn(&dyn Follower)) {
        self.0.followers.lock().unwrap().iter().for_each(|follower| tell(&**follower));
    }

    fn check(&self) -> Result<(), BackendError> {
        let is_away = *self.0.is_away.lock().unwrap();
        if is_away { Err(BackendError::unavailable("away")) } else { Ok(()) }
    }
}

impl Backend for Shelf {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        self.check()?;
        self.0.reads.fetch_add(1, Ordering::SeqCst);
        Ok(self.0.frames.lock().unwrap().get(key).map(Entry::from_frame))
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.check()?;
        let frame = entry.to_frame().ok_or_else(|| BackendError::refused("an object"))?;
        self.0.frames.lock().unwrap().insert(key.to_owned(), frame);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.check()?;
        self.0.frames.lock().unwrap().remove(key);
        Ok(())
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.0.followers.lock().unwrap().push(follower);
        Some(Watch::new(()))
    }
}

const HOUR: Duration = Duration::from_secs(3_600);

fn holding() -> Near {
    Near::entries(100).max_staleness(HOUR)
}

fn over(shelf: &Shelf, change: impl FnOnce(Config) -> Config) -> Region {
    let region = Region::new("near");
    let config = Config::new(shelf.clone()).local_invalidation();
    region.configure(change(config.near(holding()))).unwrap();
    region
}

async fn get(region: &Region) -> Option<u32> {
    region.get("k").await.unwrap()
}

/// Reads the key until a copy answers.
async fn warm(region: &Region) {
    for _ in 0..3 {
        get(region).await;
    }
    let before = region.statistics().near_hits;
    get(region).await;
    assert_eq!(region.statistics().near_hits, before + 1);
}

#[tokio::test]
async fn a_copy_answers_until_its_change_is_told() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    let reads = shelf.reads();
    shelf.change("k", 2);
    assert_eq!((get(&region).await, shelf.reads()), (Some(1), reads), "nothing was told");
    shelf.tell(|follower| follower.changed("another"));
    assert_eq!(get(&region).await, Some(1));
    shelf.tell(|follower| follower.changed("k"));
    assert_eq!(get(&region).await, Some(2));
    warm(&region).await;
    shelf.change("k", 3);
    shelf.tell(Follower::all_changed);
    assert_eq!(get(&region).await, Some(3));
}

#[tokio::test]
async fn values_of_another_type_are_read_again() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    for _ in 0..3 {
        assert_eq!(region.get::<u64>("k").await.unwrap(), Some(1));
        assert_eq!(region.get_or_create("k", async || 7_i8).await, 1);
        let several = region.get_multi::<f64, _>(["k"]).await.unwrap();
        assert_eq!(several, [Some(1.0)]);
        let created = region.get_or_create_multi(["k"], async |_| vec![7_u16]).await.unwrap();
        assert_eq!(created, [1]);
        assert_eq!(region.get::<u32>("k").await.unwrap(), Some(1));
    }
    region.entry("k").expire().await.unwrap();
    assert_eq!(get(&region).await, None, "what is expired was not taken from an object");
}

#[tokio::test]
async fn a_copy_is_judged_as_the_value_is() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    let second = Duration::from_secs(1);
    let strict = region.entry("k").expiration(second).get_or_create(async || 2_u32).await;
    assert_eq!((strict, get(&region).await), (2, Some(2)));
    warm(&region).await;
    region.invalidate_all().await.unwrap();
    assert_eq!(get(&region).await, None);
    assert_eq!(region.get_or_create("k", async || 3_u32).await, 3);
    warm(&region).await;
    region.expire_all().await.unwrap();
    let in_background = region.entry("k").get_or_create_in_background(async || 4_u32);
    assert_eq!(in_background.await, 3, "it is stale");
}

/// Changes end copies by the key that the backend has, whatever proxies call it.
#[tokio::test]
async fn proxies_lie_beneath() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    region.add_proxy(KeyPrefix::new("shop:")).unwrap();
    region.add_proxy(Compression::new(Algorithm::Lz4)).unwrap();
    region.set("k", &1_u32).await.unwrap();
    warm(&region).await;
    shelf.change("shop:k", 2);
    assert_eq!(get(&region).await, Some(1), "nothing was told");
    shelf.tell(|follower| follower.changed("shop:k"));
    assert_eq!(get(&region).await, Some(2));
}

/// A proxy that reads under another key.
struct Renaming {
    says_so: bool,
}

impl Renaming {
    fn inside(key: &str) -> String {
        format!("other:{key}")
    }
}

impl Proxy for Renaming {
    fn key<'k>(&self, key: &'k str) -> std::borrow::Cow<'k, str> {
        if self.says_so { Self::inside(key).into() } else { key.into() }
    }

    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        next.get(&Self::inside(key)).await
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        next.set(&Self::inside(key), entry).await
    }
}

#[tokio::test]
async fn a_proxy_that_changes_keys_has_to_say_so() {
    for says_so in [true, false] {
        let shelf = Shelf::default();
        let region = over(&shelf, |config| config.proxy(Renaming { says_so }));
        shelf.change("other:k", 1);
        for _ in 0..4 {
            assert_eq!(get(&region).await, Some(1));
        }
        assert_eq!(region.statistics().near_entries, u64::from(says_so));
        shelf.change("other:k", 2);
        shelf.tell(|follower| follower.changed("other:k"));
        assert_eq!(get(&region).await, Some(2));
    }
}

#[tokio::test]
async fn what_was_read_over_a_lost_link_is_used_by_its_age_alone() {
    let shelf = Shelf::default();
    let region = Region::new("near");
    let near = Near::entries(100).max_staleness(Duration::from_millis(100));
    region.configure(Config::new(shelf.clone()).local_invalidation().near(near)).unwrap();
    shelf.change("k", 1);
    warm(&region).await;
    let in_time = Instant::now() + Duration::from_millis(300);
    while Instant::now() < in_time {
        shelf.tell(|follower| follower.in_step(Instant::now()));
    }
    let reads = shelf.reads();
    shelf.tell(|follower| follower.in_step(Instant::now()));
    assert_eq!((get(&region).await, shelf.reads()), (Some(1), reads), "it is in step");
    shelf.tell(Follower::lost);
    shelf.tell(|follower| follower.in_step(Instant::now()));
    assert_eq!((get(&region).await, shelf.reads()), (Some(1), reads + 1), "it was read long ago");
    shelf.tell(|follower| follower.in_step(Instant::now()));
    assert_eq!((get(&region).await, shelf.reads()), (Some(1), reads + 1), "it is the same");
}

#[tokio::test]
async fn a_failed_change_ends_the_copy_too() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    warm(&region).await;
    *shelf.0.is_away.lock().unwrap() = true;
    region.set("k", &2_u32).await.unwrap_err();
    region.get::<u32>("k").await.unwrap_err();
    *shelf.0.is_away.lock().unwrap() = false;
    assert_ne!(get(&region).await, Some(2));
}

#[tokio::test]
async fn a_copy_stands_in_only_if_it_may_and_nobody_said_that_it_changed() {
    for (may, is_told, expected) in [(true, false, 1), (true, true, 7), (false, false, 7)] {
        let shelf = Shelf::default();
        let region = Region::new("near");
        let near = Near::entries(100).max_staleness(Duration::from_millis(50));
        let near = if may { near.serve_when_down(HOUR) } else { near };
        region.configure(Config::new(shelf.clone()).local_invalidation().near(near)).unwrap();
        shelf.change("k", 1);
        for _ in 0..3 {
            get(&region).await;
        }
        *shelf.0.is_away.lock().unwrap() = true;
        if is_told {
            shelf.tell(|follower| follower.changed("k"));
        }
        // A copy holds by its age for a moment.
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        assert_eq!(region.get_or_create("k", async || 7_u32).await, expected);
    }
}

#[test]
fn a_backend_that_can_be_followed_can_be_watched() {
    let shelf = Shelf::default();
    let told = Arc::new(AtomicU32::new(0));
    let counted = told.clone();
    let count = Arc::new(move || {
        counted.fetch_add(1, Ordering::SeqCst);
    });
    let watch = AnyBackend::new(shelf.clone()).watch("k", count);
    assert!(watch.is_some());
    let tell = |tell: fn(&(dyn Follower + 'static))| {
        shelf.tell(tell);
        told.load(Ordering::SeqCst)
    };
    assert_eq!(tell(|follower| follower.changed("another")), 1, "once when it begins");
    assert_eq!(tell(|follower| follower.changed("k")), 2);
    assert_eq!(tell(Follower::all_changed), 3);
    assert_eq!(tell(Follower::lost), 4);
}

#[tokio::test]
async fn memory_refuses_a_near_tier() {
    let region: Region = Region::new("memory");
    let config = Config::new(dogpile::backend::Memory::new(10)).near(holding());
    let refused = region.configure(config);
    assert!(matches!(refused, Err(Error::NearInMemory { .. })), "{refused:?}");
}

#[test]
fn blocking_calls_use_it() {
    let shelf = Shelf::default();
    let region = over(&shelf, |config| config);
    shelf.change("k", 1);
    for _ in 0..4 {
        assert_eq!(region.blocking().get::<u32>("k").unwrap(), Some(1));
    }
    let reads = shelf.reads();
    assert_eq!(region.blocking().get_or_create("k", || 7_u32), 1);
    assert_eq!(shelf.reads(), reads);
}
