//! The mutex of the dogpile lock: the [`KeyedLock`] trait that backends
//! bring wider ones by, and the [`Lease`] that stands for holding one.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::BackendError;
use crate::process::Owned;

/// A mutex per key, as wide as its implementation reaches: this process, a
/// file's users, a Redis server's.
///
/// Implementations write plain `async fn`s. Keys arrive mangled, as the
/// backend stores them.
pub trait KeyedLock: Send + Sync + 'static {
    /// Takes the mutex of `key` if it is free; `None` if somebody holds it.
    ///
    /// Cancel safe: a future dropped before it ends leaves nothing locked for
    /// longer than a lease.
    fn try_lock(
        &self,
        key: &str,
    ) -> impl Future<Output = Result<Option<Lease>, BackendError>> + Send;

    /// Waits until the mutex of `key` was free, or the value under `key`
    /// changed, at some moment since the call began.
    ///
    /// It may return earlier, for no reason; the caller looks again in any
    /// case. Where waiting means acquiring, as with kernel locks, it returns
    /// what it acquired. There is no time limit here: the caller drops the
    /// future when it has waited long enough.
    fn wait(&self, key: &str) -> impl Future<Output = Result<Option<Lease>, BackendError>> + Send;

    /// Gives the mutex up. A lease that was lost meanwhile is not an error,
    /// and its successor's is left alone.
    fn unlock(&self, lease: Lease) -> impl Future<Output = Result<(), BackendError>> + Send;

    /// Does anybody hold the mutex of `key` now?
    fn is_locked(&self, key: &str) -> impl Future<Output = Result<bool, BackendError>> + Send;

    /// The wait timeout of callers who set none themselves; `None`, the default,
    /// is as long as it takes.
    fn wait_timeout(&self) -> Option<Duration> {
        None
    }
}

/// Holding a mutex. What is inside is its implementation's business: a token,
/// a file lock, the task that renews it.
///
/// Dropping a lease gives the mutex up too, soon, by the `Drop` of what is
/// inside; that is what happens when a creator is cancelled or panics.
///
/// In a process that was forked from the one that holds the mutex, a lease is empty: the
/// mutex is still its parent's.
pub struct Lease(Owned<Box<dyn Any + Send + Sync>>);

impl Lease {
    /// Wraps what an implementation needs to know to unlock.
    pub fn new<T: Send + Sync + 'static>(held: T) -> Self {
        Self(Owned::new(Box::new(held)))
    }

    /// Returns the mutex inside.
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }

    /// Takes out what is inside; the lease itself back, if it is of another
    /// type.
    pub fn into_inner<T: 'static>(mut self) -> Result<T, Self> {
        match self.0.take().map(<Box<dyn Any + Send + Sync>>::downcast) {
            Some(Ok(held)) => Ok(*held),
            Some(Err(other)) => Err(Self(Owned::new(other))),
            None => Err(self),
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lease")
    }
}

/// The future of an erased operation.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = Result<T, BackendError>> + Send + 'a>>;

/// Any [`KeyedLock`], behind one type.
#[derive(Clone)]
pub struct AnyMutex(Arc<dyn ErasedMutex>);

impl AnyMutex {
    /// Erases the type of `mutex`.
    pub fn new(mutex: impl KeyedLock) -> Self {
        Self(Arc::new(mutex))
    }

    /// Gives mutexes up. What fails now ends by itself.
    pub(crate) async fn unlock_all(&self, leases: Vec<Lease>) {
        for lease in leases {
            let _ = self.unlock(lease).await;
        }
    }

    /// Is it the same one as `other`, not only of the same kind?
    pub(crate) fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl fmt::Debug for AnyMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyMutex")
    }
}

impl KeyedLock for AnyMutex {
    async fn try_lock(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.try_lock_boxed(key).await
    }

    async fn wait(&self, key: &str) -> Result<Option<Lease>, BackendError> {
        self.0.wait_boxed(key).await
    }

    async fn unlock(&self, lease: Lease) -> Result<(), BackendError> {
        self.0.unlock_boxed(lease).await
    }

    async fn is_locked(&self, key: &str) -> Result<bool, BackendError> {
        self.0.is_locked_boxed(key).await
    }

    fn wait_timeout(&self) -> Option<Duration> {
        self.0.patience_erased()
    }
}

trait ErasedMutex: Send + Sync {
    fn try_lock_boxed<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Lease>>;
    fn wait_boxed<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Lease>>;
    fn unlock_boxed(&self, lease: Lease) -> Boxed<'_, ()>;
    fn is_locked_boxed<'a>(&'a self, key: &'a str) -> Boxed<'a, bool>;
    fn patience_erased(&self) -> Option<Duration>;
}

impl<M: KeyedLock> ErasedMutex for M {
    fn try_lock_boxed<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Lease>> {
        Box::pin(self.try_lock(key))
    }

    fn wait_boxed<'a>(&'a self, key: &'a str) -> Boxed<'a, Option<Lease>> {
        Box::pin(self.wait(key))
    }

    fn unlock_boxed(&self, lease: Lease) -> Boxed<'_, ()> {
        Box::pin(self.unlock(lease))
    }

    fn is_locked_boxed<'a>(&'a self, key: &'a str) -> Boxed<'a, bool> {
        Box::pin(self.is_locked(key))
    }

    fn patience_erased(&self) -> Option<Duration> {
        self.wait_timeout()
    }
}

/// A mutex that everybody always gets: the null backend's, and a way to
/// switch the election off.
#[derive(Debug, Clone, Copy, Default)]
pub struct NullMutex;

impl KeyedLock for NullMutex {
    async fn try_lock(&self, _key: &str) -> Result<Option<Lease>, BackendError> {
        Ok(Some(Lease::new(())))
    }

    async fn wait(&self, _key: &str) -> Result<Option<Lease>, BackendError> {
        Ok(None)
    }

    async fn unlock(&self, _lease: Lease) -> Result<(), BackendError> {
        Ok(())
    }

    async fn is_locked(&self, _key: &str) -> Result<bool, BackendError> {
        Ok(false)
    }
}
