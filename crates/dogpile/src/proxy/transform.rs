//! Proxies that only change keys or entries on their way in and out.

use std::borrow::Cow;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use super::Layer;
use crate::backend::{
    AnyBackend, BackendError, Boxed, Changed, ClaimMode, Claimed, Commit, ErasedBackend, Follower,
    IfChanged, Seen, Version, Wanted, Watch,
};
use crate::key::Mangler;
use crate::lock::{AnyMutex, KeyedLock, Lease};
use crate::value::Entry;

/// Changes keys and entries between a region and the backend. What it does
/// to an entry on writing it must undo on reading.
pub trait Transform: Send + Sync + 'static {
    /// Its name in messages and logs.
    fn name(&self) -> &str;

    /// The key that `key` is stored and locked under.
    fn key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Cow::Borrowed(key)
    }

    /// The form in which `entry` is stored under `key`.
    fn write(&self, _key: &str, entry: Entry) -> Result<Entry, BackendError> {
        Ok(entry)
    }

    /// The entry that was written, from the form in which it is stored under
    /// `key`. Where that cannot be undone the answer is the entry
    /// [without its payload](Entry::with_unreadable_payload).
    fn read(&self, _key: &str, entry: Entry) -> Entry {
        entry
    }
}

/// Makes a [`Transform`] a proxy.
#[derive(Debug, Clone)]
pub struct Transforming<T>(pub T);

impl<T: Transform> Layer for Transforming<T> {
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        let transform = Arc::new(self.0);
        #[cfg(feature = "collections")]
        let inner = inner.without_collections(transform.name());
        inner.clone().within(Transformed { transform, next: inner })
    }
}

struct Transformed<T> {
    transform: Arc<T>,
    next: AnyBackend,
}

impl<T: Transform> Transformed<T> {
    fn keys<'a>(&self, keys: &[&'a str]) -> Vec<Cow<'a, str>> {
        keys.iter().map(|key| self.transform.key(key)).collect()
    }

    fn read(&self, key: &str, entry: Option<Entry>) -> Option<Entry> {
        entry.map(|entry| self.transform.read(key, entry))
    }

    /// The outcome of a claim inside. A value that is shown with another creation time is
    /// claimed by its own, or the two would ask each other for ever.
    async fn seen_through(
        &self,
        key: &str,
        stored_under: &str,
        mode: ClaimMode,
        claim: Claimed,
    ) -> Result<Claimed, BackendError> {
        let Claimed::Changed(stored) = claim else { return Ok(claim) };
        let seen = Seen::of(Some(&stored));
        let entry = self.transform.read(key, stored);
        if mode.is_settled_by(Some(&entry)) {
            return Ok(Claimed::Changed(entry));
        }
        let again = Wanted::new(stored_under, ClaimMode::Create(seen));
        match self.next.claim(vec![again]).await?.pop() {
            Some(Claimed::Changed(entry)) => Ok(Claimed::Changed(self.transform.read(key, entry))),
            Some(claim) => Ok(claim),
            None => Err(BackendError::other("a claim was not answered")),
        }
    }
}

impl<T: Transform> ErasedBackend for Transformed<T> {
    fn name(&self) -> String {
        format!("{} over {}", self.transform.name(), self.next.name())
    }

    fn keeps_objects(&self) -> bool {
        self.next.keeps_objects()
    }

    fn is_shared(&self) -> bool {
        self.next.is_shared()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        Box::pin(async move {
            let entry = self.next.get(&self.transform.key(key)).await?;
            Ok(self.read(key, entry))
        })
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        let found = self.next.get_now(&self.transform.key(key))?;
        Some(found.map(|entry| self.read(key, entry)))
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(async move {
            let entry = self.transform.write(key, entry)?;
            self.next.set(&self.transform.key(key), entry).await
        })
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(async move { self.next.delete(&self.transform.key(key)).await })
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        Box::pin(async move {
            let stored_under = self.keys(keys);
            let stored_under: Vec<&str> = stored_under.iter().map(AsRef::as_ref).collect();
            let entries = self.next.get_multi(&stored_under).await?;
            Ok(keys.iter().zip(entries).map(|(key, entry)| self.read(key, entry)).collect())
        })
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let mut written = Vec::with_capacity(entries.len());
            for (key, entry) in entries {
                let entry = self.transform.write(key, entry.clone())?;
                written.push((self.transform.key(key), entry));
            }
            let written: Vec<_> =
                written.iter().map(|(key, entry)| (&**key, entry.clone())).collect();
            self.next.set_multi(&written).await
        })
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(async move {
            let stored_under = self.keys(keys);
            let stored_under: Vec<&str> = stored_under.iter().map(AsRef::as_ref).collect();
            self.next.delete_multi(&stored_under).await
        })
    }

    fn mutex(&self) -> Option<AnyMutex> {
        let inner = self.next.mutex()?;
        let transform = self.transform.clone();
        Some(AnyMutex::new(TransformedMutex { transform, inner }))
    }

    fn claim<'a>(&'a self, wanted: Vec<Wanted<'a>>) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(async move {
            let keys: Vec<&str> = wanted.iter().map(|wanted| wanted.key).collect();
            let stored_under = self.keys(&keys);
            let modes: Vec<ClaimMode> = wanted.iter().map(|wanted| wanted.mode).collect();
            let inner = wanted.into_iter().zip(&stored_under);
            let inner = inner.map(|(wanted, key)| Wanted { key, ..wanted });
            let claims = self.next.claim(inner.collect()).await?;
            let mut read = Vec::with_capacity(claims.len());
            for (at, claim) in claims.into_iter().enumerate() {
                read.push(self.seen_through(keys[at], &stored_under[at], modes[at], claim).await?);
            }
            Ok(read)
        })
    }

    fn commit<'a>(&'a self, changes: Vec<Commit<'a>>) -> Boxed<'a, Vec<bool>> {
        Box::pin(async move {
            let keys: Vec<&str> = changes.iter().map(|change| change.key).collect();
            let stored_under = self.keys(&keys);
            let mut inner = Vec::with_capacity(changes.len());
            for (Commit { key, entry, lease }, stored_under) in
                changes.into_iter().zip(&stored_under)
            {
                let entry = entry.map(|entry| self.transform.write(key, entry)).transpose()?;
                inner.push(Commit { key: stored_under, entry, lease });
            }
            self.next.commit(inner).await
        })
    }

    fn release(&self, leases: Vec<Lease>) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(self.next.release(leases))
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.next.watch(&self.transform.key(key), changed)
    }

    fn follow(&self, follower: Arc<dyn Follower>) -> Option<Watch> {
        self.next.follow(follower)
    }

    fn get_if_changed<'a>(&'a self, key: &'a str, since: Option<Version>) -> Boxed<'a, IfChanged> {
        Box::pin(async move {
            let answer = self.next.get_if_changed(&self.transform.key(key), since).await?;
            Ok(answer.map(|entry| self.transform.read(key, entry)))
        })
    }

    fn told_as<'k>(&self, key: &'k str) -> Cow<'k, str> {
        match self.transform.key(key) {
            Cow::Borrowed(same) => self.next.told_as(same),
            Cow::Owned(other) => Cow::Owned(self.next.told_as(&other).into_owned()),
        }
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.next.recommended_mangler()
    }
}

/// The mutex inside, under the keys that the transform makes.
struct TransformedMutex<T> {
    transform: Arc<T>,
    inner: AnyMutex,
}

impl<T: Transform> KeyedLock for TransformedMutex<T> {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.inner.try_lock(&self.transform.key(key)).await
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.inner.wait(&self.transform.key(key)).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        self.inner.unlock(lease).await
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        self.inner.is_locked(&self.transform.key(key)).await
    }

    fn wait_timeout(&self) -> Option<Duration> {
        self.inner.wait_timeout()
    }
}
