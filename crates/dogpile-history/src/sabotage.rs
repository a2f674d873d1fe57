//! Backends that are broken on purpose, so that each check can be seen to find something.

use std::collections::HashMap;
use std::future::pending;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex as Guarded, PoisonError};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use dogpile::Config;
use dogpile::backend::{
    AnyBackend, Backend, BackendError, Claimed, Commit, Follower, IfChanged, KeepsBytes, Version,
    Wanted, Watch,
};
use dogpile::lock::{AnyMutex, KeyedLock, Lease, NullMutex};
use dogpile::proxy::Proxy;
use dogpile::value::Entry;
use serde::{Deserialize, Serialize};

/// In which way a backend is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Sabotage {
    /// The first value of a key stays, whatever is reported as stored or deleted.
    KeepsFirst,
    /// Now and then a read returns the value before the present one.
    ServesOlder,
    /// Everybody gets the lock.
    LocksNobody,
    /// Waiters for a lock are never woken.
    WakesNobody,
    /// Now and then a read takes a second and a half.
    Sleeps,
    /// What the backend tells of changes is lost, though the link seems to be good.
    TellsNothing,
}

impl Sabotage {
    /// Puts itself under the proxies of `backend`, if it belongs there.
    pub fn under(self, backend: AnyBackend) -> AnyBackend {
        if self == Self::TellsNothing { AnyBackend::new(Silent(backend)) } else { backend }
    }

    /// Puts itself around the backend of `config`.
    pub fn around(self, config: Config) -> Config {
        config.proxy(Saboteur {
            sabotage: self,
            calls: AtomicU64::new(0),
            before: Guarded::default(),
        })
    }
}

/// The proxy that breaks what is inside it.
struct Saboteur {
    sabotage: Sabotage,
    calls: AtomicU64,
    /// For each key the newest two entries that were set.
    before: Guarded<HashMap<String, [Option<Entry>; 2]>>,
}

impl Saboteur {
    /// Is it time for `sabotage`, which is due at each call number `every`?
    fn is_due(&self, sabotage: Sabotage, every: u64) -> bool {
        self.sabotage == sabotage
            && self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(every)
    }

    fn note(&self, key: &str, entry: &Entry) {
        if self.sabotage == Sabotage::ServesOlder {
            let mut before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
            let entries = before.entry(key.to_owned()).or_default();
            entries[1] = entries[0].replace(entry.clone());
        }
    }

    /// Is what is stored under `key` to stay?
    async fn keeps(&self, next: &AnyBackend, key: &str) -> Result<bool, BackendError> {
        Ok(self.sabotage == Sabotage::KeepsFirst && next.get(key).await?.is_some())
    }

    fn older(&self, key: &str) -> Option<Entry> {
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner);
        before.get(key).and_then(|entries| entries[1].clone())
    }
}

impl Proxy for Saboteur {
    async fn get(&self, next: &AnyBackend, key: &str) -> Result<Option<Entry>, BackendError> {
        if self.is_due(Sabotage::Sleeps, 500) {
            tokio::time::sleep(Duration::from_millis(1_500)).await;
        }
        if self.is_due(Sabotage::ServesOlder, 50)
            && let Some(older) = self.older(key)
        {
            return Ok(Some(older));
        }
        next.get(key).await
    }

    async fn set(&self, next: &AnyBackend, key: &str, entry: Entry) -> Result<(), BackendError> {
        if self.keeps(next, key).await? {
            return Ok(());
        }
        self.note(key, &entry);
        next.set(key, entry).await
    }

    async fn delete(&self, next: &AnyBackend, key: &str) -> Result<(), BackendError> {
        if self.keeps(next, key).await? { Ok(()) } else { next.delete(key).await }
    }

    async fn delete_multi(&self, next: &AnyBackend, keys: &[&str]) -> Result<(), BackendError> {
        for key in keys {
            self.delete(next, key).await?;
        }
        Ok(())
    }

    fn mutex(&self, next: &AnyBackend) -> Option<AnyMutex> {
        let mutex = next.mutex()?;
        Some(match self.sabotage {
            Sabotage::LocksNobody => AnyMutex::new(NullMutex),
            Sabotage::WakesNobody => AnyMutex::new(Sleeper(mutex)),
            _ => mutex,
        })
    }
}

/// A mutex that lets all who wait sleep.
struct Sleeper(AnyMutex);

impl KeyedLock for Sleeper {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.try_lock(key).await
    }

    async fn wait(&self, _key: &str) -> Result<Option<Lease>, BackendError> {
        pending().await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        self.0.unlock(lease).await
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        self.0.is_locked(key).await
    }
}

/// A backend whose followers hear that they are in step, and of no change.
struct Silent(AnyBackend);

impl Backend for Silent {
    type Keeps = KeepsBytes;

    async fn get(&self, key: &str) -> Result<Option<Entry>, BackendError> {
        self.0.get(key).await
    }

    async fn set(&self, key: &str, entry: Entry) -> Result<(), BackendError> {
        self.0.set(key, entry).await
    }

    async fn delete(&self, key: &str) -> Result<(), BackendError> {
        self.0.delete(key).await
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.0.mutex()
    }

    fn orders_changes(&self) -> bool {
        true
    }

    fn is_shared(&self) -> bool {
        self.0.is_shared()
    }

    async fn claim(&self, keys: Vec<Wanted<'_>>) -> Result<Vec<Claimed>, BackendError> {
        self.0.claim(keys).await
    }

    async fn commit(&self, changes: Vec<Commit<'_>>) -> Result<Vec<bool>, BackendError> {
        self.0.commit(changes).await
    }

    async fn release(&self, leases: Vec<Lease>) {
        self.0.release(leases).await;
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.0.follow(Arc::new(Deaf(follower)))
    }

    async fn get_if_changed(
        &self,
        key: &str,
        since: Option<Version>,
    ) -> Result<IfChanged, BackendError> {
        self.0.get_if_changed(key, since).await
    }
}

/// A follower that hears of everything but changes.
struct Deaf(Arc<dyn Follower>);

impl Follower for Deaf {
    fn changed(&self, _key: &str) {}

    fn all_changed(&self) {}

    fn lost(&self) {
        self.0.lost();
    }

    fn interval(&self) -> Duration {
        self.0.interval()
    }

    fn in_step(&self, moment: Instant) {
        self.0.in_step(moment);
    }
}
