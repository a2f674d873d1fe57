//! The synchronization primitives the crate is built on, in one place so that
//! a build with `--cfg shuttle` can put a model checker's in their stead.
//!
//! [`KeyedLock`] never reports poisoning: every critical section in this crate
//! leaves its data whole before it calls anything that can panic.

#[cfg(not(shuttle))]
use std::sync as imp;

#[cfg(shuttle)]
use shuttle::sync as imp;

pub(crate) use imp::Arc;
pub(crate) use imp::atomic;

pub(crate) type Guard<'a, T> = imp::MutexGuard<'a, T>;

/// A mutex whose guard is handed out even after a panic in another holder.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(imp::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(imp::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> Guard<'_, T> {
        self.0.lock().unwrap_or_else(imp::PoisonError::into_inner)
    }

    /// `None` while somebody else has it.
    #[cfg(any(feature = "file", all(test, shuttle)))]
    pub(crate) fn try_lock(&self) -> Option<Guard<'_, T>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(imp::TryLockError::Poisoned(error)) => Some(error.into_inner()),
            Err(imp::TryLockError::WouldBlock) => None,
        }
    }
}

#[cfg(not(shuttle))]
pub(crate) use std::thread_local;

#[cfg(shuttle)]
pub(crate) use shuttle::thread_local;
