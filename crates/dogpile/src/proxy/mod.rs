//! Proxies: layers around a backend (contract 8).
//!
//! Three ways to write one, from the simplest:
//!
//! - [`Transform`]: changes keys or entries on their way in and out. Every
//!   operation goes through it, the fused ones included, and a hit in memory
//!   stays as quick as its function.
//! - [`Proxy`]: overrides any operations; the rest passes through.
//! - [`Layer`]: any function from the inner backend to the outer one.
//!
//! [`Config::proxy`](crate::Config::proxy) takes all three (a transform
//! within [`Transforming`]); the last one added is outermost.

#[cfg(feature = "compression")]
mod compression;
#[cfg(feature = "encryption")]
mod encryption;
mod logging;
mod prefix;
mod statistics;
mod transform;

use std::future::Future;

use crate::backend::{
    AnyBackend, BackendError, Boxed, Changed, Claimed, ErasedBackend, Seen, Watch, claim_one,
    unlock_all,
};
use crate::key::Mangler;
use crate::lock::{AnyMutex, Lease};
use crate::value::Entry;

#[cfg(feature = "collections")]
pub(crate) use compression::decompress;
#[cfg(feature = "compression")]
pub use compression::{Algorithm, Compression};
#[cfg(feature = "encryption")]
pub use encryption::{Encryption, EncryptionKey};
pub use logging::Logging;
pub use prefix::KeyPrefix;
pub use statistics::{OperationCounts, Operations};
pub use transform::{Transform, Transforming};

/// Something that can be put around a backend.
pub trait Layer {
    /// The backend `inner` with this around it.
    fn layer(self, inner: AnyBackend) -> AnyBackend;
}

/// Overrides operations of the backend inside. Each method gets that backend
/// as `next`; the defaults pass the call on.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use dogpile::backend::{AnyBackend, BackendError};
/// use dogpile::proxy::Proxy;
/// use dogpile::value::Entry;
///
/// /// Refuses to forget anything.
/// struct Keeper(AtomicU64);
///
/// impl Proxy for Keeper {
///     async fn delete(&self, _next: &AnyBackend, _key: &str) -> Result<(), BackendError> {
///         self.0.fetch_add(1, Ordering::Relaxed);
///         Ok(())
///     }
/// }
///
/// # pollster::block_on(async {
/// use dogpile::{Config, Region, backend::Memory};
/// let region = Region::new("kept");
/// region.configure(Config::new(Memory::new(10)).proxy(Keeper(AtomicU64::new(0))))?;
/// region.set("k", &1).await?;
/// region.delete("k").await?;
/// assert_eq!(region.get("k").await?, Some(1));
/// # Ok::<(), dogpile::Error>(())
/// # }).unwrap();
/// ```
pub trait Proxy: Send + Sync + 'static {
    /// Its name in messages and logs.
    fn name(&self) -> &str {
        let name = std::any::type_name::<Self>();
        name.split('<').next().and_then(|path| path.rsplit("::").next()).unwrap_or(name)
    }

    /// See [`Backend::get`](crate::backend::Backend::get).
    fn get(
        &self,
        next: &AnyBackend,
        key: &str,
    ) -> impl Future<Output = Result<Option<Entry>, BackendError>> + Send {
        next.get(key)
    }

    /// See [`Backend::get_now`](crate::backend::Backend::get_now). Unlike the
    /// others this one does not pass through by default, or it would bypass
    /// an overridden `get`; a proxy that leaves `get` alone, or can do its
    /// part without waiting, overrides it to keep memory hits quick.
    fn get_now(
        &self,
        _next: &AnyBackend,
        _key: &str,
    ) -> Option<Result<Option<Entry>, BackendError>> {
        None
    }

    /// See [`Backend::set`](crate::backend::Backend::set).
    fn set(
        &self,
        next: &AnyBackend,
        key: &str,
        entry: Entry,
    ) -> impl Future<Output = Result<(), BackendError>> + Send {
        next.set(key, entry)
    }

    /// See [`Backend::delete`](crate::backend::Backend::delete).
    fn delete(
        &self,
        next: &AnyBackend,
        key: &str,
    ) -> impl Future<Output = Result<(), BackendError>> + Send {
        next.delete(key)
    }

    /// See [`Backend::get_multi`](crate::backend::Backend::get_multi).
    fn get_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> impl Future<Output = Result<Vec<Option<Entry>>, BackendError>> + Send {
        next.get_multi(keys)
    }

    /// See [`Backend::set_multi`](crate::backend::Backend::set_multi). The
    /// entries are the backend's to be: changing them here does not change
    /// what the caller gets.
    fn set_multi(
        &self,
        next: &AnyBackend,
        entries: &[(&str, Entry)],
    ) -> impl Future<Output = Result<(), BackendError>> + Send {
        next.set_multi(entries)
    }

    /// See [`Backend::delete_multi`](crate::backend::Backend::delete_multi).
    fn delete_multi(
        &self,
        next: &AnyBackend,
        keys: &[&str],
    ) -> impl Future<Output = Result<(), BackendError>> + Send {
        next.delete_multi(keys)
    }

    /// See [`Backend::mutex`](crate::backend::Backend::mutex).
    fn mutex(&self, next: &AnyBackend) -> Option<AnyMutex> {
        next.mutex()
    }

    /// See [`Backend::watch`](crate::backend::Backend::watch).
    fn watch(&self, next: &AnyBackend, key: &str, changed: Changed) -> Option<Watch> {
        next.watch(key, changed)
    }

    /// See [`Backend::claim`](crate::backend::Backend::claim). The default is
    /// made of this proxy's own `get` and its mutex, so that what is
    /// overridden there is not bypassed; a proxy that leaves both alone may
    /// pass it on to save round trips.
    fn claim(
        &self,
        next: &AnyBackend,
        keys: &[(&str, Seen)],
    ) -> impl Future<Output = Result<Vec<Claimed>, BackendError>> + Send {
        async move {
            let Some(mutex) = self.mutex(next) else {
                return Err(BackendError::other("this backend has no mutex"));
            };
            let mut claims = Vec::with_capacity(keys.len());
            for (key, seen) in keys {
                claims.push(claim_one(&mutex, key, *seen, || self.get(next, key)).await?);
            }
            Ok(claims)
        }
    }

    /// See [`Backend::commit`](crate::backend::Backend::commit). The default
    /// is made of this proxy's own `set` and `set_multi` and its mutex; it
    /// cannot tell whether a lease was lost.
    fn commit(
        &self,
        next: &AnyBackend,
        entries: Vec<(&str, Entry, Lease)>,
    ) -> impl Future<Output = Result<Vec<bool>, BackendError>> + Send {
        async move {
            let Some(mutex) = self.mutex(next) else {
                return Err(BackendError::other("this backend has no mutex"));
            };
            let (values, leases): (Vec<_>, Vec<_>) =
                entries.into_iter().map(|(key, entry, lease)| ((key, entry), lease)).unzip();
            let stored = match &values[..] {
                [(key, entry)] => self.set(next, key, entry.clone()).await,
                _ => self.set_multi(next, &values).await,
            };
            unlock_all(&mutex, leases).await;
            stored.map(|()| vec![true; values.len()])
        }
    }
}

impl<P: Proxy> Layer for P {
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        inner.clone().within(Proxied { proxy: self, next: inner })
    }
}

/// A proxy around what is inside it.
struct Proxied<P> {
    proxy: P,
    next: AnyBackend,
}

impl<P: Proxy> ErasedBackend for Proxied<P> {
    fn name(&self) -> String {
        format!("{} over {}", self.proxy.name(), self.next.name())
    }

    fn keeps_objects(&self) -> bool {
        self.next.keeps_objects()
    }

    fn get<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Entry>> {
        Box::pin(self.proxy.get(&self.next, key))
    }

    fn get_now(&self, key: &str) -> Option<Result<Option<Entry>, BackendError>> {
        self.proxy.get_now(&self.next, key)
    }

    fn set<'a>(&'a self, key: &'a str, entry: Entry) -> Boxed<'a, ()> {
        Box::pin(self.proxy.set(&self.next, key, entry))
    }

    fn delete<'a>(&'a self, key: &'a str) -> Boxed<'a, ()> {
        Box::pin(self.proxy.delete(&self.next, key))
    }

    fn get_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, Vec<Option<Entry>>> {
        Box::pin(self.proxy.get_multi(&self.next, keys))
    }

    fn set_multi<'a>(&'a self, entries: &'a [(&'a str, Entry)]) -> Boxed<'a, ()> {
        Box::pin(self.proxy.set_multi(&self.next, entries))
    }

    fn delete_multi<'a>(&'a self, keys: &'a [&'a str]) -> Boxed<'a, ()> {
        Box::pin(self.proxy.delete_multi(&self.next, keys))
    }

    fn mutex(&self) -> Option<AnyMutex> {
        self.proxy.mutex(&self.next)
    }

    fn claim<'a>(&'a self, keys: &'a [(&'a str, Seen)]) -> Boxed<'a, Vec<Claimed>> {
        Box::pin(self.proxy.claim(&self.next, keys))
    }

    fn commit<'a>(&'a self, entries: Vec<(&'a str, Entry, Lease)>) -> Boxed<'a, Vec<bool>> {
        Box::pin(self.proxy.commit(&self.next, entries))
    }

    fn watch(&self, key: &str, changed: Changed) -> Option<Watch> {
        self.proxy.watch(&self.next, key, changed)
    }

    fn recommended_mangler(&self) -> Option<Mangler> {
        self.next.recommended_mangler()
    }
}
