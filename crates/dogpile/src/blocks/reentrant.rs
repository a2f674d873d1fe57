//! A mutex that a thread can take for several keys.
//!
//! One underlying mutex, say a lock file, stands for all keys. A thread that
//! holds it for one key may take further keys without touching it; it is
//! released with the last of them. That is how one lock file serves a call
//! for many keys.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// Lets a thread hold one mutex for several keys at once.
///
/// ```
/// use dogpile::lock::KeyReentrantMutex;
///
/// let mutex = KeyReentrantMutex::new();
/// let a = mutex.lock("a")?;
/// let b = mutex.lock("b")?; // does not wait for itself
/// assert!(mutex.lock("a").is_err()); // would, and says so
/// # drop((a, b));
/// # Ok::<(), dogpile::lock::AlreadyHeld>(())
/// ```
#[derive(Default)]
pub struct KeyReentrantMutex {
    /// Whether some thread has a key.
    is_held: Mutex<bool>,
    freed: Condvar,
    holders: Mutex<HashMap<ThreadId, HashSet<String>>>,
}

/// The error of a thread that asks for a key which it holds already: waiting would never end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AlreadyHeld;

impl fmt::Display for AlreadyHeld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this thread holds this key already")
    }
}

impl std::error::Error for AlreadyHeld {}

impl KeyReentrantMutex {
    /// Creates a mutex that nobody holds.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes `key`, waiting for other threads' keys but never for one of its
    /// own.
    pub fn lock(&self, key: &str) -> Result<KeyReentrantGuard<'_>, AlreadyHeld> {
        if let Some(guard) = self.take_further(key)? {
            return Ok(guard);
        }
        let held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        let free = self.freed.wait_while(held, |held| *held);
        *free.unwrap_or_else(PoisonError::into_inner) = true;
        Ok(self.take_first(key))
    }

    /// Takes `key` if the mutex is free or this thread's; `None` if another
    /// thread has it.
    pub fn try_lock(&self, key: &str) -> Result<Option<KeyReentrantGuard<'_>>, AlreadyHeld> {
        if let Some(guard) = self.take_further(key)? {
            return Ok(Some(guard));
        }
        let mut held = self.is_held.lock().unwrap_or_else(PoisonError::into_inner);
        let was_held = std::mem::replace(&mut *held, true);
        drop(held);
        Ok((!was_held).then(|| self.take_first(key)))
    }

    /// Adds `key` to those of this thread, if it has any.
    fn take_further(&self, key: &str) -> Result<Option<KeyReentrantGuard<'_>>, AlreadyHeld> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(keys) = holders.get_mut(&thread::current().id()) else { return Ok(None) };
        if keys.insert(key.to_owned()) { Ok(Some(self.guard(key))) } else { Err(AlreadyHeld) }
    }

    fn take_first(&self, key: &str) -> KeyReentrantGuard<'_> {
        let mut holders = self.holders.lock().unwrap_or_else(PoisonError::into_inner);
        holders.insert(thread::current().id(), HashSet::from([key.to_owned()]));
        self.guard(key)
    }

    fn guard(&self, key: &str) -> KeyReentrantGuard<'_> {
        KeyReentrantGuard { mutex: self, key: key.to_owned(), thread: PhantomData }
    }
}

impl fmt::Debug for KeyReentrantMutex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReentrantMutex").finish_non_exhaustive()
    }
}

/// Holding a key. It stays on the thread that took it, because the mutex is
/// that thread's: the compiler refuses to send it to another.
#[must_use = "the key is given up when the guard is dropped"]
pub struct KeyReentrantGuard<'m> {
    mutex: &'m KeyReentrantMutex,
    key: String,
    thread: PhantomData<*const ()>,
}

impl Drop for KeyReentrantGuard<'_> {
    fn drop(&mut self) {
        let mut holders = self.mutex.holders.lock().unwrap_or_else(PoisonError::into_inner);
        let this = thread::current().id();
        let Some(keys) = holders.get_mut(&this) else { return };
        keys.remove(&self.key);
        if keys.is_empty() {
            holders.remove(&this);
            drop(holders);
            *self.mutex.is_held.lock().unwrap_or_else(PoisonError::into_inner) = false;
            self.mutex.freed.notify_one();
        }
    }
}

impl fmt::Debug for KeyReentrantGuard<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyReentrantGuard").field("key", &self.key).finish_non_exhaustive()
    }
}
