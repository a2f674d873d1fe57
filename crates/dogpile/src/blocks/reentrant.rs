//! A mutex that a thread can take for several keys.
//!
//! One underlying mutex, say a lock file, stands for all keys. A thread that
//! holds it for one key may take further keys without touching it; it is
//! released with the last of them. That is how one lock file serves a call
//! for many keys.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// The mutex under a [`KeyReentrantMutex`]. It may be locked by one thread
/// and must be unlocked by the same.
pub trait RawMutex {
    /// The error type.
    type Error;

    /// Waits until it is free, and takes it.
    fn lock(&self) -> Result<(), Self::Error>;

    /// Takes it if it is free; false if it is not.
    fn try_lock(&self) -> Result<bool, Self::Error>;

    /// Gives it up. There is nobody to take an error.
    fn unlock(&self);
}

/// A [`RawMutex`] within this process.
#[derive(Debug, Default)]
pub struct ThreadMutex {
    held: Mutex<bool>,
    freed: Condvar,
}

impl RawMutex for ThreadMutex {
    type Error = std::convert::Infallible;

    fn lock(&self) -> Result<(), Self::Error> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.freed.wait_while(held, |held| *held);
        *free.unwrap_or_else(PoisonError::into_inner) = true;
        Ok(())
    }

    fn try_lock(&self) -> Result<bool, Self::Error> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(!std::mem::replace(&mut *held, true))
    }

    fn unlock(&self) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = false;
        self.freed.notify_one();
    }
}

/// Lets a thread hold one mutex for several keys at once.
///
/// ```
/// use dogpile::lock::{KeyReentrantMutex, ThreadMutex};
///
/// let mutex = KeyReentrantMutex::new(ThreadMutex::default());
/// let a = mutex.lock("a")?;
/// let b = mutex.lock("b")?; // does not wait for itself
/// assert!(mutex.lock("a").is_err()); // would, and says so
/// # drop((a, b));
/// # Ok::<(), dogpile::lock::ReentrantError<std::convert::Infallible>>(())
/// ```
pub struct KeyReentrantMutex<M> {
    mutex: M,
    holders: Mutex<HashMap<ThreadId, BTreeSet<String>>>,
}

/// Why a key could not be taken.
#[derive(Debug)]
pub enum ReentrantError<E> {
    /// This thread holds this very key already; waiting would never end.
    AlreadyHeld,
    /// The underlying mutex failed.
    Mutex(E),
}

impl<E: fmt::Display> fmt::Display for ReentrantError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyHeld => f.write_str("this thread holds this key already"),
            Self::Mutex(error) => error.fmt(f),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for ReentrantError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::AlreadyHeld => None,
            Self::Mutex(error) => error.source(),
        }
    }
}

impl<M: RawMutex> KeyReentrantMutex<M> {
    /// Makes `mutex` reentrant for different keys.
    pub fn new(mutex: M) -> Self {
        Self { mutex, holders: Mutex::default() }
    }

    /// Takes `key`, waiting for other threads' keys but never for one of its
    /// own.
    pub fn lock(&self, key: &str) -> Result<KeyReentrantGuard<'_, M>, ReentrantError<M::Error>> {
        if let Some(guard) = self.take_further(key)? {
            return Ok(guard);
        }
        self.mutex.lock().map_err(ReentrantError::Mutex)?;
        Ok(self.take_first(key))
    }

    /// Takes `key` if the mutex is free or this thread's; `None` if another
    /// thread has it.
    pub fn try_lock(
        &self,
        key: &str,
    ) -> Result<Option<KeyReentrantGuard<'_, M>>, ReentrantError<M::Error>> {
        if let Some(guard) = self.take_further(key)? {
            return Ok(Some(guard));
        }
        let locked = self.mutex.try_lock().map_err(ReentrantError::Mutex)?;
        Ok(locked.then(|| self.take_first(key)))
    }

    /// Adds `key` to those of this thread, if it has any.
    fn take_further(
        &self,
        key: &str,
    ) -> Result<Option<KeyReentrantGuard<'_, M>>, ReentrantError<M::Error>> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keys) = holders.get_mut(&thread::current().id()) else { return Ok(None) };
        if keys.insert(key.to_owned()) {
            Ok(Some(self.guard(key)))
        } else {
            Err(ReentrantError::AlreadyHeld)
        }
    }

    fn take_first(&self, key: &str) -> KeyReentrantGuard<'_, M> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.insert(thread::current().id(), BTreeSet::from([key.to_owned()]));
        self.guard(key)
    }

    fn guard(&self, key: &str) -> KeyReentrantGuard<'_, M> {
        KeyReentrantGuard { mutex: self, key: key.to_owned(), thread: PhantomData }
    }
}

impl<M> fmt::Debug for KeyReentrantMutex<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReentrantMutex").finish_non_exhaustive()
    }
}

/// Holding a key. It stays on the thread that took it, because the mutex is
/// that thread's: the compiler refuses to send it to another.
#[must_use = "the key is given up when the guard is dropped"]
pub struct KeyReentrantGuard<'m, M: RawMutex> {
    mutex: &'m KeyReentrantMutex<M>,
    key: String,
    thread: PhantomData<*const ()>,
}

impl<M: RawMutex> Drop for KeyReentrantGuard<'_, M> {
    fn drop(&mut self) {
        let mut holders = self.mutex.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let this = thread::current().id();
        let Some(keys) = holders.get_mut(&this) else { return };
        keys.remove(&self.key);
        if keys.is_empty() {
            holders.remove(&this);
            drop(holders);
            self.mutex.mutex.unlock();
        }
    }
}

impl<M: RawMutex> fmt::Debug for KeyReentrantGuard<'_, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReentrantGuard").field("key", &self.key).finish_non_exhaustive()
    }
}
