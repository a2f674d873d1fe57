//! Proxies: layers around a backend.
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
mod proxied;
mod transform;

use std::borrow::Cow;
use std::future::Future;

use crate::backend::{AnyBackend, BackendError, Changed, Watch};
use crate::lock::AnyMutex;
use crate::value::Entry;

#[cfg(feature = "collections")]
pub(crate) use compression::decompress;
#[cfg(feature = "compression")]
pub use compression::{Algorithm, Compression};
#[cfg(feature = "encryption")]
pub use encryption::{Encryption, EncryptionKey};
pub use logging::Logging;
pub use prefix::KeyPrefix;
pub use transform::{Transform, Transforming};

/// Something that can be put around a backend.
pub trait Layer {
    /// The backend `inner` with this around it.
    fn layer(self, inner: AnyBackend) -> AnyBackend;
}

/// Overrides operations of the backend inside. Each method gets that backend
/// as `next`; the defaults pass the call on.
///
/// Creations go through it as well: a claim is a `get` (or `get_multi`) and a
/// commit is a `set` (or `set_multi`, or `delete`) whose `next` makes them under
/// the lease of the creation. So they stay bound to it whatever a proxy does, as
/// long as it hands on to `next` what it is to store. It can do that once, and before its
/// `set` returns: a created value that it hands on again (to retry) or later (from a task) is
/// refused, since it may be older by then than somebody's change. `get`, `set` and `delete` of a
/// proxy that changes keys change them alike, and [`key`](Self::key) says how.
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

    /// Returns the key that its `get` asks `next` for. A [near tier](crate::Near) keeps no copies of
    /// what lies under other keys than this says. It asks past the proxy whether what lies there
    /// has changed since it was copied, and calls `get` only if so.
    fn key<'k>(&self, key: &'k str) -> Cow<'k, str> {
        Cow::Borrowed(key)
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

    /// See [`Backend::mutex`](crate::backend::Backend::mutex). A proxy that brings
    /// another mutex has its changes ordered as a backend that does not order them
    /// by itself. One that brings none hides the mutex from regions: of creations that overlap,
    /// the first to begin is stored, where the backend inside orders changes by its own.
    fn mutex(&self, next: &AnyBackend) -> Option<AnyMutex> {
        next.mutex()
    }

    /// Returns whether it changes nothing on its way: neither keys nor values nor what is
    /// done. False unless overridden.
    ///
    /// [Collections](crate::collections) lie in the backend in a form of their own, which goes
    /// past proxies. Around one that does more than observe (encrypts, puts a prefix before
    /// keys) they cannot be opened.
    fn only_observes(&self) -> bool {
        false
    }

    /// See [`Backend::watch`](crate::backend::Backend::watch).
    fn watch(&self, next: &AnyBackend, key: &str, changed: Changed) -> Option<Watch> {
        next.watch(key, changed)
    }
}

impl<P: Proxy> Layer for P {
    fn layer(self, inner: AnyBackend) -> AnyBackend {
        proxied::layer(self, inner)
    }
}
