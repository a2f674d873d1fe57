//! A shelf that processes could share, with regions over it.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use dogpile::backend::{Backend, BackendError, Follower, KeepsBytes, Watch};
use dogpile::value::{Entry, Payload};
use dogpile::{Config, Near, Region};
use tokio::sync::Semaphore;

/// A shelf that processes could share. It tells of changes when it is told to, and holds calls up.
#[derive(Clone, Default)]
pub(crate) struct Shelf(pub(crate) Arc<Shared>);

#[derive(Default)]
pub(crate) struct Shared {
    pub(crate) frames: Mutex<HashMap<String, Bytes>>,
    pub(crate) followers: Arc<Mutex<Vec<Arc<dyn Follower>>>>,
    gates: Mutex<Vec<(At, Arc<Gate>)>>,
    reads: AtomicU32,
    is_away: AtomicBool,
}

/// The place in a call where it is held up.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum At {
    AfterReading,
    BeforeChanging,
    AfterChanging,
}

pub(crate) struct Gate {
    arrived: Semaphore,
    open: Semaphore,
}

impl Gate {
    pub(crate) async fn pass(&self) {
        self.arrived.add_permits(1);
        self.open.acquire().await.unwrap().forget();
    }

    pub(crate) async fn arrival(&self) {
        self.arrived.acquire().await.unwrap().forget();
    }

    pub(crate) fn open(&self) {
        self.open.add_permits(1);
    }
}

/// Takes a follower off the list.
pub(crate) struct Leaves(Arc<Mutex<Vec<Arc<dyn Follower>>>>, Arc<dyn Follower>);

impl Drop for Leaves {
    fn drop(&mut self) {
        self.0.lock().unwrap().retain(|other| !Arc::ptr_eq(other, &self.1));
    }
}

impl Shelf {
    pub(crate) fn reads(&self) -> u32 {
        self.0.reads.load(Ordering::SeqCst)
    }

    /// Another process changes the value, and nothing is told yet.
    pub(crate) fn change(&self, key: &str, value: u32) {
        let entry = Entry::bytes(value.to_string(), now() - 10.0);
        self.put(key, &entry);
    }

    pub(crate) fn put(&self, key: &str, entry: &Entry) {
        self.0.frames.lock().unwrap().insert(key.to_owned(), entry.to_frame().unwrap());
    }

    pub(crate) fn tell(&self, tell: impl Fn(&dyn Follower)) {
        let followers = self.0.followers.lock().unwrap().clone();
        followers.iter().for_each(|follower| tell(&**follower));
    }

    pub(crate) fn stored(&self, key: &str) -> Option<u32> {
        let found = self.0.frames.lock().unwrap().get(key).map(Entry::from_frame)?;
        let Payload::Bytes(bytes) = found.payload else { panic!("bytes") };
        std::str::from_utf8(&bytes).unwrap().parse().ok()
    }

    pub(crate) fn followers(&self) -> usize {
        self.0.followers.lock().unwrap().len()
    }

    pub(crate) fn set_away(&self, is_away: bool) {
        self.0.is_away.store(is_away, Ordering::SeqCst);
    }

    pub(crate) fn check(&self) -> Result<(), BackendError> {
        let is_away = self.0.is_away.load(Ordering::SeqCst);
        if is_away { Err(BackendError::unavailable("away")) } else { Ok(()) }
    }

    /// The next call that comes to this place is held up.
    pub(crate) fn hold(&self, at: At) -> Arc<Gate> {
        let gate = Arc::new(Gate { arrived: Semaphore::new(0), open: Semaphore::new(0) });
        self.0.gates.lock().unwrap().push((at, gate.clone()));
        gate
    }

    pub(crate) async fn come_to(&self, at: At) {
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

pub(crate) fn now() -> f64 {
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

pub(crate) const HOUR: Duration = Duration::from_secs(3_600);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);

/// The shortest bound.
pub(crate) const SHORT: Duration = Duration::from_millis(50);

pub(crate) fn holding() -> Near {
    Near::entries(100).max_staleness(HOUR)
}

pub(crate) fn over(shelf: &Shelf, change: impl FnOnce(Config) -> Config) -> Arc<Region> {
    let region = Region::new("near");
    let config = Config::new(shelf.clone()).local_invalidation().near(holding());
    region.configure(change(config)).unwrap();
    Arc::new(region)
}

pub(crate) async fn get(region: &Region) -> Option<u32> {
    region.get("k").await.unwrap()
}

pub(crate) async fn warm(region: &Region) {
    for _ in 0..3 {
        get(region).await;
    }
    let before = region.statistics().near_hits;
    get(region).await;
    assert_eq!(region.statistics().near_hits, before + 1, "a copy answers");
}

/// Waits until copies are older than the shortest bound.
pub(crate) fn outlive_the_bound() {
    let began = Instant::now();
    while began.elapsed() < 2 * SHORT {
        std::thread::yield_now();
    }
}
